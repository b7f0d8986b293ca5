"""Embed the people in a video along their tracks: features, metadata and crops of every track."""

from _tool import main, parse

from reidtools.config.cli import without_pairs

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
    "--max-crops-per-track": {
        "dest": "max_crops",
        "type": int,
        "default": 10,
        "metavar": "N",
        "help": "evenly spread; default 10, 0 is all",
    },
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
    import reidtools as rt  # after --help has been answered: torch takes seconds to load

    about = {"size": size, "device": args.device, "flip_test": args.flip_test}
    cfg = rt.extraction_config(args.config_file, opts, **about)
    if args.print_config:
        return print(cfg.dump())
    names = "save_crops max_crops normalize min_confidence replace"
    words = {name: getattr(args, name) for name in names.split()}
    print(rt.extract_tracks(cfg, args.source, args.tracks, args.output_dir, **words))


if __name__ == "__main__":
    main(run)
