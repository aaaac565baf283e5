"""A signal forecast while it arrives, learnt at every step: python examples/breathing.py [FILE]

A beam of radiation that follows a tumour is late: it must aim at where breathing will have moved it, here a second
later. Everybody breathes differently, and differently from hour to hour, so the forecast is learnt from the signal
itself, ten samples a second, without end. The signal is made up: rate, depth and level of the breath change at random,
and there is noise.

Two copies of an LSTM share their parameters. One is a horizon behind: for its input the target has just arrived, and
RTRL or SnAp-1 gives the gradient of every step. The other, a stream, takes the newest sample and forecasts. Prints the
root mean squared error from the third minute on, beside "as it is now" and a linear filter of the last three seconds
(recursive least squares), and draws the last half minute to FILE.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import bptt

RATE = 10  # samples a second
LEARNT = 120  # seconds before errors count
ORDER, FORGET = 30, 0.999  # of the linear filter


def wander(rng, steps, deviation, seconds):
    """A random walk that returns to zero within about so many seconds."""
    keep = np.exp(-1 / (seconds * RATE))
    walk = rng.normal(size=steps) * deviation * np.sqrt(1 - keep**2)
    for t in range(1, steps):
        walk[t] += keep * walk[t - 1]
    return walk


def breathing(steps, seed):
    """(steps,), about a breath in four seconds; breathing out lasts longer than breathing in."""
    rng = np.random.default_rng(seed)
    phase = np.cumsum(0.25 * np.exp(wander(rng, steps, 0.15, 20))) / RATE
    depth, level = np.exp(wander(rng, steps, 0.2, 15)), wander(rng, steps, 0.3, 60)
    signal = depth * (2 * np.cos(np.pi * phase) ** 4 - 0.75) + level + 0.03 * rng.normal(size=steps)
    return signal.astype(np.float32)


def by_learner(method, signal, horizon, hidden, seed):
    """forecast[t] of signal[t], made at t - horizon. The network gives the change that is to come."""
    rnn = bptt.RNN(1, hidden, 1, cell="lstm", seed=seed, threads=1)
    learner, stream = method(rnn), rnn.stream()
    optimizer = bptt.Adam(rnn.params, rnn.grads, lr=3e-3)
    forecast = np.full(len(signal) + horizon, np.nan)
    for t, sample in enumerate(signal):
        if t >= horizon:
            before = signal[t - horizon]
            change = learner([before])
            rnn.zero_grad()
            learner.backward(change - (sample - before))
            rnn.clip_grad_norm(1.0)
            optimizer.step()
            stream.refresh()
        forecast[t + horizon] = sample + stream([sample])[0]
    return forecast[: len(signal)]


def by_linear_filter(signal, horizon):
    """The same by recursive least squares on the last ORDER samples and a constant."""
    weights, P = np.zeros(ORDER + 1), 100 * np.eye(ORDER + 1)
    forecast = np.full(len(signal) + horizon, np.nan)
    inputs = [np.append(signal[t - ORDER + 1 : t + 1], 1) for t in range(ORDER - 1, len(signal))]
    for t in range(ORDER - 1 + horizon, len(signal)):
        x = inputs[t - horizon - ORDER + 1]
        gain = P @ x / (FORGET + x @ P @ x)
        weights += gain * (signal[t] - weights @ x)
        P = (P - np.outer(gain, x @ P)) / FORGET
        forecast[t + horizon] = weights @ inputs[t - ORDER + 1]
    return forecast[: len(signal)]


def forecasts(signal, options):
    """{name: (forecast, microseconds of a step)}"""
    horizon = options.horizon
    found = {"as it is now": (np.concatenate([np.full(horizon, np.nan), signal[:-horizon]]), 0.0)}
    ways = {"linear filter": lambda: by_linear_filter(signal, horizon)}
    for name, method in (("SnAp-1", bptt.SnAp1), ("RTRL", bptt.RTRL)):
        ways[name] = lambda method=method: by_learner(method, signal, horizon, options.hidden, options.seed)
    for name, way in ways.items():
        began = time.perf_counter()
        found[name] = way(), (time.perf_counter() - began) / len(signal) * 1e6
    return found


def plot(signal, found, horizon, path):
    shown = slice(len(signal) - 30 * RATE, None)
    seconds = np.arange(len(signal)) / RATE
    figure = Figure(figsize=(11, 4), layout="constrained")
    ax = figure.subplots()
    ax.plot(seconds[shown], signal[shown], color="#222222", linewidth=2, label="signal")
    for (name, (forecast, _)), colour in zip(found.items(), ["#bbbbbb", "#e6ab02", "#3aa6b9", "#7b3294"], strict=True):
        ax.plot(seconds[shown], forecast[shown], color=colour, linewidth=1.3, label=name)
    ax.set(xlabel="seconds", title=f"Forecasts made {horizon / RATE:g} s before")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, ncols=5, loc="upper left")
    figure.savefig(path, dpi=130)


def arguments():
    parser = argparse.ArgumentParser(description="Forecast a signal that is learnt while it arrives.")
    parser.add_argument("file", nargs="?", type=Path, default="breathing.png", help="picture (default %(default)s)")
    parser.add_argument("--minutes", type=int, default=10, help="length of the signal (default %(default)s)")
    parser.add_argument("--horizon", type=int, default=10, help="samples ahead (default %(default)s)")
    parser.add_argument("--hidden", type=int, default=16, help="units of the LSTM (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of signal and network (default %(default)s)")
    options = parser.parse_args()
    if options.minutes < 3 or not 1 <= options.horizon <= 100 or options.hidden < 1 or options.seed < 0:
        parser.error("--minutes must be at least 3, --horizon in 1..100, --hidden at least 1, --seed at least 0")
    return options


def main():
    options = arguments()
    signal = breathing(options.minutes * 60 * RATE, options.seed)
    found = forecasts(signal, options)
    counted = slice(LEARNT * RATE, None)
    print(f"error of forecasts {options.horizon / RATE:g} s ahead; the signal's deviation is {signal.std():.3f}")
    for name, (forecast, step) in found.items():
        error = np.sqrt(np.mean((forecast[counted] - signal[counted]) ** 2))
        print(f"{error:8.3f}  {name:14} {step:6.0f} microseconds a step")
    plot(signal, found, options.horizon, options.file)
    print(f"plot: {options.file}")


if __name__ == "__main__":
    main()
