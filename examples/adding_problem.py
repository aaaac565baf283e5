"""Memory over 150 steps, by relu and by tanh: python examples/adding_problem.py [FILE]

The adding problem (Hochreiter & Schmidhuber 1997): a sequence of random numbers of which two are marked; after the last
one their sum is asked for. To say 1 each time gives a mean squared error of 1/6, the variance of the sum. Two networks
get the same minibatches, always new ones: relu, with the identity as recurrent matrix (Le, Jaitly, Hinton 2015,
arXiv 1504.00941), and tanh with an orthogonal one. Prints and draws to FILE their errors on sequences held out.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import bptt

NETWORKS = {
    "tanh, orthogonal": {"cell": "tanh", "init": "orthogonal"},
    "relu, identity": {"cell": "relu", "init": "identity"},
}
BATCH, HELD_OUT = 16, 2000
LR, CLIP_NORM = 1e-3, 1.0  # highest learning rate; it goes to zero by half a cosine
CHECKS = 100  # times that the held-out error is measured
GUESS, SOLVED = 1 / 6, 0.02  # errors: of always saying 1; below which the problem counts as solved


def adding_problem(steps, batch, rng):
    """x (T,B,2): numbers from [0,1], and marks at two of them, one in each half; the target is their sum."""
    x = np.zeros((steps, batch, 2), np.float32)
    x[:, :, 0] = rng.random((steps, batch))
    rows = np.arange(batch)
    x[rng.integers(0, steps // 2, batch), rows, 1] = 1
    x[rng.integers(steps // 2, steps, batch), rows, 1] = 1
    return x, (x[:, :, 0] * x[:, :, 1]).sum(axis=0)[:, None]


def train(name, held_out, sums, options):
    """(updates, held-out error) after each of the CHECKS, and the seconds that all took."""
    rng = np.random.default_rng((options.seed, 1))  # the same minibatches for both networks
    rnn = bptt.RNN(2, options.hidden, 1, seed=options.seed, **NETWORKS[name])
    optimizer = bptt.Adam(rnn.params, rnn.grads)
    dy = np.zeros((options.steps, BATCH, 1), rnn.dtype)  # only the last step has a loss

    def error():
        y, _ = rnn.forward(held_out, tape=False)
        return bptt.mse(y[-1], sums)[0]

    errors = [(0, error())]
    began = time.perf_counter()
    for update in (bar := tqdm(range(1, options.updates + 1), desc=name, unit="update")):
        x, target = adding_problem(options.steps, BATCH, rng)
        y, _ = rnn.forward(x)
        _, dy[-1] = bptt.mse(y[-1], target)
        rnn.zero_grad()
        rnn.backward(dy)
        rnn.clip_grad_norm(CLIP_NORM)
        optimizer.lr = options.lr * (1 + math.cos(math.pi * update / options.updates)) / 2
        optimizer.step()
        if update * CHECKS // options.updates > (update - 1) * CHECKS // options.updates:
            errors.append((update, error()))
            bar.set_postfix(error=f"{errors[-1][1]:.4f}", refresh=False)
    return np.array(errors), time.perf_counter() - began


def plot(curves, steps, path):
    figure = Figure(figsize=(8, 5), layout="constrained")
    ax = figure.subplots()
    for (name, errors), colour in zip(curves.items(), ["#d95f02", "#1f4e79"], strict=True):
        ax.plot(*errors.T, color=colour, linewidth=1.8, label=f"{name}: {errors[-1, 1]:.4f} at the end")
    ax.axhline(GUESS, color="#555555", linestyle="--", linewidth=1, label="1/6: always say 1")
    ax.axhline(SOLVED, color="#555555", linestyle=":", linewidth=1.2, label=f"{SOLVED}: solved")
    ax.set(xlabel=f"updates by {BATCH} new sequences each", ylabel="held-out mean squared error", yscale="log")
    ax.set(title=f"Adding problem, {steps} steps", xlim=(0, errors[-1, 0]))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, loc="lower left")
    figure.savefig(path, dpi=130)


def arguments():
    parser = argparse.ArgumentParser(description="Train relu and tanh on the adding problem.")
    parser.add_argument(
        "file", nargs="?", type=Path, default="adding_problem.png", help="picture (default %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=150, help="length of the sequences (default %(default)s)")
    parser.add_argument("--hidden", type=int, default=100, help="hidden units (default %(default)s)")
    parser.add_argument("--updates", type=int, default=20_000, help="default %(default)s")
    parser.add_argument("--lr", type=float, default=LR, help="highest learning rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    options = parser.parse_args()
    if options.steps < 2 or options.hidden < 1 or options.updates < 1 or options.seed < 0:
        parser.error("--steps must be at least 2, --hidden and --updates at least 1, --seed at least 0")
    if not 0 < options.lr < math.inf:
        parser.error("--lr must be above 0")
    return options


def main():
    options, curves = arguments(), {}
    held_out, sums = adding_problem(options.steps, HELD_OUT, np.random.default_rng(options.seed))
    for name in NETWORKS:
        curves[name], seconds = train(name, held_out, sums, options)
        error = curves[name][-1, 1]
        print(f"{name:16} held-out error {error:.4f} after {options.updates} updates, {seconds:.0f} s", flush=True)
    print(f"{'always say 1':16} held-out error {np.mean((sums - 1) ** 2):.4f}")
    plot(curves, options.steps, options.file)
    print(f"plot: {options.file}")


if __name__ == "__main__":
    main()
