"""Config nodes become objects: models, objectives; see also `batches` and `learning`."""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from reidtools import processes
from reidtools.batches import (  # noqa: F401  (callers find all builders here)
    Sides,
    as_coarse_as_tested,
    check_scales,
    chosen,
    loss_batches,
    loss_pictures,
    own,
    plain_batches,
    size_test,
    splits,
    test_batches,
    test_scale,
    test_sets,
    train_batches,
    train_sampler,
)
from reidtools.data.cached import CachedBatches
from reidtools.data.samples import Sample, relabel
from reidtools.data.transforms import Normalize
from reidtools.engine.frozen import embed_once
from reidtools.engine.objective import BRANCHES, Objective
from reidtools.engine.processor import quicken
from reidtools.engine.teacher import Teacher
from reidtools.evaluation import embed
from reidtools.export.runtime import quick
from reidtools.extras import reason
from reidtools.learning import amp_dtype, trainer  # noqa: F401
from reidtools.modeling import Embedder, Preparation, weights
from reidtools.modeling.blank import Blank
from reidtools.modeling.embedder import facts_of
from reidtools.modeling.onnx_network import OnnxNetwork, runs_on
from reidtools.modeling.sync_norm import synchronize
from reidtools.modeling.text import TextTower
from reidtools.ops.resize import Resize
from reidtools.registry import BACKBONES, HEADS, LOSSES, TEMPORAL, facts
from reidtools.texts import Captions, new_tower

LOGGER = logging.getLogger("reidtools")
PLAIN_MEAN = {"NAME": "Mean", "NORM_FRAMES": False}
ONNX_KEYS = {"PIXEL_MEAN": "pixel_mean", "PIXEL_STD": "pixel_std"}  # of INPUT, and of metadata


def device(cfg: CfgNode) -> torch.device:
    """MODEL.DEVICE, where ``auto`` is CUDA, else Apple's MPS, else the CPU, which is made quick.

    Of several processes on a machine each has a GPU of its own.
    """
    name = cfg.MODEL.DEVICE
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if name == "cuda" and processes.launched() > 1:
        name = f"cuda:{processes.on_machine()}"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        why = reason(error)
        cure = "start fewer processes" if processes.launched() > 1 else "try auto or cpu"
        raise ValueError(f"MODEL.DEVICE {name} is not here ({why}); {cure}.") from error
    if torch.device(name).type == "cpu":
        quicken()
    if torch.device(name).type == "cuda":
        torch.cuda.set_device(name)
    return torch.device(name)


def embedder(cfg: CfgNode, *, pretrain: bool = False, blank: bool = False) -> Embedder:
    """Backbone, head and pooling over time; with `pretrain` published weights, if asked to.

    A `blank` one has a backbone whose weights are not drawn, for who fills all of it.
    """
    node = cfg.MODEL.BACKBONE
    facts = {"image_size": tuple(cfg.INPUT.SIZE_TRAIN)}
    with Blank() if blank else nullcontext():
        backbone = BACKBONES.build(node.NAME, facts, chosen(node))
    if pretrain and node.PRETRAIN:
        LOGGER.info("Backbone: %s", weights.load_pretrained(backbone, node.PRETRAIN_PATH))
    heads = HEADS.build(cfg.MODEL.HEADS.NAME, facts_of(backbone), chosen(cfg.MODEL.HEADS))
    over_time = cfg.MODEL.TEMPORAL
    temporal = TEMPORAL.build(over_time.NAME, {"dim": heads.feature_dim}, chosen(over_time))
    model = Embedder(backbone, heads, temporal, preparation(cfg))
    return model.to(memory_format=torch.channels_last)


def preparation(cfg: CfgNode) -> Preparation:
    """What becomes of test pictures before the network."""
    normalize, resize = (maker(**own(cfg.INPUT, maker=maker)) for maker in (Normalize, Resize))
    return Preparation(size_test(cfg), normalize, resize)


