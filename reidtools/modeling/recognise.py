"""Which network a file of weights is of: its tensors decide, the file's name is a hint.

A network is recognised if it is filled whole. What has no tensors of its own, such as the stride of
a ResNet's last layer, is taken as the toolbox has it whose names the file uses.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reidtools.modeling import backbones, heads  # noqa: F401  (they register themselves)
from reidtools.modeling.embedder import Embedder, facts_of
from reidtools.modeling.layouts import Layout, layout_of, translate
from reidtools.modeling.weights import Fit, compare, some
from reidtools.registry import BACKBONES, HEADS, options

SIZE = (256, 128)  # a ViT needs one to be built; its table of positions is resampled anyway
# Options that change features without a tensor that tells, as the toolboxes have them. Where
# nothing is said here, they are as ours are by default.
UNSEEN = ("last_stride", "stem_relu", "stem_ceil", "final_relu", "sie_coe", "semantic_weight")
JIGSAW = ("shift_num", "shuffle_groups")  # where there is a JPM
# Mean and deviation of the pictures of a toolbox' network, where they are not ImageNet's.
OPENAI = ([0.481455, 0.457828, 0.408211], [0.268630, 0.261303, 0.275777])
HALVES = ([0.5] * 3, [0.5] * 3)
PIXELS = {
    ("OpenAI's CLIP", "clip_rn50"): OPENAI,
    ("OpenAI's CLIP", "clip_vit_b16"): OPENAI,
    ("CLIP-ReID", "clip_vit_b16"): HALVES,
    **{
        (toolbox, name): HALVES
        for toolbox in ("TransReID", "FastReID")
        for name in BACKBONES
        if name.startswith("transreid_")
    },
    **{("SOLIDER", name): HALVES for name in BACKBONES if name.startswith("solider_")},
}
# Layouts that files of timm's networks have. It is not asked about others: importing it takes long.
LIKE_TIMM = ("timm", "torchvision", "DINO", "plain")
CLIP_NAMES = ("backbone.attnpool.", "backbone.ln_pre.")  # what both towers of CLIP have
CUSTOMS: dict[str, dict[str, Any]] = {
    "FastReID": {"last_stride": 1, "stem_ceil": True},
    "centroids-reid": {"last_stride": 1, "stem_relu": False},
    "torchvision": {"last_stride": 2},  # torchreid as well
    "strong-baseline": {"last_stride": 1, "stem_relu": False},
    "CLIP-ReID": {"sie_coe": 1.0},  # of the published ones; the default of its config is 3
}
# Networks that are looked for only in files of certain toolboxes, by the start of their names.
OWNERS = {
    "transreid_": ("TransReID", "FastReID", "reidtools"),
    "solider_": ("SOLIDER", "DINO", "reidtools"),
}
# How tests resize pictures, by Pillow, where the toolbox' files are of whole re-ID networks.
RESIZED = {
    "FastReID": "bicubic",
    **dict.fromkeys(("torchreid", "strong-baseline", "centroids-reid"), "bilinear"),
    **dict.fromkeys(("TransReID", "SOLIDER", "CLIP-ReID"), "bilinear"),
}
# What retrieval takes of a BNNeck, where it is not what ours takes by default.
TESTED = {"TransReID": {"test_feat": "before"}, "SOLIDER": {"test_feat": "before"}}


class Network(NamedTuple):
    """A backbone and a head by their names, with the options that are not as by default.

    `layout` says whose names the file uses; `notes` are sentences on what its tensors cannot tell,
    `doubts` sentences on what speaks against them. `pixels` are the mean and the deviation, from 0
    to 1, of the pictures that the network was trained on, where the file or timm tells, and
    `interpolation` is how the toolbox resizes them for tests.
    """

    layout: str
    backbone: str
    backbone_options: dict[str, Any]
    head: str
    head_options: dict[str, Any]
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    pixels: tuple[list[float], list[float]] | None = None
    interpolation: str = ""

    def __str__(self) -> str:
        name = self.backbone_options.get("timm_name")
        backbone = f"timm's {name}" if name else self.backbone
        return " ".join([f"{backbone} with {self.head} ({self.layout} layout).", *self.notes])


def recognise(state: dict[str, Tensor], file_name: str = "", format: str = "") -> Network:
    """The network that `state`, a state dict in any known layout, fills whole.

    A `file_name` such as ``osnet_x1_0_market_256x128.pth`` says which network is tried first, and
    alone can name one of timm's; where it says another network than the tensors, that is a doubt.
    `format` says whose file it is; without it the names do. Raises ValueError for tensors that fill
    no network here whole, or are called alike by toolboxes that build the network differently.
    """
    layout = layout_of(state, format)
    entries = dict(translate(key, tensor, layout) for key, tensor in state.items())
    head, head_options = _head(layout, entries)
    hint = named_in(file_name)
    nearest: tuple[int, str, Fit] | None = None
    for name, chosen in _candidates(hint, file_name, layout, entries):
        model = _outline(name, chosen, head, head_options)
        if model is None:
            continue
        fitted, _ = compare(model, state, format)
        if fitted.complete:
            if not format:
                _check_whose(layout, name, entries, file_name)
            pooling_told = bool(model.backbone.pooled) or head == "MGN"
            notes = _notes(name, chosen, head_options, pooling_told)
            doubts: tuple[str, ...] = ()
            if hint not in ("", name):
                doubts = (f"The file's name says {hint}, but its tensors are those of {name}.",)
            pixels = PIXELS.get((layout.name, name))
            timm_name = chosen.get("timm_name") or _timm_name(file_name, layout)
            pixels = pixels or _pixels(state, timm_name)
            network = layout.name, name, chosen, head, head_options
            return Network(*network, notes, doubts, pixels, _resized(layout, state))
        if fitted.matched and (nearest is None or len(fitted.matched) > nearest[0]):
            nearest = len(fitted.matched), chosen.get("timm_name", name), fitted
    closest = f" The nearest is {nearest[1]} with {head} ({nearest[2]})." if nearest else ""
    raise ValueError(
        f"{Path(file_name).name or 'The file'} has {len(state)} tensors ({layout.name} layout: "
        f"{some(list(state))}), which fill no network here whole.{closest} If it is one of timm's, "
        "say which with MODEL.BACKBONE.NAME timm and MODEL.BACKBONE.TIMM_NAME; if it is another "
        "toolbox', say which with MODEL.WEIGHTS_FORMAT; otherwise name MODEL.BACKBONE.NAME, or use "
        "weights of a network that is here."
    )


def _check_whose(layout: Layout, name: str, entries: dict[str, Tensor], file_name: str) -> None:
    """A backbone alone is called alike by us and by FastReID, which may build it otherwise."""
    theirs = customs("FastReID", name)
    alone = all(entry.startswith("backbone.") for entry in entries)
    if layout.name == "reidtools" and alone and theirs:
        told = ", ".join(f"{key.upper()} {value}" for key, value in theirs.items())
        raise ValueError(
            f"{Path(file_name).name or 'The file'} has a {name} and nothing that tells whose: "
            f"FastReID's has {told}, ours has not. Say MODEL.WEIGHTS_FORMAT FastReID or reidtools."
        )


def customs(layout: str, backbone: str) -> dict[str, Any]:
    """The options of `backbone` that the toolbox of `layout` has otherwise than we by default.

    >>> customs("torchvision", "resnet50"), customs("centroids-reid", "resnet50_ibn_a")
    ({'last_stride': 2}, {})
    """
    ours = options(BACKBONES[backbone])
    theirs = {k: v for k, v in CUSTOMS.get(layout, {}).items() if k in ours and v != ours[k]}
    if backbone.endswith("_ibn_a"):
        theirs.pop("stem_relu", None)  # only their plain ResNets lack it
    return theirs


def named_in(file_name: str) -> str:
    """The longest name of a backbone in the name of a file, or nothing.

    >>> named_in("models/osnet_x1_0_market_256x128.pth"), named_in("market_bot_R50.pth")
    ('osnet_x1_0', '')
    """
    stem = Path(file_name).name.lower()
    found = [name for name in BACKBONES if re.search(rf"(?<![a-z0-9]){name}(?![a-z0-9])", stem)]
    return max((name for name in found if name != "timm"), key=len, default="")


def _head(layout: Layout, entries: dict[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """A neck, a projection and a learned pooling are where their tensors are."""
    chosen: dict[str, Any] = {}
    if "heads.b1.projection.weight" in entries:
        pool = "gem" if "heads.b1.pool.p" in entries else "avg"
        told = {"pool_layer": pool, "embedding_dim": len(entries["heads.b1.projection.weight"])}
        ours = options(HEADS["MGN"])
        return "MGN", {key: value for key, value in told.items() if value != ours[key]}
    if "heads.neck_1.weight" in entries:
        return "PartNecks", {}
    if "heads.projection.weight" in entries:
        chosen["embedding_dim"] = len(entries["heads.projection.weight"])
    if "heads.pool.p" in entries:
        chosen["pool_layer"] = "gem"
    if any(name.startswith(CLIP_NAMES) for name in entries):
        return "ClipNecks", {}
    if layout.name == "FastReID" and any(name.startswith("backbone.NL_") for name in entries):
        chosen.setdefault("pool_layer", "gem_fixed")  # as all of its networks with these blocks
    if any(name.startswith("heads.neck.") for name in entries):
        return "BNNeck", chosen | TESTED.get(layout.name, {})
    return "Linear", chosen


def _candidates(
    hint: str, file_name: str, layout: Layout, entries: dict[str, Tensor]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Backbones with options, first the one that the file's name says, ours or timm's."""
    names = [name for name in BACKBONES if name != "timm" and _may_be(name, layout)]
    # Some of timm's have the tensors of a network of ours, and compute something else.
    if (timm_name := _timm_name(file_name, layout)) and timm_name not in names:
        yield "timm", {"timm_name": timm_name}
    for name in sorted(names, key=lambda name: name != hint):
        chosen = customs(layout.name, name)
        if tell := getattr(BACKBONES[name], "options_of", None):
            prefix, ours = "backbone.", options(BACKBONES[name])
            try:
                told = tell({k.removeprefix(prefix): v for k, v in entries.items()})
            except (KeyError, ValueError):  # a network with other parts
                continue
            chosen |= {k: v for k, v in told.items() if v != ours[k]}
        yield name, chosen


