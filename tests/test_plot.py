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
    past = bptt.History([1.0, 0.1], [1.1, 0.2], [1, 1], *rng.uniform(0.1, 1, (2, 8)).tolist(), clip_norm=0.7)
    _, (left, right) = pyplot.subplots(1, 2, layout=layout)
    ax = bptt.plot.history(past, ax=left)
    assert ax is left
    below = ax.figure.axes[-1]
    updates, epochs, validation, best = ax.get_lines()
    np.testing.assert_allclose(updates.get_xdata(), np.arange(1, 9) / 4)
    np.testing.assert_array_equal(updates.get_ydata(), past.update_loss)
    np.testing.assert_array_equal(epochs.get_xydata(), [[1, 1], [2, 0.1]])
    np.testing.assert_array_equal(validation.get_ydata(), [1.1, 0.2])
    np.testing.assert_array_equal(best.get_xydata(), [[2, 0.2]])
    norms, threshold = below.get_lines()
    np.testing.assert_array_equal(norms.get_ydata(), past.grad_norm)
    np.testing.assert_array_equal(threshold.get_ydata(), [0.7, 0.7])
    assert [text.get_text() for text in below.get_legend().get_texts()] == ["clip_norm = 0.7"]
    assert ax.get_yscale() == below.get_yscale() == "log"
    assert (ax.get_ylabel(), below.get_xlabel()) == ("loss", "epoch")
    assert "clipping" in below.get_ylabel()
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[2:] == ["validation", "best validation: 0.2, epoch 2"]
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
    assert ax.get_xlim() == (0, pytest.approx(3, rel=0.03))
    assert ax.figure.axes[-1].get_lines()[1].get_ydata()[0] == 1  # clip_norm of fit
    assert bptt.plot.history(bptt.History([2.0, 1.9], [], [1, 1], [2.0, 1.9], [1, 0])).get_yscale() == "linear"


def past_of(epochs, updates, clip_norm=None):
    """A History of so many epochs and so many updates in each."""
    values = np.random.default_rng(0).uniform(0.1, 1, epochs * updates).tolist()
    loss = np.mean(np.reshape(values, (epochs, updates)), axis=1).tolist()
    return bptt.History(loss, loss, [1.0] * epochs, values, values, clip_norm)


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 20, 500])
def test_epochs_are_integers_on_the_axis(epochs, tmp_path):
    ax = bptt.plot.history(past_of(epochs, 2))
    assert written(ax, tmp_path / "history.png") > 10_000
    for axes in ax.figure.axes:
        ticks = axes.get_xticks()
        assert len(ticks) > 1
        np.testing.assert_array_equal(ticks, np.round(ticks))


@pytest.mark.parametrize("epochs, updates, each_update", [(1, 1, True), (1, 20, True), (20, 3, True), (20, 12, False)])
def test_few_points_are_marked(epochs, updates, each_update):
    """A line of one point without a marker would be nothing."""
    ax = bptt.plot.history(past_of(epochs, updates))
    norms = ax.figure.axes[-1].get_lines()[0]
    assert (norms.get_marker() == "o") == each_update
    means = next(line for line in ax.get_lines() if "mean" in line.get_label())
    assert means.get_marker() == "o"
    assert bptt.plot.history(past_of(500, 1)).get_lines()[0].get_marker() == "None"


def test_one_update_per_epoch_is_drawn_once():
    labels = [line.get_label() for line in bptt.plot.history(past_of(5, 1)).get_lines()]
    assert labels[:2] == ["training, mean of the epoch", "validation"]


def test_noise_of_many_updates_is_a_band():
    """The band holds four fifths of them, the line is their median; a single jump does not hide the others."""
    past = past_of(4, 1250)
    past.update_loss[777] = 1e6
    ax = bptt.plot.history(past)
    for axes in (ax, ax.figure.axes[-1]):
        (band,) = axes.collections
        line = axes.get_lines()[0]
        assert len(line.get_xdata()) == 200
        np.testing.assert_allclose(line.get_ydata(), 0.55, atol=0.35)
        x, y = band.get_paths()[0].vertices.T
        assert 0 <= x.min() < x.max() <= 4
        assert 0.1 <= y.min() < 0.25
        assert 0.85 < y.max() <= 1
    assert [text.get_text() for text in ax.get_legend().get_texts()][:2] == [
        "training, 80 % of the updates", "training, median of the updates"]  # fmt: skip


def test_best_validation_is_a_number(tmp_path):
    ax = bptt.plot.history(bptt.History([3.0] * 3, [np.nan, 2.0, np.inf], [1] * 3, [3.0] * 3, [1.0] * 3))
    np.testing.assert_array_equal(ax.get_lines()[-1].get_xydata(), [[2, 2]])
    ax = bptt.plot.history(bptt.History([3.0], [np.nan], [1], [3.0], [0.0]))
    assert not [line for line in ax.get_lines() if line.get_marker() == "*"]
    assert written(ax, tmp_path / "nothing.png") > 5_000


@pytest.mark.parametrize("validation, value, label", [([2.0, 1.9, 1.8], 1.9, "best validation: 1.9, epoch 2"),
                                                      ([], 0.5, "best epoch: 0.5, epoch 2")])  # fmt: skip
def test_best_epoch_of_patience(validation, value, label):
    """With min_delta it need not be the least loss."""
    past = bptt.History([1.0, 0.5, 0.4], validation, [1] * 3, [1.0] * 3, [1.0] * 3, best_epoch=1)
    star = bptt.plot.history(past).get_lines()[-1]
    np.testing.assert_array_equal(star.get_xydata(), [[2, value]])
    assert (star.get_marker(), star.get_label()) == ("*", label)


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
    assert python(code).startswith("bptt.plot needs matplotlib, which `pip install matplotlib` brings: ")
