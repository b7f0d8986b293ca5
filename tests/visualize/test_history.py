import json

from reidtools.visualize.history import read_history


def report(epoch, iteration, loss):
    return {"epoch": epoch, "iteration": iteration, "lr": 0.1, "pictures_per_second": 9} | {
        "TripletLoss": loss
    }


def test_means_of_epochs_and_what_was_written_last(tmp_path):
    rows = [
        report(0, 1, 8.0),
        report(0, 2, 6.0),
        report(1, 3, 5.0),
        {"epoch": 1, "dataset": "toy", "mAP": 10.0, "Rank-1": 20.0, "mINP": 5.0},
        {"epoch": 1, "dataset": "toy", "title": "After re-ranking", "mAP": 99.0, "Rank-1": 99.0},
        report(1, 3, 3.0),  # the run was resumed
        {"epoch": 1, "dataset": "toy", "mAP": 30.0, "Rank-1": 40.0},
        {"epoch": 2, "dataset": "toy", "mAP": 50.0, "Rank-1": 60.0},
    ]
    path = tmp_path / "metrics.jsonl"
    torn = "no json\n[1]\n" + '{"epoch": 3, "iter'
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + torn)
    found = read_history(path)
    assert found.losses == {"TripletLoss": ((1, 2), (7.0, 3.0))}
    assert found.scores == {
        "toy mAP": ((2, 3), (30.0, 50.0)),
        "toy Rank-1": ((2, 3), (40.0, 60.0)),
    }


def test_no_file_is_no_history(tmp_path):
    assert read_history(tmp_path / "metrics.jsonl") == ({}, {})
