"""Pickles of NumPy arrays, read without running anything that stands in them.

NumPy's own constructors are never called: with forged arguments they reach into memory. Stand-ins
note what a pickle asks for, and arrays are made of its bytes.
"""

import math
import pickle
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

NUMBERS = re.compile(r"[<>=|]?[biuf]\d{1,2}")  # no objects, texts or structures


class Kind:
    """Stands in for `numpy.dtype`: a kind of numbers, and their byte order."""

    def __init__(self, name: str, *_: Any):
        if not isinstance(name, str) or not NUMBERS.fullmatch(name):
            raise ValueError(f"it has an array of {name!r}, which are no plain numbers")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class Array:
    """Stands in for an empty array that is filled by what follows."""

    array = np.zeros(0)

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, by_column, content = state
        self.array = filled(content, kind, shape, "F" if by_column else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array if dtype is None else self.array.astype(dtype)


def filled(content: bytes, kind: Kind, shape: tuple, order: str = "C") -> np.ndarray:
    """The array of `shape` whose numbers have the bytes `content`."""
    sides = [int(side) for side in shape]
    if math.prod(sides) * kind.dtype.itemsize != len(content) or min(sides, default=0) < 0:
        raise ValueError(f"it has an array {tuple(sides)} of {len(content)} bytes")
    return np.frombuffer(bytes(content), kind.dtype).reshape(sides, order=order)


def number(kind: Kind, content: bytes) -> Any:
    """Stands in for the making of one NumPy number."""
    return filled(content, kind, (1,))[0]


def encoded(text: str, _: str) -> bytes:
    """Bytes as protocols 0 to 2 write them."""
    return text.encode("latin1")


def from_buffer(content: bytes, kind: Kind, shape: tuple, order: str) -> np.ndarray:
    """Stands in for what protocol 5 asks for."""
    return filled(content, kind, shape, order)


STAND_INS: dict[str, Callable] = {
    "dtype": Kind,
    "_reconstruct": Array,
    "scalar": number,
    "_frombuffer": from_buffer,
}
HOMES = re.compile(r"numpy(\._?core\.(multiarray|numeric))?")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if HOMES.fullmatch(module) and name in STAND_INS:
            return STAND_INS[name]
        if (module, name) == ("numpy", "ndarray"):
            return None  # only named, never called
        if (module, name) == ("_codecs", "encode"):
            return encoded
        raise ValueError(f"it asks for {module}.{name}, which is not loaded from a pickle")


def load(file: BinaryIO) -> Any:
    """What a pickle of containers, numbers, text and NumPy arrays of numbers holds.

    Arrays are `Array`s or NumPy's own: `numpy.asarray` makes either an array. Anything else in it
    is an error, of whatever class comes up.
    """
    return _Unpickler(file).load()
