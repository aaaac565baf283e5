"""A character model trained by truncated backpropagation through time: python examples/char_rnn.py [FILE]

It learns FILE, or the language reference that every CPython has within it, holds out the last tenth, and prints its
bits per character there beside those of an order-2 Markov model. The model and a plot of the training go to DIR.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import bptt

BATCH = 32  # streams that the training text is cut into
TRUNCATION = bptt.TBPTT(100)  # an update every 100 steps, back over these 100; the state goes on
CHUNK = 5 * TRUNCATION.k1  # steps that are made one-hot at a time
LR, WARMUP = 8e-3, 0.1  # highest learning rate, and the part of the training after which it is reached
WEIGHT_DECAY, BLANKED = 0.15, 0.1  # against overfitting; BLANKED: part of the training inputs that are set to zero
CLIP_NORM = 1.0
EVALUATIONS = 30  # on the validation text: the last twentieth of the text to learn, which is not trained on
HELD_OUT_STREAMS = 8
BITS = 1 / math.log(2)  # bits in a nat


# ---- text ---------------------------------------------------------------------------------------------


def read_text(file):
    if file is None:
        from pydoc_data.topics import topics

        return "".join(topics[key] for key in sorted(topics))
    try:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SystemExit(f"char_rnn: cannot read {file}: {error.strerror}") from None
    if len(text) < 200 * BATCH:
        raise SystemExit(f"char_rnn: {file} has {len(text)} characters, at least {200 * BATCH} are needed")
    return text


def streams(text, rows):
    """Inputs and labels (T,rows): the text in pieces side by side; each label is the character after its input."""
    steps = (len(text) - 1) // rows
    inputs, labels = text[: steps * rows], text[1 : steps * rows + 1]
    return inputs.reshape(rows, steps).T, labels.reshape(rows, steps).T


def one_hot(ids, size):
    x = np.zeros((*ids.shape, size), np.float32)
    np.put_along_axis(x, ids[..., None], 1, axis=-1)
    return x


# ---- training -----------------------------------------------------------------------------------------


def training_windows(rnn, text, rng):
    """Window after window, epoch after epoch; rnn.grads holds the gradient of the last one."""
    while True:
        x, labels = streams(np.roll(text, -rng.integers(len(text))), BATCH)  # cut elsewhere in each epoch
        state = None
        for start in range(0, len(x), CHUNK):
            chunk = one_hot(x[start : start + CHUNK], rnn.input_size)
            chunk[rng.random(chunk.shape[:2]) < BLANKED] = 0
            target = labels[start : start + CHUNK]
            for window in rnn.windows(chunk, target, "cross_entropy", truncation=TRUNCATION, state=state):
                yield window
            state = window.state


def bits_per_character(rnn, x, labels):
    """Of all labels, the state carried along from the first step to the last."""
    state, loss = None, 0.0
    for start in range(0, len(x), CHUNK):
        logits, state = rnn.forward(one_hot(x[start : start + CHUNK], rnn.input_size), state, tape=False)
        loss += bptt.cross_entropy(logits, labels[start : start + CHUNK], reduction="sum")[0]
    return BITS * loss / labels.size


def learning_rate(done):
    """Linear warm-up, then half a cosine down to zero; done goes from 0 to 1."""
    return LR * min(1, done / WARMUP) * (1 + math.cos(math.pi * min(1, done))) / 2


class Log:
    """What the plot shows."""

    def __init__(self):
        self.loss, self.smoothed, self.grad_norm = [], [], []  # of each update, in bits per character; before clipping
        self.validation = []  # (updates, bits per character)

    def best(self):
        return min(self.validation, key=lambda entry: entry[1])

    def record(self, loss, grad_norm):
        before = self.smoothed[-1] if self.smoothed else loss
        self.loss.append(loss)
        self.smoothed.append(before + max(0.02, 1 / len(self.loss)) * (loss - before))
        self.grad_norm.append(grad_norm)


def train(rnn, text, validation, seconds, rng):
    """Train until the time is over or Ctrl-C comes, and keep the parameters that were best on the validation text."""
    log, best = Log(), None

    def validate():
        nonlocal best
        log.validation.append((len(log.loss), bits_per_character(rnn, *validation)))
        if log.best() == log.validation[-1]:
            best = rnn.params.copy()

    optimizer = bptt.Adam(rnn.params, rnn.grads, weight_decay=WEIGHT_DECAY, decoupled=True)
    bar = tqdm(total=seconds, bar_format="training, Ctrl-C ends it early |{bar:20}| {remaining} left{postfix}")
    began = time.perf_counter()
    try:
        for window in training_windows(rnn, text, rng):
            elapsed = time.perf_counter() - began
            if elapsed >= seconds:
                break
            optimizer.lr = learning_rate(elapsed / seconds)
            grad_norm = rnn.clip_grad_norm(CLIP_NORM)
            optimizer.step()
            log.record(BITS * window.loss, grad_norm)
            if elapsed >= seconds * (len(log.validation) + 1) / EVALUATIONS:
                validate()
            valid = f", validation {log.validation[-1][1]:.3f}" if log.validation else ""
            bar.set_postfix_str(f"loss {log.smoothed[-1]:.3f}{valid} bits/char", refresh=False)
            bar.update(elapsed - bar.n)
    except KeyboardInterrupt:
        pass
    bar.close()
    validate()
    rnn.params = best
    return log


def reach(rnn, x, labels):
    """||dL/dh|| 0, 1, ..., back-1 steps before the step whose loss is L: the mean over windows of TBPTT(1, back)."""
    back = min(TRUNCATION.k2, len(x) // 2)
    x, labels = one_hot(x[: 4 * back], rnn.input_size), labels[: 4 * back]
    windows = rnn.windows(x, labels, "cross_entropy", truncation=bptt.TBPTT(1, back))
    norms = [window.grad_norms[::-1] for window in windows]
    return np.mean(norms[back - 1 :], axis=0)  # the first windows are shorter


# ---- the model to beat ----------------------------------------------------------------------------------


def markov_bits(text, start, size):
    """Bits per character of text[start:] by the two characters before, counted on text[:start].

    Interpolated Kneser-Ney smoothing (Chen & Goodman 1999) down to the uniform distribution. Its discount is the one
    that suits the held-out text best, which favours this model.
    """

    def grams(ids, order):
        """Each run of order + 1 characters as one number."""
        return sum(ids[i : len(ids) - order + i] * size ** (order - i) for i in range(order + 1))

    seen = text[:start]
    counted = [np.unique(grams(seen, 1)) % size, np.unique(grams(seen, 2)) % size**2, grams(seen, 2)]
    asked = [grams(text[start - order :], order) for order in range(3)]

    def bits(discount):
        p = 1 / size
        for runs, wanted in zip(counted, asked, strict=True):
            kinds, counts = np.unique(runs, return_counts=True)
            contexts, first, types = np.unique(kinds // size, return_index=True, return_counts=True)
            count = look_up(kinds, counts, wanted)
            total = look_up(contexts, np.add.reduceat(counts, first), wanted // size)
            left_over = discount * look_up(contexts, types, wanted // size)
            p = np.where(total > 0, (np.maximum(count - discount, 0) + left_over * p) / np.maximum(total, 1), p)
        return -np.log2(p).mean()

    return min(bits(discount) for discount in np.arange(0.3, 1, 0.05))


def look_up(keys, values, wanted):
    """values[i] where keys[i] is wanted, 0 where none is; keys are sorted."""
    at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0)


# ---- what comes out -------------------------------------------------------------------------------------


def sample(rnn, prompt, length, rng, temperature=0.7):
    """The ids of `length` characters drawn one by one after the prompt."""
    stream, x, logits = rnn.stream(), np.eye(rnn.input_size, dtype=np.float32), np.empty(rnn.output_size, np.float32)
    for i in prompt:
        stream(x[i], out=logits)
    drawn = []
    for _ in range(length):
        p = np.exp((logits - logits.max()) / temperature, dtype=np.float64)
        drawn.append(rng.choice(len(p), p=p / p.sum()))
        stream(x[drawn[-1]], out=logits)
    return drawn


def plot(log, reach_back, bits, markov, path):
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    axes = figure.subplot_mosaic([["loss", "updates"], ["loss", "steps"]], width_ratios=[1.4, 1])
    updates = np.arange(1, len(log.loss) + 1)

    ax = axes["loss"]
    ax.plot(updates, log.loss, color="#c9d6e3", linewidth=0.6, label=f"training, {BLANKED:.0%} of the inputs blanked")
    ax.plot(updates, log.smoothed, color="#1f4e79", linewidth=1.6, label="the same, smoothed")
    ax.plot(*zip(*log.validation, strict=True), "o-", markersize=3, color="#d95f02", label="validation")
    ax.plot(log.best()[0], bits, "*", markersize=12, color="#b22222", label=f"held-out, best network: {bits:.3f}")
    ax.axhline(markov, color="#555555", linestyle="--", label=f"order-2 Markov model, held-out {markov:.3f}")
    ax.set(xlabel="update", ylabel="cross-entropy (bits per character)", title="Loss")
    ax.legend(frameon=False)

    ax = axes["updates"]
    ax.plot(updates, log.grad_norm, color="#1f4e79", linewidth=0.4)
    ax.axhline(CLIP_NORM, color="#555555", linestyle="--", linewidth=1, label=f"clipped to {CLIP_NORM:g}")
    ax.set(xlabel="update", ylabel="‖∂L/∂θ‖ (nats)", yscale="log", title="Gradient norm of each update")
    ax.legend(frameon=False)

    ax = axes["steps"]
    ax.plot(reach_back, color="#1f4e79")
    ax.set(xlabel="steps back", ylabel="‖∂L/∂h‖ (nats)", yscale="log", title="Gradient of one step's loss back in time")

    for ax in axes.values():
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    figure.savefig(path, dpi=120)


def arguments():
    parser = argparse.ArgumentParser(description="Train a character model and compare it with a Markov model.")
    parser.add_argument("file", nargs="?", metavar="FILE", help="text to learn, utf-8 (default: Python's reference)")
    parser.add_argument("--hidden", type=int, default=384, help="hidden units (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=90, help="training time (default %(default)s)")
    parser.add_argument("--out", type=Path, default="demo", metavar="DIR", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--threads", type=int, help="default: one per processor")
    options = parser.parse_args()
    if not 0 < options.seconds < math.inf:
        parser.error("--seconds must be above 0")
    if options.hidden < 1 or options.seed < 0 or (options.threads is not None and options.threads < 1):
        parser.error("--hidden and --threads must be at least 1, --seed at least 0")
    return options


def main():
    began, options = time.perf_counter(), arguments()
    text = read_text(options.file)
    options.out.mkdir(parents=True, exist_ok=True)
    vocabulary, ids = np.unique(list(text), return_inverse=True)
    held_out_size = len(ids) // 10 // HELD_OUT_STREAMS * HELD_OUT_STREAMS
    start = len(ids) - held_out_size
    held_out = streams(ids[start - 1 :], HELD_OUT_STREAMS)
    markov = markov_bits(ids, start, len(vocabulary))

    rng = np.random.default_rng(options.seed)
    size = len(vocabulary)
    rnn = bptt.RNN(size, options.hidden, size, init="orthogonal", seed=rng, threads=options.threads)
    print(f"{start} characters to learn, {held_out_size} held out, {size} different ones\n{rnn}")
    validation = start - start // 20 // HELD_OUT_STREAMS * HELD_OUT_STREAMS
    log = train(rnn, ids[:validation], streams(ids[validation - 1 : start], HELD_OUT_STREAMS), options.seconds, rng)
    bits = bits_per_character(rnn, *held_out)

    print(
        f"\nheld-out bits per character after {log.best()[0]} of {len(log.loss)} updates, the best on validation text:"
    )
    print(f"  {bits:.3f}  this network\n  {markov:.3f}  order-2 Markov model, interpolated Kneser-Ney")
    print("The network beats the Markov model." if bits < markov else "The network does NOT beat the Markov model.")
    print("\nsample at temperature 0.7:\n" + "-" * 80)
    print("".join(vocabulary[sample(rnn, ids[start - 100 : start], 400, rng)]) + "\n" + "-" * 80)

    model, picture = options.out / "char_rnn.safetensors", options.out / "char_rnn.png"
    rnn.save(model)
    (options.out / "char_rnn_vocabulary.json").write_text(json.dumps(vocabulary.tolist()), encoding="utf-8")
    again = bits_per_character(bptt.RNN.load(model, threads=options.threads), *held_out)
    if again != bits:
        raise SystemExit(f"char_rnn: the saved model has {again} held-out bits per character instead of {bits}")
    plot(log, reach(rnn, *held_out), bits, markov, picture)
    print(f"\nmodel (loaded again: same loss): {model}\nplot: {picture}\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
