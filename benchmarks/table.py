"""Makes Markdown of what train_step.py --json wrote, instruction sets side by side, for docs/performance.md.

python benchmarks/table.py bench-avx512.json bench-avx2.json > bench.md
"""

import json
import sys
from pathlib import Path


def cells_of(row):
    """Our milliseconds, our share of the peak, and the faster peer's time over ours."""
    seconds = dict(row["seconds"])
    ours = seconds.pop("bptt")
    peer = min(seconds, key=seconds.get)
    return [f"{ours * 1e3:.3g}", f"{row['of_peak']:.0%}", f"{seconds[peer] / ours:.2f} ({peer})"]


def line(columns):
    return "| " + " | ".join(columns) + " |"


def main():
    runs = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    for run in runs:
        peers = " and ".join(f"{name} {version}" for name, version in run["versions"].items())
        print(f"- {run['isa']}: {run['processor']}, {run['caches']}, {run['threads']} thread, {run['dtype']}, ", end="")
        print(f"peak {run['peak']:.0f} GFLOP/s, {peers} with the same vectors")
    for cell in dict.fromkeys(row["cell"] for row in runs[0]["rows"]):
        names = [f"{run['isa']}: {what}" for run in runs for what in ("ms", "of peak", "faster peer")]
        print("\n" + line([cell, "T,B,I,H,O", *names]))
        print("|" + "---|" * (2 + len(names)))
        both = zip(*([row for row in run["rows"] if row["cell"] == cell] for run in runs), strict=True)
        for rows in both:
            sizes = ", ".join(map(str, rows[0]["sizes"]))
            print(line([rows[0]["shape"], sizes, *(text for row in rows for text in cells_of(row))]))


if __name__ == "__main__":
    main()
