"""Metrics of bptt.fit: functions of (y, target), their means over windows and minibatches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from ._checks import brief, choice

Metric = Callable[[np.ndarray, np.ndarray], float]


def accuracy(y, target) -> float:
    """The share of labels that have the largest logit; of targets from 0 to 1 that the sign of their logit tells."""
    right = y.argmax(-1) == target if target.ndim < y.ndim else (y > 0) == (target > 0.5)
    return float(right.mean())


METRICS: dict[str, Metric] = {"accuracy": accuracy}


def named_metrics(metrics) -> dict[str, Metric]:
    """{name: function} of what the argument `metrics` may be."""
    if metrics is None:
        return {}
    if isinstance(metrics, Mapping):
        for name in metrics:
            if not isinstance(name, str):
                raise TypeError(f"metrics must have names of text, got {brief(name)}")
        return {name: _function(metric, f"metrics[{name!r}]") for name, metric in metrics.items()}
    given = [metrics] if isinstance(metrics, str) or callable(metrics) else metrics
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"metrics must be a function (y, target), a list or a dict of them, got {brief(metrics)}")
    named = {}
    for i, metric in enumerate(given):
        function = _function(metric, f"metrics[{i}]")
        name = getattr(function, "__name__", "")
        if not name.isidentifier() or name in named:
            why = f"another one is {name}" if name in named else "it has no name"
            raise ValueError(f"metrics must be a dict {{name: function}} for {brief(metric)}: {why}")
        named[name] = function
    return named


def _function(metric, name):
    return metric if callable(metric) else METRICS[choice(metric, name, METRICS, "a function (y, target)")]


class Means:
    """Running means, of a loss and of metrics, over the (step, row) pairs that count."""

    def __init__(self, metrics: dict[str, Metric]):
        self.metrics = metrics
        self.loss_sum, self.weight = 0.0, 0
        self.metric_sums, self.metric_weight = dict.fromkeys(metrics, 0.0), 0

    def add(self, loss, weight) -> None:
        """A mean loss, and what the sum was divided by for it."""
        self.loss_sum += loss * weight
        self.weight += weight

    def add_metrics(self, y, target, counts) -> None:
        """The metrics of those pairs of y and target whose `counts` is true."""
        self.add_metric_sums(*metric_sums(self.metrics, y, target, counts))

    def add_metric_sums(self, counted, sums) -> None:
        """What metric_sums returned."""
        self.metric_weight += counted
        for name, total in sums.items():
            self.metric_sums[name] += total

    @property
    def loss(self) -> float:
        return self.loss_sum / (self.weight or 1)

    def metric_means(self) -> dict[str, float]:
        """{name: mean}, NaN where nothing counted."""
        weight = self.metric_weight
        return {name: total / weight if weight else math.nan for name, total in self.metric_sums.items()}

    def state(self) -> dict[str, object]:
        return {
            "loss_sum": self.loss_sum,
            "weight": self.weight,
            "metric_sums": dict(self.metric_sums),
            "metric_weight": self.metric_weight,
        }

    def load_state(self, state) -> None:
        self.loss_sum, self.weight = state["loss_sum"], state["weight"]
        self.metric_sums, self.metric_weight = dict(state["metric_sums"]), state["metric_weight"]


def metric_sums(metrics, y, target, counts) -> tuple[int, dict[str, float]]:
    """(n, {name: metric times n}) of those n pairs of y and target whose `counts` is true: a metric gets them as rows.
    No pair, or no metric: (0, {})."""
    counted = int(counts.sum()) if metrics else 0
    if not counted:
        return 0, {}
    rows, target_rows = y[counts], np.asarray(target)[counts]
    return counted, {name: metric_value(metric(rows, target_rows), name) * counted for name, metric in metrics.items()}


def metric_value(value, name) -> float:
    """What a metric returned, a number of any type, as a float."""
    array = np.asarray(value)
    if array.ndim or array.dtype.kind not in "fiub":
        raise TypeError(f"metrics[{name!r}] must return one number, got {brief(value)}")
    return float(array)
