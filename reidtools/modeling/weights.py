"""Weights from files: read them safely, recognise whose they are, and say what fitted.

Nothing is loaded silently in part: `fit` returns a `Fit` that names what is missing, left over or
of another shape, and the caller decides what is good enough.
"""

import codecs
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reidtools.extras import reason
from reidtools.files import is_web_page, sha256_of
from reidtools.modeling import zoo
from reidtools.modeling.embedder import Embedder
from reidtools.modeling.layouts import layout_of, translate

NOTES = "reidtools"
# Where a checkpoint keeps its state dict; the first counts. Averaged weights are what timm tests,
# and DINO's teacher is what others start from.
CONTAINERS = ("state_dict_ema", "model_ema", "teacher")
CONTAINERS += ("model", "state_dict", "model_state_dict")
WRAPPERS = ("module.", "_orig_mod.", "model.")
# OpenAI's own files of CLIP: name -> SHA-256.
CLIP_FILES = {
    "RN50.pt": "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
    "ViT-B-16.pt": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
}


def read(path: str | Path, *, mapped: bool = False) -> dict[str, Any]:
    """The content of a ``.pth`` or ``.safetensors`` file, or of ``zoo:NAME``, on the CPU.

    A pickle in it is never run: only tensors, numbers, text and containers of them are accepted. Of
    TorchScript files those of OpenAI's CLIP are read, without running them. What `with_notes` put
    beside a state dict comes beside it. Errors: `FileNotFoundError`, or `ValueError` for what is no
    file of weights.

    With `mapped` tensors stay in the file until they are looked at: quick, and light on memory, for
    who wants some of them, or copies them. While they are in use the file must not change, and its
    room on the disk is not free, so let go of them soon.
    """
    path = Path(zoo.local(path)).expanduser().resolve()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of weights at {path}; check the path.")
    if path.suffix.lower() == ".onnx":
        raise ValueError(
            f"{path} is a network to run, whose weights cannot be loaded into another or trained; "
            "name the checkpoint that it was made from."
        )
    if is_web_page(path):
        raise ValueError(
            f"{path} is a web page, not weights: the server sent a page (a quota of Google Drive, "
            "a login) instead of the file. Delete it and download it again, or in a browser."
        )
    what = _program(path)
    if what == "TorchScript" and sha256_of(path) in CLIP_FILES.values():
        return {"state_dict": _of_clip(path)}
    if what:
        raise ValueError(
            f"{path} is a file of {what}, which runs as it is, and no file of weights; name the "
            "checkpoint that it was made from, or an ONNX file."
        )
    try:
        content = _load(path, mapped)
    except Exception as error:  # on damaged bytes the unpickler raises whatever comes up
        if isinstance(error, UnpicklingError) and re.search("GLOBAL|Unsupported class", str(error)):
            raise ValueError(
                f"{path} holds Python objects besides tensors, which could run code and are not "
                "loaded. If you trust its source, keep the tensors only: torch.save("
                "torch.load(path, weights_only=False)['state_dict'], new_path)."
            ) from error
        raise ValueError(
            f"{path} is cut short or damaged, or was not written by torch.save; "
            "download or copy it again."
        ) from error
    if not isinstance(content, dict) or not state_of(content):
        raise ValueError(f"{path} holds no tensors with names; give a file with a state dict.")
    about = getattr(content, "_metadata", None)
    notes = about.get(NOTES) if isinstance(about, dict) else None
    if isinstance(notes, dict) and all(isinstance(note, str) for note in notes.values()):
        return {**notes, "state_dict": content}
    return content


def with_notes(state: dict[str, Tensor], **notes: str) -> dict[str, Tensor]:
    """`state` as PyTorch's own modules give it, with `notes` where they keep their versions.

    Others load such a file as the plain state dict that it is; `read` gives the notes as well.
    """
    noted = OrderedDict(state)
    noted._metadata = {NOTES: notes}
    return noted