def onnx_embedder(cfg: CfgNode) -> Embedder:
    """The embedder in the ONNX file MODEL.WEIGHTS, which has a vector for each picture.

    Frames of a tracklet are joined by their plain mean; another MODEL.TEMPORAL is a ValueError.
    """
    if cfg.MODEL.TEMPORAL != PLAIN_MEAN:
        raise ValueError(
            f"{cfg.MODEL.WEIGHTS} makes a vector of a picture, so MODEL.TEMPORAL "
            f"{cfg.MODEL.TEMPORAL.NAME} cannot join frames in it; set MODEL.TEMPORAL.NAME Mean, or "
            "use the checkpoint that it was made from."
        )
    on = device(cfg)
    if cfg.MODEL.DEVICE == "auto" and not runs_on(on):
        LOGGER.info("The onnxruntime that is installed runs on the CPU, and so does the network.")
        quicken()
        on = torch.device("cpu")
    network = OnnxNetwork(cfg.MODEL.WEIGHTS, on)
    _check_about(cfg, network)
    head = HEADS.build("Linear", facts_of(network), {})
    return Embedder(network, head, None, preparation(cfg))


def at_speed(
    cfg: CfgNode, model: Embedder, pictures: int, amp: torch.dtype | None = None
) -> Embedder:
    """What embeds `pictures` as `model` does, and sooner, as TEST.RUNTIME says; see `quick`."""
    views = pictures if cfg.TEST.FLIP == "off" else 2 * pictures
    return quick(model, views, amp, **own(cfg.TEST, maker=quick))


