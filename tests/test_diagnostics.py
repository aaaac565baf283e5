"""bptt.gradient_flow: how gradients decay or grow on their way back in time."""

import numpy as np
import pytest

import bptt
from bptt._diagnostics import _spectra

T, B, I, H, O = 41, 3, 2, 6, 2


@pytest.fixture
def data(rng):
    return rng.normal(size=(T, B, I)), rng.normal(size=(T, B, O))


def network(**options):
    return bptt.RNN(I, H, O, seed=0, **{"dtype": "float64", **options})


def linear(rho, H=12, dtype="float64"):
    """W_hh = rho * Q with Q orthogonal: the gradient's norm changes by rho per step, whatever the data."""
    rnn = bptt.RNN(I, H, O, cell="identity", init="orthogonal", seed=0, dtype=dtype)
    rnn.param_views()["weight_hh_l0"][...] *= rho
    return rnn


def by_hand(rnn, x, target, t, K, loss=bptt.mse, state=None, reset=None, mask=None):
    """||dL_t/dh_{t-k}|| relative to k = 0: one pass over the whole sequence, x (T,B,I)."""
    y, _ = rnn.forward(x, state, reset=reset)
    dy = np.zeros_like(y)
    dy[t : t + 1] = loss(y[t : t + 1], target[t : t + 1], **({} if mask is None else {"mask": mask[t : t + 1]}))[1]
    norms = np.empty(len(x), rnn.dtype)
    rnn.backward(dy, step_norms=norms)
    return norms[t - K : t + 1][::-1] / norms[t]


# ---- networks whose gradient is known -------------------------------------------------------------------


def test_identity_relu_keeps_the_gradient(rng):
    rnn = bptt.RNN(4, 10, 1, cell="relu", init="identity", dtype="float64", seed=0)
    rnn.param_views()["weight_ih_l0"][...] = rng.random((10, 4))
    flow = bptt.gradient_flow(rnn, rng.random((200, 3, 4)), rng.random((200, 3, 1)), max_distance=150)
    np.testing.assert_allclose(flow.anchor_norms, 1, rtol=1e-12)
    np.testing.assert_allclose(flow.growth, 1, rtol=1e-12)
    assert flow.verdict == "healthy"


@pytest.mark.parametrize("rho, verdict", [(0.5, "vanishing"), (0.9, "vanishing"), (1, "healthy"), (1.1, "exploding")])
def test_scaled_orthogonal(rho, verdict, rng):
    flow = bptt.gradient_flow(linear(rho), rng.normal(size=(150, 3, I)), rng.normal(size=(150, 3, O)), max_distance=100)
    np.testing.assert_array_equal(flow.distance, np.arange(101))
    np.testing.assert_allclose(flow.norms[0], rho**flow.distance, rtol=1e-12)
    np.testing.assert_allclose(flow.growth, [rho], rtol=1e-12)
    assert flow.verdict == verdict
    assert flow.verdicts == (verdict,)
    assert flow.spectra[0].radius == pytest.approx(rho, rel=1e-12)
    assert flow.spectra[0].norm == pytest.approx(rho, rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"learn_leak": True}])
def test_a_small_leak_keeps_the_gradient(options, rng):
    """Linear units: with W = 0 the gradient falls by 1-a in each step, and so say the spectra."""
    rnn = bptt.RNN(I, 6, O, cell="identity", leak=0.1, dtype="float64", seed=0, **options)
    rnn.param_views()["weight_hh_l0"][...] = 0
    flow = bptt.gradient_flow(rnn, rng.normal(size=(80, 3, I)), rng.normal(size=(80, 3, O)), max_distance=50)
    np.testing.assert_allclose(flow.norms[0], 0.9**flow.distance, rtol=1e-12)
    assert flow.spectra[0].radius == pytest.approx(0.9, rel=1e-12)
    rnn.param_views()["weight_hh_l0"][...] = np.eye(6)
    flow = bptt.gradient_flow(rnn, rng.normal(size=(80, 3, I)), rng.normal(size=(80, 3, O)), max_distance=50)
    np.testing.assert_allclose(flow.growth, 1, rtol=1e-12)
    assert flow.spectra[0].norm == pytest.approx(1, rel=1e-12)


