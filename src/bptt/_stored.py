"""Values as a safetensors file holds them: a tree of JSON, and the arrays that it names.

JSON has no word for some values: those are objects with one key, which says what they are. A dict is such an
object too, so that no key of a user's is taken for one.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping

import numpy as np

from ._checks import brief
from ._spec import DTYPES

ARRAYS = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)} | {"bool", "float16", *DTYPES}
"""Of NumPy's types those that safetensors has."""
GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Store:
    """Turns values into JSON and collects their arrays."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._within: list[int] = []  # ids of the containers around a value

    def encoded(self, value, name):
        """What stands for the value in JSON; `name` is what an error calls it. Arrays are copied."""
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, np.generic):
            return {"scalar": self._array(np.asarray(value), name)}
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"float": repr(float(value))}
        if isinstance(value, np.ndarray):
            return {"array": self._array(value, name)}
        if isinstance(value, np.random.Generator):
            return {"generator": self._generator(value, name)}
        if isinstance(value, (Mapping, list, tuple)):
            return self._container(value, name)
        raise TypeError(
            f"{name} must be None, a bool, a number, a text, an array, a numpy Generator, or a list, tuple or dict of "
            f"such, got {brief(value)}"
        )

    def _container(self, value, name):
        if id(value) in self._within:
            raise ValueError(f"{name} must not hold itself, got {brief(value)}")
        self._within.append(id(value))
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    raise TypeError(f"{name} must have keys of text, got {brief(key)}")
            result = {"dict": {key: self.encoded(item, f"{name}[{key!r}]") for key, item in value.items()}}
        else:
            items = [self.encoded(item, f"{name}[{i}]") for i, item in enumerate(value)]
            result = items if isinstance(value, list) else {"tuple": items}
        self._within.pop()
        return result

    def _array(self, array, name):
        if isinstance(array, np.ma.MaskedArray):
            raise TypeError(f"{name} must be an array without a mask, got a masked array")
        if array.dtype.name not in ARRAYS:
            raise TypeError(f"{name} must be an array of real numbers or bools, got dtype {array.dtype}")
        self.arrays[name] = np.array(array, array.dtype.newbyteorder("="), order="C", subok=False)
        return name

    def _generator(self, rng, name):
        state = rng.bit_generator.state
        kind = type(rng.bit_generator).__name__
        if kind not in GENERATORS or not isinstance(state, dict):
            raise TypeError(f"{name} must be a numpy Generator of {', '.join(GENERATORS)}, got one of {kind}")
        return self.encoded(state, name)


def decoded(value, arrays):
    """What `encoded` was given. ValueError for what it never returned."""
    if isinstance(value, list):
        return [decoded(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((kind, content),) = value.items()
        if kind in DECODERS:
            try:
                return DECODERS[kind](content, arrays)
            except (TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
                raise ValueError(f"its {kind} is {reprlib.repr(content)}: {error!r}") from None
    raise ValueError(f"its JSON has an object that stands for nothing: {reprlib.repr(value)}")


def _generator(content, arrays):
    state = decoded(content, arrays)
    kind = state["bit_generator"]
    if kind not in GENERATORS:
        raise ValueError(f"it has a generator of {reprlib.repr(kind)}")
    bits = getattr(np.random, kind)()
    bits.state = state
    return np.random.Generator(bits)


DECODERS = {
    "array": lambda name, arrays: arrays[name],
    "scalar": lambda name, arrays: arrays[name][()],
    "float": lambda name, arrays: FLOATS[name],
    "tuple": lambda items, arrays: tuple([decoded(item, arrays) for item in items]),
    "dict": lambda items, arrays: {key: decoded(item, arrays) for key, item in items.items()},
    "generator": _generator,
}
