"""Which model vectors are of: two sides are only compared if both are of the same one."""

from collections.abc import Mapping
from typing import Any

# What vectors depend on, in the `about` of a gallery: what both sides tell must be equal.
KEYS = ("fingerprint", "size", "flip", "backbone", "head", "pixels")
CURE = "use the gallery's own weights and settings, or build it again with the others"


def check_same(
    where: str, ours: tuple[int, Mapping[str, Any]], theirs: tuple[int, Mapping[str, Any]]
) -> None:
    """Raise ValueError where two sides, (length of a vector, about), are not of one model.

    `where` is what the message calls our side.
    """
    (dim, about), (other_dim, other) = ours, theirs
    name, other_name = _name(about), _name(other)
    if dim != other_dim:
        raise ValueError(
            f"{where} has vectors of {dim} values, made with {name}, and these have {other_dim}, "
            f"made with {other_name}; {CURE}."
        )
    for key in KEYS:
        here, there = about.get(key), other.get(key)
        if here and there and here != there:
            raise ValueError(
                f"{where} was made with {name}, these vectors with {other_name}: {key} is "
                f"{here!s:.80} there and {there!s:.80} here; {CURE}."
            )


def _name(about: Mapping[str, Any]) -> str:
    """The name and the beginning of the fingerprint."""
    name = about.get("weights") or "a model that nothing is known of"
    mark = about.get("fingerprint")
    return f"{name} ({mark:.12})" if mark else str(name)
