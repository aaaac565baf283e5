"""Trainings with bptt.Shards whose results must not depend on the number of ranks: for test_shards.py, whose threads
run them, and as a script that mpiexec runs: python -m mpi4py shards_job.py FOLDER trains | raises."""

import hashlib
import json
import sys
import time
from dataclasses import asdict
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
    return hash_of(rnn, history)


def hash_of(rnn, history):
    assert np.isfinite(rnn.params).all()
    return hashlib.sha256(rnn.params.tobytes() + repr((rnn.dropout_state, history)).encode()).hexdigest()


FITS = {
    "shuffled": lambda: {"batch_size": 5, "patience": 9, "metrics": {"error": absolute}},
    "random windows": lambda: {"truncation": bptt.ARTBP(5, seed=1), "accumulate": 2, "batch_size": 6},
    "lengths": lambda: {"lengths": LENGTHS, "batch_size": 4, "seed": None, "shuffle": False},
}


def absolute(y, target):
    return np.abs(y - target).mean()


def fit(kind, comm, **more):
    """(a hash of parameters and history, the history)."""
    rank = 0 if comm is None else comm.Get_rank()
    rnn = bptt.RNN(3, 8, 3, cell="lstm", num_layers=2, dropout=0.2, seed=rank, threads=1)
    given = {"epochs": 3, "seed": 2, "comm": comm, "shards": 4, "progress": False} | FITS[kind]() | more
    history = asdict(bptt.fit(rnn, X, TARGET, validation=sequences(1, 6), **given))
    assert len(history.pop("seconds")) == len(history["loss"])
    return hash_of(rnn, history), history


def results(comm):
    return {kind: train(kind, comm) for kind in KINDS} | {f"fit: {kind}": fit(kind, comm)[0] for kind in FITS}


def raises(comm):
    """(the error, seconds): the last rank's loss raises in its second window."""
    rnn = bptt.RNN(3, 8, 3, seed=0, threads=1)
    group = bptt.Shards(comm)
    group.start(rnn)

    def loss(y, target, start):
        if start and comm.Get_rank() == comm.Get_size() - 1:
            raise ZeroDivisionError("of this loss")
        return bptt.mse(y, target)

    began = time.monotonic()
    try:
        for _ in group.windows(rnn, X, TARGET, loss, truncation=bptt.TBPTT(8)):
            pass
    except Exception as error:
        return f"{type(error).__name__}: {error}", time.monotonic() - began


def main(folder, what):
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    result = results(comm) if what == "trains" else raises(comm)
    (Path(folder) / f"{what}{comm.Get_rank()}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
