"""Learning-rate curves: on paper, and those of five public projects (tests/golden/README.md)."""

import io
import json
import math
from pathlib import Path

import pytest
import torch

from reidtools.solver import make_schedule

GOLDEN = {
    entry["id"]: entry
    for entry in json.loads((Path(__file__).parents[1] / "golden" / "lr.json").read_text())
}


def optimizer_of(*lrs):
    """Plain SGD with one group per rate; the first is the base rate."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    return torch.optim.SGD(groups, lr=lrs[0])


def curve(base_lr, max_epoch, iterations_per_epoch=1, **options):
    """The learning rate as a function of the iteration."""
    schedule = make_schedule(optimizer_of(base_lr), iterations_per_epoch, max_epoch, **options)
    return lambda iteration: base_lr * schedule.lr_lambdas[0](iteration)


def epochs(lr, first, count, iterations_per_epoch=1):
    """The rate in the first iteration of `count` epochs."""
    return [lr(e * iterations_per_epoch) for e in range(first, first + count)]


def close(expected, rel=1e-7):
    return pytest.approx(expected, rel=rel)


def test_steps_count_epochs_not_iterations():
    lr = curve(1.0, 6, iterations_per_epoch=10, steps=(2, 4), gamma=0.5)
    assert [lr(i) for i in (0, 19, 20, 39, 40, 59)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_constant():
    assert set(epochs(curve(0.3, 100, sched="ConstantLR"), 0, 100)) == {0.3}


def test_cosine_is_half_way_down_at_half_time():
    lr = curve(1.0, 10, sched="CosineAnnealingLR", eta_min_lr=0.2)
    assert [lr(0), lr(5), lr(10), lr(99)] == close([1.0, 0.6, 0.2, 0.2])


def test_cosine_waits_for_the_delay():
    lr = curve(1.0, 10, sched="CosineAnnealingLR", eta_min_lr=0.0, delay_epochs=4)
    assert epochs(lr, 0, 5) == [1] * 5
    assert lr(7) == close(0.5)


def test_cosine_falls_between_epochs_only():
    lr = curve(1.0, 4, iterations_per_epoch=5, sched="CosineAnnealingLR")
    assert len({lr(i) for i in range(5, 10)}) == 1
    assert lr(10) < lr(9)


def test_warm_up_by_iterations_rises_within_an_epoch():
    lr = curve(1.0, 9, iterations_per_epoch=3, warmup_iters=4, warmup_factor=0.2)
    assert [lr(i) for i in range(6)] == close([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_warm_up_by_epochs_rises_from_epoch_to_epoch():
    lr = curve(1.0, 9, iterations_per_epoch=2, warmup_epochs=2, warmup_factor=0.2)
    assert [lr(i) for i in range(6)] == close([0.2, 0.2, 0.6, 0.6, 1.0, 1.0])


def test_constant_warm_up_waits_then_jumps():
    lr = curve(1.0, 9, warmup_epochs=2, warmup_factor=0.2, warmup_method="constant")
    assert epochs(lr, 0, 4) == close([0.2, 0.2, 1.0, 1.0])


def test_steps_within_the_warm_up_multiply():
    lr = curve(1.0, 9, warmup_epochs=4, warmup_factor=0.0, steps=(2,), gamma=0.1)
    assert epochs(lr, 0, 5) == close([0, 0.25, 0.05, 0.075, 0.1])


def test_the_cosine_runs_on_unseen_during_the_warm_up():
    lr = curve(1.0, 8, sched="CosineAnnealingLR", eta_min_lr=0.0, warmup_epochs=2)
    assert lr(1) == close(0.505)  # the ramp alone: 0.01 + 0.99 / 2
    assert lr(2) == close((1 + math.cos(math.pi / 4)) / 2)


def test_a_run_shorter_than_its_warm_up_is_possible():
    lr = curve(1.0, 1, iterations_per_epoch=5, warmup_iters=2000, warmup_factor=0.01)
    assert 0.01 <= lr(0) < lr(4) < 0.02
    cosine = {"sched": "CosineAnnealingLR", "steps_from": "warmup"}
    assert curve(1.0, 1, iterations_per_epoch=5, warmup_iters=2000, **cosine)(4) < 0.02


def test_every_group_keeps_its_proportion():
    optimizer = optimizer_of(1.0, 2.0)
    schedule = make_schedule(optimizer, 1, 4, sched="CosineAnnealingLR", eta_min_lr=0.1)
    for _ in range(4):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == close([0.1, 0.2])


def test_a_resumed_schedule_goes_on_exactly():
    chosen = {"steps": (3, 5), "warmup_iters": 7}

    def run(optimizer, schedule, iterations):
        rates = []
        for _ in range(iterations):
            optimizer.step()
            schedule.step()
            rates.append(optimizer.param_groups[0]["lr"])
        return rates

    optimizer = optimizer_of(0.3)
    schedule = make_schedule(optimizer, 2, 6, **chosen)
    run(optimizer, schedule, 5)
    saved = io.BytesIO()
    torch.save([optimizer.state_dict(), schedule.state_dict()], saved)
    rest = run(optimizer, schedule, 7)

    saved.seek(0)
    states = torch.load(saved, weights_only=True)
    resumed = optimizer_of(0.3)
    again = make_schedule(resumed, 2, 6, **chosen)
    resumed.load_state_dict(states[0])
    again.load_state_dict(states[1])
    assert run(resumed, again, 7) == rest


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        ({"warmup_epochs": 5, "warmup_iters": 100}, "set one of them to 0"),
        ({"steps": (70, 40)}, "write epochs that increase"),
        ({"steps": (40, 40)}, "write epochs that increase"),
        ({"sched": "CosineAnnealingLR", "eta_min_lr": 2.0}, "lower it"),
        ({"sched": "CosineAnnealingLR", "delay_epochs": 120}, "choose ConstantLR"),
        ({"first_epoch": 2}, "counted from 0 or from 1"),
    ],
)
def test_contradictions_are_refused(options, cure):
    with pytest.raises(ValueError, match=cure):
        make_schedule(optimizer_of(1.0), 10, 120, **options)


def test_an_epoch_without_iterations_is_refused():
    with pytest.raises(ValueError, match="smaller batch"):
        make_schedule(optimizer_of(1.0), 0, 120)


@pytest.mark.parametrize(
    ("options", "nearest"),
    [
        ({"sched": "MultistepLR"}, "MultiStepLR"),
        ({"warmup_method": "lineal"}, "linear"),
        ({"steps_from": "warm-up"}, "warmup"),
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(options, nearest):
    with pytest.raises(LookupError, match=f"Did you mean '{nearest}'"):
        make_schedule(optimizer_of(1.0), 10, 120, **options)


STAGE1 = {"sched": "CosineAnnealingLR", "eta_min_lr": 1e-6, "warmup_epochs": 5}


def test_clip_reid_stage_one_on_paper():
    lr = curve(3.5e-4, 60, warmup_factor=1e-5 / 3.5e-4, **STAGE1)
    expected = [1e-5, 7.8e-5, 2.82e-4, 3.440541e-4, 1.755e-4, 1.239146e-6, 1e-6]
    assert [lr(t) for t in (0, 1, 4, 5, 30, 59, 60)] == close(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("base", "factor", "steps", "at", "expected"),
    [
        (
            3.5e-4,
            0.01,
            (40, 70),
            (0, 1, 9, 10, 39, 40, 70),
            [3.5e-6, 3.815e-5, 3.1535e-4, 3.5e-4, 3.5e-4, 3.5e-5, 3.5e-6],
        ),
        (
            5e-6,
            0.1,
            (30, 50),
            (0, 1, 9, 10, 29, 30, 50),
            [5e-7, 9.5e-7, 4.55e-6, 5e-6, 5e-6, 5e-7, 5e-8],
        ),
    ],
)
def test_clip_reid_stage_two_on_paper(base, factor, steps, at, expected):
    lr = curve(base, 120, warmup_epochs=10, warmup_factor=factor, steps=steps)
    assert [lr(e) for e in at] == close(expected)


CLIP_REID = [f"clipreid.lr.stage{stage}.{net}" for stage in (1, 2) for net in ("RN50", "ViT-B-16")]
TRANSREID = "transreid.lr.cosine.base0.008_E120"
TORCHREID = {
    "torchreid.lr.multi_step": {"steps": (20, 40)},
    "torchreid.lr.single_step": {"steps": (60, 120)},
    "torchreid.lr.cosine": {"sched": "CosineAnnealingLR", "eta_min_lr": 0.0},
}
CENTROIDS_REID = "ctl.lr.multistep_warmup"
FASTREID = [f"fastreid.lr.{name}.ipe{count}" for name in ("bot", "sbs") for count in (130, 202)]
GOLDEN_IDS = [*CLIP_REID, TRANSREID, *TORCHREID, CENTROIDS_REID, *FASTREID]


def clip_reid(name):
    """The options of a golden entry of CLIP-ReID, and the rate in each of its epochs."""
    params, expected = GOLDEN[name]["params"], GOLDEN[name]["expect"]["lr"]
    options = {"base_lr": params["BASE_LR"], "max_epoch": params["MAX_EPOCHS"]}
    if "stage1" in name:
        factor = params["WARMUP_LR_INIT"] / params["BASE_LR"]
        return options | STAGE1 | {"warmup_factor": factor}, expected
    options |= {"steps": params["STEPS"], "gamma": params["GAMMA"]}
    options["warmup_epochs"] = params["WARMUP_ITERS"]  # epochs, in spite of its name
    return options | {"warmup_factor": params["WARMUP_FACTOR"]}, expected


@pytest.mark.parametrize("name", CLIP_REID)
def test_clip_reid(name):
    options, expected = clip_reid(name)
    assert epochs(curve(**options), 1, len(expected)) == close(expected)  # they count from 1


@pytest.mark.parametrize("per_epoch", [1, 3])
@pytest.mark.parametrize("name", CLIP_REID)
def test_whole_runs_of_clip_reid_whose_first_epoch_is_number_1(name, per_epoch):
    options, expected = clip_reid(name)
    lr = curve(iterations_per_epoch=per_epoch, first_epoch=1, **options)
    assert len(expected) == options["max_epoch"]
    assert epochs(lr, 0, len(expected), per_epoch) == close(expected)
    assert all(lr(i) == lr(i // per_epoch * per_epoch) for i in range(per_epoch * len(expected)))


def test_the_first_epoch_is_never_at_the_foot_of_a_warm_up_by_epochs():
    options = {"warmup_epochs": 4, "warmup_factor": 0.0, "steps": (3, 5)}
    assert epochs(curve(1.0, 6, **options), 0, 6) == close([0, 0.25, 0.5, 0.075, 0.1, 0.01])
    later = curve(1.0, 6, first_epoch=1, **options)
    assert epochs(later, 0, 5) == close([0.25, 0.5, 0.075, 0.1, 0.01])


def test_transreid():
    expected = GOLDEN[TRANSREID]["expect"]["lr"]
    lr = curve(
        0.008,
        120,
        sched="CosineAnnealingLR",
        eta_min_lr=0.002 * 0.008,
        warmup_epochs=5,
        warmup_factor=0.01,
    )
    assert epochs(lr, 1, len(expected)) == close(expected)


@pytest.mark.parametrize("name", TORCHREID)
def test_torchreid(name):
    entry, options = GOLDEN[name], TORCHREID[name]
    expected = entry["expect"]["lr"]
    lr = curve(entry["params"]["lr"], entry["params"]["epochs"], **options)
    assert epochs(lr, 0, len(expected)) == close(expected)


def test_centroids_reid():
    expected = GOLDEN[CENTROIDS_REID]["expect"]["lr"]
    # base * (e + 1) / 10 for ten epochs is a rise from a tenth that is over after nine.
    lr = curve(3.5e-4, 120, steps=(40, 70), warmup_epochs=9, warmup_factor=0.1)
    assert epochs(lr, 0, len(expected)) == close(expected)


@pytest.mark.parametrize("name", FASTREID)
def test_fastreid_counts_from_the_end_of_the_warm_up(name):
    entry = GOLDEN[name]
    params, per_epoch = entry["params"], entry["params"]["iters_per_epoch"]
    lr = curve(
        params["BASE_LR"],
        params["MAX_EPOCH"],
        per_epoch,
        sched=params["SCHED"],
        steps=params["STEPS"],
        gamma=params["GAMMA"],
        delay_epochs=params["DELAY_EPOCHS"],
        eta_min_lr=params["ETA_MIN_LR"],
        warmup_iters=params["WARMUP_ITERS"],
        warmup_factor=params["WARMUP_FACTOR"],
        warmup_method=params["WARMUP_METHOD"],
        steps_from="warmup",
    )
    expected = entry["expect"]["lr_first_iteration_of_epoch"]
    assert epochs(lr, 0, len(expected), per_epoch) == close(expected)
    for iteration, rate in entry["expect"]["lr_at_iteration"].items():
        assert lr(int(iteration)) == close(rate)
