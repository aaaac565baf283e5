"""Early stopping of bptt.fit: the best epoch, its parameters, and when to end."""

from __future__ import annotations

import math

import numpy as np

from ._checks import index, number


class Patience:
    """The best epoch so far. Without patience (None) nothing is kept."""

    def __init__(self, patience: int | None, min_delta: float) -> None:
        self.patience = None if patience is None else index(patience, "patience")
        self.min_delta = number(min_delta, "min_delta", 0)
        if self.patience is None and self.min_delta:
            raise ValueError(f"min_delta goes with patience, got min_delta={min_delta!r} and patience=None")
        self.loss, self.epoch, self.waited = math.inf, None, 0
        self.params: np.ndarray | None = None

    def after_epoch(self, epoch, loss, params) -> bool:
        """Note an epoch's loss; whether so many epochs brought nothing better that the training ends."""
        if self.patience is None:
            return False
        if loss < self.loss - self.min_delta:
            self.loss, self.epoch, self.waited, self.params = loss, epoch, 0, params.copy()
        else:
            self.waited += 1
        return self.waited >= self.patience

    def restore(self, rnn) -> None:
        """Give the network the best parameters, if there are any."""
        if self.params is not None:
            rnn.params = self.params

    def state(self) -> dict[str, object]:
        return {"loss": self.loss, "epoch": self.epoch, "waited": self.waited, "params": self.params}

    def load_state(self, state) -> None:
        self.loss, self.epoch, self.waited, self.params = (state[k] for k in ("loss", "epoch", "waited", "params"))
