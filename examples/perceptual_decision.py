"""A perceptual decision by a network of excitatory and inhibitory units: python examples/perceptual_decision.py [FILE]

Which of two noisy inputs is stronger? The task is that of moving random dots (Britten et al. 1992; Roitman & Shadlen
2002), simulated as by Song, Yang, Wang 2016 (pycog): for 800 ms two inputs are 0.5 (1 + c) and 0.5 (1 - c) plus noise,
c the signed coherence; then a go cue asks for the choice. The network is leaky (tau = 100 ms, steps of 20 ms), has
noise in its units, and obeys Dale's law: 80 % of the units excite, 20 % inhibit, none drives itself; inputs excite, and
only excitatory units are read out.

Prints the share of correct choices for each coherence and the Weibull function that fits it, with its threshold, the
coherence of 82 % correct; monkeys have one of about 7 %. Draws the psychometric curve, the path of the
decision and the trained weights to FILE.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import bptt

DT, TAU = 20, 100  # ms
FIXATION, STIMULUS, CHOICE = 200 // DT, 800 // DT, 200 // DT  # steps
T = FIXATION + STIMULUS + CHOICE
COHERENCES = np.array([0.0, 0.032, 0.064, 0.128, 0.256, 0.512])  # of Roitman & Shadlen
UNITS, EXCITATORY = 100, 0.8
LEAK = DT / TAU
UNIT_NOISE = 0.15 * np.sqrt(2 / LEAK)  # continuous noise of standard deviation 0.15, in steps of DT
INPUT_NOISE = 0.25  # of each input in each step; an ideal observer then has a threshold of 5 %
BATCH, LR = 64, 2e-3


def trials(coherence, rng):
    """x (T,B,3): two inputs and the cue that holds the choice back; label (T,B): the stronger input, drawn where
    neither is."""
    B = len(coherence)
    x = np.zeros((T, B, 3), np.float32)
    on = slice(FIXATION, FIXATION + STIMULUS)
    strength = np.stack([1 + coherence, 1 - coherence], axis=1) / 2
    x[on, :, :2] = strength + INPUT_NOISE * rng.standard_normal((STIMULUS, B, 2))
    x[: FIXATION + STIMULUS, :, 2] = 1
    first = np.where(coherence == 0, rng.random(B) < 0.5, coherence > 0)
    return x, np.broadcast_to(np.where(first, 0, 1), (T, B))


def network(seed):
    """The network and what its weights may be."""
    rnn = bptt.RNN(3, UNITS, 2, cell="relu", leak=LEAK, noise=UNIT_NOISE, seed=seed,
                   init=bptt.init.dale(EXCITATORY, spectral_radius=1.0))  # fmt: skip
    signs = bptt.init.dale_signs(UNITS, EXCITATORY)
    constraints = bptt.Constraints(
        rnn,
        masks={"weight_hh_l0": 1 - np.eye(UNITS), "weight_ho": np.tile(signs > 0, (2, 1))},
        signs={"weight_hh_l0": signs, "weight_ih_l0": np.ones(3), "weight_ho": np.ones(UNITS)},
    )
    constraints.apply()
    return rnn, constraints


def train(rnn, constraints, updates, rng):
    """Updates by new trials; prints the loss now and then."""
    adam = bptt.Adam(rnn.params, rnn.grads, lr=LR)
    counts = np.zeros((T, BATCH), bool)
    counts[FIXATION + STIMULUS :] = True  # only the choice is asked for
    losses = []
    for update in range(updates):
        coherence = rng.choice(COHERENCES, BATCH) * rng.choice([-1, 1], BATCH)
        x, label = trials(coherence, rng)
        for w in rnn.windows(x, label, "cross_entropy", mask=counts):
            constraints.mask_grads()
            rnn.clip_grad_norm(1.0)
            adam.step()
            constraints.apply(adam)
            losses.append(w.loss)
        if update % max(1, updates // 5) == updates // 5 - 1:
            print(f"update {update + 1:>5}  loss {np.mean(losses[-100:]):.3f}")


def measure(rnn, count, rng):
    """(coherences,) of correct choices, `count` trials of each sign, and (coherences,T) of the mean evidence: the
    difference of the outputs, towards the right choice. A forward with a tape has the noise of training."""
    correct, evidence = [], []
    for coherence in COHERENCES:
        x, label = trials(np.repeat([coherence, -coherence], count), rng)
        y, _ = rnn.forward(x)
        towards = np.where(label == 0, 1, -1) * (y[..., 0] - y[..., 1])
        correct.append((towards[-1] > 0).mean())
        evidence.append(towards.mean(axis=1))
    return np.array(correct), np.array(evidence)


def weibull(c, threshold, slope, lapse):
    """The share of correct choices (Quick 1974); at the threshold 82 % without lapses."""
    return 0.5 + (0.5 - lapse) * (1 - np.exp(-((c / threshold) ** slope)))


def fit_weibull(correct):
    """(threshold, slope, lapse) of the greatest likelihood, by search over a grid."""
    grid = np.meshgrid(np.geomspace(0.01, 0.6, 300), np.linspace(0.5, 4, 141), [0, 0.005, 0.01, 0.02, 0.05])
    likelihood = 0
    for c, share in zip(COHERENCES[1:], correct[1:], strict=True):
        p = np.clip(weibull(c, *grid), 1e-6, 1 - 1e-6)
        likelihood = likelihood + share * np.log(p) + (1 - share) * np.log(1 - p)
    best = np.argmax(likelihood)
    return tuple(float(axis.flat[best]) for axis in grid)


def draw(path, rnn, correct, evidence, fitted):
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    curve, path_axes, matrix = figure.subplots(1, 3)
    c = np.geomspace(0.01, 0.6, 200)
    curve.plot(100 * c, 100 * weibull(c, *fitted), color="tab:gray")
    curve.plot(100 * COHERENCES[1:], 100 * correct[1:], "o", color="tab:blue")
    curve.axvline(100 * fitted[0], color="tab:gray", linestyle=":", label=f"threshold {100 * fitted[0]:.1f} %")
    curve.set(xscale="log", xlabel="coherence (%)", ylabel="correct choices (%)", ylim=(48, 102))
    curve.legend(loc="lower right", frameon=False)
    ms = DT * (np.arange(T) - FIXATION)
    for coherence, line, shade in zip(COHERENCES, evidence, np.linspace(0.25, 1, len(COHERENCES)), strict=True):
        path_axes.plot(ms, line, color="tab:blue", alpha=shade, label=f"{100 * coherence:.1f} %")
    path_axes.axvspan(0, DT * STIMULUS, color="0.94")
    path_axes.set(xlabel="time since the dots came on (ms)", ylabel="evidence for the right choice")
    path_axes.legend(frameon=False, fontsize="small")
    weights = rnn.param_views()["weight_hh_l0"]
    most = np.quantile(abs(weights), 0.99)
    image = matrix.imshow(weights, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="none")
    matrix.set(xlabel="from unit (excitatory, then inhibitory)", ylabel="to unit")
    figure.colorbar(image, ax=matrix, label="weight_hh_l0")
    figure.savefig(path, dpi=100)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default="perceptual_decision.png")
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--trials", type=int, default=1000, help="of each coherence and sign, to measure")
    parser.add_argument("--quick", action="store_true", help="a few seconds: a threshold that is too high")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.updates < 1 or args.trials < 1:
        parser.error("--updates and --trials must be at least 1")
    if args.quick:
        args.updates, args.trials = 250, 200
    return args


def main():
    args = arguments()
    began = time.perf_counter()
    rng = np.random.default_rng(args.seed)
    rnn, constraints = network(args.seed)
    train(rnn, constraints, args.updates, rng)
    correct, evidence = measure(rnn, args.trials, rng)
    fitted = fit_weibull(correct)
    for coherence, share in zip(COHERENCES, correct, strict=True):
        print(f"coherence {100 * coherence:5.1f} %  correct {100 * share:5.1f} %")
    print(f"threshold {100 * fitted[0]:.1f} %, slope {fitted[1]:.2f}, lapses {100 * fitted[2]:.1f} %")
    weights, signs = rnn.param_views()["weight_hh_l0"], bptt.init.dale_signs(UNITS, EXCITATORY)
    wrong = (weights * signs < 0).sum() + np.count_nonzero(weights.diagonal())
    print(f"{(signs > 0).sum()} units excite, {(signs < 0).sum()} inhibit, {wrong} weights of a wrong sign")
    print(f"{(weights != 0).mean():.0%} of the weights are left, {time.perf_counter() - began:.0f} s")
    draw(args.file, rnn, correct, evidence, fitted)
    print(f"drawn to {args.file}")


if __name__ == "__main__":
    main()
