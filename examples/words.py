"""A word model with an embedding, beside the same in torch: python examples/words.py [FILE]

The text is what every CPython has within it: the language reference and the docstrings of the standard library. Words
and signs that occur at least twice in the training part are numbers, all others are one more; each has a row of a table
that is trained along with an LSTM. If torch is installed, its Embedding, LSTM and Linear begin with the same values and
take the same batches. Printed are the perplexity on the last tenth of the text, held out, and the words that each
learned from in a second; the figure in FILE shows both losses.
"""

import argparse
import ast
import re
import sysconfig
import time
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import bptt

BATCH, STEPS = 20, 35  # streams, and steps of a window
EMBEDDING, HIDDEN = 64, 160
LR, CLIP_NORM = 3e-3, 1.0
HELD_OUT = 0.1


# ---- text ---------------------------------------------------------------------------------------------


def docstrings(file):
    """Those of a module, its classes and its functions."""
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    try:
        nodes = [node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, kinds)]
    except SyntaxError:
        return []
    return [text for node in nodes if (text := ast.get_docstring(node))]


def read_words():
    from pydoc_data.topics import topics

    texts = [topics[key] for key in sorted(topics)]
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        texts += docstrings(file)
    return re.findall(r"\w+|[^\w\s]", "\n".join(texts))


def numbered(words, start):
    """(numbers, V): of the words that occur twice in words[:start], the most frequent first; V-1 of all others."""
    known = [word for word, count in Counter(words[:start]).most_common() if count > 1]
    number = {word: i for i, word in enumerate(known)}
    return np.array([number.get(word, len(known)) for word in words], np.int32), len(known) + 1


def streams(ids, rows):
    """Inputs and labels (T,rows): a piece of the text in each column; each label is the word after its input."""
    steps = (len(ids) - 1) // rows
    return tuple(ids[first : first + steps * rows].reshape(rows, steps).T for first in (0, 1))


# ---- the two models -----------------------------------------------------------------------------------


class Ours:
    name = "bptt"

    def __init__(self, rnn):
        self.rnn, self.optimizer = rnn, bptt.Adam(rnn.params, rnn.grads, LR)

    def updates(self, x, labels):
        """The loss of each window of one pass, after its update."""
        for window in self.rnn.windows(x, labels, "cross_entropy", truncation=bptt.TBPTT(STEPS)):
            self.rnn.clip_grad_norm(CLIP_NORM)
            self.optimizer.step()
            yield window.loss

    def loss(self, x, labels):
        return bptt.cross_entropy(self.rnn.forward(x, tape=False)[0], labels)[0]


class Theirs:
    name = "torch"

    def __init__(self, rnn, torch):
        self.torch = torch
        torch.set_num_threads(rnn.threads)
        self.model = torch.nn.ModuleList(bptt.convert.to_torch(rnn))
        self.optimizer = torch.optim.Adam(self.model.parameters(), LR)

    def forward(self, x, state=None):
        embedding, lstm, readout = self.model
        h, state = lstm(embedding(self.torch.tensor(x)), state)
        return readout(h), state

    def cross_entropy(self, logits, labels):
        labels = self.torch.tensor(labels, dtype=self.torch.long)
        return self.torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

    def updates(self, x, labels):
        state = None
        for start in range(0, len(x) - STEPS + 1, STEPS):
            logits, state = self.forward(x[start : start + STEPS], state)
            loss = self.cross_entropy(logits, labels[start : start + STEPS])
            self.optimizer.zero_grad()
            loss.backward()
            self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP_NORM)
            self.optimizer.step()
            state = tuple(part.detach() for part in state)
            yield loss.item()

    def loss(self, x, labels):
        with self.torch.no_grad():
            return self.cross_entropy(self.forward(x)[0], labels).item()


def models(rnn):
    """Ours, and that of torch if it is there, which begins with the same values."""
    try:
        import torch
    except ImportError:
        print("torch is not installed: bptt alone")
        return [Ours(rnn)]
    theirs = Theirs(rnn, torch)
    return [Ours(rnn), theirs]


def train(model, x, labels, most):
    """([the loss of each update], seconds)"""
    losses, began = [], time.perf_counter()
    with tqdm(total=most, desc=model.name, bar_format="{desc:5} |{bar:30}| {remaining} left") as bar:
        while len(losses) < most:
            for loss in model.updates(x, labels):
                losses.append(loss)
                bar.update()
                if len(losses) == most:
                    break
    return losses, time.perf_counter() - began


# ---- results ------------------------------------------------------------------------------------------


def unigram_perplexity(seen, asked, size):
    """That of a model that knows how often each word occurs, each counted once more."""
    p = (np.bincount(seen, minlength=size) + 1) / (len(seen) + size)
    return np.exp(-np.log(p[asked]).mean())


def plot(curves, path):
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    ax = figure.subplots()
    for (name, losses), colour, width in zip(curves.items(), ("#b22222", "#1f4e79"), (2.5, 1), strict=False):
        window = min(20, len(losses))
        smooth = np.convolve(losses, np.ones(window) / window, "valid")
        ax.plot(np.arange(window, len(losses) + 1), smooth, color=colour, linewidth=width, label=name)
    ax.set(xlabel="update", ylabel="cross-entropy (nats per word), mean of 20 updates", title="Word models")
    ax.legend(frameon=False)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def arguments():
    parser = argparse.ArgumentParser(description="Train a word model, and the same in torch.")
    parser.add_argument("file", nargs="?", type=Path, default="words.png", help="picture (default %(default)s)")
    parser.add_argument("--updates", type=int, default=600, help="default %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="of each (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    options = parser.parse_args()
    if options.updates < 1 or options.threads < 1 or options.seed < 0:
        parser.error("--updates and --threads must be at least 1, --seed at least 0")
    return options


def main():
    options = arguments()
    words = read_words()
    start = int((1 - HELD_OUT) * len(words))
    ids, size = numbered(words, start)
    print(f"{start} words to learn, {len(ids) - start} held out, {size} different numbers")
    settings = {"cell": "lstm", "forget_bias": 1.0, "seed": options.seed, "threads": options.threads}
    rnn = bptt.RNN(EMBEDDING, HIDDEN, size, num_embeddings=size, **settings)
    print(rnn)
    x, labels = streams(ids[:start], BATCH)
    asked = streams(ids[start:], BATCH)
    curves, lines = {}, []
    for model in models(rnn):
        losses, seconds = train(model, x, labels, options.updates)
        curves[model.name] = losses
        speed = BATCH * STEPS * len(losses) / seconds
        lines.append(f"  {np.exp(model.loss(*asked)):8.1f}  {model.name}, {speed:,.0f} words per second")
    print("\nperplexity on the held-out words:", *lines, sep="\n")
    print(f"  {unigram_perplexity(ids[:start], ids[start:], size):8.1f}  words by their frequency alone")
    plot(curves, options.file)
    print(f"plot: {options.file}")


if __name__ == "__main__":
    main()
