"""A character model trained by truncated backpropagation through time: python examples/char_rnn.py [FILE]

An LSTM and a tanh network learn FILE, or the language reference that every CPython has within it, at the same time and
for the same time, half of the processors each. Printed are their bits per character on the last tenth of the text, held
out, beside those of an order-2 Markov model, and the characters that each learned from in a second. The LSTM and a plot
of both trainings go to DIR. Characters are the networks' inputs as integers.

    python examples/char_rnn.py --sample [PROMPT]     what the LSTM that lies in DIR writes after the prompt
"""

import argparse
import json
import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import bptt

BATCH = 32  # streams that the training text is cut into
TRUNCATION = bptt.TBPTT(50)  # an update every 50 steps, back over these 50; the state is carried on
CHUNK = 1000  # steps of an evaluation at a time
WARMUP = 0.1  # the part of the training after which the learning rate is highest
CLIP_NORM = 1.0
EVALUATIONS = 30  # on the validation text: the last twentieth of the text to learn, which is not trained on
HELD_OUT_STREAMS = 8
BITS = 1 / math.log(2)  # bits in a nat


@dataclass(frozen=True)
class Kind:
    """A network to train, and how: each cell has the settings that suited it best on the validation text."""

    cell: str
    hidden: int  # by default
    lr: float  # the highest
    weight_decay: float
    blanked: float  # part of the training inputs that a symbol of its own replaces, against overfitting
    color: str


KINDS = (Kind("lstm", 192, 1e-2, 0.05, 0.05, "#b22222"), Kind("tanh", 384, 8e-3, 0.15, 0.1, "#1f4e79"))


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
    """Inputs and labels (T,rows): a piece of the text in each column; each label is the character after its input."""
    steps = (len(text) - 1) // rows
    inputs, labels = text[: steps * rows], text[1 : steps * rows + 1]
    return inputs.reshape(rows, steps).T, labels.reshape(rows, steps).T


# ---- training -----------------------------------------------------------------------------------------


def training_windows(rnn, text, blanked, rng):
    """Window after window, epoch after epoch; rnn.grads holds the gradient of the last one."""
    while True:
        x, labels = streams(np.roll(text, -rng.integers(len(text))), BATCH)  # cut elsewhere in each epoch
        x = np.where(rng.random(x.shape) < blanked, rnn.output_size, x)  # the symbol behind the characters
        yield from rnn.windows(x, labels, "cross_entropy", truncation=TRUNCATION)


def bits_per_character(rnn, x, labels):
    """The loss over all labels, with the state carried from the first step to the last."""
    state, loss = None, 0.0
    for start in range(0, len(x), CHUNK):
        logits, state = rnn.forward(x[start : start + CHUNK], state, tape=False)
        loss += bptt.cross_entropy(logits, labels[start : start + CHUNK], reduction="sum")[0]
    return BITS * loss / labels.size


def learning_rate(highest, done):
    """Linear warm-up, then half a cosine down to zero; done goes from 0 to 1."""
    return highest * min(1, done / WARMUP) * (1 + math.cos(math.pi * min(1, done))) / 2


class Log:
    """What the plot shows."""

    def __init__(self):
        self.loss, self.smoothed, self.grad_norm = [], [], []  # of each update, in bits per character; before clipping
        self.validation = []  # (updates, bits per character)
        self.characters, self.seconds = 0, 0.0  # learned from, and the time it took

    def best(self):
        return min(self.validation, key=lambda entry: entry[1])

    def record(self, loss, grad_norm, characters):
        self.characters += characters
        before = self.smoothed[-1] if self.smoothed else loss
        self.loss.append(loss)
        self.smoothed.append(before + max(0.02, 1 / len(self.loss)) * (loss - before))
        self.grad_norm.append(grad_norm)


class Clock:
    """The share of the training that is done; all of it after Ctrl-C."""

    def __init__(self, seconds):
        self.seconds, self.began, self.stopped = seconds, time.perf_counter(), threading.Event()

    def elapsed(self):
        return self.seconds if self.stopped.is_set() else time.perf_counter() - self.began

    def done(self):
        return min(1.0, self.elapsed() / self.seconds)


def train(kind, rnn, text, validation, clock, log, rng):
    """Train until the time is over, and keep the parameters that were best on the validation text."""
    best = None

    def validate():
        nonlocal best
        log.validation.append((len(log.loss), bits_per_character(rnn, *validation)))
        if log.best() == log.validation[-1]:
            best = rnn.params.copy()

    optimizer = bptt.Adam(rnn.params, rnn.grads, weight_decay=kind.weight_decay, decoupled=True)
    began = time.perf_counter()
    for window in training_windows(rnn, text, kind.blanked, rng):
        if clock.done() == 1:
            break
        optimizer.lr = learning_rate(kind.lr, clock.done())
        grad_norm = rnn.clip_grad_norm(CLIP_NORM)
        optimizer.step()
        log.record(BITS * window.loss, grad_norm, window.y[..., 0].size)
        log.seconds += time.perf_counter() - began
        if clock.done() >= (len(log.validation) + 1) / EVALUATIONS:
            validate()
        began = time.perf_counter()
    validate()
    rnn.params = best


