"""Dropout between layers (Srivastava et al. 2014) and of the recurrent state (Gal & Ghahramani 2016)."""

import copy
import pickle

import numpy as np
import pytest
from cases import CELLS, assert_close, case_id, covering

import bptt

BOTH = {"dropout": 0.4, "recurrent_dropout": 0.3}


def transparent(rate, *, H=500, num_layers=2, **options):
    """Linear layers that copy their inputs: y is what dropout left of the inputs of all but the first."""
    rnn = bptt.RNN(H, H, cell="identity", num_layers=num_layers, bias=False, dropout=rate, dtype="float64", **options)
    for name, view in rnn.param_views().items():
        view[...] = 0 if name.startswith("weight_hh") else np.eye(*view.shape)
    return rnn


def counting(rate, *, H=500, **options):
    """One linear layer, h_t = x_t + (what dropout left of h_{t-1})."""
    rnn = bptt.RNN(H, H, cell="identity", bias=False, recurrent_dropout=rate, dtype="float64", **options)
    for view in rnn.param_views().values():
        view[...] = np.eye(H)
    return rnn


def within(share, rate, n, sigmas=5):
    return abs(share - rate) <= sigmas * np.sqrt(rate * (1 - rate) / n)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_between_layers(rate):
    """The given share is dropped, anew at every step and row; the rest is scaled so that the mean is kept."""
    x = np.ones((20, 3, 500))
    rnn = transparent(rate, seed=0)
    y, _ = rnn.forward(x)
    dropped = y == 0
    assert within(dropped.mean(), rate, y.size)
    assert within(1 - y.mean() * (1 - rate), rate, y.size)
    np.testing.assert_allclose(y[~dropped], 1 / (1 - rate), rtol=2**-14)  # rates are multiples of 2**-16
    for axis, count in enumerate(y.shape):  # no step, row or unit goes another's way
        parts = np.moveaxis(dropped, axis, 0).reshape(count, -1)
        assert len(np.unique(parts, axis=0)) == count
        both = (parts[1:] & parts[:-1]).mean()
        assert within(both, rate**2, parts[1:].size)
    assert not np.array_equal(rnn.forward(x)[0], y)  # every forward draws anew


def test_each_layer_has_an_input_mask_of_its_own():
    y, _ = transparent(0.5, num_layers=3, seed=0).forward(np.ones((20, 3, 500)))
    assert within((y == 0).mean(), 0.75, y.size)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_recurrent(rate):
    """The same units of a row at all steps: where h is dropped the state never counts further than the input."""
    rnn = counting(rate, seed=0)
    y, _ = rnn.forward(np.ones((8, 6, 500)))
    kept = y[1] != 1
    assert within(1 - kept.mean(), rate, kept.size)
    scale = 1 / (1 - rate)
    for t in range(8):
        expected = np.where(kept, sum(scale**i for i in range(t + 1)), 1.0)
        np.testing.assert_allclose(y[t], expected, rtol=2**-10)
    assert len(np.unique(kept, axis=0)) == 6  # rows have masks of their own
    assert not np.array_equal(rnn.forward(np.ones((8, 6, 500)))[0], y)


def test_each_layer_and_direction_has_a_recurrent_mask_of_its_own():
    rnn = counting(0.5, bidirectional=True, seed=0)
    y, _ = rnn.forward(np.ones((3, 1, 500)))
    assert not np.array_equal(y[1, 0, :500] == 1, y[1, 0, 500:] == 1)