def told_of_pictures(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The keys of INPUT that an ONNX file tells."""
    told = {key: json.loads(metadata[name]) for key, name in ONNX_KEYS.items() if name in metadata}
    way = metadata.get("interpolation")
    return {**told, "INTERPOLATION": way} if way else told


def _check_about(cfg: CfgNode, network: OnnxNetwork) -> None:
    """Hold what an ONNX file tells against the config, which may be of another network."""
    told = network.metadata
    if told.get("backbone", cfg.MODEL.BACKBONE.NAME) != cfg.MODEL.BACKBONE.NAME:
        raise ValueError(
            f"{cfg.MODEL.WEIGHTS} is {told['backbone']}, not {cfg.MODEL.BACKBONE.NAME}; leave out "
            "MODEL.BACKBONE.NAME and the config file, or name the file that you mean."
        )
    for key, value in told_of_pictures(told).items():
        ours = cfg.INPUT[key] if isinstance(value, str) else list(cfg.INPUT[key])
        if value != ours:
            LOGGER.warning(
                "%s says INPUT.%s %s, and the config has %s, which counts; leave out the config "
                "file, or set it.",
                cfg.MODEL.WEIGHTS,
                key,
                value,
                ours,
            )
    LOGGER.info(
        "Weights: %s, %s, run by onnxruntime", cfg.MODEL.WEIGHTS, told.get("backbone", "a network")
    )


def objective(
    cfg: CfgNode,
    model: Embedder,
    samples: Sequence[Sample],
    captions: Captions | None = None,
    make_text: Callable[[], TextTower] | None = None,
    teacher: Teacher | None = None,
) -> Objective:
    """The losses whose WEIGHT is not 0, for training on `samples`; some learn from a `teacher`.

    They are built and added up by name: the order of a file must not change a run. Where the head
    has several branches, a loss that is built for a length is built for each. A loss with texts
    gets the `captions` of the samples and the tower that `make_text` makes, by default a new one.
    """
    nodes = {name: node for name, node in sorted(cfg.MODEL.LOSSES.items()) if node.WEIGHT}
    widths, labels = model.heads.widths, relabel(samples)
    known: dict[str, Any] = {"num_people": len(labels), "seed": cfg.SEED, "captions": captions}
    known["labels"] = [labels[sample.pid] for sample in samples]
    known |= {"teacher": teacher} if teacher else {}
    losses: dict[str, nn.Module] = {}
    for name, node in nodes.items():
        wanted = [fact for fact in facts(LOSSES[name].forward) if fact in BRANCHES]
        wanted = ["features" if fact == "low_features" else fact for fact in wanted]
        if absent := set(wanted) - widths.keys():
            raise ValueError(
                f"{name} takes {', '.join(absent)}, which {cfg.MODEL.HEADS.NAME} does not make; "
                "choose MODEL.HEADS.NAME ClipNecks with the backbone clip_rn50 or clip_vit_b16."
            )
        if "teacher" in facts(LOSSES[name]) and not teacher:
            raise ValueError(
                f"{name} learns from a trained network; name its checkpoint in MODEL.TEACHER."
            )
        if "text" in facts(LOSSES[name]) and "text" not in known:
            known["text"] = make_text() if make_text else new_tower(cfg, model)
        dims = widths[wanted[0]] if wanted and "dim" in facts(LOSSES[name]) else (model.dim,)
        each = [LOSSES.build(name, known | {"dim": dim}, chosen(node)) for dim in dims]
        losses[name] = each[0] if len(each) == 1 else nn.ModuleList(each)
    weights = {name: node.WEIGHT for name, node in nodes.items()}
    solver = cfg.SOLVER
    told = cfg.DATASETS.LOW_SCALE, solver.MICRO_BATCH, teacher, solver.GATHER
    return Objective(losses, weights, *told)


def synchronize_norms(cfg: CfgNode, model: Embedder, loss: Objective) -> None:
    """Let batch norms see the pictures of all processes, if MODEL.SYNC_BN asks for it.

    Where losses see all, so does what comes after the backbone.
    """
    if cfg.MODEL.SYNC_BN and processes.count() > 1:
        for part in [model.backbone] if cfg.SOLVER.GATHER else [model, loss]:
            synchronize(part)


def frozen_batches(
    cfg: CfgNode,
    model: Embedder,
    loss: Objective,
    samples: Sequence[Sample],
    looks: Mapping[str, Any],
    on: torch.device,
) -> CachedBatches:
    """What the losses want of `samples`, embedded once; `model` is frozen.

    For `looks` see `features_of`.
    """
    if cfg.SOLVER.FREEZE != "model":
        raise ValueError(f"SOLVER.FREEZE is {cfg.SOLVER.FREEZE}; use model, or leave it empty.")
    model.requires_grad_(False)
    wanted = {fact for named in loss.wants.values() for fact in named if fact in BRANCHES}
    if "low_features" in wanted:
        raise ValueError("SOLVER.FREEZE model shows one resolution; leave out losses with two.")
    if loss.teacher:
        raise ValueError("SOLVER.FREEZE model keeps what a teacher would change; leave out one.")
    begin = time.perf_counter()
    batches = plain_batches(cfg, samples, on, labels=relabel(samples))
    found = embed_once(model, batches, wanted, amp_dtype(cfg, on))
    seconds = time.perf_counter() - begin
    LOGGER.info("Embedded %d training samples once, in %.0f s", len(samples), seconds)
    sampler = train_sampler(cfg, samples, looks)
    return CachedBatches(found, [sample.paths[0] for sample in samples], sampler)


def features_of(
    cfg: CfgNode, model: Embedder, loss: Objective, samples: Sequence[Sample], on: torch.device
) -> dict[str, Callable[[list[int]], Tensor]]:
    """What samplers may look at: features (n, D) of `samples` by their places, as they are now."""

    def image_features(index: list[int]) -> Tensor:
        some = [samples[i] for i in index]
        batches = plain_batches(cfg, some, on)
        amp = amp_dtype(cfg, on)
        return embed(at_speed(cfg, model, 0, amp), batches, amp, "Graph").vectors.to(on)

    found = {"image_features": image_features}
    prompts = [part for part in loss.losses.values() if hasattr(part, "text_features")]
    return found | ({"text_features": prompts[0].text_features} if prompts else {})


def try_out(cfg: CfgNode, model: Embedder) -> None:
    """Let `model` see one picture of each size, so that a size it cannot take is found at once."""
    model.eval()
    on = model.device
    for size in {tuple(cfg.INPUT.SIZE_TRAIN), tuple(size_test(cfg))}:
        try:
            with torch.inference_mode():
                model(torch.zeros(1, 3, *size, device=on))
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"{cfg.MODEL.BACKBONE.NAME} cannot take pictures of {size[0]} x {size[1]} "
                f"({error}); change INPUT.SIZE_TRAIN or INPUT.SIZE_TEST."
            ) from error