def _resized(layout: Layout, state: dict[str, Tensor]) -> str:
    """How the toolbox of a file resizes pictures; torchreid's ResNets have torchvision's names."""
    theirs = layout.name == "torchvision" and "classifier.weight" in state
    of_resnet = theirs and any(name.startswith("layer1.0.") for name in state)
    return RESIZED.get("torchreid" if of_resnet else layout.name, "")


def _may_be(name: str, layout: Layout) -> bool:
    """Bare files of ViTs and Swins are timm's, whose networks some of other toolboxes resemble."""
    own = next((own for start, own in OWNERS.items() if name.startswith(start)), None)
    return own is None or layout.name in own


def _pixels(state: dict[str, Tensor], timm_name: str) -> tuple[list[float], list[float]] | None:
    """Mean and deviation, from 0 to 1, as old FastReID files keep them, or timm knows them."""
    kept = [state.get(f"pixel_{name}") for name in ("mean", "std")]
    if all(values is not None and values.numel() == 3 for values in kept):
        scale = 255 if max(values.max() for values in kept) > 3 else 1
        mean, std = ([round(v / scale, 6) for v in values.flatten().tolist()] for values in kept)
        return mean, std
    if timm_name:
        import timm

        told = timm.get_pretrained_cfg(timm_name, allow_unregistered=True)
        return (list(told.mean), list(told.std)) if told else None
    return None


