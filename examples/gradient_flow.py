"""How far a gradient reaches back: python examples/gradient_flow.py [FILE]

The adding problem asks for a sum at the last step of a sequence whose terms came long before. Two untrained networks
see it: tanh with PyTorch's uniform weights, and relu with the identity as recurrent matrix (Le, Jaitly, Hinton 2015,
arXiv 1504.00941). Prints how the gradient of the last step's loss fares on its way back in each, and draws it to FILE.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import bptt

BATCH = 32
NETWORKS = {
    "tanh, uniform weights": {"cell": "tanh", "init": "uniform"},
    "relu, identity": {"cell": "relu", "init": "identity"},
}


def adding_problem(steps, rng):
    """x (T,B,2): numbers from [0,1], and marks at two of them, one in each half; the target is their sum."""
    x = np.zeros((steps, BATCH, 2))
    x[:, :, 0] = rng.random((steps, BATCH))
    rows = np.arange(BATCH)
    x[rng.integers(0, steps // 2, BATCH), rows, 1] = 1
    x[rng.integers(steps // 2, steps, BATCH), rows, 1] = 1
    target = np.zeros((steps, BATCH, 1))
    target[-1, :, 0] = (x[:, :, 0] * x[:, :, 1]).sum(axis=0)
    counts = np.zeros((steps, BATCH), bool)  # only the last step's loss does
    counts[-1] = True
    return x, target, counts


def arguments():
    parser = argparse.ArgumentParser(description="Measure and draw the gradient flow of two networks.")
    parser.add_argument("file", nargs="?", type=Path, default="gradient_flow.png", help="picture (default %(default)s)")
    parser.add_argument("--steps", type=int, default=200, help="length of the sequences (default %(default)s)")
    parser.add_argument("--hidden", type=int, default=100, help="hidden units (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    options = parser.parse_args()
    if options.steps < 2 or options.hidden < 1 or options.seed < 0:
        parser.error("--steps must be at least 2, --hidden at least 1, --seed at least 0")
    return options


def main():
    options = arguments()
    x, target, counts = adding_problem(options.steps, np.random.default_rng(options.seed))
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, len(NETWORKS), sharey=True)
    for ax, (name, network) in zip(panels, NETWORKS.items(), strict=True):
        rnn = bptt.RNN(2, options.hidden, 1, dtype="float64", seed=options.seed, **network)
        flow = bptt.gradient_flow(rnn, x, target, mask=counts, max_distance=options.steps - 1)
        print(f"{name}\n{'-' * len(name)}\n{flow}\n")
        bptt.plot.gradient_flow(flow, ax=ax).set_title(name)
    panels[1].set_ylabel("")
    figure.savefig(options.file, dpi=130)
    print(f"plot: {options.file}")


if __name__ == "__main__":
    main()
