"""Which weights get which settings, and that every optimizer does what its name says."""

import copy

import pytest
import torch
from torch import nn

from reidtools.solver import make_optimizer
from reidtools.solver.optimizers import OPTIMIZERS


class Embedder(nn.Module):
    """A backbone with a norm, and heads with another."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.heads = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5))

    def forward(self, inputs):
        return self.heads(self.backbone(inputs))


def parts():
    torch.manual_seed(0)
    return {"embedder": Embedder(), "objective": nn.Linear(5, 2, bias=False)}


def settings(optimizer, modules):
    """(lr, weight_decay) of every parameter, by its dotted name."""
    names = {id(p): f"{part}.{n}" for part in modules for n, p in modules[part].named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }


def test_equal_settings_are_one_group():
    optimizer = make_optimizer(parts(), base_lr=1.0, weight_decay=0.1)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (1.0, 0.1, 9)
    assert group["name"].startswith("backbone.weights+backbone.biases")


def test_each_kind_of_weight_follows_its_own_settings():
    modules = parts()
    optimizer = make_optimizer(
        modules,
        base_lr=1.0,
        weight_decay=0.1,
        weight_decay_norm=0.2,
        weight_decay_bias=0.0,
        bias_lr_factor=2.0,
        heads_lr_factor=10.0,
    )
    assert settings(optimizer, modules) == {
        "embedder.backbone.0.weight": (1.0, 0.1),
        "embedder.backbone.0.bias": (2.0, 0.0),
        "embedder.backbone.1.weight": (1.0, 0.2),
        "embedder.backbone.1.bias": (2.0, 0.0),
        "embedder.heads.0.weight": (10.0, 0.1),
        "embedder.heads.0.bias": (20.0, 0.0),
        "embedder.heads.1.weight": (10.0, 0.2),
        "embedder.heads.1.bias": (20.0, 0.0),
        "objective.weight": (10.0, 0.1),
    }
    assert [group["name"] for group in optimizer.param_groups] == [
        "backbone.weights",
        "backbone.biases",
        "backbone.norms",
        "heads.weights",
        "heads.biases",
        "heads.norms",
    ]


def test_tables_of_embeddings_have_a_rate_of_their_own():
    """Words of a text tower, in stage 0 of CLIP-ReID: 20 times the rate of everything else."""
    modules = {"embedder": Embedder(), "objective": nn.Sequential(nn.Embedding(7, 4))}
    modules["objective"].append(nn.Linear(4, 2))
    optimizer = make_optimizer(
        modules, base_lr=1.0, weight_decay=0.1, weight_decay_bias=0.0, embedding_lr_factor=20.0
    )
    found = settings(optimizer, modules)
    assert found.pop("objective.0.weight") == (20.0, 0.1)
    assert {lr for lr, _ in found.values()} == {1.0}
    both = make_optimizer(modules, base_lr=1.0, heads_lr_factor=3.0, embedding_lr_factor=20.0)
    assert settings(both, modules)["objective.0.weight"][0] == 60.0
    assert "heads.embeddings" in [group["name"] for group in both.param_groups]
    plain = make_optimizer(modules, base_lr=1.0)
    assert {group["lr"] for group in plain.param_groups} == {1.0}


def test_decay_of_norms_and_biases_follows_weight_decay_unless_told():
    modules = parts()
    optimizer = make_optimizer(modules, base_lr=1.0, weight_decay=1e-4, weight_decay_norm=0.0)
    found = settings(optimizer, modules)
    assert found["embedder.backbone.0.bias"] == (1.0, 1e-4)
    assert found["embedder.backbone.1.weight"] == (1.0, 0.0)


def test_frozen_weights_are_left_out_and_shared_ones_counted_once():
    modules = parts()
    modules["embedder"].backbone.requires_grad_(False)
    modules["objective"].same = modules["embedder"].heads[0]
    optimizer = make_optimizer(modules)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 5


@pytest.mark.parametrize("opt", sorted(OPTIMIZERS))
def test_base_lr_reaches_the_first_step(opt):
    weight = nn.Linear(1, 1, bias=False)
    before = weight.weight.item()
    optimizer = make_optimizer(
        {"embedder": weight}, opt=opt, base_lr=0.25, weight_decay=0.0, momentum=0.0
    )
    weight.weight.grad = torch.ones(1, 1)
    optimizer.step()
    # With a gradient of 1, the first step of each of them is the learning rate.
    assert before - weight.weight.item() == pytest.approx(0.25, rel=1e-5)


def test_sgd_keeps_a_momentum():
    moves = {}
    for nesterov in (False, True):
        layer = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(layer.weight)
        optimizer = make_optimizer(
            {"embedder": layer},
            opt="SGD",
            base_lr=1.0,
            weight_decay=0.0,
            momentum=0.5,
            nesterov=nesterov,
        )
        for _ in range(2):
            layer.weight.grad = torch.ones(1, 1)
            optimizer.step()
        moves[nesterov] = -layer.weight.item()
    assert moves[False] == pytest.approx(1 + (1 + 0.5))
    assert moves[True] == pytest.approx((1 + 0.5) + (1 + 0.5 * 1.5))


def test_amsgrad_remembers_the_largest_gradient():
    def last_step(opt):
        layer = nn.Linear(1, 1, bias=False)
        optimizer = make_optimizer({"embedder": layer}, opt=opt, base_lr=1.0, weight_decay=0.0)
        for gradient in [100.0] + [1.0] * 2000:
            before = layer.weight.item()
            layer.weight.grad = torch.full((1, 1), gradient)
            optimizer.step()
        return abs(layer.weight.item() - before)

    assert last_step("AMSGrad") < 0.7 * last_step("Adam")


def test_adamw_decays_apart_from_the_gradient():
    for opt, expected in (("AdamW", 1 - 0.1 * 0.5), ("Adam", 1 - 0.1)):
        layer = nn.Linear(1, 1, bias=False)
        nn.init.ones_(layer.weight)
        optimizer = make_optimizer({"embedder": layer}, opt=opt, base_lr=0.1, weight_decay=0.5)
        layer.weight.grad = torch.zeros(1, 1)
        optimizer.step()
        assert layer.weight.item() == pytest.approx(expected)


@pytest.mark.parametrize("opt", sorted(OPTIMIZERS))
def test_a_resumed_run_equals_the_uninterrupted_one(opt):
    def steps(modules, optimizer, times):
        for seed in times:
            inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            modules["objective"](modules["embedder"](inputs)).square().sum().backward()
            optimizer.step()

    whole = parts()
    optimizer = make_optimizer(whole, opt=opt, base_lr=0.01)
    steps(whole, optimizer, range(3))
    modules, state = copy.deepcopy(whole), copy.deepcopy(optimizer.state_dict())
    steps(whole, optimizer, range(3, 6))

    resumed = make_optimizer(modules, opt=opt, base_lr=0.01)
    resumed.load_state_dict(state)
    steps(modules, resumed, range(3, 6))
    for part in whole:
        for a, b in zip(whole[part].parameters(), modules[part].parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_device_without_fused_kernels_gets_the_other_kind():
    layer = nn.Linear(2, 2, device="meta")
    optimizer = make_optimizer({"embedder": layer})
    assert optimizer.defaults["foreach"] and not optimizer.defaults["fused"]


def test_mistakes_are_refused_with_the_cure():
    frozen = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="Unfreeze a part of the model"):
        make_optimizer({"embedder": frozen, "objective": nn.Module()})
    with pytest.raises(LookupError, match="Did you mean 'AdamW'"):
        make_optimizer(parts(), opt="AdmW")
    with pytest.raises(ValueError, match="choose a positive one"):
        make_optimizer(parts(), base_lr=0.0)
    with pytest.raises(ValueError, match="momentum above 0"):
        make_optimizer(parts(), opt="SGD", nesterov=True, momentum=0.0)


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_some_weights_may_begin_later_than_others(opt):
    """What is frozen at first then moves as it would in an optimizer of its own."""
    modules = parts()
    late = modules["embedder"].backbone[0].weight
    optimizer = make_optimizer(modules, opt=opt, base_lr=0.1)
    alone = nn.Linear(3, 4)
    alone.weight.data.copy_(late.data)
    own = make_optimizer({"embedder": nn.ModuleDict({"backbone": alone})}, opt=opt, base_lr=0.1)
    for step in range(4):
        for weight in (w for group in optimizer.param_groups for w in group["params"]):
            weight.grad = torch.ones_like(weight) if weight is not late or step >= 2 else None
        alone.weight.grad = late.grad
        before = late.detach().clone()
        optimizer.step()
        if step < 2:
            assert torch.equal(late, before)
        else:
            own.step()
            assert torch.equal(late, alone.weight)
