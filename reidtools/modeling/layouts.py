"""Whose file of weights it is: how toolboxes call the parts of a network, and what we call them."""

import re
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

Adapt = Callable[[str, Tensor], tuple[str, Tensor]]


class Layout(NamedTuple):
    """Whose file it is: recognised by one of the starts in `marks`; the first match counts.

    `renames` are (pattern, replacement) pairs that lead to the names of an `Embedder`.
    `training` matches names that only training, or a head that this model lacks, would use;
    `absent` are (pattern, what it is) of parts that no model here has: without them the features
    would be others, so such a file is refused.
    """

    name: str
    marks: tuple[str, ...]
    renames: tuple[tuple[str, str], ...]
    training: str
    absent: tuple[tuple[str, str], ...] = ()


BARE = ((r"^", "backbone."),)
# Pixel statistics are in files of old versions of FastReID only.
FASTREID_TRAINING = r"heads\.(weight$|classifier\.|cls_layer\.)|pixel_(mean|std)$"
FASTREID_ABSENT = (
    (r"backbone\.NL_", "non-local blocks, as AGW and SBS have"),
    (r"backbone\..*\.se\.", "squeeze-and-excitation blocks"),
    (r"heads\.pool_layer\.", "a pooling with a learned exponent, as SBS has"),
)
LAYOUTS = (
    Layout(
        "FastReID",  # with EMBEDDING_DIM: a 1x1 convolution comes before the neck
        ("heads.bottleneck.1.",),
        (
            (r"^heads\.bottleneck\.0\.", "heads.projection."),
            (r"^heads\.bottleneck\.1\.", "heads.neck."),
        ),
        FASTREID_TRAINING,
        FASTREID_ABSENT,
    ),
    Layout(
        "FastReID",
        (
            *("heads.bottleneck.", "heads.bnneck.", "heads.weight", "heads.classifier."),
            *("heads.cls_layer.", "heads.pool_layer.", "backbone.NL_"),
        ),
        ((r"^heads\.(bottleneck\.0|bnneck)\.", "heads.neck."),),
        FASTREID_TRAINING,
        FASTREID_ABSENT,
    ),
    Layout(
        "centroids-reid",
        ("backbone.base.",),
        ((r"^backbone\.base\.", "backbone."), (r"^bn\.", "heads.neck.")),
        r"fc_query\.|center_loss\.|backbone\.base\.fc\.",
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
    ),
    Layout(
        "OpenAI's CLIP",  # both towers; open_clip has the same names
        ("visual.",),
        ((r"^visual\.", "backbone."),),
        r"(transformer|token_embedding|ln_final)\.|(positional_embedding|text_projection)$"
        r"|logit_(scale|bias)$|(input_resolution|context_length|vocab_size)$",
    ),
    Layout("reidtools", ("backbone.",), (), r"$^"),
    # The fc of OSNet is left out only where the model was asked to do without (FC False).
    Layout("torchreid", ("conv2.0.conv1.conv.",), BARE, r"classifier\.|fc\."),
    # A numbered fc, as of torchreid's resnet50_fc512, is a part of the embedding.
    Layout("torchvision", ("layer1.0.", "features."), BARE, r"classifier\.|fc\.[a-z]"),
    Layout("timm", ("patch_embed.", "blocks.", "stem", "stages"), BARE, r"(head|fc|classifier)\."),
    Layout("plain", ("",), BARE, r"(classifier|fc|head)\."),
)


def layout_of(state: dict[str, Tensor]) -> Layout:
    """Whose file `state` is; a ValueError if it has parts that no model here has."""
    layout = next(row for row in LAYOUTS if any(key.startswith(row.marks) for key in state))
    for pattern, what in layout.absent:
        key = next((key for key in state if re.match(pattern, key)), None)
        if key:
            raise ValueError(
                f"The file ({layout.name} layout) is of a network with {what} ({key}), "
                "which no network here has; without it features would be others, so nothing of the "
                "file is loaded. Use weights of a plain network, such as FastReID's BoT."
            )
    return layout


def translate(
    key: str, tensor: Tensor, layout: Layout, adapt: Adapt | None = None
) -> tuple[str, Tensor]:
    """The name, and the tensor, under which an `Embedder` would have this entry of a file."""
    for pattern, replacement in layout.renames:
        key = re.sub(pattern, replacement, key)
    if key == "heads.projection.weight" and tensor.ndim == 4:  # FastReID's is a convolution
        tensor = tensor.flatten(1)
    if adapt and key.startswith("backbone."):
        name, tensor = adapt(key.removeprefix("backbone."), tensor)
        key = f"backbone.{name}"
    return key, tensor
