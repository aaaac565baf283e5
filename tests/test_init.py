"""Initial values (IRNN, orthogonal, Glorot, uniform) and what they promise for the flow of gradients."""

import math

import numpy as np
import pytest

import bptt
from bptt._init import initializer


def test_same_seed_same_values():
    a, b, c = (bptt.RNN(3, 5, 2, seed=s).params for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_uniform_fills_the_bounds():
    rnn = bptt.RNN(50, 100, 20, seed=0)
    for name, view in rnn.param_views().items():
        assert 0.08 < np.abs(view).max() <= 0.1, name
        assert abs(view.mean()) < 5 * 0.1 / math.sqrt(3 * view.size), name


def test_identity():
    v = bptt.RNN(50, 80, 20, init="identity", seed=0).param_views()
    np.testing.assert_array_equal(v["weight_hh_l0"], np.eye(80))
    assert not any(v[name].any() for name in v if name.startswith("bias"))
    assert np.std(v["weight_ih_l0"]) == pytest.approx(0.001, rel=0.05)


@pytest.mark.parametrize("init", ["orthogonal", "glorot"])
def test_orthogonal(init):
    v = bptt.RNN(7, 40, 3, init=init, seed=0, dtype="float64").param_views()
    np.testing.assert_allclose(v["weight_hh_l0"] @ v["weight_hh_l0"].T, np.eye(40), atol=1e-14)
    if init == "glorot":
        assert np.abs(v["weight_ih_l0"]).max() <= math.sqrt(6 / 47)
        assert not v["bias_ih_l0"].any()


@pytest.mark.parametrize("gates", [3, 4])
def test_gates(gates, rng):
    """ "orthogonal" draws every gate's matrix; "glorot" the whole matrix, as Keras does."""
    H, columns = 20, 7
    blocks = initializer("orthogonal", H)("weight_hh_l1_reverse", (gates * H, H), rng).reshape(gates, H, H)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, np.eye(H), atol=1e-14)
    assert not any(np.allclose(blocks[0], block) for block in blocks[1:])
    whole = initializer("glorot", H)("weight_hh_l0", (gates * H, H), rng)
    np.testing.assert_allclose(whole.T @ whole, np.eye(H), atol=1e-14)
    bound = math.sqrt(6 / (columns + gates * H))
    assert 0.95 * bound < np.abs(initializer("glorot", H)("weight_ih_l0", (gates * H, columns), rng)).max() <= bound
    with pytest.raises(ValueError, match=f"'identity' .* weight_hh_l0 holds {gates}"):
        initializer("identity", H)("weight_hh_l0", (gates * H, H), rng)


def test_scaled_identity():
    scaled, plain = (bptt.RNN(3, 5, 2, init=init, seed=0) for init in (bptt.init.identity(0.25), "identity"))
    np.testing.assert_array_equal(scaled.param_views()["weight_hh_l0"], 0.25 * np.eye(5))
    scaled.param_views()["weight_hh_l0"][...] = np.eye(5)
    np.testing.assert_array_equal(scaled.params, plain.params)
    for scale, error in [("1", TypeError), (math.nan, ValueError), (math.inf, ValueError)]:
        with pytest.raises(error, match="scale must be a"):
            bptt.init.identity(scale)


@pytest.mark.parametrize("init", ["uniform", "orthogonal", "glorot", lambda name, shape, rng: np.full(shape, 0.25)])
def test_forget_bias(init):
    """In the forget gate's block of b_ih alone, of every layer and direction: b_ih + b_hh has it once."""
    options = {"cell": "lstm", "num_layers": 2, "bidirectional": True, "init": init, "seed": 0, "dtype": "float64"}
    plain, biased = bptt.RNN(3, 5, 2, **options), bptt.RNN(3, 5, 2, forget_bias=1.5, **options)
    for name, view in biased.param_views().items():
        expected = plain.param_views()[name].copy()
        if name.startswith("bias_ih"):
            expected[5:10] += 1.5
        np.testing.assert_array_equal(view, expected, err_msg=name)


def test_forget_bias_is_a_matter_of_the_parameters_alone(tmp_path):
    import copy

    rnn = bptt.RNN(3, 5, cell="lstm", forget_bias=1, seed=0)
    rnn.save(tmp_path / "model")
    for again in (copy.copy(rnn), bptt.RNN.load(tmp_path / "model")):
        np.testing.assert_array_equal(again.params, rnn.params)


def test_function():
    def ones(name, shape, rng):
        return np.full(shape, len(name))

    assert set(bptt.RNN(2, 3, init=ones).params) == {float(len("weight_ih_l0")), float(len("bias_ih_l0"))}


def test_identity_relu_keeps_the_gradient(rng):
    """Identity, relu, positive inputs: ||dL/dh_0|| = ||dL/dh_T||."""
    rnn = bptt.RNN(4, 10, cell="relu", init="identity", dtype="float64", seed=0)
    rnn.param_views()["weight_ih_l0"][...] = rng.random((10, 4))
    rnn.forward(rng.random((200, 3, 4)))
    dstate = rng.normal(size=(1, 3, 10))
    norms = np.empty(200)
    _, dstate0 = rnn.backward(None, dstate, step_norms=norms)
    np.testing.assert_allclose(np.linalg.norm(dstate0) / np.linalg.norm(dstate), 1, rtol=1e-12)
    np.testing.assert_allclose(norms, norms[-1], rtol=1e-12)


@pytest.mark.parametrize("rho", [0.9, 1.0, 1.1])
def test_scaled_orthogonal_decays_geometrically(rho, rng):
    """Linear network, W = rho Q: ||dh_{t-k}|| / ||dh_t|| = rho^k."""
    rnn = bptt.RNN(2, 12, cell="identity", init="orthogonal", dtype="float64", seed=0)
    rnn.param_views()["weight_hh_l0"][...] *= rho
    rnn.forward(rng.normal(size=(100, 2, 2)))
    norms = np.empty(100)
    rnn.backward(None, rng.normal(size=(1, 2, 12)), step_norms=norms)
    np.testing.assert_allclose(norms / norms[-1], rho ** np.arange(99, -1, -1), rtol=1e-12)


def test_learned_states_begin_as_zeros():
    for init in ("uniform", "glorot", "orthogonal"):
        v = bptt.RNN(3, 5, cell="lstm", num_layers=2, learn_state=True, init=init, seed=0).param_views()
        assert not v["state_h0"].any()
        assert not v["state_c0"].any()
        assert v["weight_hh_l1"].all()
    ones = bptt.RNN(3, 5, learn_state=True, init=lambda name, shape, rng: np.ones(shape)).param_views()
    assert ones["state_h0"].all()


def test_values_that_are_infinite_in_float32():
    for error in ("raise", "ignore"):
        with np.errstate(over=error):
            with pytest.raises(ValueError, match=r"init returns for weight_ih_l0 .* range of float32"):
                bptt.RNN(2, 3, init=lambda name, shape, rng: np.full(shape, 1e39))
            with pytest.raises(ValueError, match="forget_bias"):
                bptt.RNN(2, 3, cell="lstm", forget_bias=-1e39)
    rnn = bptt.RNN(2, 3, init=lambda name, shape, rng: np.full(shape, -1e39), dtype="float64")
    assert (rnn.params == -1e39).all()
