"""Checkpoints: how many steps lie between two stored states, by a given number or by a budget of memory.

A segment is the steps between two checkpoints. The tape holds the state before each segment; backward computes the
other states again, one segment at a time (Chen et al. 2016).
"""

from collections.abc import Callable
from math import isqrt

from ._checks import index

TapeBytes = Callable[[int], int]
"""segment -> bytes of the tape and of one segment that is computed again; 0: the whole tape, without checkpoints"""


def check_checkpoint(checkpoint, memory_budget, bidirectional) -> None:
    """An error for what is wrong with the two arguments whatever the sequence is."""
    if checkpoint is None and memory_budget is None:
        return
    name = "memory_budget" if checkpoint is None else "checkpoint"
    if checkpoint is not None and memory_budget is not None:
        raise ValueError(
            "checkpoint and memory_budget say the same thing: give one of them, "
            f"got {checkpoint!r} and {memory_budget!r}"
        )
    if isinstance(checkpoint, str | bool):
        if checkpoint != "auto":
            raise ValueError(f"checkpoint must be an integer or 'auto', got {checkpoint!r}")
    else:
        index(memory_budget if checkpoint is None else checkpoint, name)
    if bidirectional:
        raise ValueError(
            f"{name} goes with bidirectional=False, got bidirectional=True: the reverse direction needs all later steps"
        )


def segment_length(T, B, checkpoint, memory_budget, tape_bytes: TapeBytes) -> int:
    """The steps of a segment, 0 for no checkpoints, of two arguments that went through check_checkpoint."""
    if memory_budget is not None:
        return _within_budget(T, B, index(memory_budget, "memory_budget"), tape_bytes)
    if checkpoint is None:
        return 0
    if isinstance(checkpoint, str):
        return _ceil_sqrt(T)
    return min(index(checkpoint, "checkpoint"), T)


def _ceil_sqrt(T):
    return isqrt(T - 1) + 1


def _within_budget(T, B, budget, tape_bytes):
    """The longest segment whose tape stays within the budget, 0 if the whole tape does."""
    if tape_bytes(0) <= budget:
        return 0
    # The checkpoints take state*T/k bytes and the segment about (tape/T)*k, so the sum is least where both are equal;
    # of several equal ones the longest.
    smallest = min(range(_ceil_sqrt(T), 0, -1), key=tape_bytes)
    least = tape_bytes(smallest)
    if least > budget:
        raise ValueError(f"memory_budget must be at least {least} bytes for T = {T} and B = {B}, got {budget}")
    # Beyond the smallest the sum rises but for rounding: bisect between the longest that fits and one that does not.
    fits, above = smallest, T
    while above - fits > 1:
        middle = (fits + above) // 2
        if tape_bytes(middle) <= budget:
            fits = middle
        else:
            above = middle
    return fits
