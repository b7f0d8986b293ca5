"""Test a model of CLIP-ReID: MODEL.WEIGHTS, such as a published one, or what a training made."""

from _tool import tool


def test(rt, cfg, args):
    report = rt.evaluate(rt.with_final(cfg))
    print(report.blocks())
    print(report.test_results())


if __name__ == "__main__":
    tool(__doc__, test, processes=True)
