"""Kills trainings at random moments, starts them again until they are done, and compares them with undisturbed ones.

    python tests/kill_training.py [KILLS] [SEED]

Every fourth time it is a Ctrl-C instead, which may come at any instruction. While a training runs its file is read
again and again: it must be whole at every moment. In the end the parameters and the history must be the same to the
bit, for a tanh network, an LSTM with dropout under TBPTT, and a GRU under ARTBP.
"""

import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import bptt
from bptt import _training_file

T, B = 60, 24
SHORTEST = 0.01  # seconds of a life: without a write none would come further


def sequences(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(T, B, 2)).astype(np.float32)
    return x, np.roll(x, 1, axis=0)


def error(y, target):
    return float(np.abs(y - target).mean())


TRAININGS = {
    "tanh": (
        {},
        lambda: {"lr": bptt.schedule.cosine(2e-2, 20, 1600), "patience": 4, "min_delta": 0.004, "batch_size": 6},
    ),
    "tanh over many epochs": (
        {"recurrent_dropout": 0.1},
        lambda: {"lr": 1e-2, "epochs": 30, "optimizer": "rmsprop", "metrics": error, "batch_size": 5, "accumulate": 2},
    ),
    "LSTM with dropout": (
        {"cell": "lstm", "num_layers": 2, "dropout": 0.2, "recurrent_dropout": 0.1},
        lambda: {"truncation": bptt.TBPTT(10, 15), "lr": bptt.schedule.step(1e-2, 100, 0.5), "patience": 5,
                 "min_delta": 0.01, "batch_size": 7, "metrics": {"error": error}},
    ),
    "GRU with random windows": (
        {"cell": "gru", "dropout": 0.1, "num_layers": 2},
        lambda: {"truncation": bptt.ARTBP(12, seed=5), "lr": bptt.schedule.exponential(1e-2, 0.99), "epochs": 12,
                 "batch_size": 4, "accumulate": 3, "patience": 9},
    ),
}  # fmt: skip
SAVE_EVERY = {"GRU with random windows": 5}


def train(name, path=None):
    """The network and the history of a training."""
    options, arguments = TRAININGS[name]
    file = {} if path is None else {"resume": path, "save_every": SAVE_EVERY.get(name)}
    common = {"epochs": 60, "seed": 2, "validation": sequences(1), "progress": False}
    rnn = bptt.RNN(2, 32, 2, seed=1, threads=1, **options)
    return rnn, bptt.fit(rnn, *sequences(0), **common | arguments() | file)


def recorded(rnn, history) -> str:
    """All that two runs must share."""
    numbers = {name: value for name, value in asdict(history).items() if name != "seconds"}
    return repr((rnn.params.tolist(), numbers, rnn.dropout_state))


def in_child(call):
    """The process of a fork that runs the function."""
    child = os.fork()
    if not child:
        code = 1
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            call()
            code = 0
        except KeyboardInterrupt:
            code = 2
        finally:
            os._exit(code)
    return child


def live(child, seconds, path):
    """Let a child live so long, reading its file; (its exit code or None, how often the file was read)."""
    end, reads = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), reads
        if path.exists():
            _training_file.read_state(str(path))
            reads += 1
        time.sleep(0.001)
    return None, reads


def disturbed(name, path, rng, whole, most):
    """Train by a child that is killed again and again, until one comes to its end and writes what it recorded beside
    the file; counts of what happened, at most so many kills."""
    counts = {"kills": 0, "interrupts": 0, "reads": 0}
    while True:
        child = in_child(lambda: path.with_suffix(".txt").write_text(recorded(*train(name, str(path)))))
        seconds = 600.0 if counts["kills"] >= most else SHORTEST + rng.uniform(0, 0.3 * whole)
        code, reads = live(child, seconds, path)
        counts["reads"] += reads
        if code is None:
            blow = signal.SIGKILL if rng.random() < 0.75 else signal.SIGINT
            os.kill(child, blow)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            counts["kills" if blow == signal.SIGKILL else "interrupts"] += 1
        if code == 0:
            return counts
        assert code in (2, -signal.SIGKILL), f"{name}: a child ended with {code}"
        if path.exists():
            _training_file.read_state(str(path))


def main(kills=100, seed=0):
    rng = np.random.default_rng(seed)
    done = 0
    expected = {}
    while done < kills:
        for name in TRAININGS:
            if name not in expected:
                began = time.perf_counter()
                rnn, history = train(name)
                expected[name] = recorded(rnn, history), time.perf_counter() - began
                sizes = f"{len(history.loss)} epochs, {len(history.update_loss)} updates"
                print(f"{name}: {sizes}, stopped by {history.stopped}", flush=True)
            result, whole = expected[name]
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "run.safetensors"
                counts = disturbed(name, path, rng, whole, max(2, (kills - done) // 2))
                assert path.with_suffix(".txt").read_text() == result, f"{name}: the bits differ"
                assert recorded(*train(name, str(path))) == result, f"{name}: the bits of the file differ"
                assert len(os.listdir(folder)) == 2, "a temporary file was left"
            done += counts["kills"]
            print(f"{name}: {whole:.2f} s, " + ", ".join(f"{n} {what}" for what, n in counts.items()), flush=True)
    print(f"{done} kills: all bits the same")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
