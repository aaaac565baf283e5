"""Fuzz targets, two at a time: python tests/fuzz/run.py SECONDS [TARGET ...]

core            the functions of bptt.h by libFuzzer, with the best kernel set of this machine
core-portable   the same with the portable set
model, training, onnx, audio
                the readers of files by atheris (audio: RTNeural and NAM)
sequences       sequences of calls of the Python package, by hypothesis

Each goes on from the inputs that earlier runs kept in build/fuzz/corpus; findings are left in build/fuzz/findings, and
the exit code is 1 if there are any. A target alone goes over one input again: see the end of its log.
"""

import os
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
BUILD = Path("build/fuzz")
READERS = ("model", "training", "onnx", "audio")
TARGETS = ("core", "core-portable", *READERS, "sequences")
SPARE_SECONDS = 1800  # for imports and the inputs that earlier runs kept, on a slow machine


def write_core_seeds(folder):
    """Random bytes, some for each part of the target in each type; the parts say what they make of them."""
    rng = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(64):
        size = rng.choice([40, 80, 200])
        (folder / f"seed-{number}").write_bytes(bytes([number % 2, number // 2 % 16]) + rng.randbytes(size))


def libfuzzer_arguments(name, seconds, most):
    corpus = BUILD / "corpus" / name
    return [
        f"-max_total_time={seconds}",
        f"-max_len={most}",
        "-timeout=120",  # a reader counts its own time, of the processor; a core call takes milliseconds
        "-report_slow_units=120",
        "-rss_limit_mb=3000",
        "-print_final_stats=1",
        f"-artifact_prefix={BUILD / 'findings'}/{name}-",
        str(corpus),
    ]


def command(name, seconds):
    """What runs the target."""
    if name == "sequences":
        return [sys.executable, HERE / "sequences.py", str(seconds)]
    if name in READERS:
        words = [f"-dict={HERE / 'json.dict'}"] * (name != "onnx")
        return [sys.executable, HERE / "readers.py", name, *words, *libfuzzer_arguments(name, seconds, 1 << 15)]
    return [BUILD / "core_calls", f"-dict={HERE / 'core.dict'}", *libfuzzer_arguments("core", seconds, 512)]


def prepare(name):
    if name == "sequences":
        return
    corpus = BUILD / "corpus" / name.removesuffix("-portable")
    corpus.mkdir(parents=True, exist_ok=True)
    if name in READERS:
        subprocess.run(
            [sys.executable, HERE / "readers.py", name, "--seeds", corpus], check=True, stderr=subprocess.DEVNULL
        )
    else:
        write_core_seeds(corpus)


def run(name, seconds):
    """Whether the target ended without a finding; prints how far it came."""
    prepare(name)
    log = BUILD / f"{name}.log"
    environment = os.environ | ({"BPTT_ISA": "portable"} if name == "core-portable" else {})
    with log.open("w") as file:
        try:
            code = subprocess.run(
                command(name, seconds), env=environment, stdout=file, stderr=file, timeout=seconds + SPARE_SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            code = "none: it did not end in time"
    text = log.read_text(errors="replace")
    lines = [line for line in text.splitlines() if re.match(r"#\d+|\d+ sequences", line)]
    print(f"{name}: {lines[-1].strip() if lines else 'nothing ran'}", flush=True)
    if code:
        print(f"{name}: exit code {code}, the end of {log}:", *text.splitlines()[-40:], sep="\n", flush=True)
    return not code


def main(seconds, *names):
    unknown = set(names) - set(TARGETS)
    if unknown:
        sys.exit(f"no target {', '.join(sorted(unknown))}: there are {', '.join(TARGETS)}")
    names = names or TARGETS
    (BUILD / "findings").mkdir(parents=True, exist_ok=True)
    if any(name.startswith("core") for name in names):
        subprocess.run([HERE / "build.sh", BUILD], check=True)
    with ThreadPoolExecutor(2) as pool:
        sound = list(pool.map(lambda name: run(name, int(seconds)), names))
    return 0 if all(sound) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--core-seeds"] and len(sys.argv) == 3:  # for ClusterFuzzLite
        sys.exit(write_core_seeds(Path(sys.argv[2])))
    if len(sys.argv) < 2 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
