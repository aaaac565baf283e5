"""Arrays and iterables of chunks with a time axis, read piece by piece."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from . import _core
from ._checks import input_hint, token_error, token_shape

AsArray = Callable[[object, str], np.ndarray]
"""(what the user gave, its name) -> an ndarray, or an error"""

TOKENS_AT_ONCE = 1 << 20
"""integers in one piece of check_tokens, so that its memory is small"""


def real_array(array, name) -> np.ndarray:
    """array as an ndarray of real numbers; a memmap is not read."""
    return _core.checked_array(array, name, "fiub", "real numbers")


def flag_array(array, name) -> np.ndarray:
    """array as an ndarray of booleans or integers."""
    return _core.checked_array(array, name, "biu", "booleans")


def input_array(rnn, x, name) -> np.ndarray:
    """x, the network's input, as an ndarray of real numbers, or of integers where it takes those."""
    vocabulary = rnn.spec.vocabulary
    return _core.token_array(x, name, vocabulary) if vocabulary else real_array(x, name)


def outside_grads(rnn, value):
    """The value; a copy if it is an array in the memory of the gradients, which each window overwrites."""
    inside = isinstance(value, np.ndarray) and np.may_share_memory(value, rnn.grads)
    return value.copy() if inside else value


def is_stream(value) -> bool:
    """Whether it is an iterable of chunks: what can be indexed is an array, or a nested list that stands for one."""
    return isinstance(value, Iterable) and not hasattr(value, "__getitem__")


@dataclass(frozen=True)
class Layout:
    """How x is laid out: (B,T,..), (T,B,..) or (T,..). All that comes along with it has the same first axes."""

    batch: int
    batch_first: bool
    unbatched: bool

    @property
    def time_axis(self) -> int:
        return int(self.batch_first)

    def axes(self, steps) -> tuple:
        """The shape of the time and batch axes."""
        if self.unbatched:
            return (steps,)
        return (self.batch, steps) if self.batch_first else (steps, self.batch)

    def steps_of(self, array, start, stop) -> np.ndarray:
        """Steps start..stop-1, a view."""
        return array[:, start:stop] if self.batch_first else array[start:stop]

    def rows_of(self, array, rows) -> np.ndarray:
        """Some rows, a slice of them or their numbers; a sequence without a batch axis has one, and it is that."""
        if self.unbatched:
            return array
        return array[rows] if self.batch_first else array[:, rows]

    def to_core(self, piece, dtype) -> np.ndarray:
        """A piece of x, or of what comes along with it, as (T,B,...), C-contiguous and of that dtype; a view where it
        is that already."""
        if self.unbatched:
            piece = piece[:, None]
        elif self.batch_first:
            piece = piece.swapaxes(0, 1)
        return np.require(piece, dtype, ["C", "A"])

    def from_core(self, array) -> np.ndarray:
        """(T,B,...) in the user's layout."""
        if self.unbatched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self.batch_first else array

    def within(self, lengths, start, stop) -> np.ndarray:
        """Which of the steps start..stop-1 of each row lie within its length, in the user's layout."""
        inside = np.arange(start, stop)[:, None] < lengths
        return self.from_core(inside)

    def check(self, array, name, steps=None) -> None:
        """An error unless the first axes of what comes along with x fit; `steps` None: any number of them does."""
        expected = self.axes("T" if steps is None else steps)
        shape = array.shape[: len(expected)]
        if len(shape) < len(expected) or shape != self.axes(shape[self.time_axis] if steps is None else steps):
            axes = ", ".join(map(str, expected))
            raise ValueError(f"{name} must have the shape ({axes}) of x in its first axes, got {array.shape}")


def layout_of(rnn, x, name, least_steps) -> Layout:
    """The layout of x, the network's input, or the error if it does not fit."""
    x = input_array(rnn, x, name)
    vocabulary = rnn.spec.vocabulary
    axes = x.ndim if vocabulary else x.ndim - 1  # those of steps and rows
    time_axis = int(rnn.batch_first and axes == 2)
    if (
        axes not in (1, 2)
        or (not vocabulary and x.shape[-1] != rnn.input_size)
        or x.shape[time_axis] < least_steps
        or 0 in np.delete(x.shape, time_axis)
    ):
        if vocabulary:
            raise ValueError(f"{name} must have shape {token_shape(rnn.batch_first, vocabulary)}, got {x.shape}")
        order = "B,T" if rnn.batch_first else "T,B"
        raise ValueError(
            f"{name} must have shape ({order},I) or (T,I) with I = {rnn.input_size} and no empty axis, got {x.shape}"
            f"{input_hint(x, rnn.input_size)}"
        )
    batch = 1 if axes == 1 else x.shape[1 - time_axis]
    return Layout(batch, bool(time_axis), axes == 1)


