import subprocess
import sys
from pathlib import Path

import pytest

from reidtools.config.cli import parse

TOOLS = sorted((Path(__file__).parents[2] / "tools").glob("[a-z]*.py"))


def words(text):
    return parse("A tool.", text.split(), trains=True)


def test_flags_and_pairs():
    args = words("--config_file a.yml DATASETS.NAMES market1501 SOLVER.BASE_LR 1e-3 --eval-only")
    assert args.config_file == ["a.yml"] and args.eval_only
    assert args.opts == ["DATASETS.NAMES", "market1501", "SOLVER.BASE_LR", "1e-3"]


@pytest.mark.parametrize(
    ("text", "resume", "rest"),
    [
        ("--resume", "auto", []),
        ("--resume logs/x/5.pth SEED 3", "logs/x/5.pth", ["SEED", "3"]),
        ("--resume OUTPUT_DIR logs/x", "auto", ["OUTPUT_DIR", "logs/x"]),
        ("SEED 3 --resume", "auto", ["SEED", "3"]),
    ],
)
def test_resume_with_and_without_a_path(text, resume, rest):
    args = words(text)
    assert args.resume == resume
    assert args.opts == [*rest, "RESUME", resume]


def test_a_run_may_have_a_name():
    assert words("--exp_name hog SEED 3").opts == ["SEED", "3", "EXP_NAME", "hog"]
    args = words("--resume --exp-name hog")
    assert args.opts == ["EXP_NAME", "hog", "RESUME", "auto"]
    with pytest.raises(SystemExit):
        parse("A tool.", ["--exp_name", "hog"])  # it makes no run


def test_no_gpus_means_the_cpu():
    assert words("--num-gpus 0").opts == ["MODEL.DEVICE", "cpu"]


def test_negative_numbers_are_values():
    opts = ["SOLVER.WEIGHT_DECAY_BIAS", "-1e-4", "SEED", "-1", "X", "-.5"]
    assert parse("A tool.", opts).opts == opts


def test_only_training_resumes():
    with pytest.raises(SystemExit):
        parse("A tool.", ["--resume"])


@pytest.mark.parametrize("text", ["SEED", "--num-gpus -1", "--no-such-flag"])
def test_what_cannot_be_meant_stops_with_usage(text, capsys):
    with pytest.raises(SystemExit) as caught:
        words(text)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.name)
def test_help_loads_nothing_heavy(tool):
    """The whole process may import no torch: FastReID's help takes 24 seconds, torchreid's 12."""
    code = (
        "import runpy, sys\n"
        "sys.argv = [sys.argv[1], '--help']\n"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"  # as Python does for a script
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'cv2', 'numpy', 'yacs', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tool)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_a_word_may_stand_for_several_keys():
    keys = {"--scale": (["TEST.QUERY_SCALE", "TEST.GALLERY_SCALE"], "how coarse")}
    args = parse("A tool.", "SEED 3 --scale 4".split(), keys=keys)
    assert args.opts == ["SEED", "3", "TEST.QUERY_SCALE", "4", "TEST.GALLERY_SCALE", "4"]
    assert parse("A tool.", ["SEED", "3"], keys=keys).opts == ["SEED", "3"]
    both = parse("A tool.", "--config-file a.yml --config_file b.yml SEED 3".split())
    assert both.config_file == ["a.yml", "b.yml"] and both.opts == ["SEED", "3"]
