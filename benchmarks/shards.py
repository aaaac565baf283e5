"""What bptt.Shards costs: a step in shards against the plain one, ranks against one, the sum against Allreduce.

    python benchmarks/shards.py                                  shards on one process
    mpiexec -n 2 python -m mpi4py benchmarks/shards.py           on that many ranks, one thread each
    python benchmarks/shards.py --model                          what shards_model.py predicts, from 2 to 1,024 ranks

Ranks are processes that spin while they wait: more of them than free cores measure the scheduler. Times are the least
of several blocks, so that other programs on the machine count little; each row is a pair that took turns.
"""

import argparse
import sys
import time

import numpy as np
import shards_model

import bptt

T, B, I, H, O = 64, 64, 32, 128, 8
SIZES = (10_000, 100_000, 1_000_000)


def seconds(functions, comm=None, blocks=15, within=0.05):
    """The least time of a call of each function; all ranks make the same calls."""
    least = [np.inf] * len(functions)
    counts = []
    for function in functions:
        function()
        began = time.perf_counter()
        function()
        count = max(1, int(within / (time.perf_counter() - began)))
        counts.append(count if comm is None else comm.bcast(count, root=0))
    for _ in range(blocks):
        for i, function in enumerate(functions):
            if comm is not None:
                comm.Barrier()
            began = time.perf_counter()
            for _ in range(counts[i]):
                function()
            least[i] = min(least[i], (time.perf_counter() - began) / counts[i])
    return least


def network(cell="lstm"):
    rng = np.random.default_rng(0)
    x, target = (rng.normal(size=(T, B, n)).astype(np.float32) for n in (I, O))
    return bptt.RNN(I, H, O, cell=cell, seed=0, threads=1), x, target


def step(windows, rnn):
    def run():
        for _ in windows():
            rnn.clip_grad_norm(1.0)

    return run


def reduction(comm, params):
    """(Allreduce, the sum of Shards) of gradients of so many parameters, a shard for each rank."""
    from mpi4py import MPI

    group = bptt.Shards(comm, comm.Get_size())
    grads, out = np.zeros(params, np.float32), np.empty(params, np.float32)
    sums = group.sums(group.tree(group.size), grads)

    def fixed():
        sums.add(group.rank, grads)
        sums.finish(grads)

    return seconds([lambda: comm.Allreduce(grads, out, op=MPI.SUM), fixed], comm)


def sharded_step(comm):
    rnn, x, target = network()
    group = bptt.Shards(comm)
    group.start(rnn)
    return step(lambda: group.windows(rnn, x, target), rnn)


def alone_on_rank_0(comm):
    """Seconds of a step of one rank, while the others sleep."""
    if comm.Get_rank():
        request = comm.Ibarrier()
        while not request.Test():
            time.sleep(0.01)
        return None
    (least,) = seconds([sharded_step(None)])
    comm.Ibarrier().Wait()
    return least


def one_process():
    rnn, x, target = network()
    plain, shards = seconds([step(lambda: rnn.windows(x, target), rnn), sharded_step(None)])
    print(
        f"LSTM, T,B,H = {T},{B},{H}, one thread: plain {1e3 * plain:.2f} ms, 8 shards {1e3 * shards:.2f} ms, ", end=""
    )
    print(f"{shards / plain:.2f} times")


def ranks(comm):
    costs = shards_model.measured(comm)
    rows = [(params, *reduction(comm, params)) for params in SIZES]
    (shared,) = seconds([sharded_step(comm)], comm)
    alone = alone_on_rank_0(comm)
    if comm.Get_rank():
        return
    print(f"{comm.Get_size()} ranks: {costs}")
    print("parameters | Allreduce | sum of Shards | times | predicted")
    for params, all_, fixed in rows:
        expected = shards_model.reduction(comm.Get_size(), 4 * params, costs)
        print(f"{params:,} | {1e6 * all_:.0f} us | {1e6 * fixed:.0f} us | {fixed / all_:.2f} | {1e6 * expected:.0f} us")
    print(f"a step of the LSTM, T,B,H = {T},{B},{H}: {1e3 * shared:.2f} ms, on one rank {1e3 * alone:.2f} ms, ", end="")
    print(f"{alone / shared:.2f} times")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="store_true")
    if parser.parse_args().model:
        shards_model.table()
        return
    comm = None
    if "mpi4py" in sys.modules:  # as python -m mpi4py has it
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    if comm is None or comm.Get_size() == 1:
        one_process()
    else:
        ranks(comm)


if __name__ == "__main__":
    main()