def check_tokens(rnn, x, name, layout, lengths=None, rows=None) -> None:
    """An error for the first integer of x that is out of range, where the network takes integers. Those beyond the
    lengths count nothing; a memmap is read in pieces, and of it only the rows of a slice, if one is given."""
    vocabulary = rnn.spec.vocabulary
    if not vocabulary:
        return
    steps = x.shape[layout.time_axis]
    rows = rows or slice(0, layout.batch)
    x, lengths = layout.rows_of(x, rows), None if lengths is None else lengths[rows]
    at_once = max(1, TOKENS_AT_ONCE // layout.batch)
    for start in range(0, steps, at_once):
        stop = min(start + at_once, steps)
        piece = np.asarray(layout.steps_of(x, start, stop))
        inside = True if lengths is None else layout.within(lengths, start, stop)
        if (((piece < 0) | (piece >= vocabulary)) & inside).any():
            raise token_error(piece, name, vocabulary, inside, layout.time_axis, start, rows.start)


class Sequence(Protocol):
    """A sequence that is read piece by piece."""

    name: str
    layout: Layout
    steps: int | None
    """the number of them; None: not known before the end"""

    def available(self, stop: int) -> int:
        """How many of the steps before `stop` there are."""

    def piece(self, start: int, stop: int) -> np.ndarray:
        """Steps start..stop-1, which must be available, in the user's layout. start never goes back."""


class Whole:
    """An array: an np.memmap is never read whole."""

    def __init__(self, array, name, layout):
        self.array, self.name, self.layout = array, name, layout
        self.steps = array.shape[layout.time_axis]

    def available(self, stop) -> int:
        return min(stop, self.steps)

    def piece(self, start, stop) -> np.ndarray:
        return np.asarray(self.layout.steps_of(self.array, start, stop))


class Chunks:
    """An iterable of chunks along time, read no further than asked. The steps before the last piece are dropped."""

    steps: int | None = None

    def __init__(self, chunks, name, layout, as_array: AsArray):
        self.chunks = enumerate(chunks)
        self.name, self.layout, self.as_array = name, layout, as_array
        self.held: list[np.ndarray] = []  # consecutive arrays: the steps first..end-1
        self.start = self.first = self.end = 0
        self.like: tuple | None = None  # dtype and last axes of chunk 0
        self.rows = slice(0, None)  # those that are read and given

    def available(self, stop) -> int:
        while self.end < stop and self._read():
            pass
        return min(stop, self.end)

    def piece(self, start, stop) -> np.ndarray:
        self.start = start
        self.available(stop)
        self._drop()
        if self._size(self.held[0]) < stop - start:
            self._join(stop - start)
        return self.layout.steps_of(self.held[0], 0, stop - start)

    def _read(self) -> bool:
        self._drop()
        if self.held:
            self.held[-1] = self.held[-1].copy()  # the reader may fill its buffer again with the next chunk
        for index, chunk in self.chunks:
            name = f"chunk {index} of {self.name}"
            array = np.asarray(self.as_array(chunk, name))
            self._check(array, name)
            array = self.layout.rows_of(array, self.rows)
            self.held.append(array)
            self.end += self._size(array)
            return True
        return False

    def _check(self, array, name):
        self.layout.check(array, name)
        last_axes = array.shape[len(self.layout.axes(0)) :]
        if self.like is None:
            self.like = array.dtype, last_axes
        if (array.dtype, last_axes) != self.like:
            raise ValueError(
                f"{name} must have dtype {self.like[0]} and the last axes {self.like[1]} as chunk 0 has, "
                f"got {array.dtype} and {last_axes}"
            )

    def _drop(self):
        while self.held and self.first + self._size(self.held[0]) <= self.start:
            self.first += self._size(self.held.pop(0))
        if self.held and self.first < self.start:
            self.held[0] = self.layout.steps_of(self.held[0], self.start - self.first, None)
            self.first = self.start

    def _join(self, steps):
        """Copies the first `steps` held steps into one array, and no more: the last chunk may be large."""
        parts = []
        while steps > 0:
            array = self.held.pop(0)
            parts.append(self.layout.steps_of(array, 0, steps))
            rest = self.layout.steps_of(array, steps, None)
            steps -= self._size(array)
        self.held[:0] = [np.concatenate(parts, self.layout.time_axis), rest]

    def _size(self, array) -> int:
        return array.shape[self.layout.time_axis]


def input_sequence(rnn, x) -> Sequence:
    """x, the network's input; the first chunk of a stream is read to know its layout."""
    if not is_stream(x):
        x = input_array(rnn, x, "x")
        return Whole(x, "x", layout_of(rnn, x, "x", least_steps=1))
    chunks = iter(x)
    for first in chunks:
        layout = layout_of(rnn, input_array(rnn, first, "chunk 0 of x"), "chunk 0 of x", least_steps=0)
        return Chunks(itertools.chain([first], chunks), "x", layout, partial(input_array, rnn))
    raise ValueError("x must hold at least one chunk, got an iterable without any")


def sequence_along(x, value, name, as_array: AsArray) -> Sequence:
    """What comes along with x."""
    if is_stream(value):
        return Chunks(value, name, x.layout, as_array)
    array = as_array(value, name)
    x.layout.check(array, name, x.steps)
    return Whole(array, name, x.layout)
