"""Train CLIP-ReID: prompts for each person (stage 1), then the image tower with them (stage 2)."""

from _tool import ROOT, launch, main, parse

CONFIGS = ROOT / "configs"
OWN = {
    "--stage0": {"action": "store_true", "help": "begin with captions: configs/clip_captions.yml"},
    "--stage1": {
        "default": str(CONFIGS / "clip_prompts.yml"),
        "metavar": "FILE",
        "help": "what stage 1 lays over the config file; default configs/clip_prompts.yml",
    },
    "--only": {"type": int, "choices": (0, 1, 2), "help": "this stage; begins with MODEL.WEIGHTS"},
    "--export": {"action": "store_true", "help": "write the trained image tower as ONNX, too"},
}


def run() -> None:
    args = parse(__doc__, more=OWN, processes=True)
    launch(args)
    import reidtools as rt

    files = args.config_file or [CONFIGS / "clip_rn50.yml"]
    fragments = {0: CONFIGS / "clip_captions.yml", 1: args.stage1, 2: ""}
    asked = [0, 1, 2] if args.stage0 else [1, 2]
    asked = asked if args.only is None else [args.only]
    stages = [
        rt.get_config(files, args.opts, fragment=fragments[stage], stage=stage) for stage in asked
    ]
    if args.print_config:
        print("---\n".join(cfg.dump() for cfg in stages))
    else:
        rt.train_clipreid(stages, export=args.export)


if __name__ == "__main__":
    main(run)
