"""Every kernel set that runs here gives the same results to rounding, for shapes that meet all its edges, and is
accurate. Each set runs once, in a process of its own."""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import accuracy
import numpy as np
import pytest
from cases import CELLS, GATED, VANILLA, Problem, covering

import bptt
from bptt import _core

SETS = ("portable", "generic", "neon", "avx2", "avx512")

SHAPES = {  # tiles end within, at and beyond all of these
    "B": [1, 2, 3, 13, 25],
    "I": [1, 17],
    "H": [1, 8, 15, 16, 17, 31, 33, 65, 130],
    "O": [None, 5],
    "dtype": ["float32", "float64"],
}
DEEP = {"num_layers": 2, "bidirectional": True, "lengths": True, "carry": 2}
LARGE = [(40, 3, 300, 270, 33), (300, 2, 5, 64, 3), (9, 1, 300, 520, 130)]


def problems():
    """(name, problem)"""
    for case in covering({**SHAPES, "cell": VANILLA}, 3):
        yield case, Problem(3, reset=True, init="orthogonal", **case)
    for case in covering({**SHAPES, "cell": GATED, "options": [{}, DEEP]}, 3):
        options = dict(case)
        yield case, Problem(3, reset=True, **options.pop("options"), **options)
    for dtype in SHAPES["dtype"]:
        for shape, cell in zip([*LARGE, LARGE[0]], VANILLA, strict=True):
            yield (dtype, cell, shape), Problem(*shape, cell=cell, dtype=dtype, reset=True, init="orthogonal")
        for cell in CELLS:
            dropout = {"dropout": 0.3, "recurrent_dropout": 0.2}
            p = Problem(30, 20, 40, 130, 5, dtype=dtype, num_layers=2, cell=cell, **dropout)
            yield (dtype, cell, dropout), p


def losses_and_optimisers(dtype):
    """(name, array)"""
    logits = np.random.default_rng(0).normal(size=(7, 39)).astype(dtype) * 5
    target = logits[::-1] ** 2
    yield "softmax", bptt.cross_entropy(logits, np.arange(7))[1]
    weight = np.arange(39) / 20
    yield "smoothed", bptt.cross_entropy(logits, np.arange(7), weight=weight, label_smoothing=0.1)[1]
    yield "huber", bptt.huber(logits, target, delta=2)[1]
    yield "logistic", bptt.binary_cross_entropy(logits, np.zeros_like(logits))[1]
    yield "squares", bptt.mse(logits, target)[1]
    yield "norm", np.array([bptt.clip_grad_norm(logits[:, :n].ravel(), 1e9) for n in range(1, 40)])
    nesterov = {"momentum": 0.9, "nesterov": True}
    for rule, options in ("SGD", {}), ("SGD", nesterov), ("RMSprop", {}), ("Adagrad", {}), ("Adam", {}):
        params = logits.ravel().copy()
        optimizer = getattr(bptt, rule)(params, target.ravel(), lr=0.1, weight_decay=0.2, **options)
        optimizer.step()
        optimizer.step()
        yield f"{rule} {options}", params


def measure(path):
    """All results of this process's kernel set, into a file."""
    results = {}
    for case, p in problems():
        for name, value in p.gradients().items():
            results[f"{p.rnn.dtype} {case} {name}"] = value
    for dtype in SHAPES["dtype"]:
        for name, value in losses_and_optimisers(dtype):
            results[f"{dtype} {name}"] = value
        if accuracy.WIDE_ENOUGH:
            accuracy.check(dtype)
    np.savez(path, *results.values(), names=np.array(list(results)))


@functools.cache
def results_of(isa):
    """{name: array} by a kernel set."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.npz")
        command = [sys.executable, __file__, path]
        result = subprocess.run(command, env={**os.environ, "BPTT_ISA": isa}, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert result.stdout == isa + "\n"
        with np.load(path) as file:
            return {name: file[f"arr_{i}"] for i, name in enumerate(file["names"])}


def test_every_set_is_tested():
    assert {*_core.isa_choices()} <= {*SETS}


@pytest.mark.parametrize("isa", SETS)
def test_sets_agree(isa):
    if isa not in _core.isa_choices():
        pytest.skip(f"{isa} does not run on this processor")
    ours, plain = results_of(isa), results_of("portable")
    assert list(ours) == list(plain)
    assert len(ours) > 2000
    for name in ours:
        scale = max(np.abs(plain[name]).max(), 1e-30)
        tolerance = 2e-4 if name.startswith("float32") else 1e-12
        assert np.abs(ours[name] - plain[name]).max() <= tolerance * scale, name


@pytest.mark.parametrize("isa", ["sse9", *(isa for isa in SETS if isa not in _core.isa_choices())])
def test_unknown_set_is_an_error_that_lists_the_choices(isa):
    result = subprocess.run([sys.executable, "-c", "import bptt; bptt.RNN(1, 1)"], env={**os.environ, "BPTT_ISA": isa},
                            capture_output=True, text=True)  # fmt: skip
    assert result.returncode != 0
    assert f"does not run here: {isa!r}; the choices are portable, " in result.stderr


def test_an_empty_name_is_none():
    command = "from bptt import _core; assert _core.isa() == _core.isa_choices()[-1]"
    subprocess.run([sys.executable, "-c", command], env={**os.environ, "BPTT_ISA": ""}, check=True)


def test_the_best_set_is_used_by_default():
    if not os.environ.get("BPTT_ISA"):
        assert _core.isa() == _core.isa_choices()[-1]
    assert bptt.__version__ == _core.version()


if __name__ == "__main__":
    measure(sys.argv[1])
    print(_core.isa())
