"""Test a re-ID model: Rank-k, mAP and mINP of MODEL.WEIGHTS on the test sets."""

from _tool import tool

QUERY, GALLERY = "TEST.QUERY_SCALE", "TEST.GALLERY_SCALE"
SCALES = {
    "--scale": ([QUERY, GALLERY], "query and gallery pictures this many times as coarse"),
    "--query-scale": ([QUERY], "query pictures this many times as coarse"),
    "--gallery-scale": ([GALLERY], "gallery pictures this many times as coarse"),
}


def test(rt, cfg, args):
    print(rt.evaluate(cfg).blocks())


if __name__ == "__main__":
    tool(__doc__, test, opts=("TEST.CENTROIDS.ENABLED", "True"), keys=SCALES, processes=True)
