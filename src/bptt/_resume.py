"""The file of bptt.fit(resume=path): written after each epoch and at Ctrl-C, and read to go on from there.

It is a training file whose `more` has the settings of the call and the position. A position is the end of a minibatch
after which no gradient waits, or the end of an epoch: what comes next depends on nothing that is not in the file.
"""

from __future__ import annotations

import functools
import os
import re
from numbers import Real

import numpy as np

from ._checks import index
from ._files import file_name
from ._training_file import (
    apply,
    captured,
    check_equal,
    check_kinds,
    check_same,
    kind_of,
    naming_file,
    optimizers_of,
    read_state,
    write_state,
)
from ._truncation import ARTBP

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
POSITION = {
    "epoch": int, "minibatch": int, "windows": int, "seconds": float, "order": (np.ndarray, type(None)), "means": dict,
    "best": dict, "stopped": (str, type(None)), "shuffle": (dict, type(None)), "truncation": (tuple, type(None)),
}  # fmt: skip
"""What position_of gives."""


class RunFile:
    """Where a training is written to, and its last position."""

    def __init__(self, path, save_every: int | None, settings: dict, ranks) -> None:
        self.path = file_name(path, "resume")
        self.save_every = None if save_every is None else index(save_every, "save_every")
        self.settings, self.ranks = settings, ranks
        self.position: tuple[dict, tuple[int, int]] | None = None  # and (epochs, updates) of the history there
        self.written = 0  # updates that the file has

    def begin(self, training) -> None:
        """Take the state of the file, if there is one, or write the first. Rank 0 has the file."""
        state = self.ranks.first(lambda: read_state(self.path, "resume") if os.path.exists(self.path) else None)
        if state is None:
            self.write(training)
        else:
            self._take(training, state)
            self._note(training)
            self.written = len(training.history.update_loss)

    def _take(self, training, state):
        objects = [training.rnn], optimizers_of(training.updates.optimizer)
        with naming_file(self.path, "resume"):
            if state["kind"] != "fit":
                raise ValueError("it was written by save_training, bptt.load_training reads it")
            check_same(state, *objects)
            held = state["more"]
            check_equal(held["settings"], self.settings, "it is of another call of fit")
            check_kinds(held, POSITION | {"history": dict})
            if held["epoch"] > training.epochs:
                raise ValueError(f"epochs must be at least the {held['epoch']} that are done, got {training.epochs}")
            load_position(training, held)
            apply(state, *objects)

    def _note(self, training):
        """Keep a copy of the position that the training has reached."""
        if self.ranks.rank:
            return
        objects = captured([training.rnn], optimizers_of(training.updates.optimizer))
        state = objects | {"kind": "fit", "more": position_of(training)}
        self.position = state, sizes_of(training.history)  # at once: Ctrl-C comes before or after

    def minibatch_done(self, training) -> None:
        """Note the position; write it if there were `save_every` updates since the last time."""
        self._note(training)
        if self.save_every is not None and len(training.history.update_loss) - self.written >= self.save_every:
            self._write_noted(training)

    def write(self, training) -> None:
        self._note(training)
        self._write_noted(training)

    def _write_noted(self, training):
        self.ranks.first(lambda: self.write_last(training))
        self.written = len(training.history.update_loss)

    def write_last(self, training) -> None:
        """Write the last position that was noted, if there is one."""
        if self.position is not None:
            state, sizes = self.position
            more = state["more"] | {"settings": self.settings, "history": history_state(training.history, sizes)}
            write_state(self.path, state | {"more": more})


# ---- the position -----------------------------------------------------------------------------------------


def position_of(training) -> dict:
    """Where a training is, but for its network, its optimiser and its history. No value of it is changed later."""
    truncation, rng = training.options.truncation, training.rng
    return {
        "epoch": training.epoch,
        "minibatch": training.minibatch,
        "windows": training.windows,
        "seconds": training.seconds,
        "order": training.order,
        "means": training.means.state(),
        "best": training.patience.state(),
        "stopped": training.history.stopped,
        "shuffle": None if rng is None else rng.bit_generator.state,
        "truncation": truncation.state if isinstance(truncation, ARTBP) else None,
    }


