"""Where truncation misleads, ARTBP and RTRL do not: python examples/influence_balancing.py [FILE]

Influence balancing (Tallec & Ollivier 2017, arXiv 1705.08209): s_{t+1} = A s_t + theta v, and at every step
the loss (s^1 - 1)^2 / 2 of the first of 23 units. One parameter theta is learnt; it drives 10 units up and 13 down. The
near ones reach s^1 first, the many far ones matter more in the end: within few steps theta seems to act on s^1 with the
wrong sign. So truncated BPTT goes away from the solution -1/6 with windows of 10 and of 100 steps; with 200 it arrives.
ARTBP, which cuts every 16 steps on average, arrives too.

RTRL carries the gradient forward and updates at every step: it is exact and arrives. SnAp-1 keeps the influence of each
parameter on the units that it acts on within one step. Theta as one number that acts on all units (an embedding of one
row) loses nothing by that, and SnAp-1 arrives; as 23 weights, each of one unit, it loses all that matters here.
Prints where each ends and draws their ways to FILE.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import bptt

UNITS, UP = 23, 10  # theta drives the first UP units up and the others down
START, SOLUTION = 0.5, -1 / 6
LR = 1e-4
FAR = 1e3  # a theta of this size has diverged: its error grows by a factor with every window
ROUNDING = 1e-12  # distances below are not drawn


def ways_to_learn(seed):
    """{name: function of the number of steps, which gives (step, theta) after every update}"""
    fixed = {f"TBPTT({k}, {k})": bptt.TBPTT(k, k) for k in (10, 100, 200)}
    truncated = {**fixed, "ARTBP(16)": bptt.ARTBP(16, seed=seed)}
    return {
        **{name: partial(by_windows, truncation) for name, truncation in truncated.items()},
        "RTRL": partial(by_steps, bptt.RTRL, False),
        "SnAp-1": partial(by_steps, bptt.SnAp1, True),
        "SnAp-1, 23 weights": partial(by_steps, bptt.SnAp1, False),
    }


def loss(s, target):
    """The loss of the first unit alone, and its gradient with respect to all outputs."""
    ds = np.zeros_like(s)
    ds[..., 0] = s[..., 0] - target
    return np.sum(ds**2) / 2, ds


def network(**inputs):
    """(network, v): s_{t+1} = A s_t + W_ih x_t"""
    v = np.where(np.arange(UNITS) < UP, 1.0, -1.0)
    rnn = bptt.RNN(1, UNITS, cell="identity", bias=False, dtype="float64", threads=1, **inputs)
    rnn.param_views()["weight_hh_l0"][...] = (np.eye(UNITS) + np.eye(UNITS, k=1)) / 2
    return rnn, v


def by_windows(truncation, steps):
    """Truncated BPTT: an update after every window, until theta has diverged."""
    rnn, v = network()
    weights, grads = rnn.param_views(), rnn.grad_views()
    weights["weight_ih_l0"][:, 0] = START * v  # all input weights are theta or -theta, the input is always 1

    theta, way = START, [(0, START)]
    x, target, state = np.ones((steps, 1, 1)), np.ones((steps, 1)), np.ones((1, 1, UNITS))
    for window in rnn.windows(x, target, loss, truncation=truncation, state=state):
        theta -= LR * (v @ grads["weight_ih_l0"][:, 0])
        weights["weight_ih_l0"][:, 0] = theta * v
        way.append((window.stop, theta))
        if abs(theta) > FAR:
            break
    return np.array(way)


def by_steps(method, as_one, steps):
    """RTRL or SnAp-1: an update after every step. as_one: theta is the only entry of an embedding and W_ih is v."""
    rnn, v = network(num_embeddings=1) if as_one else network()
    name, part, x = ("embedding", np.ones(1), 0) if as_one else ("weight_ih_l0", v, np.ones(1))
    weights, grad = rnn.param_views(), rnn.grad_views()[name][:, 0]
    weights["weight_ih_l0"][:, 0] = v

    theta, way, ds = START, [(0, START)], np.zeros(UNITS)
    learner, s = method(rnn), np.empty(UNITS)
    learner.state = np.ones((1, 1, UNITS))
    for step in range(1, steps + 1):
        weights[name][:, 0] = theta * part
        learner(x, out=s)
        ds[0] = s[0] - 1
        grad[:] = 0
        learner.backward(ds)
        theta -= LR * (part @ grad)
        if step % 100 == 0:
            way.append((step, theta))
        if abs(theta) > FAR:
            break
    return np.array([*way, (step, theta)])


def plot(ways, steps, path):
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = ["#d95f02", "#e6ab02", "#6aa84f", "#1f4e79", "#7b3294", "#3aa6b9", "#999999"]
    for (name, way), colour in zip(ways.items(), colours, strict=True):
        width = 4 if name == "RTRL" else 1.4  # SnAp-1 lies over it
        left.plot(*way.T, color=colour, linewidth=width, drawstyle="steps-post", label=name)
        right.plot(way[:, 0], abs(way[:, 1] - SOLUTION), color=colour, linewidth=width, drawstyle="steps-post")
    left.axhline(SOLUTION, color="#555555", linestyle="--", linewidth=1, label="solution -1/6")
    left.set(ylabel="θ", ylim=(-2, 2), title="The parameter")
    right.set(ylabel="|θ + 1/6|", yscale="log", ylim=(ROUNDING, 3 * FAR), title="Its distance from the solution")
    for ax in (left, right):
        ax.set(xlabel="step", xscale="log", xlim=(100, steps))
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    left.legend(frameon=False)
    figure.savefig(path, dpi=130)


def arguments():
    parser = argparse.ArgumentParser(description="Learn one parameter by truncated BPTT, ARTBP, RTRL and SnAp-1.")
    parser.add_argument(
        "file", nargs="?", type=Path, default="influence_balancing.png", help="picture (default %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=200_000, help="length of the sequence (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of ARTBP's cuts (default %(default)s)")
    options = parser.parse_args()
    if options.steps < 1000 or options.seed < 0:
        parser.error("--steps must be at least 1000, --seed at least 0")
    return options


def main():
    options, ways = arguments(), {}
    for name, learn in ways_to_learn(options.seed).items():
        began = time.perf_counter()
        ways[name] = way = learn(options.steps)
        step, theta = way[-1]
        end = f"beyond {FAR:g} after {step:.0f} steps" if abs(theta) > FAR else f"{theta:.6f}"
        print(f"{name:18} theta {end:28} {time.perf_counter() - began:.1f} s")
    print(f"solution           theta {SOLUTION:.6f}")
    plot(ways, options.steps, options.file)
    print(f"plot: {options.file}")


if __name__ == "__main__":
    main()