def train_together(trainings, clock):
    """Run all trainings, each in its own thread, and show their progress."""
    bar = tqdm(total=clock.seconds, bar_format="training, Ctrl-C ends it early |{bar:20}| {remaining} left{postfix}")
    with ThreadPoolExecutor(len(trainings)) as pool:
        running = [pool.submit(train, *training, clock, log, rng) for training, log, rng in trainings]
        while not all(future.done() for future in running):
            try:
                time.sleep(0.1)
            except KeyboardInterrupt:
                clock.stopped.set()
            latest = [(kind.cell, log.validation[-1][1]) for (kind, *_), log, _ in trainings if log.validation]
            bar.set_postfix_str(", ".join(f"{cell} {bits:.3f}" for cell, bits in latest), refresh=False)
            bar.update(min(clock.elapsed(), clock.seconds) - bar.n)
        bar.close()
        for future in running:
            future.result()


def norms_by_distance(rnn, x, labels):
    """||dL/dh|| 0, 1, ..., back-1 steps before the step whose loss is L: the mean over windows of TBPTT(1, back)."""
    back = min(TRUNCATION.k2, len(x) // 2)
    windows = rnn.windows(x[: 4 * back], labels[: 4 * back], "cross_entropy", truncation=bptt.TBPTT(1, back))
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


# ---- samples and figures --------------------------------------------------------------------------------


def sample(rnn, prompt, length, rng, temperature=0.7):
    """The ids of `length` characters drawn one by one after the prompt."""
    stream, logits = rnn.stream(), np.empty(rnn.output_size, rnn.dtype)
    for i in prompt:
        stream(i, out=logits)
    drawn = []
    for _ in range(length):
        p = np.exp((logits - logits.max()) / temperature, dtype=np.float64)
        drawn.append(rng.choice(len(p), p=p / p.sum()))
        stream(drawn[-1], out=logits)
    return drawn


def print_sample(options):
    """What the model that a training left in DIR writes after a prompt."""
    try:
        rnn = bptt.RNN.load(options.out / "char_rnn.safetensors", threads=1)
        vocabulary = json.loads((options.out / "char_rnn_vocabulary.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise SystemExit(f"char_rnn: no model in {options.out}, train one first: {error.strerror}") from None
    ids = {character: i for i, character in enumerate(vocabulary)}
    text = options.sample or ("\n" if "\n" in ids else vocabulary[0])
    unknown = sorted(set(text) - ids.keys())
    if unknown:
        raise SystemExit(f"char_rnn: the model knows no {', '.join(map(repr, unknown))}")
    prompt = [ids[character] for character in text]
    began = time.perf_counter()
    drawn = sample(rnn, prompt, options.length, np.random.default_rng(options.seed))
    seconds = time.perf_counter() - began
    print(f"{rnn}, one step at a time, temperature 0.7:\n{'-' * 80}")
    print(options.sample + "".join(vocabulary[i] for i in drawn) + "\n" + "-" * 80)
    print(f"{(len(prompt) + len(drawn)) / seconds:,.0f} characters per second")


def plot(results, markov, path):
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    axes = figure.subplot_mosaic([["loss", "updates"], ["loss", "steps"]], width_ratios=[1.4, 1])
    for r in results:
        updates = np.arange(1, len(r.log.loss) + 1)
        ax, cell = axes["loss"], r.rnn.cell
        ax.plot(updates, r.log.smoothed, color=r.color, linewidth=0.8, alpha=0.5, label=f"{cell}, training, smoothed")
        ax.plot(*zip(*r.log.validation, strict=True), "o-", markersize=3, color=r.color, label=f"{cell}, validation")
        ax.plot(r.log.best()[0], r.bits, "*", markersize=12, color=r.color, label=f"{cell}, held-out: {r.bits:.3f}")
        axes["updates"].plot(updates, r.log.grad_norm, color=r.color, linewidth=0.4, label=cell)
        axes["steps"].plot(r.norms, color=r.color, label=cell)

    ax = axes["loss"]
    ax.axhline(markov, color="#555555", linestyle="--", label=f"order-2 Markov model, held-out: {markov:.3f}")
    ax.set(xlabel="update", ylabel="cross-entropy (bits per character)", title="Loss", ylim=(None, 1.6 * markov))
    axes["updates"].axhline(CLIP_NORM, color="#555555", linestyle="--", linewidth=1, label=f"clipped to {CLIP_NORM:g}")
    axes["updates"].set(xlabel="update", ylabel="‖∂L/∂θ‖ (nats)", yscale="log", title="Gradient norm of each update")
    axes["steps"].set(xlabel="steps back", ylabel="‖∂L/∂h‖ (nats)", yscale="log")
    axes["steps"].set_title("Gradient of one step's loss back in time")
    for ax in axes.values():
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    figure.savefig(path, dpi=120)


@dataclass
class Result:
    """A trained network and what is shown of it."""

    rnn: bptt.RNN
    log: Log
    color: str
    bits: float
    norms: np.ndarray


def arguments():
    parser = argparse.ArgumentParser(description="Train two character models and compare them with a Markov model.")
    sizes = ", ".join(f"{kind.hidden} {kind.cell}" for kind in KINDS)
    parser.add_argument("file", nargs="?", metavar="FILE", help="text to learn, utf-8 (default: Python's reference)")
    parser.add_argument("--hidden", type=int, help=f"hidden units of each (default {sizes})")
    parser.add_argument("--seconds", type=float, default=100, help="training time (default %(default)s)")
    parser.add_argument("--out", type=Path, default="demo", metavar="DIR", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    parser.add_argument("--threads", type=int, help="of each network (default: half of the processors)")
    sample_help = "no training: what the model in DIR writes after this text, by default after the end of a line"
    parser.add_argument("--sample", nargs="?", const="", metavar="PROMPT", help=sample_help)
    parser.add_argument("--length", type=int, default=600, help="of the sample (default %(default)s)")
    options = parser.parse_args()
    if options.length < 1:
        parser.error("--length must be at least 1")
    if not 0 < options.seconds < math.inf:
        parser.error("--seconds must be above 0")
    if options.seed < 0 or any(n is not None and n < 1 for n in (options.hidden, options.threads)):
        parser.error("--hidden and --threads must be at least 1, --seed at least 0")
    return options


def compare(options):
    """Train the networks and print how they do."""
    began = time.perf_counter()
    text = read_text(options.file)
    options.out.mkdir(parents=True, exist_ok=True)
    vocabulary, ids = np.unique(list(text), return_inverse=True)
    held_out_size = len(ids) // 10 // HELD_OUT_STREAMS * HELD_OUT_STREAMS
    start = len(ids) - held_out_size
    held_out = streams(ids[start - 1 :], HELD_OUT_STREAMS)
    markov = markov_bits(ids, start, len(vocabulary))

    size = len(vocabulary)
    threads = options.threads or max(1, (os.cpu_count() or 1) // len(KINDS))
    validation = start - start // 20 // HELD_OUT_STREAMS * HELD_OUT_STREAMS
    texts = ids[:validation], streams(ids[validation - 1 : start], HELD_OUT_STREAMS)
    print(f"{start} characters to learn, {held_out_size} held out, {size} different ones")
    trainings = []
    for kind in KINDS:
        rng = np.random.default_rng(options.seed)
        settings = {"cell": kind.cell, "forget_bias": float(kind.cell == "lstm"), "init": "orthogonal"}
        hidden = options.hidden or kind.hidden
        rnn = bptt.RNN(size + 1, hidden, size, one_hot=True, **settings, seed=rng, threads=threads)
        trainings.append(((kind, rnn, *texts), Log(), rng))
        print(rnn)
    train_together(trainings, Clock(options.seconds))

    print("\nheld-out bits per character, each network as it was best on the validation text:")
    results = []
    for (kind, rnn, *_), log, _ in trainings:
        bits = bits_per_character(rnn, *held_out)
        results.append(Result(rnn, log, kind.color, bits, norms_by_distance(rnn, *held_out)))
        print(f"  {bits:.3f}  {rnn.cell} network of {rnn.hidden_size}, {log.best()[0]} of {len(log.loss)} updates, "
              f"{log.characters / log.seconds:,.0f} characters per second")  # fmt: skip
    print(f"  {markov:.3f}  order-2 Markov model, interpolated Kneser-Ney")
    rnn, bits = results[0].rnn, results[0].bits
    print(f"The {rnn.cell} network {'beats' if bits < markov else 'does NOT beat'} the Markov model.")
    print(f"\nits sample at temperature 0.7:\n{'-' * 80}")
    print("".join(vocabulary[sample(rnn, ids[start - 100 : start], 400, rng)]) + "\n" + "-" * 80)

    model, picture = options.out / "char_rnn.safetensors", options.out / "char_rnn.png"
    rnn.save(model)
    (options.out / "char_rnn_vocabulary.json").write_text(json.dumps(vocabulary.tolist()), encoding="utf-8")
    again = bits_per_character(bptt.RNN.load(model, threads=threads), *held_out)
    if again != bits:
        raise SystemExit(f"char_rnn: the saved model has {again} held-out bits per character instead of {bits}")
    plot(results, markov, picture)
    print(f"\nmodel (loaded again: same loss): {model}\nplot: {picture}\n{time.perf_counter() - began:.0f} s in all")


def main():
    options = arguments()
    if options.sample is None:
        compare(options)
    else:
        print_sample(options)


if __name__ == "__main__":
    main()
