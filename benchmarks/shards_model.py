"""The cost of an update of bptt.Shards on paper: a simulation of its messages, and a table from 2 to 1,024 ranks.

A message of n bytes takes latency + n / bandwidth, an addition of n bytes n / add, the Python around a call of MPI
CALL. The first three are measured between two ranks here; those of clusters are assumptions, named in CLUSTERS.
"""

import time
from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from bptt import _shard_sums

CALL = 15e-6


@dataclass
class Costs:
    latency: float
    """seconds of an empty message, mpi4py included"""
    bandwidth: float
    """bytes per second of a rank"""
    add: float
    """bytes per second that a rank adds to others"""

    def message(self, n) -> float:
        return CALL + self.latency + n / self.bandwidth

    def __str__(self):
        return f"{1e6 * self.latency:.1f} us, {self.bandwidth / 1e9:.1f} GB/s, adds {self.add / 1e9:.1f} GB/s"


CLUSTERS = {
    "InfiniBand, 100 Gbit/s": Costs(4e-6, 11e9, 8e9),
    "Ethernet, 10 Gbit/s": Costs(40e-6, 1.1e9, 8e9),
}
STEPS = {  # name: (parameters, seconds of a training step of the whole batch on one core)
    "LSTM, H = 64": (25_000, 0.05),
    "LSTM, H = 256": (330_000, 1.0),
    "LSTM, 4 layers, H = 1024": (30_000_000, 200.0),
}
RANKS = (2, 4, 16, 64, 256, 1024)


def by_first(size, n, costs) -> float:
    """Along the tree to rank 0: every rank's clock, message by message. Then a binomial broadcast."""
    clocks = np.zeros(size)
    for begin, split in _shard_sums.tree_of(size, size, 0).joined:
        clocks[begin] = max(clocks[begin], clocks[split]) + costs.message(n) + n / costs.add
        clocks[split] = clocks[begin]
    return clocks[0] + ceil(log2(size)) * costs.message(n)


def by_slices(size, n, costs) -> float:
    """Everyone sends a slice to everyone, adds its own, sends the sum to all."""
    moved = n / costs.bandwidth  # its own slice is copied too
    exchange = min(size - 1, 2 * ceil(log2(size))) * costs.latency  # of a library that forwards small messages
    return 2 * CALL + exchange + moved + n / costs.add + ceil(log2(size)) * costs.latency + moved


def reduction(size, n, costs) -> float:
    """Seconds until all ranks have the sum of n bytes."""
    return (by_first if n < _shard_sums.SLICED_BYTES else by_slices)(size, n, costs)


def tables(size, costs) -> float:
    """The messages of a window of one pass: before it, after it, at the end; each one number or so for each shard."""
    return 3 * (CALL + ceil(log2(size)) * costs.latency + 40 * size / costs.bandwidth)


def measured(comm) -> Costs:
    """The costs between ranks 0 and 1."""
    rank, result = comm.Get_rank(), None

    def round_trip(n, count):
        array = np.zeros(n, np.uint8)
        least = np.inf
        for _ in range(10):
            began = time.perf_counter()
            for _ in range(count):
                if rank == 0:
                    comm.Send(array, dest=1)
                    comm.Recv(array, source=1)
                else:
                    comm.Recv(array, source=0)
                    comm.Send(array, dest=0)
            least = min(least, (time.perf_counter() - began) / count)
        return least

    if rank < 2:
        n = 1 << 22
        latency = round_trip(8, 100) / 2
        bandwidth = n / (round_trip(n, 10) / 2 - latency)
        one, other = np.ones(n // 4, np.float32), np.ones(n // 4, np.float32)
        times = []
        for _ in range(20):
            began = time.perf_counter()
            np.add(one, other, out=one)
            times.append(time.perf_counter() - began)
        result = Costs(latency, bandwidth, n / min(times))
    return comm.bcast(result, root=0)


def table() -> None:
    """Prints, in Markdown, the times of an update."""
    for name, costs in CLUSTERS.items():
        print(f"\n{name} ({costs})\n\n| network | {' | '.join(f'{size} ranks' for size in RANKS)} |")
        print("|---" * (len(RANKS) + 1) + "|")
        for network, (params, seconds) in STEPS.items():
            cells = []
            for size in RANKS:
                messages = reduction(size, 4 * params, costs) + tables(size, costs)
                total = seconds / size + messages
                cells.append(f"{1e3 * messages:.3g} ms, {seconds / total:.0f} x")
            print(f"| {network} | {' | '.join(cells)} |")
