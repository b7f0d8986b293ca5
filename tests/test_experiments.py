"""Runs with names, and runs that are shown elsewhere."""

import json
import socket
from importlib.util import find_spec

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import reidtools as rt

TINY = {
    "MODEL.DEVICE": "cpu",
    "DATASETS.NAMES": "toy",
    "DATASETS.TOY": "{PEOPLE: 4, CAMERAS: 2, PICTURES: 2}",
    "MODEL.BACKBONE": "{NAME: osnet_x0_25, PRETRAIN: false}",
    "MODEL.LOSSES": "{CrossEntropyLoss: {}}",
    "INPUT.SIZE_TRAIN": "[32, 16]",
    "INPUT.PADDING": "2",
    "SOLVER.MAX_EPOCH": "1",
    "SOLVER.IMS_PER_BATCH": "8",
    "DATALOADER.SAMPLER": "RandomSampler",
}
RUNS = "logs/toy/osnet_x0_25/baseline"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(**changes):
    pairs = TINY | {key.replace("__", "."): str(value) for key, value in changes.items()}
    return rt.get_config("", [word for pair in pairs.items() for word in pair])


def test_a_name_is_the_run_s_folder_and_taken_once(folder, capsys):
    rt.train(settings(EXP_NAME="masked-hog"))
    run = folder / RUNS / "masked-hog"
    assert (run / "0_last.pth").is_file()
    assert "EXP_NAME: masked-hog" in (run / "config.yml").read_text()
    with pytest.raises(ValueError, match="masked-hog already holds a run.*--resume.*--exp_name"):
        rt.train(settings(EXP_NAME="masked-hog"))
    rt.train(settings())
    assert (folder / RUNS / "exp0").is_dir()
    events = EventAccumulator(str(run)).Reload()
    assert events.Scalars("Loss/total")[-1].step == 2  # iterations
    report = json.loads((run / "metrics.json").read_text())["figures"]["toy"]
    assert events.Scalars("toy/mAP")[0].value == pytest.approx(report["mAP"], rel=1e-6)


def test_resume_finds_a_run_by_its_name(folder, capsys):
    rt.train(settings(EXP_NAME="a"))
    rt.train(settings(EXP_NAME="b"))
    # What `--resume --exp_name a SOLVER.MAX_EPOCH 2` asks for; the run brings the rest.
    cfg = rt.get_config("", ["RESUME", "auto", "EXP_NAME", "a", "SOLVER.MAX_EPOCH", "2"])
    assert cfg.MODEL.BACKBONE.NAME == "osnet_x0_25"
    rt.train(cfg)
    assert (folder / RUNS / "a/1_last.pth").is_file()
    assert not (folder / RUNS / "b/1_last.pth").exists()
    assert "EXP_NAME was" not in capsys.readouterr().err
    path = str(folder / RUNS / "b")  # a path finds it as well, and another name moves it
    rt.train(rt.get_config("", ["RESUME", path, "EXP_NAME", "c", "SOLVER.MAX_EPOCH", "2"]))
    assert (folder / RUNS / "c/1_last.pth").is_file()
    assert "as OUTPUT_DIR or EXP_NAME asks" in capsys.readouterr().err


def test_a_name_of_several_runs_is_not_guessed_at(folder):
    for method in ("ctl", "triplet"):
        (folder / "logs/toy/osnet" / method / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match="Several runs are called a: .*ctl/a, .*triplet/a; name"):
        rt.get_config("", ["RESUME", "auto", "EXP_NAME", "a"])


def test_a_checkpoint_does_not_pass_its_name_on(folder):
    rt.train(settings(EXP_NAME="a"))
    cfg = rt.get_config("", ["MODEL.WEIGHTS", f"{RUNS}/a/0_last.pth"])
    assert cfg.EXP_NAME == ""
    cfg = rt.get_config("", ["MODEL.WEIGHTS", f"{RUNS}/a/0_last.pth", "EXP_NAME", "tuned"])
    rt.finetune(cfg)
    assert (folder / RUNS / "a/tuned/0_last.pth").is_file()


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "*", "-x"])
def test_a_name_is_a_plain_word(folder, name):
    with pytest.raises(ValueError, match="cannot name a folder; use letters"):
        rt.train(settings(EXP_NAME=name))
    assert not list(folder.iterdir())


def test_mlflow_that_is_not_installed_is_found_before_any_work(folder, monkeypatch):

    monkeypatch.setattr("reidtools.extras.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"reidtools\[mlflow\]"):
        rt.train(settings(LOG__MLFLOW=True))
    assert not list(folder.iterdir())


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed")
def test_a_training_is_shown_by_mlflow_and_outlives_it(folder, capsys):
    from mlflow import MlflowClient

    store = "sqlite:///mlflow.db"  # tests/engine/test_tracking.py talks to a server
    rt.train(settings(LOG__MLFLOW=True, LOG__MLFLOW_URI=store, EXP_NAME="hog"))
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("toy/osnet_x0_25/baseline")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("hog", "FINISHED")
    assert run.data.params["MODEL.BACKBONE.NAME"] == "osnet_x0_25"
    assert {"Loss/CrossEntropyLoss", "Loss/total", "lr", "toy/mAP", "toy/Rank-1"} <= {
        *run.data.metrics
    }
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files >= {"config.yml", "metrics.json", "log.txt", "metrics.jsonl", "environment.txt"}

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    rt.train(settings(LOG__MLFLOW=True, LOG__MLFLOW_URI=nobody, EXP_NAME="alone"))
    assert (folder / RUNS / "alone/model_final.pth").is_file()
    assert "did not take this run" in capsys.readouterr().err


def test_a_named_run_is_tested_by_its_name():
    rt.train(settings(EXP_NAME="masked-hog"))
    cfg, index = rt.experiment_config("masked-hog", (), ())
    assert cfg.MODEL.WEIGHTS == f"{RUNS}/masked-hog/best.pth" and index.name == "masked-hog.mat"
    assert cfg.MODEL.BACKBONE.NAME == "osnet_x0_25"  # the run's own config
    _, index = rt.experiment_config("", (), ["MODEL.WEIGHTS", f"{RUNS}/masked-hog/best.pth"])
    assert index.name == "masked-hog_best.mat"
    with pytest.raises(FileNotFoundError, match=r"no run called hog.*--exp_name hog"):
        rt.experiment_config("hog", (), ())


def test_a_run_of_the_same_name_elsewhere_is_not_meant(folder):
    rt.train(settings(EXP_NAME="a", INPUT__SCALE=2))
    (folder / "logs/toy").rename(folder / "logs/other")
    (folder / "mine.yml").write_text("DATASETS: {NAMES: toy}\nMODEL: {BACKBONE: osnet_x0_25}")
    words = ["RESUME", "auto", "EXP_NAME", "a"]
    assert rt.get_config("mine.yml", words).INPUT.SCALE == 1
    assert rt.get_config("", words).INPUT.SCALE == 2
