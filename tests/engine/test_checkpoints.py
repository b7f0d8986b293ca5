import pytest
import torch

from reidtools.engine.checkpoints import (
    Checkpoints,
    find_start,
    is_newest,
    latest_checkpoint,
    new_run,
    save,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_runs_are_numbered(tmp_path):
    assert [new_run("", tmp_path / "a").name for _ in range(3)] == ["exp0", "exp1", "exp2"]
    assert new_run(str(tmp_path / "mine"), tmp_path) == tmp_path / "mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"folder .*file/run cannot be made.*another OUTPUT_DIR"):
        new_run(str(tmp_path / "file/run"), tmp_path)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    new_run(str(tmp_path), tmp_path)  # even one that has only just begun
    with pytest.raises(ValueError, match="already holds a run"):
        new_run(str(tmp_path), tmp_path / "other")


def test_periodic_last_and_best(tmp_path):
    keeper = Checkpoints(tmp_path, period=2)
    for epoch, best in enumerate([False, True, False, False]):
        keeper.keep({"epoch": epoch}, epoch, best=best)
    assert names(tmp_path) == ["0.pth", "2.pth", "3_last.pth", "best.pth"]
    assert torch.load(tmp_path / "best.pth", weights_only=True) == {"epoch": 1}
    assert latest_checkpoint(tmp_path).name == "3_last.pth"


def test_going_back_loses_no_later_checkpoint(tmp_path):
    Checkpoints(tmp_path, 0).keep({}, 7)
    Checkpoints(tmp_path, 0).keep({}, 3)
    assert is_newest(tmp_path / "7_last.pth") and not is_newest(tmp_path / "3_last.pth")
    assert names(tmp_path) == ["3_last.pth", "7_last.pth"]
    Checkpoints(tmp_path, 7).keep({}, 7)
    assert is_newest(tmp_path / "7.pth")  # it is what 7_last.pth is


def test_where_a_run_starts_from(tmp_path):
    assert find_start("auto", "", tmp_path / "none") is None
    for run, epoch in (("exp0", 9), ("exp2", 1), ("exp10", 0)):
        (tmp_path / run).mkdir()
        save({}, tmp_path / run / f"{epoch}.pth")
    assert find_start("auto", "", tmp_path) == tmp_path / "exp10/0.pth"
    assert find_start("auto", str(tmp_path / "exp0"), tmp_path) == tmp_path / "exp0/9.pth"
    assert find_start(str(tmp_path / "exp2"), "", tmp_path) == tmp_path / "exp2/1.pth"
    assert find_start(str(tmp_path / "exp2/1.pth"), "", tmp_path) == tmp_path / "exp2/1.pth"
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*5\.pth"):
        find_start(str(tmp_path / "exp2/5.pth"), "", tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no <epoch>.pth"):
        find_start(str(tmp_path), "", tmp_path)


def test_published_checkpoints_lie_where_they_are_wanted(tmp_path):
    run = new_run(str(tmp_path / "tuned"), tmp_path)
    keeper = Checkpoints(run, 5, lambda epoch: tmp_path / f"{120 + epoch}_x4.pth")
    for epoch in range(7):
        keeper.keep({"epoch": epoch}, epoch, best=epoch == 1, final=epoch == 6)
    assert names(tmp_path) == ["120_x4.pth", "125_x4.pth", "126_x4.pth", "tuned"]
    assert [path.name for path in keeper.written] == names(tmp_path)[:3]
    assert names(run) == ["6_last.pth", "best.pth", "config.yml"]
    assert latest_checkpoint(tmp_path) is None  # they are no epochs of the run beside them
