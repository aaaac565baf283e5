"""The targets of what reads files: python tests/fuzz/readers.py model|training|onnx|audio [arguments of libFuzzer]

`--seeds FOLDER` in place of the arguments writes the seeds there. A finding is what tests/mutate.py takes for one; the
mutations are its own beside those of libFuzzer.
"""

import importlib
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))
KINDS = ("model", "training", "onnx", "audio")

with atheris.instrument_imports(include=["bptt"], enable_loader_override=False):
    import mutate

    import bptt._training_file  # loaded when it is first used, as the converters
    import bptt.convert

    for name in ("from_nam", "from_onnx", "from_rtneural"):
        getattr(bptt.convert, name)


class Finding(Exception):
    """What reading a file must not end in."""


def write_seeds(kind, folder):
    os.makedirs(folder, exist_ok=True)
    for number, data in enumerate(kind.seeds()):
        Path(folder, f"seed-{number}").write_bytes(data)


def main(name, *arguments):
    kind = importlib.import_module(f"mutate_{name}")
    if arguments[:1] == ("--seeds",):
        return write_seeds(kind, *arguments[1:])
    memory = "/dev/shm"
    folder = tempfile.mkdtemp(prefix="fuzz-", dir=memory if os.access(memory, os.W_OK) else None)
    path = Path(folder, "file")

    def read(data):
        path.write_bytes(data)
        begin = time.process_time()
        _, finding = mutate.outcome(kind, path)
        if finding:
            raise Finding(finding)
        if time.process_time() - begin > mutate.SECONDS:
            raise Finding(f"took longer than {mutate.SECONDS} s")

    def mutated(data, most, seed):
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return atheris.Mutate(data, most)
        try:
            return kind.mutate(data, rng)[:most]
        except Exception:  # it is no file of the kind any more
            return atheris.Mutate(data, most)

    atheris.Setup([f"{sys.argv[0]} {name}", *arguments], read, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in KINDS:
        sys.exit(__doc__)
    main(*sys.argv[1:])
