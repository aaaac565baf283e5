"""Learning rates over a training: functions of the number of updates done, for ``lr`` of bptt.fit.

>>> import bptt
>>> lr = bptt.schedule.cosine(3e-3, warmup=100, total=1000)
>>> f"{lr(0):.6f} {lr(100):.6f} {lr(550):.6f} {lr(1000):.6f}"
'0.000030 0.003000 0.001500 0.000000'

A loop written by hand sets the rate before each update: ``optimizer.lr = lr(update)``, updates numbered from 0. Any
function does; those of this module can also be compared, pickled and printed. Where torch counts epochs, multiply by
the updates of one: ``ceil(rows / batch_size)`` times the windows of a sequence.

``warmup`` updates lead linearly to the peak: update k of them has peak*(k+1)/(warmup+1). The schedule proper begins
after them, with the peak. From update ``total`` on the rate stays ``final``.
"""

import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from ._checks import brief, flag, index, number

__all__ = [
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "linear",
    "multistep",
    "one_cycle",
    "polynomial",
    "sequence",
    "step",
]


def _positive(value, name) -> float:
    x = number(value, name, 0)
    if not x:
        raise ValueError(f"{name} must be above 0, got {value!r}")
    return x


def _rate(value, name) -> float:
    return number(value, name, 0)


def _steps(value, name) -> int:
    return index(value, name, 0)


def _milestones(value, name) -> tuple[int, ...]:
    if isinstance(value, str) or not isinstance(value, (Sequence, np.ndarray)) or not len(value):
        raise TypeError(f"{name} must be a sequence of at least one integer, got {brief(value)}")
    ends = tuple(index(end, f"{name}[{i}]") for i, end in enumerate(value))
    if any(b <= a for a, b in itertools.pairwise(ends)):
        raise ValueError(f"{name} must be ascending, got {brief(value)}")
    return ends


def _share(value, name) -> float:
    return number(value, name, 0, 1)


CHECKS = {
    "peak": _rate,
    "final": _rate,
    "warmup": _steps,
    "total": index,
    "every": index,
    "first": index,
    "factor": index,
    "gamma": _positive,
    "power": _positive,
    "div_factor": _positive,
    "final_div_factor": _positive,
    "pct_start": _share,
    "three_phase": flag,
    "milestones": _milestones,
}
"""By the name of a parameter."""


ENTRIES = {
    "peak": "peak : float\n    The rate after the warm-up.",
    "warmup": "warmup : int\n    Updates that lead to the peak, 0 for none.",
    "total": "total : int\n    Updates until ``final``, those of the warm-up included.",
    "final": "final : float\n    The rate from there on.",
    "floor": "final : float\n    The rate falls no lower.",
}
"""Of parameters that several schedules have: each stands for "{name}" in their docstrings."""


def _with_entries(documented):
    """A class or a function, with these entries in its docstring."""
    if documented.__doc__:  # not with python -OO
        documented.__doc__ = inspect.cleandoc(documented.__doc__).format(**ENTRIES)
    return documented


@dataclass(frozen=True)
class _Schedule:
    """What the schedules share: parameters that are checked, and the warm-up."""

    def __init_subclass__(cls):
        _with_entries(cls)

    def __post_init__(self):
        for field in fields(self):
            if field.name in CHECKS:
                object.__setattr__(self, field.name, CHECKS[field.name](getattr(self, field.name), field.name))
        warmup, total = getattr(self, "warmup", 0), getattr(self, "total", math.inf)
        if total <= warmup:
            raise ValueError(f"total must be above warmup = {warmup}, got {total}")

    def __call__(self, updates: int) -> float:
        """The rate of the update before which so many were done."""
        warmup = getattr(self, "warmup", 0)
        if updates < warmup:
            return self.peak * (updates + 1) / (warmup + 1)  # type: ignore[attr-defined]
        return self._after_warmup(updates - warmup)

    def _after_warmup(self, updates) -> float:
        raise NotImplementedError

    def _part(self, updates) -> float:
        """The part of the way from warmup to total that lies behind, at most 1."""
        return min(1.0, updates / (self.total - self.warmup))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class constant(_Schedule):
    """The peak throughout, after the warm-up.

    Parameters
    ----------
    peak : float
        The rate.
    {warmup}
    """

    peak: float
    warmup: int = 0

    def _after_warmup(self, updates):
        return self.peak


@dataclass(frozen=True)
class cosine(_Schedule):
    """Half a period of a cosine from the peak to ``final`` (Loshchilov & Hutter 2017).

    Torch's LinearLR and CosineAnnealingLR one after the other; that one rises again after its T_max.

    Parameters
    ----------
    {peak}
    {warmup}
    {total}
    {final}
    """

    peak: float
    warmup: int
    total: int
    final: float = 0.0

    def _after_warmup(self, updates):
        part = self._part(updates)
        return self.final + (self.peak - self.final) * (1 + math.cos(math.pi * part)) / 2


@dataclass(frozen=True)
class polynomial(_Schedule):
    """final + (peak - final) * (1 - part)**power over the part of the way to `total`; torch's PolynomialLR.

    Parameters
    ----------
    {peak}
    {warmup}
    {total}
    power : float
        Above 0.
    {final}
    """

    peak: float
    warmup: int
    total: int
    power: float = 1.0
    final: float = 0.0

    def _after_warmup(self, updates):
        return self.final + (self.peak - self.final) * (1 - self._part(updates)) ** self.power


