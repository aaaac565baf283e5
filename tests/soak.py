"""Memory stays flat: a million windows, a hundred million steps of a stream, and what makes and frees many objects.

    python tests/soak.py [DIVISOR] [NAME...]

Prints the private memory of the process at ten points of each run and fails where the highest of the last five is more
than GROWTH above the highest of the first five. DIVISOR makes each run so many times shorter. Steps of a stream are
calls stream(x, out=y) from Python.
"""

import itertools
import os
import sys
import tempfile
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import bptt

POINTS = 10
GROWTH = 128  # kB; a leak of one byte a window would be 490


def private_kb():
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("RssAnon")).split()[1])


def data(T, width=2):
    return np.random.default_rng(0).normal(size=(T, 1, width)).astype(np.float32)


def windows():
    """Each window trains, as a loop by hand does."""
    rnn = bptt.RNN(2, 8, 2, cell="gru", seed=0, threads=1)
    optimizer = bptt.SGD(rnn.params, rnn.grads, lr=1e-4)
    x = data(40_000)
    while True:
        for _ in rnn.windows(x, x, truncation=bptt.TBPTT(4, 6)):
            rnn.clip_grad_norm(1.0)
            optimizer.step()
            yield


def stream(cell="lstm"):
    rnn = bptt.RNN(1, 8, 1, cell=cell, seed=0)
    step, x, y = rnn.stream(), np.ones(1, np.float32), np.empty(1, np.float32)
    while True:
        for _ in range(1000):
            step(x, out=y)
        yield


def passes():
    """Passes of windows that end early, and with checkpoints."""
    rnn = bptt.RNN(2, 8, 2, seed=0, threads=2)
    x = data(64)
    for number in itertools.count():
        options = {"truncation": bptt.TBPTT(8)} | ({"checkpoint": 3} if number % 2 else {})
        for i, _ in enumerate(rnn.windows(x, x, **options)):
            if i == number % 9:
                break
        yield


def calls():
    """Forward and backward of changing sizes, and errors."""
    rnn = bptt.RNN(2, 8, 2, cell="lstm", seed=0, threads=1, learn_state=True)
    x = data(50)
    for number in itertools.count():
        part = x[: 1 + number % 50]
        y, state = rnn.forward(part, lengths=[len(part)], checkpoint="auto" if number % 3 else None)
        rnn.backward(y, state)
        try:
            rnn.forward(part[:, :, :1])
        except ValueError:
            yield


def objects():
    """Networks with threads, streams, learners, optimisers and copies that come and go."""
    import copy

    x = data(300, 16)
    while True:
        rnn = bptt.RNN(16, 32, 2, cell="gru", seed=0, threads=2)
        rnn.forward(np.tile(x, (1, 32, 1)), tape=False)
        bptt.Adam(rnn.params, rnn.grads).step()
        learner, stream = bptt.SnAp1(rnn), copy.deepcopy(rnn).stream()
        learner.backward(learner(x[0, 0])[:2] + stream(x[0, 0]))
        yield


def files():
    rnn = bptt.RNN(2, 8, 2, seed=0)
    optimizer = bptt.Adam(rnn.params, rnn.grads)
    with tempfile.TemporaryDirectory() as folder:
        model, training = os.path.join(folder, "model"), os.path.join(folder, "training")
        while True:
            rnn.save(model)
            bptt.save_training(training, rnn, optimizer, epoch=1)
            bptt.load_training(training, bptt.RNN.load(model), optimizer)
            yield


RUNS = {  # what one turn is: how many turns
    "windows": (windows, 1_000_000),
    "thousand steps of a stream": (stream, 100_000),
    "passes of windows": (passes, 100_000),
    "forward, backward and an error": (calls, 200_000),
    "objects made and freed": (objects, 20_000),
    "files written and read": (files, 3_000),
}


def soak(name, divisor):
    """The private memory at each point, kB."""
    run, turns = RUNS[name]
    turns //= divisor
    running, found = run(), []
    next(running)
    for _ in range(POINTS):
        for _ in itertools.islice(running, turns // POINTS):
            pass
        found.append(private_kb())
    return turns, found


def main(divisor="1", *names):
    grown = []
    for name in names or RUNS:
        began = time.process_time()
        turns, found = soak(name, int(divisor))
        seconds = time.process_time() - began
        print(f"{name}, {turns:,} times in {seconds:.0f} s: {' '.join(map(str, found))} kB", flush=True)
        if max(found[POINTS // 2 :]) - max(found[: POINTS // 2]) > GROWTH:
            grown.append(name)
    if grown:
        sys.exit(f"memory grew in: {', '.join(grown)}")
    print("memory stays flat")


if __name__ == "__main__":
    main(*sys.argv[1:])