@pytest.mark.parametrize("case", covering({"cell": CELLS, "bidirectional": [False, True]}), ids=case_id)
def test_without_a_tape_nothing_is_dropped(problem, case):
    shape = {"num_layers": 2, "lengths": True, **case}
    p, plain = problem(9, 3, 2, 5, 2, **BOTH, **shape), problem(9, 3, 2, 5, 2, **shape)
    np.testing.assert_array_equal(p.rnn.params, plain.rnn.params)  # the parameters are drawn before the masks
    plain.x, plain.states, plain.state, plain.lengths = p.x, p.states, p.state, p.lengths
    for a, b in zip(p.forward(tape=False), plain.forward(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(p.forward()[0], plain.forward()[0])


def test_only_between_layers(problem):
    """Neither the inputs of the first layer nor those of the readout are dropped."""
    with pytest.warns(UserWarning, match=r"^dropout=0.9 drops .*: num_layers=1 has none$"):
        p = problem(9, 3, 2, 5, 2, cell="lstm", dropout=0.9)
    pickle.loads(pickle.dumps(p.rnn))  # warns no more
    np.testing.assert_array_equal(p.forward()[0], p.forward(tape=False)[0])
    p = problem(9, 3, 2, 5, 3, cell="gru", num_layers=2, dropout=0.5)
    y, _ = p.forward()
    hidden = bptt.RNN(2, 5, cell="gru", num_layers=2, dropout=0.5, dtype="float64")
    hidden.params[:] = p.rnn.params[: hidden.params.size]
    hidden.dropout_state = p.rnn.dropout_state[0], 0
    h, _ = hidden.forward(p.x, p.state)
    v = p.rnn.param_views()
    assert_close(y, h @ v["weight_ho"].T + v["bias_o"], 1e-14)


# ---- the seed --------------------------------------------------------------------------------------------------


def drawn(rnn, count=3):
    x = np.ones((6, 2, 3))
    return [rnn.forward(x)[0] for _ in range(count)]


def make(**options):
    return bptt.RNN(3, 40, cell="gru", num_layers=2, **BOTH, **options)


def test_two_networks_with_the_same_seed_drop_the_same():
    a, b = make(seed=3), make(seed=3)
    np.testing.assert_array_equal(drawn(a), drawn(b))
    first = drawn(a, 2)
    assert not np.array_equal(*first)
    c, d = make(), make()
    c.params = d.params = a.params
    e = make(seed=4)
    e.params = a.params
    outputs = [drawn(rnn, 1)[0] for rnn in (make(seed=3), c, d, e)]
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(outputs[i], outputs[j])


def test_a_generator_gives_each_network_masks_of_its_own():
    rng = np.random.default_rng(3)
    a, b = make(seed=rng), make(seed=rng)
    np.testing.assert_array_equal(a.params, make(seed=3).params)
    b.params = a.params
    assert not np.array_equal(drawn(a), drawn(b))


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda rnn: pickle.loads(pickle.dumps(rnn))])
def test_copies_drop_next_what_the_network_does(how):
    rnn = make(seed=3)
    drawn(rnn)
    again = how(rnn)
    assert again.dropout_state == rnn.dropout_state
    np.testing.assert_array_equal(drawn(again), drawn(rnn))


def test_a_draw_can_be_repeated():
    rnn = make(seed=3)
    seed, draws = rnn.dropout_state
    assert draws == 0
    first = drawn(rnn)
    assert rnn.dropout_state == (seed, 3)
    rnn.dropout_state = seed, 1
    np.testing.assert_array_equal(drawn(rnn, 2), first[1:])
    rnn.forward(np.ones((6, 2, 3)), tape=False)
    assert rnn.dropout_state == (seed, 3)  # what drops nothing draws nothing


def test_a_loaded_network_has_masks_of_its_own(tmp_path):
    rnn = make(seed=3)
    rnn.save(tmp_path / "model")
    loaded = bptt.RNN.load(tmp_path / "model")
    assert (loaded.dropout, loaded.recurrent_dropout) == (0.4, 0.3)
    assert not np.array_equal(drawn(loaded), drawn(rnn))


# ---- windows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru", "reset before"])
def test_a_pass_of_windows_drops_the_same_as_one_forward(problem, cell):
    """However the steps are cut into windows: each step has its own masks, and an overlap has those it had before. So
    windows that reach back to the beginning sum to full BPTT."""
    p = problem(23, 3, 2, 5, 2, num_layers=2, reset=True, **BOTH, cell=cell)
    p.dstates[:] = 0
    fixed = p.rnn.dropout_state
    full = p.gradients()
    y, grads = full["y"], p.rnn.grads.copy()
    for truncation in (None, bptt.TBPTT(1, 23), bptt.TBPTT(5, 40), bptt.TBPTT(4), bptt.ARTBP(5)):
        p.rnn.dropout_state = fixed
        total = np.zeros_like(grads)
        windows = p.rnn.windows(p.x, p.dy, lambda y, dy: (0.0, dy), truncation=truncation, state=p.state, reset=p.reset)
        for w in windows:
            np.testing.assert_array_equal(w.y, y[w.start : w.stop])
            total += p.rnn.grads
        if (isinstance(truncation, bptt.TBPTT) and truncation.k2 >= 23) or truncation is None:
            assert_close(total, grads, 1e-12)


def test_a_burn_in_drops_nothing(problem):
    p = problem(20, 3, 2, 5, 2, cell="lstm", num_layers=2, **BOTH)
    _, state = p.rnn.forward(p.x[:12], p.state, tape=False)
    fixed = p.rnn.dropout_state
    y, _ = p.rnn.forward(p.x[12:], state)
    p.rnn.dropout_state = fixed
    (w,) = p.rnn.windows(p.x, p.dy, state=p.state, burn_in=12)
    np.testing.assert_array_equal(w.y, y)
