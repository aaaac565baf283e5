"""What a leak and noise cost: training steps of a tanh network without them, with a leak, with a trained leak, with
noise and with all, on one thread.

A step is zero_grad, forward, mean squared error and backward, as in train_step.py. The networks take short turns; the
table gives the median of the processor time of a step, and the median of its ratio to the plain step of the same
round: what another program takes of the machine, both have lost.

    python benchmarks/leak.py [--dtype float64] [--cell tanh,relu] [--isa avx2] [--seconds 5] [shape ...]
"""

import argparse
import statistics
import time

from train_step import ISAS, SHAPES, Ours, limit

TURN = 0.03  # seconds
OPTIONS = {
    "plain": {},
    "leak": {"leak": 0.2},
    "trained leak": {"leak": 0.2, "learn_leak": True},
    "noise": {"noise": 0.1},
    "all": {"leak": 0.2, "learn_leak": True, "noise": 0.1},
}


def contestants(np, bptt, shape, cell, dtype):
    """{name: step of a network with those options}; all have the same weights and data."""
    T, B, I, H, O = shape
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(T, B, I)).astype(dtype), "target": rng.normal(size=(T, B, O)).astype(dtype)}
    steps = {}
    for name, options in OPTIONS.items():
        rnn = bptt.RNN(I, H, O, cell=cell, dtype=dtype, seed=0, **options)
        case = data | {"shape": shape, "cell": cell, "dtype": dtype, "inputs": options, "params": rnn.state_dict()}
        steps[name] = Ours(np, case, 1).step
    return steps


def race(steps, seconds):
    """{name: [seconds of processor time]}, the median of a turn for each turn."""
    times = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, step in steps.items():
            times[name].append(statistics.median(turn(step)))
    return times


def turn(step):
    """The processor time of each step of a turn; all but the first find their own numbers in the caches."""
    times = []
    end = time.thread_time() + TURN
    while len(times) < 3 or time.thread_time() < end:
        began = time.thread_time()
        step()
        times.append(time.thread_time() - began)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", choices=[*SHAPES, []], help="small and charrnn by default")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--cell", default="tanh")
    parser.add_argument("--isa", choices=ISAS)
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    limit(1, args.isa)
    import numpy as np

    import bptt

    print(f"{'shape':<10}{'cell':<9}{'milliseconds':>14}" + "".join(f"{name:>14}" for name in [*OPTIONS][1:]))
    for name in args.shapes or ["small", "charrnn"]:
        for cell in args.cell.split(","):
            times = race(contestants(np, bptt, SHAPES[name], cell, args.dtype), args.seconds)
            plain = times["plain"]
            ratios = [statistics.median(a / b for a, b in zip(times[o], plain, strict=True)) for o in [*OPTIONS][1:]]
            line = f"{name:<10}{cell:<9}{1e3 * statistics.median(plain):>14.3f}"
            print(line + "".join(f"{ratio:>14.3f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()
