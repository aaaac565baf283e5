"""Every kernel set that runs here gives the same results to rounding, for shapes that meet all its edges."""

import os
import subprocess
import sys

import numpy as np
import pytest

import bptt
from bptt import _core

SETS = ("portable", "generic", "neon", "avx2", "avx512")

SCRIPT = """
import itertools, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from conftest import Problem
from test_cells import CELLS, GATED
import bptt
results = {}
widths = (1, 8, 15, 16, 17, 31, 33, 65, 130)
shapes = [(3, *sizes) for sizes in itertools.product((1, 2, 3, 13, 25), (1, 17), widths, (None, 5))]
large = [(40, 3, 300, 270, 33), (300, 2, 5, 64, 3), (9, 1, 300, 520, 130)]
cells = ("tanh", "relu", "sigmoid", "identity")  # which differ in an elementwise function: some shapes show that
pairs = [*itertools.product(shapes, cells[:1]), *itertools.product(shapes[::5] + large, cells)]
for dtype, (shape, cell) in itertools.product(("float32", "float64"), pairs):
    p = Problem(*shape, cell=cell, dtype=dtype, reset=True, init="orthogonal")
    for name, value in p.gradients().items():
        results[f"{dtype} {shape} {cell} {name}"] = value
deep = {"num_layers": 2, "bidirectional": True, "lengths": True, "reset": True, "carry": 2}
shapes = [(3, *sizes) for sizes in itertools.product((1, 2, 13), (1, 17), (1, 8, 15, 17, 33), (None,))]
for dtype, shape, name in itertools.product(("float32", "float64"), shapes, GATED):
    for options in ({"reset": True}, deep):
        p = Problem(*shape, dtype=dtype, **options, **CELLS[name])
        for tensor, value in p.gradients().items():
            results[f"{dtype} {shape} {name} {len(options)} {tensor}"] = value
for dtype, name in itertools.product(("float32", "float64"), CELLS):
    p = Problem(90, 20, 40, 130, 5, dtype=dtype, num_layers=2, dropout=0.3, recurrent_dropout=0.2, **CELLS[name])
    for tensor, value in p.gradients().items():
        results[f"{dtype} dropped {name} {tensor}"] = value
for dtype in ("float32", "float64"):
    logits = np.random.default_rng(0).normal(size=(7, 39)).astype(dtype) * 5
    results[f"{dtype} softmax"] = bptt.cross_entropy(logits, np.arange(7))[1]
    results[f"{dtype} logistic"] = bptt.binary_cross_entropy(logits, np.zeros_like(logits))[1]
    results[f"{dtype} norm"] = np.array(bptt.clip_grad_norm(logits, 1e9))
    target = logits[::-1] ** 2
    results[f"{dtype} squares"] = bptt.mse(logits, target)[1]
    nesterov = {"momentum": 0.9, "nesterov": True}
    for rule, options in ("SGD", {}), ("SGD", nesterov), ("RMSprop", {}), ("Adagrad", {}), ("Adam", {}):
        params = logits.ravel().copy()
        optimiser = getattr(bptt, rule)(params, target.ravel(), lr=0.1, weight_decay=0.2, **options)
        optimiser.step()
        optimiser.step()
        results[f"{dtype} {rule} {len(options)}"] = params
np.savez(sys.argv[2], **results)
print(bptt._core.isa())
"""


def run(isa, out):
    environment = {**os.environ, "BPTT_ISA": isa}
    return subprocess.run([sys.executable, "-c", SCRIPT, os.path.dirname(__file__), out], env=environment,
                          capture_output=True, text=True)  # fmt: skip


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    path = tmp_path_factory.mktemp("isa") / "best.npz"
    result = run("", path)
    assert result.returncode == 0, result.stderr
    return np.load(path)


@pytest.mark.parametrize("isa", SETS)
def test_sets_agree(isa, best, tmp_path):
    path = tmp_path / "results.npz"
    result = run(isa, path)
    if isa not in _core.isa_choices():
        assert "BPTT_ISA" in result.stderr
        pytest.skip(f"{isa} does not run on this processor")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[-1] == isa
    ours = np.load(path)
    assert ours.files == best.files
    for name in ours.files:
        scale = max(np.abs(best[name]).max(), 1e-30)
        tolerance = 2e-4 if name.startswith("float32") else 1e-12
        assert np.abs(ours[name] - best[name]).max() <= tolerance * scale, name


def test_unknown_set_is_an_error_that_lists_the_choices(tmp_path):
    result = run("sse9", tmp_path / "none")
    assert result.returncode != 0
    assert "BPTT_ISA" in result.stderr
    assert "the choices are portable" in result.stderr


def test_the_best_set_is_used_by_default():
    if not os.environ.get("BPTT_ISA"):
        assert _core.isa() == _core.isa_choices()[-1]
    assert bptt.__version__ == _core.version()
