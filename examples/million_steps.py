"""A million steps in constant memory: python examples/million_steps.py [FILE]

Sixteen machines turn, each at a speed of its own; each gets another one whenever it restarts. A network reads their
noisy sensors as they come, one row of the batch per machine, and forecasts each next reading. It starts from zero where
a machine restarts, and is trained all the while by TBPTT over a generator of chunks: no step is kept, none is seen
twice. Half-way all machines change to higher speeds. Prints the loss beside that of "same as now" and the memory that
the process holds, and draws both to FILE.
"""

import argparse
import ctypes
import mmap
import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import bptt

MACHINES, HIDDEN = 16, 32
TRUNCATION = bptt.TBPTT(k1=25, k2=50)  # an update every 25 steps, back over 50
LR, CLIP_NORM = 2e-3, 1.0
CHUNK = 1000  # steps that the sensors send at a time
RUN = 1000  # steps from restart to restart, on average
SPEEDS = (0.1, 0.4), (0.4, 0.8)  # radians per step: from, to, in each half of the stream
NOISE = 0.1  # standard deviation
REPORTS = 10


def sensors(steps, rng):
    """Chunks (x, target, reset, counts), each along time: readings, those of the next step, and whether the machine has
    just restarted; where it does so at the next step, that reading does not count."""
    speed, phase = rng.uniform(*SPEEDS[0], MACHINES), rng.uniform(0, 2 * np.pi, MACHINES)
    reading, restarted = np.zeros(MACHINES), np.ones(MACHINES, bool)
    for start in range(0, steps, CHUNK):
        n = min(CHUNK, steps - start)
        restart = rng.random((n, MACHINES)) < 1 / RUN
        late = start >= steps / 2
        restart[0] |= late and start - CHUNK < steps / 2
        drawn = rng.uniform(*SPEEDS[late], (n, MACHINES))
        drawn[0] = np.where(restart[0], drawn[0], speed)
        since = np.maximum.accumulate(np.where(restart, np.arange(n)[:, None], 0))  # the last restart of each
        speeds = np.take_along_axis(drawn, since, axis=0)
        phases = phase + np.cumsum(speeds, axis=0)
        readings = np.sin(phases) + 0.5 * np.sin(2 * phases) + rng.normal(0, NOISE, phases.shape)
        x, reset = np.concatenate([[reading], readings[:-1]]), np.concatenate([[restarted], restart[:-1]])
        yield x[..., None], readings[..., None], reset, ~restart
        speed, phase, reading, restarted = speeds[-1], phases[-1] % (2 * np.pi), readings[-1], restart[-1]


def unzipped(chunks, parts):
    """An iterator for each part of the chunks. Unlike those of itertools.tee they keep no chunk that all have read."""
    queues = [deque() for _ in range(parts)]

    def deal():
        chunk = next(chunks, None)
        for queue, part in zip(queues, chunk or [], strict=False):
            queue.append(part)
        return chunk is not None

    def taken(queue):
        while queue or deal():
            yield queue.popleft()

    return [taken(queue) for queue in queues]


def resident():
    """Memory of the process in MB."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE / 1e6
    if sys.platform == "win32":
        counters = (ctypes.c_size_t * 9)()  # PROCESS_MEMORY_COUNTERS; the third is WorkingSetSize
        this = ctypes.c_void_p(-1)
        ctypes.windll.psapi.GetProcessMemoryInfo(this, counters, ctypes.sizeof(counters))
        return counters[2] / 1e6
    import resource  # its peak

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


class Log:
    """What the plot shows: one entry per CHUNK steps."""

    def __init__(self):
        self.step, self.loss, self.naive, self.memory = [], [], [], []

    def overhear(self, chunks):
        """The same chunks; notes the error of "the next reading is the present one"."""
        for x, target, reset, counts in chunks:
            self.naive.append(np.mean((target - x)[counts] ** 2))
            yield x, target, reset, counts


def train(steps, rng):
    rnn = bptt.RNN(1, HIDDEN, 1, init="orthogonal", seed=rng)
    optimizer = bptt.Adam(rnn.params, rnn.grads, lr=LR)
    log = Log()
    x, target, reset, counts = unzipped(log.overhear(sensors(steps, rng)), 4)

    print(f"{rnn}\n    steps     loss  same as now   memory")
    losses, every = [], max(1, steps // CHUNK // REPORTS)
    for w in rnn.windows(x, target, truncation=TRUNCATION, reset=reset, mask=counts):
        rnn.clip_grad_norm(CLIP_NORM)
        optimizer.step()
        losses.append(w.loss)
        if w.stop % CHUNK == 0:
            log.step.append(w.stop)
            log.loss.append(np.mean(losses))
            log.memory.append(resident())
            losses.clear()
            if len(log.step) % every == 0:
                loss, naive = np.mean(log.loss[-every:]), np.mean(log.naive[len(log.step) - every : len(log.step)])
                print(f"{w.stop:9,} {loss:8.4f} {naive:12.4f} {log.memory[-1]:5.0f} MB", flush=True)
    return log


def plot(log, path):
    figure = Figure(figsize=(9, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    naive = log.naive[: len(log.step)]
    upper.plot(log.step, naive, color="#999999", linewidth=1.2, label="next reading = this one")
    upper.plot(log.step, log.loss, color="#1f4e79", linewidth=1.2, label="network, before it learns from the step")
    upper.axhline(NOISE**2, color="#555555", linestyle="--", linewidth=1, label="variance of the sensors' noise")
    upper.set(ylabel="mean squared error", yscale="log", title=f"{MACHINES} streams, learnt as they come")
    upper.axvline(log.step[-1] / 2, color="#d95f02", linestyle=":", linewidth=1, label="higher speeds from here on")
    upper.legend(frameon=False)
    lower.plot(log.step, log.memory, color="#d95f02", linewidth=1.5)
    lower.set(ylabel="resident memory (MB)", xlabel="step", ylim=(0, 1.3 * max(log.memory)))
    lower.set_xlim(0, log.step[-1])
    lower.xaxis.set_major_formatter("{x:,.0f}")
    for ax in (upper, lower):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    figure.savefig(path, dpi=120)


def arguments():
    parser = argparse.ArgumentParser(description="Learn from a stream of a million steps in constant memory.")
    parser.add_argument("file", nargs="?", type=Path, default="million_steps.png", help="picture (default %(default)s)")
    parser.add_argument("--steps", type=int, default=1_000_000, help="length of the stream (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    options = parser.parse_args()
    if options.steps < CHUNK or options.seed < 0:
        parser.error(f"--steps must be at least {CHUNK}, --seed at least 0")
    return options


def main():
    began, options = time.perf_counter(), arguments()
    log = train(options.steps, np.random.default_rng(options.seed))
    states = 4e-6 * options.steps * MACHINES * HIDDEN
    print(f"the states of all steps, which full BPTT would keep, are {states:,.0f} MB")
    plot(log, options.file)
    print(f"plot: {options.file}\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