def _of_clip(path: Path) -> dict[str, Tensor]:
    """The state dict of a file that OpenAI gave out: TorchScript, which can run code as it is read.

    So the SHA-256 is asked for first.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is old, and so is the file
        return dict(torch.jit.load(str(path), map_location="cpu").state_dict())


def _program(path: Path) -> str:
    """Whose network a file holds in place of weights; empty if none is recognised."""
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    if any(name.startswith("code/") for name in names):
        return "TorchScript"
    return "torch.export" if any(name.startswith("models/") for name in names) else ""


def _load(path: Path, mapped: bool) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    load = partial(torch.load, path, map_location="cpu", weights_only=True)
    with torch.serialization.safe_globals(_numpy_numbers()):
        if mapped and _is_archive(path):
            with suppress(RuntimeError):  # not every drive can do it
                return load(mmap=True)
        return load()


def _is_archive(path: Path) -> bool:
    """Whether torch.save wrote the file as it has since version 1.6."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _numpy_numbers() -> list:
    """What unpickling a numpy number takes: torchreid keeps its best rank-1 beside the weights."""
    scalar = np.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    return [*((scalar, name) for name in names), np.dtype, *kinds, codecs.encode]


def state_of(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The state dict under one of `CONTAINERS`, or bare.

    What wraps a model puts `WRAPPERS` before all names: data-parallel training, torch.compile and
    Lightning. They are taken off.

    >>> list(state_of({"state_dict": {"module.fc.bias": torch.zeros(2)}, "epoch": 3}))
    ['fc.bias']
    """
    for key in CONTAINERS:
        if isinstance(checkpoint.get(key), dict):
            checkpoint = checkpoint[key]
            break
    items = checkpoint.items()
    state = {
        name: value for name, value in items if isinstance(value, Tensor) and str(name) == name
    }
    while state and (wrapper := next((w for w in WRAPPERS if _all_begin(state, w)), "")):
        state = {name.removeprefix(wrapper): value for name, value in state.items()}
    return state


def _all_begin(names: Iterable[str], start: str) -> bool:
    return all(name.startswith(start) for name in names)


# Parts of a model that may be as they were built, and what they are then.
PASSTHROUGH = {"heads.": "neck (identity as built)", "temporal.": "attention (the mean as built)"}


@dataclass
class Fit:
    """What of a file went into a model. `matched`, `missing` and `passthrough` are the model's
    names, `unused` and `classifier` the file's; `mismatched` holds (name in the model, shape in
    the file, shape in the model)."""

    layout: str
    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    classifier: list[str] = field(default_factory=list)
    passthrough: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """True if the model is as the file's author had it, classifier and centres apart."""
        return not (self.missing or self.mismatched or self.unused)

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing) + len(self.mismatched)
        parts = [f"{self.layout} layout: {len(self.matched)} of {total} tensors matched"]
        for prefix, what in PASSTHROUGH.items():
            if any(name.startswith(prefix) for name in self.passthrough):
                parts.append(f"not in the file: {what}")
        if self.missing:
            parts.append(f"missing: {some(self.missing)}")
        if self.mismatched:
            parts.append(f"other shape: {some([name for name, _, _ in self.mismatched])}")
        if self.unused:
            parts.append(f"unused: {some(self.unused)}")
        if self.classifier:
            parts.append(f"not needed: {some(self.classifier)}")
        return "; ".join(parts)

    def details(self) -> str:
        """Everything that did not match, name by name."""
        lines = [f"not in the file, identity as built: {name}" for name in self.passthrough]
        lines += [f"missing: {name}" for name in self.missing]
        lines += [
            f"other shape: {name} is {theirs} in the file, {ours} in the model"
            for name, theirs, ours in self.mismatched
        ]
        lines += [f"unused: {name}" for name in self.unused]
        lines += [f"not needed: {name}" for name in self.classifier]
        return "\n".join([str(self), *lines])


