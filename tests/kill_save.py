"""Kills processes that write files, at random instants, and looks at what they leave.

    python tests/kill_save.py [KILLS] [SEED]

A child writes one file again and again, from two networks in turn; after a kill the file holds all bytes of the one or
of the other. The next write of the same file leaves nothing else in the folder.
"""

import itertools
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import bptt


def network(seed):
    return bptt.RNN(1, 128, 1, cell="lstm", seed=seed)  # a file of half a megabyte: several writes of the system


def save_training(rnn, path):
    bptt.save_training(path, rnn, bptt.Adam(rnn.params, rnn.grads), epoch=1)


WRITERS = {
    "save": bptt.RNN.save,
    "save_training": save_training,
    "to_rtneural": bptt.convert.to_rtneural,
    "to_nam": bptt.convert.to_nam,
}


def write_until_killed(write, networks, path, ready):
    """In a child: it never returns."""
    try:
        for rnn in itertools.cycle(networks):
            write(rnn, path)
            os.write(ready, b".")
    finally:
        os._exit(1)


def killed_while_writing(write, networks, path, seconds):
    """Starts a child and kills it so long after its first two writes."""
    read, ready = os.pipe()
    child = os.fork()
    if child == 0:
        write_until_killed(write, networks, path, ready)
    os.close(ready)
    with open(read, "rb", buffering=0) as written:
        for _ in range(2):
            assert written.read(1), "the child ended by itself"
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def duration(write, rnn, path):
    began = time.perf_counter()
    write(rnn, path)
    return time.perf_counter() - began


def kill_writes(name, kills, rng):
    """How often the file was that of the first network, of the second, and how often a temporary file was left."""
    write, networks, found = WRITERS[name], [network(0), network(1)], Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        versions = []
        for rnn in networks:
            longest = duration(write, rnn, path)
            versions.append(path.read_bytes())
        for _ in range(kills):
            killed_while_writing(write, networks, path, rng.uniform(0, 2 * longest))
            found[versions.index(path.read_bytes())] += 1
            left = os.listdir(folder)
            assert len(left) <= 2, f"{name} left {left}"
            found["left"] += len(left) == 2
            write(networks[0], path)
            assert os.listdir(folder) == [path.name], f"after the next {name}: {os.listdir(folder)}"
            assert path.read_bytes() == versions[0]
    return found


def main(kills=1000, seed=0):
    rng = np.random.default_rng(seed)
    for name in WRITERS:
        share = -(-kills // len(WRITERS))
        found = kill_writes(name, share, rng)
        print(f"{name}: {share} kills, the old file or the new one {found[0]} and {found[1]} times, "
              f"in {found['left']} of them a temporary file stayed until the next write", flush=True)  # fmt: skip
    print(f"{kills} kills: all files whole")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
