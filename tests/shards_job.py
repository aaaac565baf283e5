"""Trainings with bptt.Shards whose results must not depend on the number of ranks: for test_shards.py, whose threads
run them, and which starts `main` by mpiexec."""

import hashlib
import json
import os
import signal
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

import bptt

T, B = 24, 13  # no multiple of the shards


def sequences(seed=0, rows=B):
    x = np.random.default_rng(seed).normal(size=(T, rows, 3)).astype(np.float32)
    return x, np.roll(x, 1, axis=0)


X, TARGET = sequences()
MASK = np.random.default_rng(1).random((T, B)) < 0.7
MASK[:, :6] = False  # of 8 shards the first three have nothing that counts
LABELS = np.where(MASK, np.arange(B) % 3, -100)
SORTED_LABELS = np.broadcast_to(np.arange(B) * 3 // B, (T, B))  # whole shards have the same label
WEIGHTED = partial(bptt.cross_entropy, weight=np.array([0.0, 1.0, 2.5]), label_smoothing=0.1)
WORDS = np.random.default_rng(2).integers(0, 50, (T, B))
LENGTHS = np.arange(B) % T + 1
RESET = np.random.default_rng(3).random((T, B)) < 0.1


def chunks(array):
    for start in range(0, T, 5):
        yield array[start : start + 5]


KINDS = {
    "tanh": lambda: ({}, {}),
    "lstm with dropout": lambda: (
        {"cell": "lstm", "hidden_size": 40, "num_layers": 2, "dropout": 0.3, "recurrent_dropout": 0.2},
        {"truncation": bptt.TBPTT(9)},
    ),  # of more bytes than one rank adds up for all
    "gru with lengths": lambda: ({"cell": "gru"}, {"lengths": LENGTHS}),
    "overlapping windows": lambda: ({"learn_state": True}, {"truncation": bptt.TBPTT(10, 20), "reset": RESET}),
    "random windows": lambda: ({}, {"truncation": bptt.ARTBP(5, seed=1), "step_clip_norm": 0.1}),
    "empty shards": lambda: ({"cell": "lstm"}, {"mask": MASK}),
    "nothing counts": lambda: ({}, {"mask": np.zeros((T, B), bool)}),
    "ignored labels": lambda: ({}, {"loss": "cross_entropy", "target": LABELS}),
    "class weights": lambda: (
        {"dtype": "float64"},
        {"loss": WEIGHTED, "target": SORTED_LABELS, "mask": MASK},
    ),
    "words": lambda: ({"num_embeddings": 50}, {"x": WORDS, "shards": 5, "checkpoint": 4}),
    "more shards than rows": lambda: ({"bidirectional": True}, {"shards": 20, "reduction": "sum"}),
    "chunks": lambda: (
        {},
        {"x": chunks(X), "target": chunks(TARGET), "truncation": bptt.TBPTT(4), "burn_in": 7},
    ),
    "batch first": lambda: (
        {"batch_first": True},
        {"x": X.swapaxes(0, 1), "target": TARGET.swapaxes(0, 1), "state": np.ones((1, B, 8), np.float32)},
    ),
    "state goes on": lambda: ({"cell": "lstm", "dtype": "float64"}, {"state": None}),
    "one sequence": lambda: ({}, {"x": X[:, 0], "target": TARGET[:, 0]}),
}


def train(kind, comm):
    """A hash of parameters and history."""
    spec, given = KINDS[kind]()
    rank = 0 if comm is None else comm.Get_rank()
    rnn = bptt.RNN(3, **{"hidden_size": 8, "output_size": 3, "seed": rank, "threads": 1} | spec)
    adam = bptt.Adam(rnn.params, rnn.grads, lr=0.01)
    group = bptt.Shards(comm, given.pop("shards", 8))
    x, target = given.pop("x", X), given.pop("target", TARGET)
    group.start(rnn, adam)
    history, rows = [], group.rows(1 if kind == "one sequence" else B)
    for _ in range(1 if kind == "chunks" else 3):
        for w in group.windows(rnn, x, target, **given):
            history += [w.start, w.stop, w.loss, rnn.clip_grad_norm(1.0)]
            adam.step()
            assert w.state[0].shape[-2] == rows.stop - rows.start
        if kind == "state goes on":
            given["state"] = w.state
    return hash_of(rnn, history)


def hash_of(rnn, history):
    assert np.isfinite(rnn.params).all()
    return hashlib.sha256(rnn.params.tobytes() + repr((rnn.dropout_state, history)).encode()).hexdigest()


FITS = {
    "shuffled": lambda: {"batch_size": 5, "patience": 9, "metrics": {"error": absolute}},
    "random windows": lambda: {"truncation": bptt.ARTBP(5, seed=1), "accumulate": 2, "batch_size": 6},
    "lengths": lambda: {
        "lengths": LENGTHS,
        "batch_size": 4,
        "seed": None,
        "shuffle": False,
        "clip_norm": 0.5,
        "lr": bptt.schedule.cosine(1e-2, warmup=2, total=12),
    },
    "ends by patience": lambda: {
        "patience": 1,
        "min_delta": 0.5,
        "truncation": bptt.TBPTT(10),
        "burn_in": 3,
        "lr": 0.1,
    },
}


in_metric = [None]  # a function that the metric calls, if any


def absolute(y, target):
    if in_metric[0] is not None:
        in_metric[0]()
    return np.abs(y - target).mean()


def fit(kind, comm, **more):
    """(a hash of parameters and history, the history)."""
    rank = 0 if comm is None else comm.Get_rank()
    rnn = bptt.RNN(3, 8, 3, cell="lstm", num_layers=2, dropout=0.2, seed=rank, threads=1)
    given = {"epochs": 3, "seed": 2, "comm": comm, "shards": 4, "progress": False} | FITS[kind]() | more
    history = asdict(bptt.fit(rnn, given.pop("x", X), TARGET, validation=sequences(1, 6), **given))
    assert len(history.pop("seconds")) == len(history["loss"])
    return hash_of(rnn, history), history


def results(comm):
    return {kind: train(kind, comm) for kind in KINDS} | {f"fit: {kind}": fit(kind, comm)[0] for kind in FITS}


def once(comm, source=None, loss="mse", **spec):
    """A pass of three windows."""
    rnn = bptt.RNN(3, **{"hidden_size": 8, "output_size": 3, "seed": 0, "threads": 1} | spec)
    group = bptt.Shards(comm)
    group.start(rnn)
    for _ in group.windows(rnn, X if source is None else source, TARGET, loss, truncation=bptt.TBPTT(8)):
        pass


def loss_with(action, here):
    """mse; from the second window on the action comes first, on the ranks that are `here`."""

    def loss(y, target, start):
        if start and here:
            action()
        return bptt.mse(y, target)

    return loss


def broken():
    raise ZeroDivisionError("of this rank")


def broken_chunks(here):
    yield X[:8]
    if here:
        broken()
    yield X[8:]


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def sigkill():
    os.kill(os.getpid(), signal.SIGKILL)


def other_kernel_set(comm, here):
    isa = bptt._core.isa
    try:
        if here:
            bptt._core.isa = lambda: "another set"
        once(comm)
    finally:
        bptt._core.isa = isa


def fit_with(action, here, comm, path, **given):
    """fit, which writes its file after each update; on ranks that are `here` its metric's fourth call is the action."""
    calls = []

    def count():
        calls.append(1)
        if len(calls) == 4 and here:
            action()

    in_metric[0] = count
    try:
        return fit("shuffled", comm, resume=path, save_every=1, **given)[0]
    finally:
        in_metric[0] = None


def fails(comm, folder):
    """{what fails on one rank: how}. It is the last one, but rank 0 where only that one does such a thing."""
    last, path = comm.Get_rank() == comm.Get_size() - 1, str(Path(folder) / "stopped")
    return {
        "loss": lambda: once(comm, loss=loss_with(broken, last)),
        "chunks": lambda: once(comm, broken_chunks(last)),
        "Ctrl-C": lambda: once(comm, loss=loss_with(ctrl_c, last)),
        "kernel set": lambda: other_kernel_set(comm, last),
        "spec": lambda: once(comm, hidden_size=9 if last else 8),
        "data": lambda: fit("shuffled", comm, x=-X if last else X),
        "callback": lambda: fit("shuffled", comm, callback=lambda epoch, history: broken()),
        "metric": lambda: fit_with(broken, last, comm, path),
        "Ctrl-C in fit": lambda: fit_with(ctrl_c, last, comm, path),
        "another file": lambda: fit("lengths", comm, resume=path),
    }


def raises(comm, folder):
    """{what fails on one rank: (the error on this one, seconds)}, and a result after all that."""
    errors = {}
    for name, function in fails(comm, folder).items():
        began = time.monotonic()
        try:
            function()
        except BaseException as error:
            errors[name] = type(error).__name__, time.monotonic() - began
    return errors, fit("shuffled", comm, resume=Path(folder) / "stopped")[0]


def killed(comm, folder):
    """A training whose last rank is killed: no rank comes back."""
    fit_with(sigkill, comm.Get_rank() == comm.Get_size() - 1, comm, Path(folder) / "killed_run")


JOBS = {"trains": lambda comm, folder: results(comm), "raises": raises, "killed": killed}


def main(folder, what):
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    result = JOBS[what](comm, folder)
    (Path(folder) / f"{what}{comm.Get_rank()}.json").write_text(json.dumps(result))
