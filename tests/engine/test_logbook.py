import json
import logging

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reidtools.engine import logbook
from reidtools.engine.logbook import LOGGER, Logbook, log_to, peak_memory, set_up_logging
from reidtools.engine.trainer import Progress


def test_a_run_is_written_to_console_file_metrics_and_events(tmp_path, capsys):
    set_up_logging()
    LOGGER.info("before the folder is known")
    log_to(tmp_path / "log.txt")
    book = Logbook(tmp_path, iterations_per_epoch=10, max_epoch=2, batch_size=4)
    book.write(Progress(0, 10, 1e-3, True, 1.0, {"TripletLoss": 0.5, "total": 0.5}))
    book.score(0, 10, "toy", {"Rank-1": 50.0, "mAP": 25.0})
    book.close()
    for handler in LOGGER.handlers:
        handler.flush()

    assert "before the folder" in capsys.readouterr().out
    text = (tmp_path / "log.txt").read_text()
    assert text.index("before the folder") < text.index("epoch 0/1")
    assert "TripletLoss 0.5" in text and "lr 0.001" in text and "eta" in text
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["iteration"] == 10 and rows[0]["TripletLoss"] == 0.5
    assert rows[1] == {"epoch": 0, "dataset": "toy", "Rank-1": 50.0, "mAP": 25.0}
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Scalars("Loss/TripletLoss")[0].value == 0.5
    assert events.Scalars("toy/mAP")[0].step == 10


def test_epochs_and_tests_are_told_elsewhere_as_well(tmp_path):
    told = []
    book = Logbook(tmp_path, 10, 2, 4, also=lambda figures, epoch: told.append((epoch, figures)))
    book.write(Progress(0, 5, 1e-3, False, 0.5, {"total": 0.7}))
    book.write(Progress(0, 10, 1e-3, True, 1.0, {"total": 0.5}))
    book.score(0, 10, "toy", {"mAP": 25.0})
    book.score(0, 10, "toy", {"mAP": 30.0}, "Oracle")
    book.close()
    assert [epoch for epoch, _ in told] == [0, 0, 0]
    named = {"Loss/total", "lr", "pictures_per_second", "peak_memory_mb"}
    assert told[0][1].keys() == named
    assert [figures for _, figures in told[1:]] == [{"toy/mAP": 25.0}, {"Oracle/toy/mAP": 30.0}]


def test_an_epoch_tells_its_peak_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(logbook, "peak_memory", lambda: 1_340_000_000)
    set_up_logging()
    book = Logbook(tmp_path, 10, 2, 4)
    book.write(Progress(0, 5, 1e-3, False, 0.5, {"total": 0.7}))
    book.write(Progress(0, 10, 1e-3, True, 1.0, {"total": 0.5}))
    book.close()
    first, second = capsys.readouterr().out.splitlines()
    assert "memory" not in first and second.endswith("memory 1.3 GB")
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert "peak_memory_mb" not in rows[0] and rows[1]["peak_memory_mb"] == 1340
    assert scalars(tmp_path)["peak_memory_mb"] == 1340


@pytest.mark.skipif(torch.cuda.is_initialized(), reason="then it is that of the GPU")
def test_peak_memory_is_in_bytes():
    before = peak_memory()
    block = torch.ones(50_000_000)  # 200 MB, every page of it written
    after = peak_memory()
    assert 50e6 < before <= after and after >= 4 * len(block)


def scalars(folder):
    """The last value of everything in TensorBoard."""
    events = EventAccumulator(str(folder)).Reload()
    return {name: events.Scalars(name)[-1].value for name in events.Tags()["scalars"]}


@pytest.mark.parametrize(
    ("stage", "figures", "named"),
    [
        ("stage1", {}, {"train_loss_stage1": 2.5, "base_lr_stage1": 0.25}),
        (
            "stage2",
            {"top1": 0.125, "top1_text": 0.75},
            {"train_loss_stage2": 2.5, "base_lr_stage2": 0.25, "train_acc_stage2": 0.75},
        ),
    ],
)
def test_a_stage_has_the_names_of_the_clip_reid_document_as_well(tmp_path, stage, figures, named):
    told = {}
    book = Logbook(tmp_path, 10, 2, 4, also=lambda given, epoch: told.update(given), stage=stage)
    losses = {"PromptLoss": 1.5, "total": 2.5}
    book.write(Progress(0, 10, 0.25, True, 1.0, losses, figures))
    book.score(0, 10, "toy", {"Rank-1": 50.0, "Rank-5": 75.0, "Rank-10": 100.0, "mAP": 25.0})
    book.close()
    named |= {"val_rank1": 50.0, "val_rank5": 75.0, "val_rank10": 100.0, "val_mAP": 25.0}
    named |= {"Loss/PromptLoss": 1.5, "toy/mAP": 25.0, "lr": 0.25}  # besides those of every run
    for found in (scalars(tmp_path), told):
        assert {name: found[name] for name in named} == named
        assert ("train_acc_" + stage in found) == ("top1_text" in figures)


def test_other_tables_and_runs_that_are_no_stage_keep_their_names(tmp_path):
    staged, plain = (tmp_path / name for name in ("staged", "plain"))
    for folder, stage, title in ((staged, "stage2", "Oracle"), (plain, "", "")):
        book = Logbook(folder, 10, 2, 4, stage=stage)
        book.score(0, 10, "toy", {"mAP": 25.0}, title)
        if not stage:
            book.write(Progress(0, 10, 0.25, True, 1.0, {"total": 2.5}, {"top1_text": 0.5}))
        book.close()
    assert scalars(staged).keys() == {"Oracle/toy/mAP"}
    assert not [name for name in scalars(plain) if name.startswith(("train_", "val_", "base_"))]


def test_setting_up_again_lets_go_of_the_old_file(tmp_path):
    set_up_logging()
    log_to(tmp_path / "first.txt")
    set_up_logging()
    logging.getLogger("reidtools").info("second run")
    assert "second run" not in (tmp_path / "first.txt").read_text()
