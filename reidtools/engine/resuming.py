"""What a run depends on from one step to the next, as plain tensors and numbers, and back."""

from typing import TYPE_CHECKING, Any

import torch

from reidtools import processes
from reidtools.engine.sharding import divided, fill, whole_of

if TYPE_CHECKING:
    from reidtools.engine.trainer import Trainer


def state_of(trainer: "Trainer") -> dict[str, Any]:
    """See `Trainer.state_dict`."""
    model = trainer.parallel.gather()
    moving = {"model": model, "updates": getattr(trainer.average, "updates", 0)}
    optimizer = trainer.optimizer.state_dict()
    optimizer["state"] = {place: _moments(own) for place, own in optimizer["state"].items()}
    return {
        "model": trainer.result.state_dict(),
        **({"moving": moving} if trainer.average else {}),
        "objective": whole_of(trainer.objective.state_dict()),
        "optimizer": optimizer,
        "optimizer_kind": _optimizer_kind(trainer),
        "optimizer_names": _weight_names(trainer),
        "schedule": trainer.schedule.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        **_rng_states(trainer),
        "epoch": trainer.epoch - 1,
        "iteration": trainer.iteration,
        **_in_epoch(trainer),
    }


def _moments(own: dict[str, Any]) -> dict[str, Any]:
    """Those of one weight; of divided ones only the first process keeps the whole."""
    found = {}
    for name, value in own.items():
        together = whole_of(value)
        found[name] = together if together is value or processes.first() else None
    return found


def _in_epoch(trainer: "Trainer") -> dict[str, Any]:
    """How far an epoch has come that is not over; between two there is nothing to tell."""
    if not trainer.position:
        return {}
    length, means = len(trainer.batches), trainer.means.state_dict()
    return {"position": trainer.position, "length": length, "means": means}


def go_on(trainer: "Trainer", state: dict[str, Any]) -> None:
    """See `Trainer.load_state_dict`."""
    if state["optimizer_kind"] != _optimizer_kind(trainer):
        raise ValueError(
            f"it was trained with {state['optimizer_kind']}, and {_optimizer_kind(trainer)} "
            "cannot use its moments"
        )
    _load_moments(trainer, state)
    moving = state.get("moving", {"model": state["model"], "updates": 0})
    fill(trainer.model, moving["model"])
    if trainer.average:
        trainer.average.load(state["model"], moving["updates"])
    fill(trainer.objective, state["objective"])
    schedule, rates = trainer.schedule, trainer.schedule.base_lrs
    schedule.load_state_dict(state["schedule"])
    trainer.scaler.load_state_dict(state["scaler"])
    schedule.base_lrs = rates
    for group, rate, factor in zip(
        trainer.optimizer.param_groups, rates, schedule.lr_lambdas, strict=True
    ):
        group["lr"] = rate * factor(schedule.last_epoch)
    trainer.epoch, trainer.iteration = state["epoch"] + 1, state["iteration"]
    trainer.position, trainer.length = state.get("position", 0), state.get("length", 0)
    if trainer.position:
        trainer.means.load_state_dict(state["means"], trainer.device)
    _set_rng(trainer, [state["rng"], *state.get("rng_of_others", [])])


def _load_moments(trainer: "Trainer", state: dict[str, Any]) -> None:
    """Moments and counters, by the names of the weights."""
    places = {name: place for place, name in enumerate(state["optimizer_names"])}
    weights = _weights(trainer)
    if places.keys() != weights.keys():
        other = ", ".join(sorted(places.keys() ^ weights.keys())[:4])
        raise ValueError(f"other weights were trained, such as {other}")
    theirs = state["optimizer"]["state"]
    moments = {
        i: {key: divided(value, weight) for key, value in theirs[places[name]].items()}
        for i, (name, weight) in enumerate(weights.items())
        if places[name] in theirs
    }
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _optimizer_kind(trainer: "Trainer") -> str:
    amsgrad = "AMSGrad " if trainer.optimizer.defaults.get("amsgrad") else ""
    return amsgrad + type(trainer.optimizer).__name__


def _weights(trainer: "Trainer") -> dict[str, torch.Tensor]:
    """The optimizer's weights by name, in its order, which depends on how they are grouped."""
    parts = {"model": trainer.model, "objective": trainer.objective}
    names = {id(w): f"{p}.{n}" for p, m in parts.items() for n, w in m.named_parameters()}
    groups = trainer.optimizer.param_groups
    return {names[id(w)]: w for group in groups for w in group["params"]}


def _weight_names(trainer: "Trainer") -> list[str]:
    return list(_weights(trainer))


def _rng_states(trainer: "Trainer") -> dict[str, Any]:
    """The sources of chance, of this process and of the others."""
    on_cuda = trainer.device.type == "cuda"
    own = {
        "torch": torch.get_rng_state(),
        "augment": trainer.generator.get_state(),
        "cuda": [torch.cuda.get_rng_state(trainer.device)] if on_cuda else [],
    }
    all_of_them = processes.of_all(own)
    others = {"rng_of_others": all_of_them[1:]} if len(all_of_them) > 1 else {}
    return {"rng": all_of_them[0], **others}


def _set_rng(trainer: "Trainer", states: list[dict[str, Any]]) -> None:
    rank = processes.rank()
    if rank >= len(states):  # the run had fewer processes; this one must not begin as it did
        torch.manual_seed(torch.initial_seed() + trainer.iteration)
        trainer.generator.manual_seed(trainer.generator.initial_seed() + trainer.iteration)
        return
    torch.set_rng_state(states[rank]["torch"])
    trainer.generator.set_state(states[rank]["augment"])
    if trainer.device.type == "cuda" and states[rank]["cuda"]:
        torch.cuda.set_rng_state(states[rank]["cuda"][0], trainer.device)