def test_half_life_and_doubling_time(rng):
    x, target = rng.normal(size=(30, 1, I)), rng.normal(size=(30, 1, O))
    falls, grows = (bptt.gradient_flow(linear(rho), x, target) for rho in (0.5, 2**0.25))
    assert falls.half_life == pytest.approx(1)
    assert grows.doubling_time == pytest.approx(4)
    assert falls.doubling_time == grows.half_life == np.inf


@pytest.mark.parametrize("cell", ["tanh", "sigmoid"])
def test_small_weights_vanish(cell, data):
    """Surely so where the largest singular value times the largest |f'| is below 1 (Pascanu et al. 2013)."""
    rnn = network(cell=cell)
    rnn.params *= 0.3
    flow = bptt.gradient_flow(rnn, *data)
    assert flow.spectra[0].norm < 1
    assert flow.verdict == "vanishing"
    assert (flow.norms[0] <= flow.spectra[0].norm ** flow.distance * (1 + 1e-12)).all()


def test_the_distance_decides(rng):
    """0.9^20 is 0.12 and 0.9^100 below 0.01: what is healthy over 20 steps is not over 100."""
    x, target = rng.normal(size=(150, 1, I)), rng.normal(size=(150, 1, O))
    assert bptt.gradient_flow(linear(0.9), x, target, max_distance=20).verdict == "healthy"
    assert bptt.gradient_flow(linear(0.9), x, target, max_distance=100).verdict == "vanishing"


# ---- against a plain pass over the whole sequence ---------------------------------------------------------


