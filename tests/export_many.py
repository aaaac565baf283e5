"""Networks written by bptt.convert.to_c, compiled, and run beside their streams: python tests/export_many.py [COUNT]

Random networks of all cells, layers, inputs and readouts (200 by default) take 10,000 steps each. The largest
difference of an output must be at most 1e-6 of the terms that add up to an output: where these cancel, it is larger
compared with the output itself, and so is the rounding of the stream. Recurrent networks may be chaotic: then any two
orders of summation end far apart. So W_hh and peepholes are half of their usual size, where differences die out.
"""

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cases import CELLS

import bptt

STEPS, TOLERANCE = 10_000, 1e-6
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wconversion", "-Wdouble-promotion", "-Wshadow"]
INPUTS = {
    "numbers": lambda size: {"input_size": size},
    "one-hot": lambda size: {"input_size": size, "one_hot": True},
    "embedding": lambda size: {"input_size": size % 7 + 1, "num_embeddings": size, "padding_idx": 0},
}


def contracting(rng=None, **options):
    """A network whose states forget: differences between two runs die out. Biases and initial states are not zero."""
    rng = np.random.default_rng(rng)
    rnn = bptt.RNN(seed=rng, **options)
    for name, view in rnn.param_views().items():
        if name.startswith(("weight_hh", "weight_peephole")):
            view *= 0.5
        elif name.startswith("state"):
            view[...] = rng.uniform(-1, 1, view.shape)
    return rnn


def random_network(rng, cell, inputs):
    """One of a cell of CELLS and of inputs of INPUTS, the rest of it random."""
    sizes = INPUTS[inputs](int(rng.integers(1, 24)))
    options = {"num_layers": int(rng.choice([1, 1, 2, 3])), "bias": bool(rng.random() < 0.8)}
    return contracting(
        rng,
        hidden_size=int(rng.choice([1, 2, 3, 5, 8, 13, 16, 31, 64])),
        output_size=[None, 1, 2, 7][rng.integers(4)],
        learn_state=bool(rng.random() < 0.3),
        dtype=str(rng.choice(["float32", "float32", "float64"])),
        **sizes,
        **options,
        **CELLS[cell],
    )


def random_inputs(rnn, rng, steps=STEPS):
    """What a stream and the C code take, (T,I) or integers (T,)."""
    if rnn.spec.vocabulary:
        return rng.integers(rnn.spec.vocabulary, size=steps).astype(np.int32)
    return rng.normal(size=(steps, rnn.input_size)).astype(np.float32)


def streamed(rnn, x):
    """The outputs of rnn.stream(), (T,Y)."""
    stream = rnn.stream()
    return np.array([stream(step if step.ndim else int(step)) for step in x])


# ---- C ---------------------------------------------------------------------------------------------------

# NAME_run: steps from the state after a reset
RUN = """\
#include "NAME.c"
typedef char NAME_ram[sizeof(NAME_state) == RAM ? 1 : -1];
void NAME_run(const INPUT *x, size_t steps, float *y);
void NAME_run(const INPUT *x, size_t steps, float *y) {
    static NAME_state state;
    NAME_reset(&state);
    for (size_t t = 0; t < steps; t++) NAME_step(&state, STEP, y + t * OUTPUTS);
}
"""


@dataclass
class Export:
    """A network, and what to_c wrote for it under this name."""

    rnn: bptt.RNN
    name: str
    files: tuple

    @property
    def outputs(self):
        return self.rnn.output_size or self.rnn.hidden_size

    def source(self):
        """C that includes the network's and defines NAME_run."""
        tokens = self.rnn.spec.vocabulary
        text = RUN.replace("INPUT", "int32_t" if tokens else "float").replace("RAM", str(self.files.ram))
        text = text.replace("STEP", "x[t]" if tokens else f"x + t * {self.rnn.input_size}")
        return text.replace("NAME", self.name).replace("OUTPUTS", str(self.outputs))

    def run(self, library, x):
        """The outputs of NAME_run, (T,Y)."""
        y = np.empty((len(x), self.outputs), np.float32)
        run = getattr(library, f"{self.name}_run")
        run(ctypes.c_void_p(x.ctypes.data), ctypes.c_size_t(len(x)), ctypes.c_void_p(y.ctypes.data))
        return y


def exported(networks, folder, **options):
    """[Export] of {name: network}; options of to_c."""
    return [Export(rnn, name, bptt.convert.to_c(rnn, folder, name, **options)) for name, rnn in networks.items()]


def compiler():
    return next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))), None)


def compiled(exports, folder, *more, flags=("-O2",)):
    """A shared library with NAME_run of all these, one translation unit, and more C code."""
    source, library = Path(folder, "all.c"), Path(folder, "all.so")
    source.write_text("\n".join([*(export.source() for export in exports), *more]))
    command = [compiler(), "-std=c99", *STRICT, *flags, "-shared", "-fPIC", source, "-o", library]
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # that of a sanitized module
    result = subprocess.run([*map(str, command)], env=plain, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]
    return ctypes.CDLL(str(library))


def error(export, library, x, scale=None):
    """The largest difference from the stream, relative to `scale`, by default to the largest output (units of relu may
    all be 0)."""
    expected = streamed(export.rnn, x).astype(float)
    return np.abs(export.run(library, x) - expected).max() / (scale or np.abs(expected).max() or 1)


def largest_sum(rnn, x):
    """The largest output if all terms of the readout had the same sign."""
    readout = {name: np.abs(view) for name, view in rnn.param_views().items() if name in ("weight_ho", "bias_o")}
    hidden = bptt.RNN(**rnn.description() | {"output_size": None})
    hidden.load_state_dict({name: view for name, view in rnn.param_views().items() if name not in readout})
    h = np.abs(hidden.forward(x, tape=False)[0])
    return (h @ readout["weight_ho"].T + readout.get("bias_o", 0)).max() if readout else h.max()


def main(count=200):
    rng = np.random.default_rng(0)
    kinds = itertools.islice(itertools.cycle(itertools.product(CELLS, INPUTS)), count)
    networks = {f"n{i}": random_network(rng, *kind) for i, kind in enumerate(kinds)}
    with tempfile.TemporaryDirectory() as folder:
        exports = exported(networks, folder)
        library = compiled(exports, folder)
        errors = []
        for export in exports:
            x = random_inputs(export.rnn, rng)
            errors.append(error(export, library, x, largest_sum(export.rnn, x)))
    worst = int(np.argmax(errors))
    print(f"{count} networks, {STEPS} steps: median {np.median(errors):.2g}, largest {errors[worst]:.2g}")
    assert errors[worst] <= TOLERANCE, exports[worst].rnn


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
