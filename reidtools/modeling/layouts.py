"""Whose file of weights it is: how toolboxes call the parts of a network, and what we call them."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from reidtools.modeling.heads.mgn import STRIPES
from reidtools.registry import unknown

Adapt = Callable[[str, Tensor], tuple[str, Tensor]]


class Layout(NamedTuple):
    """Whose file it is: recognised by one of the starts in `marks`; the first match counts.

    `renames` are (pattern, replacement) pairs that lead to the names of an `Embedder`.
    `training` matches names that only training, or a head that this model lacks, would use.
    `objective` are pairs that lead from names there to ``<loss>.<branch>.<name in the loss>``; rows
    of a classifier are the training people in the order of their numbers or, with `by_text`, of
    these as text.
    """

    name: str
    marks: tuple[str, ...]
    renames: tuple[tuple[str, str], ...]
    training: str
    objective: tuple[tuple[str, str], ...] = ()
    by_text: bool = False


BARE = ((r"^", "backbone."),)
NO_RENAMES: tuple[tuple[str, str], ...] = ()
XENT = "CrossEntropyLoss"
ONE_CLASSIFIER = ((r"^(?:.*\.)?classifier\.(weight|bias)$", rf"{XENT}.0.classifier.\1"),)
# Pixel statistics are in files of old versions of FastReID only.
FASTREID_TRAINING = r"(b\d+_head|heads)\.(weight$|classifier\.|cls_layer\.)|pixel_(mean|std)$"
FASTREID_OBJECTIVE = (
    (r"^heads\.(?:classifier\.|cls_layer\.)?weight$", rf"{XENT}.0.classifier.weight"),
)
LAYOUTS = (
    Layout(
        "FastReID",  # its MGN: parts of a ResNet in sequences, and a head for each of the branches
        ("b1_head.",),
        (
            (r"^backbone\.0\.", "backbone.conv1."),
            (r"^backbone\.1\.", "backbone.bn1."),
            (r"^backbone\.4\.", "backbone.layer1."),
            (r"^backbone\.5\.", "backbone.layer2."),
            (r"^backbone\.6\.", "backbone.layer3.0."),
            (r"^(b[123])\.0\.", r"backbone.\1.layer3."),
            (r"^(b[123])\.1\.", r"backbone.\1.layer4."),
            (r"^(b\d+)_head\.bottleneck\.0\.", r"heads.\1.projection."),
            (r"^(b\d+)_head\.bottleneck\.1\.", r"heads.\1.neck."),
            (r"^(b\d+)_head\.pool_layer\.", r"heads.\1.pool."),
        ),
        FASTREID_TRAINING,
        tuple(
            (rf"^{name}_head\.weight$", f"{XENT}.{place}.classifier.weight")
            for place, name in enumerate(STRIPES)
        ),
        by_text=True,
    ),
    Layout(
        "FastReID",  # with EMBEDDING_DIM: a 1x1 convolution comes before the neck
        ("heads.bottleneck.1.",),
        (
            (r"^heads\.bottleneck\.0\.", "heads.projection."),
            (r"^heads\.bottleneck\.1\.", "heads.neck."),
            (r"^heads\.pool_layer\.", "heads.pool."),
        ),
        FASTREID_TRAINING,
        FASTREID_OBJECTIVE,
        by_text=True,
    ),
    Layout(
        "FastReID",
        (
            *("heads.bottleneck.", "heads.bnneck.", "heads.weight", "heads.classifier."),
            *("heads.cls_layer.", "heads.pool_layer."),
        ),
        (
            (r"^heads\.(bottleneck\.0|bnneck)\.", "heads.neck."),
            (r"^heads\.pool_layer\.", "heads.pool."),
        ),
        FASTREID_TRAINING,
        FASTREID_OBJECTIVE,
        by_text=True,
    ),
    Layout(
        "centroids-reid",  # SNU_ReID as well
        ("backbone.base.",),
        ((r"^backbone\.base\.", "backbone."), (r"^bn\.", "heads.neck.")),
        r"fc_query\.|center_loss\.|backbone\.base\.fc\.",
        (
            (r"^fc_query\.weight$", f"{XENT}.0.classifier.weight"),
            (r"^center_loss\.centers$", "CenterLoss.0.centers"),
        ),
    ),
    Layout(
        "SOLIDER",
        ("base.semantic_embed_", "base.patch_embed.projection."),
        ((r"^base\.", "backbone."), (r"^bottleneck\.", "heads.neck.")),
        r"classifier\.|base\.(norm[012]|fc)\.|base\.semantic_embed_[wb]\.3\.",
        ONE_CLASSIFIER,
    ),
    Layout(
        "TransReID",  # with JPM two blocks take the place of the last one, which stays in the file
        ("b1.0.norm1.",),
        (
            (r"^base\.", "backbone."),
            (r"^(b[12])\.", r"backbone.\1."),
            (r"^bottleneck((?:_\d)?)\.", r"heads.neck\1."),
        ),
        r"classifier(_\d)?\.|base\.fc\.",
        tuple(
            (
                rf"^classifier{f'_{i}' if i else ''}\.weight$",
                f"{XENT}.{i}.classifier.weight",
            )
            for i in range(5)
        ),
    ),
    Layout(
        "TransReID",
        ("base.cls_token", "base.pos_embed", "base.patch_embed.proj."),
        ((r"^base\.", "backbone."), (r"^bottleneck\.", "heads.neck.")),
        r"classifier\.|base\.fc\.",
        ONE_CLASSIFIER,
    ),
    Layout(
        "strong-baseline",  # of TransReID, too, its ResNet-50
        ("base.conv1.", "base.layer1."),
        ((r"^base\.", "backbone."), (r"^bottleneck\.", "heads.neck.")),
        r"classifier\.|base\.fc\.|gap\.",
        ONE_CLASSIFIER,
    ),
    Layout(
        "CLIP-ReID",
        ("image_encoder.",),
        (
            (r"^image_encoder\.", "backbone."),
            (r"^cv_embed$", "backbone.cv_embed"),
            (r"^bottleneck\.", "heads.neck."),
            (r"^bottleneck_proj\.", "heads.neck_proj."),
        ),
        r"classifier(_proj)?\.|prompt_learner\.|text_encoder\.",
        (
            (r"^classifier\.weight$", f"{XENT}.0.classifier.weight"),
            (r"^classifier_proj\.weight$", f"{XENT}.1.classifier.weight"),
        ),
    ),
    Layout(
        "OpenAI's CLIP",  # both towers; open_clip has the same names
        ("visual.",),
        ((r"^visual\.", "backbone."),),
        r"(transformer|token_embedding|ln_final)\.|(positional_embedding|text_projection)$"
        r"|logit_(scale|bias)$|(input_resolution|context_length|vocab_size)$",
    ),
    Layout(
        "DINO",  # and what trains as it does, such as SOLIDER's pre-training
        ("head.mlp.", "head.last_layer.", "backbone.norm0."),
        ((r"^(?!backbone\.|head\.)", "backbone."),),
        r"head\.|(backbone\.)?(norm[012]\.|semantic_embed_[wb]\.3\.)",
    ),
    Layout("reidtools", ("backbone.",), NO_RENAMES, r"$^"),
    # The fc of OSNet is left out only where the model was asked to do without (FC False).
    Layout("torchreid", ("conv2.0.conv1.conv.",), BARE, r"classifier\.|fc\.", ONE_CLASSIFIER),
    # A numbered fc, as of torchreid's resnet50_fc512, is a part of the embedding.
    # torchreid's own ResNets are called as torchvision's, but for their classifier.
    Layout(
        "torchvision",
        ("layer1.0.", "features."),
        BARE,
        r"classifier\.|fc\.[a-z]",
        ONE_CLASSIFIER,
    ),
    Layout(
        "timm",
        ("patch_embed.", "blocks.", "stem", "stages"),
        BARE,
        # Between the token and a classifier, a second token, and what follows from sizes.
        r"(head|head_dist|fc|classifier|pre_logits)\.|dist_token$"
        r"|layers\.\d+\.blocks\.\d+\.attn_mask$",
    ),
    Layout("plain", ("",), BARE, r"(classifier|fc|head)\."),
)
# Other words for them in MODEL.WEIGHTS_FORMAT.
ALIASES = {"SNU_ReID": "centroids-reid", "CTL": "centroids-reid", "OpenAI": "OpenAI's CLIP"}


def layout_of(state: Mapping[str, Tensor], format: str = "") -> Layout:
    """Whose file `state` is, by its names, or by `format`, the name of a layout in any case.

    A `LookupError` for a format that is none.
    """
    rows = LAYOUTS
    if format:
        names = {name.lower(): name for name in (*(row.name for row in LAYOUTS), *ALIASES)}
        if format.lower() not in names:
            raise unknown("MODEL.WEIGHTS_FORMAT", format, names.values())
        name = names[format.lower()]
        rows = tuple(row for row in LAYOUTS if row.name == ALIASES.get(name, name))
    marked = (row for row in rows if any(key.startswith(row.marks) for key in state))
    return next(marked, rows[-1])


def translate(
    key: str, tensor: Tensor, layout: Layout, adapt: Adapt | None = None
) -> tuple[str, Tensor]:
    """The name, and the tensor, under which an `Embedder` would have this entry of a file."""
    for pattern, replacement in layout.renames:
        key = re.sub(pattern, replacement, key)
    if key == "heads.neck.weight" and tensor.ndim == 4:  # EMBEDDING_DIM without a neck
        key = "heads.projection.weight"
    if key.endswith("projection.weight") and key.startswith("heads.") and tensor.ndim == 4:
        tensor = tensor.flatten(1)  # FastReID's is a convolution
    if adapt and key.startswith("backbone."):
        name, tensor = adapt(key.removeprefix("backbone."), tensor)
        key = f"backbone.{name}"
    return key, tensor


def of_objective(state: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """What a file of `layout` has for losses, by ``<loss>.<branch>.<name in the loss>``."""
    found = {}
    for key, tensor in state.items():
        for pattern, replacement in layout.objective:
            if re.match(pattern, key):
                found[re.sub(pattern, replacement, key)] = tensor
    return found
