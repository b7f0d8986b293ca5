"""Find the distance at which two pictures pass as one person; writes calibration.json."""

from _tool import tool

FAR = {"type": float, "default": 1e-3, "help": "share of different people let pass; default 0.001"}

if __name__ == "__main__":
    tool(__doc__, lambda rt, cfg, args: rt.calibrate(cfg, args.far), more={"--far": FAR})
