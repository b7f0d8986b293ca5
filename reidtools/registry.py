"""Names for components, and the one way a name with options becomes an object.

A signature is a schema. Parameters before the ``*`` are **facts** that the program supplies
(``dim``, ``num_people``); keyword-only parameters after it are **options** that a config may set,
each with a default. The decorator registers a component under the name Python gave it:

>>> toys = Registry("toy")
>>> @toys
... def hinge(dim, *, margin=0.3): ...
>>> options(toys["hinge"])
{'margin': 0.3}
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any


def unknown(kind: str, name: object, known: Iterable[str]) -> LookupError:
    """The error for a `name` that is not among the `known` ones, with the nearest one suggested."""
    known = sorted(known)
    near = {k.lower(): k for k in known}
    close = get_close_matches(str(name).lower(), near, n=1)
    hint = f" Did you mean '{near[close[0]]}'?" if close else ""
    return LookupError(f"Unknown {kind} '{name}'.{hint} Known: {', '.join(known) or 'none'}.")


def choose(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """The entry of `table` called `name`; an unknown name is an error that lists the known ones."""
    if name not in table:
        raise unknown(kind, name, table)
    return table[name]


def options(maker: Callable) -> dict[str, Any]:
    """Keyword-only parameters of `maker` with their defaults: what a config may say about it."""
    parameters = inspect.signature(maker).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def facts(maker: Callable) -> tuple[str, ...]:
    """The parameters of `maker` that the program supplies, in order."""
    parameters = inspect.signature(maker).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)


def call(maker: Callable, known_facts: Mapping[str, Any], chosen: Mapping[str, Any]) -> Any:
    """Call `maker` with those of the `known_facts` it names and with every chosen option.

    Surplus facts are left out, an unknown option is an error.
    """
    for option in chosen:
        choose(f"option of {maker.__name__}", option, options(maker))
    wanted = {name: known_facts[name] for name in facts(maker) if name in known_facts}
    return maker(**wanted, **chosen)


class Registry(Mapping):
    """Components of one kind, by name. Used as a decorator; read as a mapping."""

    def __init__(self, kind: str):
        self.kind = kind
        self._makers: dict[str, Callable] = {}

    def __call__(self, maker: Callable) -> Callable:
        name = maker.__name__
        if name in self._makers:
            raise LookupError(f"Two {self.kind}s are called '{name}'; rename one of them.")
        bare = [k for k, v in options(maker).items() if v is inspect.Parameter.empty]
        if bare:
            raise TypeError(f"The {self.kind} '{name}' has options without a default: {bare}.")
        self._makers[name] = maker
        return maker

    def __getitem__(self, name: str) -> Callable:
        return choose(self.kind, name, self._makers)

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self):
        return iter(self._makers)

    def __len__(self):
        return len(self._makers)

    def build(self, name: str, known_facts: Mapping[str, Any], chosen: Mapping[str, Any]) -> Any:
        """Build the component called `name`; see `call`."""
        return call(self[name], known_facts, chosen)


BACKBONES = Registry("backbone")
HEADS = Registry("head")
LOSSES = Registry("loss")
DATASETS = Registry("dataset")
SAMPLERS = Registry("sampler")
TEMPORAL = Registry("temporal pooling")
