"""Optimizers, and which weights get which learning rate and decay."""

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import nn, optim

from reidtools.registry import choose

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
OPTIMIZERS = {
    "Adam": optim.Adam,
    "AMSGrad": partial(optim.Adam, amsgrad=True),
    "AdamW": optim.AdamW,
    "SGD": optim.SGD,
    "Adagrad": optim.Adagrad,
}


def make_optimizer(
    parts: Mapping[str, nn.Module],
    *,
    opt: str = "Adam",
    base_lr: float = 3.5e-4,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 5e-4,
    weight_decay_norm: float | None = None,
    weight_decay_bias: float | None = None,
    bias_lr_factor: float = 1.0,
    heads_lr_factor: float = 1.0,
    embedding_lr_factor: float = 1.0,
) -> optim.Optimizer:
    """The optimizer of all weights in `parts` that want a gradient.

    `parts` are ``{"embedder": module, "objective": module}``. Their weights fall into few groups,
    each with a ``name``: those of the backbone, and those of the heads (``heads.*`` of the embedder
    and the whole objective), whose learning rate is multiplied by `heads_lr_factor`.

    opt: ``Adam``, ``AMSGrad``, ``AdamW``, ``SGD`` or ``Adagrad``; all of them honour `base_lr`.
    momentum, nesterov: of ``SGD``; the others have none to set.
    weight_decay: of every weight, unless weight_decay_norm (scales of normalisation layers) or
        weight_decay_bias (every bias) say something else; None follows weight_decay.
    bias_lr_factor, embedding_lr_factor: multiply the learning rate of biases, and of tables of
        embeddings, such as those of a text's tokens.

    Move the modules to their device first. Raises `LookupError` for an unknown optimizer,
    `ValueError` when nothing can be trained.
    """
    maker = choose("optimizer", opt, OPTIMIZERS)
    if base_lr <= 0:
        raise ValueError(f"base_lr is {base_lr} and nothing would move; choose a positive one.")
    decays = {
        "weights": weight_decay,
        "norms": weight_decay if weight_decay_norm is None else weight_decay_norm,
        "biases": weight_decay if weight_decay_bias is None else weight_decay_bias,
        "embeddings": weight_decay,
    }
    groups: dict[tuple[float, float], dict] = {}
    for place, kind, weight in _weights(parts):
        lr = base_lr
        lr *= heads_lr_factor if place == "heads" else 1
        lr *= bias_lr_factor if kind == "biases" else 1
        lr *= embedding_lr_factor if kind == "embeddings" else 1
        group = groups.setdefault((lr, decays[kind]), {"params": [], "names": {}})
        group["params"].append(weight)
        group["names"][f"{place}.{kind}"] = None
    if not groups:
        raise ValueError(
            "There is no weight to train: every parameter is frozen. Unfreeze a part of the model, "
            "or add a loss that has weights of its own."
        )
    settings = [
        {
            "params": group["params"],
            "lr": lr,
            "weight_decay": decay,
            "name": "+".join(group["names"]),
        }
        for (lr, decay), group in groups.items()
    ]
    if opt == "SGD":
        if nesterov and not momentum:
            raise ValueError("nesterov needs a momentum above 0; set one, or nesterov to False.")
        maker = partial(maker, momentum=momentum, nesterov=nesterov)
    # One kernel for all weights where torch has one. Adagrad's for CUDA is too new to rely on.
    devices = {weight.device.type for group in settings for weight in group["params"]}
    fused = devices <= ({"cpu"} if opt == "Adagrad" else {"cpu", "cuda"})
    optimizer = maker(settings, lr=base_lr, **{"fused" if fused else "foreach": True})
    if opt == "SGD" and momentum:
        # Where some weights begin later than others, torch's kernel fails for want of a momentum.
        for weight in (weight for group in settings for weight in group["params"]):
            optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return optimizer


def _weights(parts: Mapping[str, nn.Module]) -> Iterator[tuple[str, str, nn.Parameter]]:
    """Every trainable parameter once, with its place (backbone, heads) and its kind."""
    seen: set[int] = set()
    for part, root in parts.items():
        for module_name, module in root.named_modules():
            heads = part == "objective" or module_name.split(".")[0] == "heads"
            for name, weight in module.named_parameters(recurse=False):
                if not weight.requires_grad or id(weight) in seen:
                    continue
                seen.add(id(weight))
                kind = "norms" if isinstance(module, NORMS) else "weights"
                kind = "embeddings" if isinstance(module, nn.Embedding) else kind
                kind = "biases" if name.endswith("bias") else kind
                yield "heads" if heads else "backbone", kind, weight
