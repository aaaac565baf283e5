"""What threads gain: a training step on one thread and on N, in turns, and on more threads than there are processors.

The last column trains in two processes at once with N threads each: N is the number of processors by default, so that
there are twice as many threads as processors. It is compared with two processes of one thread each.

    python benchmarks/threads.py [--threads N] [--cell tanh,lstm,gru] [SHAPE ...]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from train_step import SHAPES, Ours, make_case, processor

TURN, SECONDS = 0.05, 2.5


def steps(contestant, seconds):
    """The times of steps within so many seconds, at least three."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        began = time.perf_counter()
        contestant.step()
        times.append(time.perf_counter() - began)
    return times


def in_turns(contestants):
    """The median of each: {threads: seconds}."""
    times = {threads: [] for threads in contestants}
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        for threads, contestant in contestants.items():
            times[threads] += steps(contestant, TURN)
    return {threads: statistics.median(found) for threads, found in times.items()}


def in_two_processes(shape, cell, threads):
    """The mean of a step while another process does the same."""
    command = [sys.executable, __file__, "--worker", "--threads", str(threads), "--cell", cell, shape]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return statistics.mean(float(process.communicate()[0]) for process in processes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", choices=[*SHAPES, []], help=f"of {', '.join(SHAPES)}; all by default")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--cell", default="tanh,lstm,gru")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    import numpy as np

    if args.worker:
        ours = Ours(np, make_case(np, SHAPES[args.shapes[0]], "float32", args.cell), args.threads)
        print(statistics.mean(steps(ours, SECONDS)))
        return
    print(f"{processor()}; milliseconds of a step, and how many times as fast as on one thread")
    many = 2 * args.threads
    print(f"{'':<16}{'1 thread':>10}{args.threads:>10}{'gain':>7}{many:>10}{'gain':>7}{'two processes, gain':>21}")
    for cell in args.cell.split(","):
        for shape in args.shapes or SHAPES:
            case = make_case(np, SHAPES[shape], "float32", cell)
            found = in_turns({n: Ours(np, case, n) for n in (1, args.threads, many)})
            alone, shared = (in_two_processes(shape, cell, n) for n in (1, args.threads))
            line = f"{cell:<5}{shape:<11}{found[1] * 1e3:>10.3f}"
            for n in (args.threads, many):
                line += f"{found[n] * 1e3:>10.3f}{found[1] / found[n]:>7.2f}"
            print(f"{line}{alone / shared:>21.2f}", flush=True)


if __name__ == "__main__":
    main()