def load_position(training, held) -> None:
    """Take what position_of gave, and the history. ValueError for what it never gives."""
    order, best = held["order"], held["best"]["params"]
    if not (held["epoch"] >= 0 and 0 <= held["minibatch"] <= training.data.batches() and held["windows"] >= 0):
        raise ValueError("its position is outside of the data")
    if order is not None and not np.array_equal(np.sort(order), np.arange(training.data.rows)):
        raise ValueError("its order is none of the rows")
    if best is not None and (best.shape, best.dtype) != (training.rnn.params.shape, training.rnn.dtype):
        raise ValueError("its best parameters are not those of the network")
    for name in ("epoch", "minibatch", "windows", "seconds", "order"):
        setattr(training, name, held[name])
    training.means.load_state(held["means"])
    training.patience.load_state(held["best"])
    load_history(training.history, held["history"])
    training.history.stopped, training.history.best_epoch = held["stopped"], training.patience.epoch
    if held["shuffle"] is not None:
        training.rng.bit_generator.state = held["shuffle"]
    if held["truncation"] is not None:
        training.options.truncation.state = held["truncation"]


# ---- the history ------------------------------------------------------------------------------------------

EACH_EPOCH = ("loss", "val_loss", "seconds")
EACH_UPDATE = ("update_loss", "grad_norm", "lr")
METRICS = ("metrics", "val_metrics")


def sizes_of(history) -> tuple[int, int]:
    """(epochs, updates) that are recorded."""
    return len(history.loss), len(history.update_loss)


def history_state(history, sizes) -> dict:
    """The first so many epochs and updates, as arrays."""
    epochs, updates = sizes
    state: dict[str, object] = {name: np.array(getattr(history, name)[:epochs], np.float64) for name in EACH_EPOCH}
    state |= {name: np.array(getattr(history, name)[:updates], np.float64) for name in EACH_UPDATE}
    for name in METRICS:
        state[name] = {key: np.array(values[:epochs]) for key, values in getattr(history, name).items()}
    return state


def load_history(history, state) -> None:
    """Take what history_state returned."""
    for name in EACH_EPOCH + EACH_UPDATE:
        getattr(history, name)[:] = state[name].tolist()
    for name in METRICS:
        for key, values in getattr(history, name).items():
            values[:] = state[name][key].tolist()


# ---- the settings -----------------------------------------------------------------------------------------


def settings_of(training, seed) -> dict:
    """What the numbers of a training depend on, but for the network and the values of its data."""
    updates, options, held_out = training.updates, training.options, training.held_out
    return {
        "loss": described(options.loss.function),
        "optimizer": kind_of(updates.optimizer),
        "lr": _rate(updates),
        "batch_size": training.data.batch_size,
        "shards": training.group and training.group.shards,
        "truncation": repr(options.truncation),
        "burn_in": options.burn_in,
        "clip_norm": updates.clip.norm,
        "clip_value": updates.clip.value,
        "accumulate": updates.accumulate,
        "metrics": {name: described(metric) for name, metric in training.metrics.items()},
        "patience": training.patience.patience,
        "min_delta": training.patience.min_delta,
        "shuffle": training.rng is not None,
        "seed": int(seed) if isinstance(seed, (int, np.integer)) else seed and type(seed).__name__,
        **training.data.shapes(),
        "validation": held_out and held_out.data.shapes(),
        "validation_batch_size": held_out and held_out.data.batch_size,
    }


def _rate(updates):
    """The function of the rate, or the number that the optimiser begins with, if it has one."""
    if updates.rate.function is not None:
        return described(updates.rate.function)
    lr = getattr(updates.optimizer, "lr", None)
    return float(lr) if isinstance(lr, Real) else None


def described(function) -> str:
    """A function as it can be compared between processes: its name, or what its object prints."""
    if isinstance(function, functools.partial):
        arguments = [*map(_argument, function.args)]
        arguments += [f"{name}={_argument(value)}" for name, value in function.keywords.items()]
        return f"{described(function.func)}({', '.join(arguments)})"
    name = getattr(function, "__qualname__", None)
    if name is not None:
        return f"{getattr(function, '__module__', None)}.{name}"
    kind = type(function)
    return kind.__qualname__ if kind.__repr__ is object.__repr__ else ADDRESS.sub("", repr(function))


def _argument(value) -> str:
    return described(value) if callable(value) else repr(value)
