"""Draws what train_step.py --json wrote: time of a training step of the tanh cell relative to bptt's, one group of bars
per shape.

python benchmarks/chart.py bench.json speed.png
"""

import json
import sys
from pathlib import Path

from matplotlib.figure import Figure

COLOURS = {"bptt": "#1f4e79", "torch": "#d95f02", "jax": "#7a9a3a", "numpy": "#888888"}


def main():
    source, picture = sys.argv[1:]
    run = json.loads(Path(source).read_text())
    rows = [row for row in run["rows"] if row["cell"] == "tanh"]
    names = list(rows[0]["seconds"])
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    ax = figure.subplots()
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        ratios = [row["seconds"][name] / row["seconds"]["bptt"] for row in rows]
        places = [k + (i - (len(names) - 1) / 2) * width for k in range(len(ratios))]
        ax.bar(places, ratios, width * 0.92, color=COLOURS[name], label=name)
        for place, ratio in zip(places, ratios, strict=True):
            if name != "bptt":
                ax.text(place, ratio * 1.06, f"{ratio:.1f}", ha="center", fontsize=7)
    labels = ["{}\n{},{},{}\n{},{}".format(row["shape"], *row["sizes"]) for row in rows]
    ax.set_xticks(range(len(labels)), labels, fontsize=7)
    ax.set(yscale="log", ylabel="time of a training step, bptt = 1", xlabel="T,B,I and H,O")
    threads = "one thread" if run["threads"] == 1 else f"{run['threads']} threads"
    ax.set_title(f"tanh network, {run['dtype']}, {threads}, {run['processor']} ({run['isa']})", fontsize=9)
    ax.legend(frameon=False, ncols=len(names), fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=130)


if __name__ == "__main__":
    main()
