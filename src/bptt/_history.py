"""What bptt.fit recorded, and how its file holds it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np


@dataclass
class History:
    """What fit recorded: numbers of each epoch, and of each update."""

    loss: list[float] = field(default_factory=list)
    """mean training loss of each epoch"""
    val_loss: list[float] = field(default_factory=list)
    """validation loss after each epoch, empty without validation"""
    seconds: list[float] = field(default_factory=list)
    """time each epoch took"""
    update_loss: list[float] = field(default_factory=list)
    """loss of each update: of its window, or the mean of those whose gradients it accumulates"""
    grad_norm: list[float] = field(default_factory=list)
    """gradient norm of each update before clipping"""
    clip_norm: float | None = None
    """norm to which fit clipped the gradient; None: it did not"""
    lr: list[float] = field(default_factory=list)
    """learning rate of each update; empty where the optimiser has no number `lr`"""
    metrics: dict[str, list[float]] = field(default_factory=dict)
    """{name: mean of each epoch} over the training steps, from the outputs that the updates were made with"""
    val_metrics: dict[str, list[float]] = field(default_factory=dict)
    """{name: value after each epoch} over the validation, empty without"""
    best_epoch: int | None = None
    """with patience: the epoch, numbered from 0, whose parameters the network has at the end"""
    stopped: str | None = None
    """what ended the training before its last epoch: "patience", "callback" or "on_update"; None: nothing did"""

    def sizes(self) -> tuple[int, int]:
        """(epochs, updates) that are recorded."""
        return len(self.loss), len(self.update_loss)

    def state(self, sizes: tuple[int, int]) -> dict[str, object]:
        """The first so many epochs and updates, as arrays."""
        return {name: _array(values, name, sizes) for name, values in self._lists().items()}

    def load_state(self, state) -> None:
        """Take what state() returned."""
        for name, values in state.items():
            held = getattr(self, name)
            if isinstance(held, dict):
                held.update({key: list(map(float, numbers)) for key, numbers in values.items()})
            else:
                held[:] = map(float, values)

    def _lists(self):
        return {one.name: values for one in fields(self) if isinstance(values := getattr(self, one.name), (list, dict))}


EACH_UPDATE = {"update_loss", "grad_norm", "lr"}


def _array(values, name, sizes):
    if isinstance(values, dict):
        return {key: _array(numbers, name, sizes) for key, numbers in values.items()}
    return np.array(values[: sizes[name in EACH_UPDATE]], np.float64)
