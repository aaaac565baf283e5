"""bptt.fit: the training loop that most scripts need."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np

from . import _core
from ._checks import brief, flag, index, optional
from ._constraints import Constraints
from ._history import History
from ._init import generator
from ._loss import Loss, counted_weight
from ._metrics import Means, Metric, named_metrics
from ._minibatches import Data, HeldOut
from ._patience import Patience
from ._progress import Bar
from ._ranks import Ranks
from ._rnn import RNN, check_network
from ._shard_windows import Pass, Source
from ._shards import Shards
from ._truncation import ARTBP, Truncation
from ._updates import Clip, OnUpdate, Rate, Updates, make_optimizer
from ._windows import WindowOptions, Windows, check_burn_in


def fit(
    rnn,
    x,
    target,
    *,
    loss: str | Loss = "mse",
    optimizer="adam",
    lr: float | Callable[[int], float] | None = None,
    epochs: int = 10,
    batch_size: int | None = None,
    truncation: Truncation | None = None,
    burn_in: int = 0,
    clip_norm: float | None = 1.0,
    clip_value: float | None = None,
    accumulate: int = 1,
    constraints: Constraints | None = None,
    lengths=None,
    mask=None,
    reset=None,
    validation: tuple | None = None,
    validation_batch_size: int | None = None,
    metrics: str | Metric | list | Mapping[str, str | Metric] | None = None,
    patience: int | None = None,
    min_delta: float = 0.0,
    shuffle: bool = True,
    seed: int | np.random.Generator | None = None,
    resume: str | os.PathLike[str] | None = None,
    save_every: int | None = None,
    progress: bool = True,
    callback: Callable[[int, History], object] | None = None,
    on_update: OnUpdate | None = None,
    comm=None,
    shards: int | None = None,
) -> History:
    """Train a network.

    Parameters
    ----------
    rnn : bptt.RNN
        Changed in place.
    x, target, mask, reset : array_like
        As RNN.windows takes them; the batch axis holds the separate sequences. Minibatches of fewer rows than all are
        copied whole: pass a long memmap with batch_size=None.
    loss : str or function
        See RNN.windows.
    optimizer : {"adam", "rmsprop", "adagrad", "sgd"} or object with step()
        A name makes one with `lr`.
    lr : float or function of the number of updates done, optional
        The learning rate of an optimiser that a name makes, 1e-3 by default. An object has its own: a number is an
        error then. A function, such as those of bptt.schedule, goes with both: before each update its value is assigned
        to the optimiser's `lr`.
    epochs : int
        How often all sequences are gone over.
    batch_size : int, optional
        Sequences per minibatch; None: all of them.
    truncation : bptt.TBPTT or bptt.ARTBP, optional
        A window is then that of RNN.windows, the state carried on to the end of the sequence. None: full BPTT, a
        minibatch is one window. With ARTBP each minibatch has cuts of its own, and a window's mean gradient is
        multiplied by its steps / mean_length, with class weights by the sum of its labels' weights / mean_length:
        weighed alike, short windows would bias it.
    burn_in : int
        The first steps of each sequence, which only move the state on, see RNN.windows; in the validation too.
    clip_norm, clip_value : float, optional
        Clip the gradient before each update, by norm and then by value; None: not.
    accumulate : int
        Windows per update: its gradient is the mean over all their steps that count, as if a minibatch had as many
        times the rows. An epoch ends with an update of those that are left. With ARTBP it is their sum divided by
        `accumulate`.
    constraints : bptt.Constraints, optional
        Of this network: before the training, unless it goes on from `resume`, and after each update its parameters are
        projected onto them; gradients of masked weights are set to zero before the clipping.
    lengths : array_like of int, (B,), optional
        The steps that each padded sequence has, see RNN.forward: what lies beyond counts nothing and costs next to
        nothing. Goes with truncation=None.
    validation : tuple, optional
        (x, target), (x, target, mask) or (x, target, mask, lengths), mask may be None: measured without truncation
        after each epoch.
    validation_batch_size : int, optional
        Sequences that the validation goes over at a time, by default batch_size.
    metrics : function (y, target) -> number, "accuracy", list or dict {name: function} of them, optional
        Measured in training and validation, into history.metrics and history.val_metrics. y (N,O) and target (N,...)
        are the N (step, row) pairs of a window or a batch that count: those that mask, lengths, burn-in or ignored
        labels leave out are not among them. An epoch has the mean over its windows, weighed by N; in training the
        outputs are those that the updates were made with. "accuracy" is that of the largest logit for labels, and of
        the sign of the logit for targets from 0 to 1.
    patience : int, optional
        The training ends after so many epochs in a row without improvement: none whose validation loss (without
        validation the training loss) is more than `min_delta` below the best one. At the end, whatever ended it but an
        exception, rnn has the parameters of the best epoch.
    min_delta : float
        See patience.
    shuffle : bool
        Draw the sequences of the minibatches anew in each epoch.
    seed : int or numpy.random.Generator, optional
        For the shuffling.
    resume : str or path-like, optional
        A file from which the training goes on if it exists. It is written as a whole before the first epoch, after each
        epoch and at KeyboardInterrupt (Ctrl-C) or SystemExit: parameters, those of the best epoch, the state of the
        optimiser, of the shuffling, of dropout and of ARTBP, history and position. See Notes.
    save_every : int, optional
        Write it within an epoch too, at the first end of a minibatch after so many updates. Where a minibatch holds all
        sequences, or there is one long sequence, that is the end of the epoch.
    progress : bool
        Show a progress bar: the mean loss of the epoch so far, the validation loss of the epoch before, the norm of the
        last gradient before clipping, and the learning rate if the optimiser has a number `lr`.
    callback : function (epoch, history), optional
        Called after each epoch, numbered from 0. The training ends if it returns something true: True, NumPy's True, 1,
        a text. None and False let it go on.
    on_update : function (update, history), optional
        Called after each update, numbered from 0 through all epochs, with what was recorded so far. The training ends
        if it returns something true; the epoch under way is then not recorded.
    comm : communicator, optional
        Train on all its processes, see bptt.Shards; every one calls fit with the same arguments. Their parameters,
        optimisers, dropout and order of the sequences are those of rank 0, which shows the bar, calls `callback` and
        `on_update` (all get what these change of rnn.params and of the optimiser's lr), and reads and writes the file
        of `resume`. The validation is shared out too.
    shards : int, optional
        Parts of each minibatch, 8 by default where `comm` is given, see bptt.Shards. The result depends on their
        number, in the last bits, and not on that of the processes: with comm=None it is that of a training on many.
        Metrics are measured for each part. Rows are copied part by part and window by window, so that a process trains
        on no other rows of a memmap than its own.

    Returns
    -------
    bptt.History

    Raises
    ------
    FloatingPointError
        If the norm of a gradient is NaN or Inf.
    RuntimeError
        If another process raised; it says what.
    ValueError
        If the file of `resume` is of another network or of other settings, or the processes of `comm` make other calls;
        it says what differs. Nothing is changed then.
    OSError
        If the file cannot be read or written.

    Notes
    -----
    After Ctrl-C (KeyboardInterrupt) and FloatingPointError rnn.params are as the last whole update made them.

    A training with `resume` that was stopped, by Ctrl-C or by a kill, and called again with the same arguments has in
    the end the same parameters and the same history (but for `seconds`), to the bit. What Ctrl-C writes is the state at
    the end of the last minibatch after which no gradient waited; a kill leaves what was written last. If the training
    had ended, the call returns at once what it returned then; more epochs may be given to one that no patience and no
    callback ended. To pause from a callback, raise KeyboardInterrupt there. The data and what functions of yours keep
    are not in the file; functions are compared by name, arrays by shape and dtype. With `comm` or `shards` it may go on
    with any number of processes.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> x = np.random.default_rng(0).normal(size=(30, 64, 1))
    >>> target = np.cumsum(x, axis=0) / 10
    >>> rnn = bptt.RNN(1, 16, 1, seed=0)
    >>> rate = bptt.schedule.cosine(1e-2, warmup=5, total=80)
    >>> history = bptt.fit(rnn, x, target, lr=rate, epochs=20, batch_size=16, seed=0,
    ...                    validation=(x[:, :9], target[:, :9]), patience=3, progress=False)
    >>> history.val_loss[history.best_epoch] < 0.1 * history.val_loss[0]
    True
    """
    group = None if comm is None and shards is None else Shards(comm, 8 if shards is None else shards)
    ranks = Ranks(None) if group is None else group.ranks
    with ranks.together(), ranks.telling():
        check_network(rnn)
        epochs = index(epochs, "epochs")
        options = WindowOptions(loss=loss, truncation=truncation, burn_in=burn_in, lengths=lengths, mask=mask)
        clip, accumulate = Clip(clip_norm, clip_value), index(accumulate, "accumulate")
        rate, optimizer = Rate(lr), make_optimizer(rnn, optimizer, lr)
        constraints = optional(_constraints_of(rnn), constraints, "constraints")
        data = Data(rnn, x, target, mask, reset, batch_size)
        check_burn_in(options.burn_in, data.steps)
        if lengths is not None:
            data.lengths = _core.checked_lengths(lengths, data.steps, data.rows)
        data.check_tokens(rnn, "x", group)
        held_out = _held_out(rnn, validation, validation_batch_size, batch_size, options, data)
        if held_out is not None:
            held_out.data.check_tokens(rnn, "validation x", group)
        rng = generator(seed) if flag(shuffle, "shuffle") else None
        history = History(clip_norm=None if clip.norm == math.inf else clip.norm)
        on_update = _on_rank_0(ranks, _function(on_update, "on_update", "update"), rnn, optimizer)
        updates = Updates(rnn, optimizer, rate, clip, accumulate, constraints, history, on_update)
        training = Training(
            rnn, data, options, updates, held_out, named_metrics(metrics), Patience(patience, min_delta), rng, epochs,
            _on_rank_0(ranks, _function(callback, "callback", "epoch"), rnn, optimizer), history, group,
        )  # fmt: skip
        file = _run_file(resume, save_every, training, seed)
        rate.set(optimizer, 0)  # an error of the function comes before anything has changed
        if group is not None:
            training.agree(group, seed, file)
        training.run(file, Bar(epochs, training.windows_per_epoch(), optimizer, progress and not ranks.rank))
        ranks.leave()
    return history


def _constraints_of(rnn):
    """The check of constraints for this network."""

    def check(value, name):
        if not isinstance(value, Constraints):
            raise TypeError(f"{name} must be bptt.Constraints or None, got {brief(value)}")
        if value.rnn is not rnn:
            raise ValueError(f"{name} must be made with this network")
        return value

    return check


def _held_out(rnn, validation, size, batch_size, options, data):
    """The validation, or None."""
    size = optional(index, size, "validation_batch_size")
    if validation is not None:
        return HeldOut(rnn, validation, options, batch_size if size is None else size, data)
    if size is not None:
        raise ValueError(f"validation_batch_size goes with validation, got {size} and None")
    return None


def _function(value, name, first):
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function ({first}, history), got {brief(value)}")
    return value


def _on_rank_0(ranks, function, rnn, optimizer):
    """The function, called on rank 0 alone: all ranks get whether what it returns is true, and what it changed of the
    parameters and of the optimiser's rate."""
    if function is None or ranks.size == 1:
        return function

    def call(number, history):
        before = rnn.params.copy()
        result = bool(function(number, history))
        changed = rnn.params.tobytes() != before.tobytes()
        return result, rnn.params if changed else None, getattr(optimizer, "lr", None)

    def call_for_all(number, history):
        result, params, lr = ranks.first(lambda: call(number, history))
        if params is not None:
            rnn.params[:] = params
        if isinstance(lr, Real):
            optimizer.lr = lr
        return result

    return call_for_all


def _run_file(path, save_every, training, seed):
    """The file to go on from, or None."""
    if path is not None:
        from ._resume import RunFile, settings_of

        return RunFile(path, save_every, settings_of(training, seed), training.ranks)
    if save_every is not None:
        raise ValueError(f"save_every goes with resume, got {save_every!r} and resume=None")
    return None


@dataclass
class Training:
    """A training under way: its parts, and where it is."""

    rnn: RNN
    data: Data
    options: WindowOptions
    updates: Updates
    held_out: HeldOut | None
    metrics: dict[str, Metric]
    patience: Patience
    rng: np.random.Generator | None
    epochs: int
    callback: Callable | None
    history: History
    group: Shards | None = None
    """the ranks that share the minibatches out; None: no shards"""
    epoch: int = 0
    """the epoch that is under way"""
    minibatch: int = 0
    """minibatches of it that are done"""
    windows: int = 0
    """windows that are done since the beginning"""
    order: np.ndarray | None = None
    """rows of the epoch under way, in the order of its minibatches; None before it begins, and without shuffling"""
    seconds: float = 0.0
    """time that the epoch took so far"""

    def __post_init__(self):
        self.ranks = Ranks(None) if self.group is None else self.group.ranks
        self.means = Means(self.metrics)
        self.history.metrics |= {name: [] for name in self.metrics}
        if self.held_out is not None:
            self.history.val_metrics |= {name: [] for name in self.metrics}

    def agree(self, group, seed, file) -> None:
        """Compare the call of fit on all ranks, and give all the state of rank 0."""
        from ._resume import settings_of

        truncation, given = self.options.truncation, list(self.data.arrays.values())
        given += [self.data.lengths, *(() if self.held_out is None else self.held_out.data.arrays.values())]
        call = settings_of(self, seed) | {"epochs": self.epochs, "callback": self.callback is not None}
        call |= {"on_update": self.updates.on_update is not None}
        call |= {"resume": file is not None, "save_every": file and file.save_every}
        self.ranks.check_same(call, "the call of fit")
        group.agree(self.rnn, self.updates.optimizer, given)
        if isinstance(truncation, ARTBP):
            truncation.state = self.ranks.first(lambda: truncation.state)
        along_x = {name: array for name, array in self.data.arrays.items() if name not in ("x", "target")}
        options = replace(self.options, lengths=self.data.lengths, **along_x)
        self.source = Source(self.rnn, self.data.arrays["x"], self.data.arrays["target"], options, group)

    def windows_per_epoch(self) -> int | None:
        """The number of windows; None where their ends are drawn."""
        windows = self.data.windows_per_sequence(self.options.truncation, self.options.burn_in)
        return None if windows is None else windows * self.data.batches()

    def run(self, file, bar) -> None:
        """Train, and keep the file, if there is one, up to date."""
        try:
            if file is not None:
                file.begin(self)
            self.updates.begin()
            bar.begin(self.epoch, self.windows)
            while self.epoch < self.epochs and self.history.stopped is None:
                self._train_epoch(file, bar)
                if self.history.stopped is None:
                    self._end_epoch(bar)
                if file is not None:
                    file.write(self)
            self.patience.restore(self.rnn)
        except (KeyboardInterrupt, SystemExit) as error:
            self.ranks.tell(error)
            if file is not None:
                file.write_last(self)
            raise
        finally:
            bar.close()

    def _train_epoch(self, file, bar):
        """The minibatches of the epoch that are left."""
        if self.rng is not None and self.order is None:
            self.order = self.ranks.first(lambda: self.rng.permutation(self.data.rows))
        began = time.perf_counter() - self.seconds
        for rows in self.data.minibatches(self.order, self.minibatch):
            self._train_minibatch(rows, bar)
            self.minibatch += 1
            if self.minibatch == self.data.batches() and self.history.stopped is None:
                self.updates.flush()
            self.seconds = time.perf_counter() - began
            if self.history.stopped is not None:
                break
            if file is not None and not self.updates.waiting:
                file.minibatch_done(self)

    def _train_minibatch(self, rows, bar):
        count = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        for loss, weight in self._windows(rows) if self.group is None else self._shared_windows(rows):
            self.updates.add(loss, weight, self._share(weight, count))
            self.windows += 1
            bar.advance(self.means.loss, self.updates.norm)
            if self.history.stopped is not None:
                break

    def _windows(self, rows):
        """(loss, weight) of each window of a minibatch, entered into the means of the epoch."""
        part = self.data.part(rows)
        along_x = {name: array for name, array in part.items() if name not in ("x", "target")}
        options = replace(self.options, **along_x) if along_x else self.options
        for w in Windows(self.rnn, part["x"], part["target"], options).run():
            yield w.loss, self._take(w, part)

    def _shared_windows(self, rows):
        """The same on all ranks together."""
        if isinstance(rows, slice):
            rows = None if rows.stop - rows.start == self.data.rows else np.arange(rows.start, rows.stop)
        for taken in Pass(self.group, self.source, rows, self.metrics).run():
            self.means.add(taken.loss, taken.weight)
            for of_shard in taken.metrics:
                self.means.add_metric_sums(*of_shard)
            yield taken.loss, taken.weight

    def _take(self, w, part):
        """Enter a window into the means of the epoch; what it weighs there."""
        counts = self.data.counts(part, w.start, w.stop, self.options.loss.ignored)
        target = self.data.layout.steps_of(part["target"], w.start, w.stop)
        weight = counted_weight(self.options.loss, target, counts)
        self.means.add(w.loss, weight)
        self.means.add_metrics(w.y, target, counts)
        return weight

    def _share(self, weight, rows):
        """The factor of a window's gradient under ARTBP; None: it has none."""
        truncation = self.options.truncation
        if not isinstance(truncation, ARTBP):
            return None
        return weight / (truncation.mean_length * rows)

    def _end_epoch(self, bar):
        """Record the epoch, measure the validation, and ask whether the training ends."""
        history, measured = self.history, self._validation()
        history.loss.append(self.means.loss)
        history.seconds.append(self.seconds)
        append_all(history.metrics, self.means.metric_means())
        if measured is not None:
            history.val_loss.append(measured[0])
            append_all(history.val_metrics, measured[1])
        monitored = history.loss[-1] if measured is None else measured[0]
        if self.patience.after_epoch(self.epoch, monitored, self.rnn.params):
            history.stopped = "patience"
        history.best_epoch = self.patience.epoch
        bar.end_of_epoch(self.epoch, history)
        if self.callback is not None and self.callback(self.epoch, history):
            history.stopped = "callback"
        self.epoch += 1
        self.minibatch, self.order, self.seconds, self.means = 0, None, 0.0, Means(self.metrics)

    def _validation(self):
        if self.held_out is None:
            return None
        return self.held_out.measure(self.rnn, self.options.loss, self.metrics, self.group)


def append_all(lists, values):
    """Append each value to the list of its name."""
    for name, value in values.items():
        lists[name].append(value)
