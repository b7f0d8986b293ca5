"""Embed the people in a video along their tracks: features, metadata and crops of every track."""

from pathlib import Path

from _tool import main, parse

from reidtools.config.cli import without_pairs

WEIGHTS = (
    "osnet_x1_0_market_256x128_amsgrad_ep150_stp60_lr0.0015_b64_fb10_softmax_labelsmooth_flip.pth"
)
FLAG = {"action": "store_true"}
OWN = {
    "--source": {"required": True, "help": "a video, a folder of frames, or img1/%%06d.jpg"},
    "--tracks": {"required": True, "metavar": "TXT", "help": "frame,id,x,y,w,h,conf … of MOT"},
    "--reid-size": {
        "nargs": "+",
        "metavar": "N",
        "help": "height width; default the model's own, else 256 128",
    },
    "--output-dir": {
        "default": "runs/step3_reid_features",
        "metavar": "DIR",
        "help": "default runs/step3_reid_features",
    },
    "--save-crops": {**FLAG, "help": "write the crops as pictures, too"},
    "--max-crops-per-track": {"type": int, "default": 10, "metavar": "N", "help": "0 is all"},
    "--min-confidence": {"type": float, "metavar": "C", "help": "leave out boxes below"},
    "--normalize": {**FLAG, "help": "make vectors of length 1"},
    "--flip-test": {**FLAG, "help": "the mean of each crop and its mirror image"},
    "--replace": {**FLAG, "help": "replace features and crops that are there"},
    "--device": {"default": "", "help": "cpu, cuda, 0, 1 …; default a GPU if there is one"},
}
MODEL = "weights: ours, torchreid's, FastReID's, or x.onnx; default torchreid's osnet_x1_0_market…"
KEYS = {"--reid-model": (["MODEL.WEIGHTS"], MODEL)}


def run() -> None:
    args = parse(__doc__, more=OWN, keys=KEYS)
    (size,), opts = without_pairs([args.reid_size], args.opts)
    if args.device or "MODEL.DEVICE" not in opts:
        device = f"cuda:{args.device}" if args.device.isdecimal() else args.device or "auto"
        opts += ["MODEL.DEVICE", device]
    if size:
        opts += ["INPUT.SIZE_TRAIN", f"[{', '.join(size)}]", "INPUT.SIZE_TEST", "[]"]
    if args.flip_test:
        opts += ["TEST.FLIP", "raw"]
    if not (args.config_file or "MODEL.WEIGHTS" in opts):
        if not (args.print_config or Path(WEIGHTS).is_file()):
            raise ValueError(
                f"Name the weights with --reid-model; without it they are {WEIGHTS} of torchreid's "
                "model zoo, which is not in this folder."
            )
        opts += ["MODEL.WEIGHTS", WEIGHTS]
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    cfg = rt.get_config(args.config_file, opts)
    if args.print_config:
        return print(cfg.dump())
    names = "save_crops normalize min_confidence replace"
    words = {name: getattr(args, name) for name in names.split()}
    words["max_crops"] = args.max_crops_per_track
    print(rt.extract_tracks(cfg, args.source, args.tracks, args.output_dir, **words))


if __name__ == "__main__":
    main(run)