@pytest.mark.parametrize("cell", ["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("K", [1, 7, T - 1])
def test_every_anchor(cell, K, data, rng):
    rnn = network(cell=cell)
    state, reset, mask = rng.normal(size=(1, B, H)), rng.random((T, B)) < 0.05, rng.random((T, B)) < 0.7
    flow = bptt.gradient_flow(rnn, *data, max_distance=K, anchors=5, state=state, reset=reset, mask=mask)
    assert len(flow.anchors) == (1 if K == T - 1 else 5)
    for t, norms in zip(flow.anchors, flow.anchor_norms[0], strict=True):
        expected = by_hand(rnn, *data, t, K, state=state, reset=reset, mask=mask)
        np.testing.assert_allclose(norms, expected, rtol=1e-12)
    np.testing.assert_array_equal(flow.norms, np.median(flow.anchor_norms, axis=1))


def test_layouts_and_dtypes(data, tmp_path):
    x, target = data
    expected = bptt.gradient_flow(network(), x, target)
    first = bptt.gradient_flow(network(batch_first=True), x.swapaxes(0, 1), target.swapaxes(0, 1))
    np.testing.assert_array_equal(first.anchor_norms, expected.anchor_norms)
    single = bptt.gradient_flow(network(), x[:, 0], target[:, 0], reset=np.zeros(T, bool), mask=np.ones(T, bool))
    np.testing.assert_array_equal(single.norms, bptt.gradient_flow(network(), x[:, :1], target[:, :1]).norms)
    single = bptt.gradient_flow(network(dtype="float32"), x, target)
    np.testing.assert_allclose(single.norms, expected.norms, rtol=1e-4)
    np.save(tmp_path / "x.npy", x)
    mapped = bptt.gradient_flow(network(), np.load(tmp_path / "x.npy", mmap_mode="r"), target)
    np.testing.assert_array_equal(mapped.norms, expected.norms)


def test_losses(data, rng):
    x, target = data

    def twice_mse(y, target):
        loss, dy = bptt.mse(y, target)
        return 2 * loss, 2 * dy

    twice, once = (bptt.gradient_flow(network(), x, target, loss) for loss in (twice_mse, "mse"))
    np.testing.assert_allclose(twice.norms, once.norms, rtol=1e-14)
    labels = rng.integers(0, O, (T, B))
    flow = bptt.gradient_flow(network(), x, labels, "cross_entropy", max_distance=9)
    np.testing.assert_allclose(
        flow.anchor_norms[0, 0], by_hand(network(), x, labels, flow.anchors[0], 9, bptt.cross_entropy), rtol=1e-12
    )


# ---- which steps are anchors ------------------------------------------------------------------------------


def test_anchors_are_spread_over_what_counts(data):
    x, target = data
    assert bptt.gradient_flow(network(), x, target, max_distance=20, anchors=3).anchors.tolist() == [20, 30, 40]
    assert bptt.gradient_flow(network(), x, target, anchors=1).anchors.tolist() == [T - 1]
    assert bptt.gradient_flow(network(), x, target, max_distance=38, anchors=50).anchors.tolist() == [38, 39, 40]
    last = np.zeros((T, B), bool)
    last[-1, 0] = True
    assert bptt.gradient_flow(network(), x, target, mask=last).anchors.tolist() == [T - 1]
    labels = np.where(last, 1, -100)
    assert bptt.gradient_flow(network(), x, labels, "cross_entropy").anchors.tolist() == [T - 1]


def test_anchors_without_a_gradient_are_left_out(data):
    x, target = data
    perfect = network().forward(x)[0]
    perfect[30] += 1
    flow = bptt.gradient_flow(network(), x, perfect, max_distance=20, anchors=3)
    assert flow.anchors.tolist() == [30]
    assert flow.anchor_norms.shape == (1, 1, 21)
    target[25:] = np.nan
    flow = bptt.gradient_flow(network(), x, target, max_distance=20, anchors=21)
    assert flow.anchors.tolist() == [20, 21, 22, 23, 24]


def test_default_distance():
    rnn = bptt.RNN(1, 2, seed=0)
    for steps, K in [(2, 1), (3, 1), (11, 5), (2000, 256)]:
        x = np.ones((steps, 1, 1))
        assert bptt.gradient_flow(rnn, x, np.zeros((steps, 1, 2)), anchors=1).distance[-1] == K


# ---- what leaves the range of numbers ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_underflow(dtype, rng):
    """Subnormal norms and exact zeros stay out of the fit."""
    flow = bptt.gradient_flow(linear(0.02, dtype=dtype), rng.normal(size=(600, 2, I)), rng.normal(size=(600, 2, O)))
    assert flow.norms[0, -1] == 0
    np.testing.assert_allclose(flow.growth, 0.02, rtol=1e-5)
    assert flow.verdict == "vanishing"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_overflow(dtype, rng):
    x = np.zeros((800, 2, I))  # states stay finite, gradients do not
    rnn = linear(50.0, dtype=dtype)
    for name, view in rnn.param_views().items():
        if name.startswith("bias"):
            view[...] = 0
    with np.errstate(all="raise"):
        flow = bptt.gradient_flow(rnn, x, rng.normal(size=(800, 2, O)))
        text = str(flow)
    assert flow.norms[0, -1] == np.inf
    np.testing.assert_allclose(flow.growth, 50, rtol=1e-5)
    assert flow.verdict == "exploding"
    assert "inf times" in text
    assert not np.isnan(flow.anchor_norms).any()


@pytest.mark.parametrize("dead, growth, verdict", [(0.0, 0.0, "vanishing"), (1e200, np.inf, "exploding")])
def test_nothing_to_fit(dead, growth, verdict, rng):
    rnn = linear(dead)
    for name, view in rnn.param_views().items():
        if name.startswith("bias"):
            view[...] = 0
    target = rng.normal(size=(20, 1, O)) * 1e200
    flow = bptt.gradient_flow(rnn, np.zeros((20, 1, I)), target)
    assert flow.growth.tolist() == [growth]
    assert flow.verdict == verdict
    assert (flow.half_life if growth == 0 else flow.doubling_time).tolist() == [0]
    assert (flow.doubling_time if growth == 0 else flow.half_life).tolist() == [np.inf]
    assert verdict in str(flow)


def test_one_dead_anchor_does_not_decide(data):
    """A reset cuts one anchor's gradient to exactly zero; the median is that of the others."""
    reset = np.zeros((T, B), bool)
    reset[35] = True
    flow = bptt.gradient_flow(network(init="orthogonal"), *data, reset=reset, max_distance=10, anchors=5)
    assert (flow.anchor_norms[0, :, -1] == 0).sum() == 1
    assert flow.norms[0, -1] > 0


# ---- the matrices, the report, and what is left behind ----------------------------------------------------


def test_spectra(data):
    rnn = network()
    W = rnn.param_views()["weight_hh_l0"]
    (spectrum,) = bptt.gradient_flow(rnn, *data).spectra
    assert spectrum[:2] == ("weight_hh_l0", "")
    assert spectrum.radius == pytest.approx(np.abs(np.linalg.eigvals(W)).max(), rel=1e-14)
    assert spectrum.norm == pytest.approx(np.linalg.svd(W, compute_uv=False)[0], rel=1e-14)


@pytest.mark.parametrize("cell, gates", [("gru", "rzn"), ("lstm", "ifgo")])
def test_spectra_of_gates(cell, gates, rng):
    W = rng.normal(size=(len(gates) * H, H)).astype(np.float32)
    for i, (name, gate, radius, norm) in enumerate(_spectra("weight_hh_l1", W, cell)):
        block = W[i * H : (i + 1) * H].astype(float)
        assert (name, gate) == ("weight_hh_l1", gates[i])
        assert radius == pytest.approx(np.abs(np.linalg.eigvals(block)).max(), rel=1e-12)
        assert norm == pytest.approx(np.linalg.svd(block, compute_uv=False)[0], rel=1e-12)


def test_report(rng):
    x, target = rng.normal(size=(150, 1, I)), rng.normal(size=(150, 1, O))
    flow = bptt.gradient_flow(linear(0.9), x, target, max_distance=100)
    text = str(flow)
    assert "over 100 steps: vanishing" in text
    assert "2.66e-05" in text
    assert "halves every 6.58 steps" in text
    assert "k = 100" in text
    assert "weight_hh_l0" in text
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 120
    assert repr(flow) == "<GradientFlow over 100 steps: vanishing; per step l0 x 0.9>"
    assert "doubles every 7.27 steps" in str(bptt.gradient_flow(linear(1.1), x, target))


def test_the_network_is_left_as_it_was(data, rng):
    rnn = network()
    rnn.grads[:] = rng.normal(size=rnn.grads.size)
    rnn.grads[3] = np.nan
    before = rnn.params.tobytes(), rnn.grads.tobytes()
    bptt.gradient_flow(rnn, *data)
    assert (rnn.params.tobytes(), rnn.grads.tobytes()) == before

    def fails_at_the_second(y, target, seen=[]):  # noqa: B006
        seen.append(y)
        if len(seen) == 2:
            raise OSError("no")
        return bptt.mse(y, target)

    with pytest.raises(OSError):
        bptt.gradient_flow(rnn, *data, fails_at_the_second)
    assert (rnn.params.tobytes(), rnn.grads.tobytes()) == before


X, Y = np.ones((T, B, I)), np.ones((T, B, O))
LABELS = np.full((T, B), -100)
BAD = {
    "not a network": (lambda: bptt.gradient_flow("rnn", X, Y), TypeError, ["rnn must be a bptt.RNN", "str"]),
    "unknown loss": (lambda: bptt.gradient_flow(network(), X, Y, "mae"), ValueError, ["loss", "mse", "'mae'"]),
    "input size": (lambda: bptt.gradient_flow(network(), X[..., :1], Y), ValueError, ["x must have", "I = 2", "1)"]),
    "no steps before": (lambda: bptt.gradient_flow(network(), X[:1], Y[:1]), ValueError, ["x", "at least 2", "1"]),
    "target of other steps": (lambda: bptt.gradient_flow(network(), X, Y[1:]), ValueError, ["target", "(41, 3)"]),
    "mask of other rows": (
        lambda: bptt.gradient_flow(network(), X, Y, mask=np.ones((T, 1), bool)),
        ValueError,
        ["mask", "(41, 3)", "(41, 1)"],
    ),
    "nothing counts": (
        lambda: bptt.gradient_flow(network(), X, Y, mask=np.zeros((T, B), bool)),
        ValueError,
        ["mask", "none"],
    ),
    "no label counts": (
        lambda: bptt.gradient_flow(network(), X, LABELS, "cross_entropy"),
        ValueError,
        ["target", "40"],
    ),
    "no distance": (lambda: bptt.gradient_flow(network(), X, Y, max_distance=0), ValueError, ["max_distance", "0"]),
    "too far": (lambda: bptt.gradient_flow(network(), X, Y, max_distance=T), ValueError, ["max_distance", "40", "41"]),
    "distance in words": (
        lambda: bptt.gradient_flow(network(), X, Y, max_distance="far"),
        TypeError,
        ["max_distance", "'far'"],
    ),
    "no anchors": (lambda: bptt.gradient_flow(network(), X, Y, anchors=0), ValueError, ["anchors", "at least 1", "0"]),
    "state of another batch": (
        lambda: bptt.gradient_flow(network(), X, Y, state=np.ones((1, 1, H))),
        ValueError,
        ["state", "(1, 3, 6)", "(1, 1, 6)"],
    ),
    "loss without a gradient": (
        lambda: bptt.gradient_flow(network(), X, Y, lambda y, target: 0.0),
        TypeError,
        ["(loss, dy)", "0.0"],
    ),
    "gradient of another shape": (
        lambda: bptt.gradient_flow(network(), X, Y, lambda y, target: (0.0, np.ones(O))),
        ValueError,
        ["y's shape (1, 3, 2)", "(2,)"],
    ),
    "zero gradient": (
        lambda: bptt.gradient_flow(network(), X, Y, lambda y, target: (0.0, 0 * y), anchors=2),
        ValueError,
        ["loss", "zero", "[20, 40]"],
    ),
    "nan": (
        lambda: bptt.gradient_flow(network(), X * np.nan, Y, anchors=1),
        FloatingPointError,
        ["NaN or Inf", "[40]"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, words = BAD[case]
    with pytest.raises(error) as caught:
        call()
    for word in words:
        assert word in str(caught.value)


# ---- several layers, directions and gates -----------------------------------------------------------------


@pytest.mark.parametrize("cell, gates", [("tanh", 1), ("gru", 3), ("lstm", 4)])
@pytest.mark.parametrize("both_ways", [False, True])
def test_layers(cell, gates, both_ways, data):
    rnn = network(cell=cell, num_layers=2, bidirectional=both_ways)
    flow = bptt.gradient_flow(rnn, *data, max_distance=10, anchors=4)
    assert flow.layers == (("l0", "l0_reverse", "l1", "l1_reverse") if both_ways else ("l0", "l1"))
    assert flow.norms.shape == (len(flow.layers), 11)
    assert len(flow.spectra) == gates * len(flow.layers)
    for i, t in enumerate(flow.anchors):
        y, _ = rnn.forward(data[0])
        dy = np.zeros_like(y)
        dy[t] = (y - data[1])[t]
        norms = np.empty((len(flow.layers), T))
        rnn.backward(dy, step_norms=norms)
        for row, layer in enumerate(flow.layers):
            expected = norms[row, t : t + 11] if layer.endswith("_reverse") else norms[row, t - 10 : t + 1][::-1]
            np.testing.assert_allclose(flow.anchor_norms[row, i], expected / expected[0], rtol=1e-10)


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
@pytest.mark.parametrize("given", [False, True])
def test_states_that_enter(cell, given, data, rng):
    """A given one, an LSTM's pair, and the learned one where none is given; whatever the first anchor's step."""
    rnn = network(cell=cell, num_layers=2, learn_state=True)
    h, c = rng.normal(size=(2, 2, B, H))
    state = ((h, c) if cell == "lstm" else h) if given else None
    for K in (10, T - 1):
        flow = bptt.gradient_flow(rnn, *data, max_distance=K, anchors=3, state=state)
        y, _ = rnn.forward(data[0], state)
        t = flow.anchors[0]
        dy, norms = np.zeros_like(y), np.empty((2, T))
        dy[t] = (y - data[1])[t]
        rnn.backward(dy, step_norms=norms)
        expected = norms[:, t - K : t + 1][:, ::-1]
        np.testing.assert_allclose(flow.anchor_norms[:, 0], expected / expected[:, :1], rtol=1e-10)


def test_dropout_goes_on_as_if_nothing_had_been_measured(data):
    rnn = network(cell="lstm", num_layers=2, dropout=0.5)
    before = rnn.dropout_state
    flow = bptt.gradient_flow(rnn, *data)
    assert rnn.dropout_state == before
    np.testing.assert_array_equal(flow.norms, bptt.gradient_flow(rnn, *data).norms)
