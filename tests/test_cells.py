"""Every cell, layers, directions, lengths: beside torch.nn, in every layout, and against numbers of other libraries."""

import itertools

import numpy as np
import pytest
from cases import CELLS, assert_all_close, assert_close, assert_same, case_id, covering

import bptt

# ---- torch -------------------------------------------------------------------------------------------------


def torch_gradients(torch, p):
    """The same as p.gradients(), by torch.nn in float64."""
    rnn = p.rnn
    modules = {"tanh": torch.nn.RNN, "relu": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
    options = {"nonlinearity": rnn.cell} if modules[rnn.cell] is torch.nn.RNN else {}
    module = modules[rnn.cell](rnn.input_size, rnn.hidden_size, rnn.num_layers, bias=rnn.bias,
                               bidirectional=rnn.bidirectional, dtype=torch.float64, **options)  # fmt: skip
    state = {name: torch.tensor(value, dtype=torch.float64) for name, value in rnn.param_views().items()}
    readout = {name: state.pop(name) for name in ("weight_ho", "bias_o") if name in state}
    assert list(state) == list(module.state_dict())  # names and order; load_state_dict checks the shapes
    module.load_state_dict(state)
    leaves = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (p.x, *p.states)]
    x, *states = leaves
    if p.lengths is not None:
        x = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(p.lengths), enforce_sorted=False)
    y, final = module(x, tuple(states) if len(states) == 2 else states[0])
    if p.lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=len(p.x))
    if readout:
        linear = torch.nn.Linear(y.shape[-1], rnn.output_size, bias=rnn.bias, dtype=torch.float64)
        linear.load_state_dict({{"weight_ho": "weight", "bias_o": "bias"}[n]: v for n, v in readout.items()})
        y = linear(y)
        if p.lengths is not None:  # our outputs beyond a row's end are zero
            y = y * torch.tensor(np.arange(len(p.x))[:, None, None] < p.lengths[None, :, None])
    final = final if isinstance(final, tuple) else (final,)
    loss = (y * torch.tensor(p.dy)).sum()
    for state, dstate in zip(final, p.dstates, strict=True):
        loss = loss + (state * torch.tensor(dstate)).sum()
    loss.backward()
    g = {name: parameter.grad.numpy() for name, parameter in module.named_parameters()}
    if readout:
        g |= {"weight_ho": linear.weight.grad.numpy()} | ({"bias_o": linear.bias.grad.numpy()} if rnn.bias else {})
    g |= dict(zip(("x", "state", "cell"), (leaf.grad.numpy() for leaf in leaves), strict=False))
    return g | {"y": y.detach().numpy()} | {f"final {i}": s.detach().numpy() for i, s in enumerate(final)}