def _timm_name(file_name: str, layout: Layout) -> str:
    """The file's name without its ending, if timm has a model that is called so."""
    if layout.name not in LIKE_TIMM:
        return ""
    try:
        import timm
    except ImportError:
        return ""
    stem = Path(file_name).name.removesuffix(".tar").rpartition(".")[0]
    return stem if stem and timm.is_model(stem) else ""


def _outline(
    backbone: str, chosen: dict[str, Any], head: str, head_options: dict[str, Any]
) -> Embedder | None:
    """The model on torch's ``meta`` device: names and shapes without memory. None if it cannot be.

    It cannot where a head does not go with a backbone, or timm is not installed, or builds a model
    only from values.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            body = BACKBONES.build(backbone, {"image_size": SIZE}, chosen)
            return Embedder(body, HEADS.build(head, facts_of(body), head_options))
    except (ValueError, ImportError, RuntimeError):
        return None


def _notes(
    name: str, chosen: dict[str, Any], head_options: dict[str, Any], pooled: bool
) -> tuple[str, ...]:
    """What no tensor tells, and how it was taken."""
    every = options(BACKBONES[name]) | chosen
    if not every.get("sie_camera"):
        every.pop("sie_coe", None)
    names = (*UNSEEN, *(JIGSAW if every.get("jpm") else ()))
    unseen = [f"{key.upper()} {every[key]}" for key in names if key in every]
    if not pooled and "pool_layer" not in head_options:
        unseen.append("POOL_LAYER avg")
    if not unseen:
        return ()
    return (f"No tensor tells {', '.join(unseen)}: set what is otherwise in yours.",)