@_with_entries
def linear(peak: float, warmup: int, total: int, final: float = 0.0) -> polynomial:
    """A straight line from the peak to ``final``: polynomial with power=1; torch's LinearLR, also for the warm-up.

    Parameters
    ----------
    {peak}
    {warmup}
    {total}
    {final}

    Returns
    -------
    polynomial
    """
    return polynomial(peak, warmup, total, 1.0, final)


@dataclass(frozen=True)
class exponential(_Schedule):
    """peak * gamma**(updates/every), smooth; torch's ExponentialLR, Keras' ExponentialDecay(peak, every, gamma).

    Parameters
    ----------
    {peak}
    gamma : float
        Above 0: the factor over ``every`` updates.
    every : int
        Updates over which the rate gets one factor gamma, for instance those of an epoch.
    {warmup}
    {floor}
    """

    peak: float
    gamma: float
    every: int = 1
    warmup: int = 0
    final: float = 0.0

    def _after_warmup(self, updates):
        return max(self.final, self.peak * self.gamma ** (updates / self.every))


@dataclass(frozen=True)
class step(_Schedule):
    """A factor gamma after each ``every`` updates; torch's StepLR.

    Parameters
    ----------
    {peak}
    every : int
        Updates from one fall to the next, counted from the end of the warm-up.
    gamma : float
        Above 0.
    {warmup}
    {floor}
    """

    peak: float
    every: int
    gamma: float = 0.1
    warmup: int = 0
    final: float = 0.0

    def _after_warmup(self, updates):
        return max(self.final, self.peak * self.gamma ** (updates // self.every))


@dataclass(frozen=True)
class multistep(_Schedule):
    """A factor gamma at each of the milestones; torch's MultiStepLR.

    Parameters
    ----------
    {peak}
    milestones : sequence of int
        Numbers of updates done at which the rate falls, ascending, those of the warm-up included.
    gamma : float
        Above 0.
    {warmup}
    """

    peak: float
    milestones: Sequence[int]
    gamma: float = 0.1
    warmup: int = 0

    def _after_warmup(self, updates):
        return self.peak * self.gamma ** sum(end <= updates + self.warmup for end in self.milestones)


@dataclass(frozen=True)
class cosine_restarts(_Schedule):
    """Cosines from the peak to ``final``, each ``factor`` times as long as the one before; torch's
    CosineAnnealingWarmRestarts.

    Parameters
    ----------
    peak : float
        The rate where a cosine begins.
    first : int
        Updates of the first cosine.
    factor : int
        At least 1.
    warmup : int
        Updates that lead to the first peak.
    final : float
        The rate towards which a cosine falls.
    """

    peak: float
    first: int
    factor: int = 1
    warmup: int = 0
    final: float = 0.0

    def _after_warmup(self, updates):
        length = self.first
        if self.factor == 1:
            updates %= length
        while updates >= length:
            updates -= length
            length *= self.factor
        return self.final + (self.peak - self.final) * (1 + math.cos(math.pi * updates / length)) / 2


@dataclass(frozen=True)
class one_cycle(_Schedule):
    """Up to the peak and down again, by halves of cosines (Smith & Topin 2018).

    Torch's OneCycleLR, whose words these are. It ends at update total-1 and stays there.

    Parameters
    ----------
    peak : float
        The highest rate.
    total : int
        Updates of the cycle, at least 2.
    pct_start : float
        In [0, 1]: share of the updates that lead up.
    div_factor : float
        The first rate is peak / div_factor.
    final_div_factor : float
        The last rate is peak / div_factor / final_div_factor.
    three_phase : bool
        Whether the way down is as long as that up, to the first rate, and a third part leads to the last one.
    """

    peak: float
    total: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.total < 2:
            raise ValueError(f"total must be at least 2, got {self.total}")

    def _after_warmup(self, updates):
        low = self.peak / self.div_factor
        last = low / self.final_div_factor
        up = self.pct_start * self.total - 1  # torch counts so, with a fraction of an update
        rates, ends = [low, self.peak, last], [up, self.total - 1]
        if self.three_phase:
            rates, ends = [low, self.peak, low, last], [up, 2 * up, self.total - 1]
        begin, updates = 0.0, min(updates, self.total - 1)
        for i, end in enumerate(ends):
            if updates <= end:
                part = (updates - begin) / (end - begin) if end > begin else 1.0
                return rates[i + 1] + (rates[i] - rates[i + 1]) * (1 + math.cos(math.pi * part)) / 2
            begin = end
        return last


@dataclass(frozen=True)
class sequence(_Schedule):
    """Schedules one after the other, each counting from its own beginning; torch's SequentialLR.

    Parameters
    ----------
    schedules : sequence of functions
        At least two.
    milestones : sequence of int
        Numbers of updates done at which the next one begins: one less than there are schedules, ascending.
    """

    schedules: Sequence[Callable[[int], float]]
    milestones: Sequence[int]

    def __post_init__(self):
        super().__post_init__()
        given = self.schedules
        if not isinstance(given, (list, tuple)) or len(given) < 2 or not all(map(callable, given)):
            raise TypeError(f"schedules must be a list of at least two functions, got {brief(given)}")
        if len(self.milestones) != len(given) - 1:
            raise ValueError(f"milestones must be {len(given) - 1} for {len(given)} schedules, got {self.milestones}")
        object.__setattr__(self, "schedules", tuple(given))

    def _after_warmup(self, updates):
        which = sum(end <= updates for end in self.milestones)
        return self.schedules[which](updates - (self.milestones[which - 1] if which else 0))