@pytest.mark.parametrize("cell", ["tanh", "relu", "lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [False, True])
def test_torch(torch, problem, cell, layers, bidirectional, lengths):
    options = {"cell": cell, "num_layers": layers, "bidirectional": bidirectional, "lengths": lengths}
    for (T, B, H), O, bias in itertools.product([(1, 2, 3), (11, 5, 7), (4, 17, 33)], [None, 3], [True, False]):
        p = problem(T, B, 4, H, O, bias=bias, **options)
        theirs = torch_gradients(torch, p)
        y, final = p.forward()
        assert_close(y, theirs["y"], 1e-12, "y")
        for i, part in enumerate(final):
            assert_close(part, theirs[f"final {i}"], 1e-12, f"final {i}")
        assert_all_close(p.gradients(), theirs, 1e-10)
        single = problem(T, B, 4, H, O, bias=bias, dtype="float32", **options)
        single.rnn.params = p.rnn.params
        for name in ("x", "states", "dy", "dstates"):
            getattr(single, name)[...] = getattr(p, name)
        assert_all_close(single.gradients(), theirs, 1e-5)


# ---- layouts, rows, steps beyond the end -------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", covering({"cell": CELLS, "num_layers": [1, 2], "bidirectional": [False, True]}), ids=case_id
)
def test_layouts(problem, case):
    """batch_first and (T,I) are the same numbers in another layout; states are (L*D,B,H) in each."""
    options = {"reset": True, "carry": 2, **case}
    p = problem(6, 4, 3, 5, 2, lengths=True, **options)
    ours = p.copied_gradients()
    other = problem(6, 4, 3, 5, 2, batch_first=True, **options).rnn
    y, _ = other.forward(p.x.swapaxes(0, 1), p.state, lengths=p.lengths, reset=p.reset.T)
    dx, dstate0 = other.backward(p.dy.swapaxes(0, 1), p.dstate, carry=p.carry.T)
    np.testing.assert_array_equal(y, ours["y"].swapaxes(0, 1))
    np.testing.assert_array_equal(dx, ours["x"].swapaxes(0, 1))
    np.testing.assert_array_equal(dstate0[0] if isinstance(dstate0, tuple) else dstate0, ours["state"])
    np.testing.assert_array_equal(other.grads, p.rnn.grads)
    p = problem(6, 1, 3, 5, 2, **options)
    ours = p.copied_gradients()
    p.rnn.zero_grad()
    y, _ = p.rnn.forward(p.x[:, 0], p.state, reset=p.reset[:, 0])
    dx, _ = p.rnn.backward(p.dy[:, 0], p.dstate, carry=p.carry)
    np.testing.assert_array_equal(y, ours["y"][:, 0])
    np.testing.assert_array_equal(dx, ours["x"][:, 0])
    for tensor, g in p.rnn.grad_views().items():
        np.testing.assert_array_equal(g, ours[tensor])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_what_lies_beyond_the_end_does_not_count(problem, cell, bidirectional):
    """Not x, not dy, not even NaN; y and dx are zero there."""
    p = problem(9, 5, 3, 4, 2, num_layers=2, bidirectional=bidirectional, lengths=True, cell=cell)
    plain = p.copied_gradients()
    beyond = np.arange(9)[:, None] >= p.lengths
    assert beyond.any()
    assert not plain["y"][beyond].any()
    assert not plain["x"][beyond].any()
    p.x[beyond] = np.nan
    p.dy[beyond] = np.nan
    assert_same(p.gradients(), plain)


@pytest.mark.parametrize("cell", CELLS)
def test_a_row_alone_is_the_row_of_a_batch(problem, cell):
    """Each padded row gives what its own steps alone give, and the gradients of the parameters add up."""
    p = problem(8, 4, 3, 5, 2, num_layers=2, bidirectional=True, lengths=True, cell=cell)
    ours = p.copied_gradients()
    total = np.zeros_like(p.rnn.grads)
    for b, length in enumerate(p.lengths):
        p.rnn.zero_grad()
        y, final = p.rnn.forward(p.x[:length, b : b + 1], p.as_given(p.states[:, :, b : b + 1]))
        dx, _ = p.rnn.backward(p.dy[:length, b : b + 1], p.as_given(p.dstates[:, :, b : b + 1]))
        total += p.rnn.grads
        assert_close(y[:, 0], ours["y"][:length, b], 1e-13)
        assert_close(dx[:, 0], ours["x"][:length, b], 1e-12)
    p.gradients()
    assert_close(p.rnn.grads, total, 1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_cut_stops_nan_and_inf(problem, cell, bad):
    """carry = 0 and a reset let nothing through either way of time, neither by h nor by c."""
    for bidirectional in (False, True):
        p = problem(8, 2, 3, 4, bidirectional=bidirectional, cell=cell)
        carry = np.ones(8)
        carry[3] = 0
        p.forward()
        p.dy[5, 0] = bad
        dx, _ = p.rnn.backward(p.dy, p.dstate, carry=carry)
        assert np.isfinite(dx[:4]).all()
        assert not np.isfinite(dx[5]).all()
        p.reset = np.zeros((8, 2), bool)
        p.reset[4] = True
        p.forward()
        dx, _ = p.rnn.backward(p.dy, p.dstate)
        assert np.isfinite(dx[:4]).all()
        p.x[5, 0] = np.nan
        y, _ = p.forward()
        assert np.isfinite(y[:4]).all()
        assert np.isnan(y[5, 0]).any()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
def test_tape_or_not_is_the_same_to_the_bit(problem, cell, layers):
    p = problem(300, 3, 4, 17, 5, num_layers=layers, dtype="float32", reset=True, lengths=True, cell=cell)
    with_tape, without = p.forward(), p.forward(tape=False)
    np.testing.assert_array_equal(with_tape[0], without[0])
    np.testing.assert_array_equal(with_tape[1], without[1])
    both = problem(300, 3, 4, 17, 5, bidirectional=True, num_layers=layers, dtype="float32", cell=cell)
    np.testing.assert_array_equal(both.forward()[0], both.forward(tape=False)[0])


def test_lengths_and_state_may_change_after_forward(problem):
    p = problem(9, 3, 2, 5, 2, cell="lstm", lengths=True)
    p.lengths = np.array([9, 6, 2])  # in falling order: the library need not sort them
    expected = p.copied_gradients()
    p.rnn.zero_grad()
    p.forward()
    p.lengths[:] = 1
    p.states[:] = 0
    p.rnn.backward(p.dy, p.dstate)
    for tensor, g in p.rnn.grad_views().items():
        np.testing.assert_array_equal(g, expected[tensor])


# ---- literals of other implementations ---------------------------------------------------------------------


def keras(cell, x, units, *, both_biases=False, **options):
    """Outputs of the last step; Keras' kernels are 0.01, recurrent kernels 0.02 and biases 0.03 throughout."""
    values = {"weight_ih_l0": 0.01, "weight_hh_l0": 0.02, "bias_ih_l0": 0.03, "bias_hh_l0": 0.03 * both_biases}
    rnn = bptt.RNN(x.shape[2], units, cell=cell, batch_first=True, dtype="float64",
                   init=lambda name, shape, rng: np.full(shape, values[name]), **options)  # fmt: skip
    return rnn.forward(x)[0][:, -1]


def counting(*shape):
    return np.arange(np.prod(shape), dtype=float).reshape(shape)


@pytest.mark.parametrize("cell, options, expected", [
    # Keras' unit_forget_bias makes that bias 1, whatever the initialiser of the others gives
    ("lstm", {"forget_bias": 0.97}, [0.6288687, 0.86899155, 0.9460773]),
    ("lstm", {}, [0.57019705, 0.8661914, 0.9459622]),
    # with the reset gate after the product Keras' bias has two rows, as ours
    ("gru", {"both_biases": True}, [0.5217289, 0.6371659, 0.39384964]),
    ("gru", {"reset_after": False}, [0.51447755, 0.6426879, 0.40208298]),
], ids=str)  # fmt: skip
def test_keras_literals(cell, options, expected):
    y = keras(cell, counting(3, 6, 4), 3, **options)
    np.testing.assert_allclose(y, np.repeat(np.array(expected)[:, None], 3, axis=1), rtol=0, atol=2e-7)


def test_keras_simple_rnn_literals():
    y = keras("tanh", counting(2, 3, 4), 4)
    np.testing.assert_allclose(y, np.repeat([[0.405432], [0.73605347]], 4, axis=1), rtol=0, atol=2e-7)


def test_torch_cpp_lstm_literals():
    def ramp(name, shape, rng):
        return (np.arange(np.prod(shape)) / np.prod(shape)).reshape(shape)

    rnn = bptt.RNN(2, 2, cell="lstm", init=ramp, dtype="float64")
    y, (h, c) = rnn.forward((24 - counting(3, 4, 2)) / 24)
    np.testing.assert_allclose(y[0, :2], [[0.4391, 0.5402], [0.4330, 0.5324]], rtol=0, atol=5e-5)
    np.testing.assert_allclose(y[2, 3], [0.7484, 0.8666], rtol=0, atol=5e-5)
    np.testing.assert_array_equal(h[0], y[2])
    assert c.shape == (1, 4, 2)
