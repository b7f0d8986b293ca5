"""Which model vectors are of: two sides are only compared if both are of the same one."""

from collections.abc import Iterator, Mapping
from typing import Any

# What vectors depend on, in the `about` of a gallery: what both sides tell must be equal. Of nodes
# of a config these are the keys that both have, so that a new option makes no gallery useless.
KEYS = ("fingerprint", "size", "flip", "backbone", "head", "temporal", "pixels")
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
        for label, here, there in _differing(key, about.get(key), other.get(key)):
            why = f"{label} is {here!s:.80} there and {there!s:.80} here"
            why = "their weights differ" if key == "fingerprint" else why
            raise ValueError(
                f"{where} was made with {name}, these vectors with {other_name}: {why}; {CURE}."
            )


def _differing(key: str, here: Any, there: Any) -> Iterator[tuple[str, Any, Any]]:
    """What both sides tell and is not equal: its name and both values."""
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for name in sorted(here.keys() & there.keys()):
            yield from _differing(f"{key} {name}", here[name], there[name])
    elif None not in (here, there) and here != there:
        yield key, here, there


def _name(about: Mapping[str, Any]) -> str:
    """The name and the beginning of the fingerprint."""
    name = about.get("weights") or "a model that nothing is known of"
    mark = about.get("fingerprint")
    return f"{name} ({mark:.12})" if mark else str(name)
