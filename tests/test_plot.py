"""bptt.plot: what is drawn, and that nothing of matplotlib is loaded before."""

import os
import subprocess
import sys

import numpy as np
import pytest

import bptt

if "BPTT_SANITIZE" in os.environ:
    pytest.skip("matplotlib is not there", allow_module_level=True)
matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def flow(norms):
    """A GradientFlow of these norms (layers,K+1), with three anchors around them."""
    norms = np.array(norms, float)
    layers, K = norms.shape[0], norms.shape[1] - 1
    anchors = np.stack([norms / 2, norms, 2 * norms], axis=1)
    names = tuple(f"l{i}" for i in range(layers))
    return bptt.GradientFlow(np.arange(K + 1), norms, anchors, np.arange(K, K + 3), names, np.full(layers, 0.5), ())


def written(ax, path):
    ax.figure.savefig(path)
    return path.stat().st_size


def test_gradient_flow(tmp_path):
    two_layers = flow([[1, 0.5, 0.25], [1, 1, 1]])
    ax = bptt.plot.gradient_flow(two_layers)
    one, other = ax.get_lines()
    np.testing.assert_array_equal(one.get_xydata(), [[0, 1], [1, 0.5], [2, 0.25]])
    np.testing.assert_array_equal(other.get_ydata(), [1, 1, 1])
    assert ax.get_yscale() == "log"
    assert "steps" in ax.get_xlabel()
    assert "partial L_t" in ax.get_ylabel()
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[0] == "l0: factor 0.5 per step, healthy"
    assert texts[1].startswith("l1")
    assert written(ax, tmp_path / "flow.png") > 10_000


def test_several_flows_into_given_axes():
    _, (left, right) = pyplot.subplots(1, 2)
    assert bptt.plot.gradient_flow({"tanh": flow([[1, 0.1]]), "relu": flow([[1, 1, 1]])}, right) is right
    assert not left.lines
    assert [text.get_text().split(":")[0] for text in right.get_legend().get_texts()] == ["tanh", "relu", "healthy"]
    assert right.get_xlim() == (0, 2)


def test_zero_and_inf_leave_gaps(tmp_path):
    ax = bptt.plot.gradient_flow({"a": flow([[1, 1e-300, 0, 0]]), "b": flow([[1, 1e300, 3e307, np.inf]])})
    assert np.isnan(ax.get_lines()[0].get_ydata()[2:]).all()
    assert written(ax, tmp_path / "gaps.png") > 5_000
    assert written(bptt.plot.gradient_flow(flow([[0, 0, 0]])), tmp_path / "empty.png") > 5_000


@pytest.mark.parametrize("layout", [None, "tight", "constrained"])
def test_history(layout, tmp_path):
    rng = np.random.default_rng(0)
    past = bptt.History([1.0, 0.1], [1.1, 0.2], [1, 1], list(rng.uniform(0.1, 1, 8)), list(rng.uniform(0.1, 1, 8)))
    _, (left, right) = pyplot.subplots(1, 2, layout=layout)
    ax = bptt.plot.history(past, ax=left)
    assert ax is left
    below = ax.figure.axes[-1]
    updates, epochs, validation = ax.get_lines()
    np.testing.assert_allclose(updates.get_xdata(), np.arange(1, 9) / 4)
    np.testing.assert_array_equal(updates.get_ydata(), past.update_loss)
    np.testing.assert_array_equal(epochs.get_xydata(), [[1, 1], [2, 0.1]])
    np.testing.assert_array_equal(validation.get_ydata(), [1.1, 0.2])
    np.testing.assert_array_equal(below.get_lines()[0].get_ydata(), past.grad_norm)
    assert ax.get_yscale() == below.get_yscale() == "log"
    assert (ax.get_ylabel(), below.get_xlabel()) == ("loss", "epoch")
    assert "clipping" in below.get_ylabel()
    assert [text.get_text() for text in ax.get_legend().get_texts()][2] == "validation"
    ax.figure.canvas.draw()
    boxes = [axes.get_tightbbox() for axes in (ax, below)]
    assert boxes[0].y0 > boxes[1].y0
    assert not boxes[0].overlaps(right.get_tightbbox())
    assert written(ax, tmp_path / "history.png") > 10_000


def test_history_of_fit():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, 4, 1))
    rnn = bptt.RNN(1, 4, 1, seed=0)
    past = bptt.fit(rnn, x, x, epochs=3, batch_size=2, progress=False)
    ax = bptt.plot.history(past)
    assert len(ax.get_lines()) == 2  # without validation
    assert ax.get_xlim() == (0, 3)
    assert bptt.plot.history(bptt.History([2.0, 1.9], [], [1, 1], [2.0, 1.9], [1, 0])).get_yscale() == "linear"


BAD = {
    "flow": (lambda: bptt.plot.gradient_flow([1, 2]), TypeError, "flow must be a bptt.GradientFlow, got list"),
    "flow in a dict": (lambda: bptt.plot.gradient_flow({"a": 1}), TypeError, r"flow\['a'\] must be .* got int"),
    "no flows": (lambda: bptt.plot.gradient_flow({}), ValueError, "at least one"),
    "ax": (lambda: bptt.plot.gradient_flow(flow([[1, 1]]), ax="here"), TypeError, "ax must be a matplotlib Axes"),
    "history": (lambda: bptt.plot.history([1.0]), TypeError, "history must be a bptt.History, got list"),
    "no epochs": (lambda: bptt.plot.history(bptt.History()), ValueError, "at least one epoch"),
    "ax of no grid": (
        lambda: bptt.plot.history(bptt.History([1.0]), pyplot.figure().add_axes((0, 0, 1, 1))),
        ValueError,
        "ax must be Axes of a grid",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_what_import_leaves_for_later():
    assert python("import sys, bptt; print('bptt.plot' in sys.modules)") == "False\n"
    assert python("from bptt import *; print(plot.__name__, gradient_flow.__name__)") == "bptt.plot gradient_flow\n"
    assert {"plot", "gradient_flow", "RNN"} <= set(dir(bptt))
    with pytest.raises(AttributeError, match="'bptt' has no attribute 'plots'"):
        bptt.plots  # noqa: B018


def test_matplotlib_is_loaded_only_to_draw():
    assert python("import sys, bptt; print(bptt.plot.history and 'matplotlib' in sys.modules)") == "False\n"


def test_without_matplotlib():
    code = """if True:
        import sys
        sys.modules["matplotlib"] = None
        import bptt
        try:
            bptt.plot.history(bptt.History([1.0]))
        except ImportError as error:
            print(error)
    """
    assert "pip install bptt[plot]" in python(code)