def some(names: list[str], most: int = 4) -> str:
    """The first `most` of `names`, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def fit(model: nn.Module, state: dict[str, Tensor], format: str = "") -> Fit:
    """Load what fits of `state` into an `Embedder` or a bare backbone, and report the rest.

    `state` may have the names of any of `layouts.LAYOUTS`; for `format` see `layouts.layout_of`.
    Nothing at all that fits is a `ValueError`.
    """
    result, found = compare(model, state, format)
    prefix = "" if isinstance(model, Embedder) else "backbone."
    if not found:
        own = [prefix + name for name in model.state_dict()]
        raise ValueError(
            f"None of the {len(state)} tensors fits the model. The file ({result.layout} layout) "
            f"has {some(list(state))}; the model has {some(own)}. Check that the name of the "
            "backbone and the file belong together."
        )
    model.load_state_dict({n.removeprefix(prefix): t for n, t in found.items()}, strict=False)
    return result


def compare(
    model: nn.Module, state: dict[str, Tensor], format: str = ""
) -> tuple[Fit, dict[str, Tensor]]:
    """What of `state` would go where in `model`, and these tensors; nothing is loaded.

    Names are those of an `Embedder`. Shapes are all that is looked at, so that a model on torch's
    ``meta`` device will do. A backbone with several parts that begin as copies of one part of its
    files says so by ``copies(name)``, the names that a tensor also fills if nothing else does.
    """
    whole = isinstance(model, Embedder)
    prefix = "" if whole else "backbone."  # all names below are those of an Embedder
    own = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    layout = layout_of(state, format)
    backbone = model.backbone if whole else model
    adapt, copies = getattr(backbone, "adapt", None), getattr(backbone, "copies", None)
    training = re.compile(layout.training)
    result, found, sources = Fit(layout.name), {}, {}
    for key, tensor in state.items():
        name, tensor = translate(key, tensor, layout, adapt)
        more = copies(name.removeprefix("backbone.")) if copies else ()
        if more and name not in own:
            sources[key] = [(f"backbone.{copy}", tensor) for copy in more]
        elif name not in own or name in found:
            aside = training.match(key) or (not whole and name.startswith("heads."))
            (result.classifier if aside else result.unused).append(key)
        elif tensor.shape != own[name].shape:
            result.mismatched.append((name, tuple(tensor.shape), tuple(own[name].shape)))
        else:
            found[name] = tensor
    for key, places in sources.items():
        open_ = [(n, t) for n, t in places if n in own and n not in found]
        found |= {n: t for n, t in open_ if t.shape == own[n].shape}
        result.mismatched += [
            (n, tuple(t.shape), tuple(own[n].shape)) for n, t in open_ if t.shape != own[n].shape
        ]
        if not open_:  # the parts that begin as copies of it have weights of their own
            result.classifier.append(key)
    result.matched = list(found)
    _sort_absent(result, model, [n for n in own if n not in found])
    return result, found


def _sort_absent(result: Fit, model: nn.Module, absent: list[str]) -> None:
    """Of the names without a tensor: what is missing, and what may be as it was built."""
    shapes = {name for name, _, _ in result.mismatched}
    for prefix in PASSTHROUGH:
        part = getattr(model, prefix[:-1], None)
        own = {prefix + name for name in getattr(part, "passthrough", ())}
        if own <= set(absent) - shapes:
            result.passthrough += [name for name in absent if name in own]
    known = shapes | set(result.passthrough)
    # Files from before torch 0.4.1 do not count batches, and nothing depends on the count.
    result.missing = [
        name for name in absent if name not in known and not name.endswith("num_batches_tracked")
    ]


def load_pretrained(backbone: nn.Module, path: str | Path = "") -> Fit:
    """Load ImageNet (or other) weights into a backbone: from `path`, or downloaded if it is empty.

    They must fill the whole backbone: a partial fit is a `ValueError` that lists the rest, weights
    that cannot be downloaded are an `OSError`.
    """
    result = fit(backbone, pretrained(backbone, path))
    fresh = {f"backbone.{name}" for name in getattr(backbone, "fresh", ())}
    result.missing = [name for name in result.missing if name not in fresh]
    if not result.complete:
        name = _name_of(backbone)
        source = Path(path).resolve() if path else "what was downloaded"
        raise ValueError(
            f"{source} does not fill {name} ({result}); choose the backbone, or the file, that "
            "belongs to the other."
        )
    return result


def pretrained(backbone: nn.Module, path: str | Path = "") -> dict[str, Tensor]:
    """The state dict in the file `path`, or the published one of a backbone, downloaded.

    What cannot be downloaded is an OSError that says where a file may lie instead.
    """
    if path:
        return state_of(read(path, mapped=True))
    try:
        return backbone.fetch()
    except Exception as error:  # each downloader has errors of its own
        place, why = getattr(backbone, "published", None), reason(error)
        put = f"put the file at {place}, " if place and str(place) not in why else ""
        raise OSError(
            f"Could not download weights of {_name_of(backbone)} ({why.rstrip('.')}); "
            f"{put}pass a local file with "
            "MODEL.BACKBONE.PRETRAIN_PATH, or train from scratch with "
            "MODEL.BACKBONE.PRETRAIN False."
        ) from error


def _name_of(backbone: nn.Module) -> str:
    return getattr(backbone, "name", None) or getattr(backbone, "timm_name", "the backbone")
