"""Forward and backward against signed finite differences, torch, and the naive oracle."""

import itertools

import numpy as np
import pytest
from conftest import assert_close

import bptt

SHAPES = list(itertools.product([1, 2, 7, 50], [1, 3, 16], [1, 5, 33]))  # T, B, H
CELLS = ("tanh", "relu", "sigmoid", "identity")
OPTIONS = [
    {"bias": bias, "O": O, "reset": reset, "carry": carry}
    for bias, O, reset, carry in itertools.product([True, False], [None, 4], [False, True], [0, 1, 2])
]


def shape_id(shape):
    return "T{}-B{}-H{}".format(*shape)


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("cell", CELLS)
def test_signed_central_differences(problem, shape, cell):
    """Entries of every tensor, all of them where they are few, and one random direction through each tensor."""
    T, B, H = shape
    rng = np.random.default_rng(1)
    for options in OPTIONS:
        if options["carry"]:
            continue  # carry changes no forward value, so no difference shows it: torch does below
        p = problem(T, B, 3, H, cell=cell, **options)
        analytic = p.gradients()
        tensors = {**p.rnn.param_views(), "x": p.x, "state": p.state[0]}
        for name, tensor in tensors.items():
            g = analytic[name]
            scale = np.abs(g).max()
            flat = tensor.reshape(-1)
            for i in rng.choice(flat.size, min(flat.size, 4), replace=False):
                direction = np.zeros_like(flat)
                direction[i] = 1
                assert abs(difference(p, flat, direction) - g.flat[i]) <= 1e-6 * max(scale, 1e-3), (name, i, options)
            direction = rng.uniform(-1, 1, flat.shape)
            direction /= np.abs(direction).max()  # a short step would drown in the rounding of the loss
            expected = float(np.dot(direction, g.reshape(-1)))
            size = float(np.abs(direction) @ np.abs(g.reshape(-1)))
            assert abs(difference(p, flat, direction) - expected) <= 1e-6 * max(size, 1e-3), (name, options)


def difference(p, flat, direction):
    """(loss(v + e*direction) - loss(v - e*direction)) / 2e, the entries restored exactly. relu has kinks: where a
    unit switches between the two points, e is made smaller until none does."""
    kept = flat.copy()
    for step in (2e-6, 2e-7, 2e-8, 2e-9):
        flat += step * direction
        above, above_on = p.loss(), active_units(p)
        flat[:] = kept - step * direction
        below, below_on = p.loss(), active_units(p)
        flat[:] = kept
        if np.array_equal(above_on, below_on):
            return (above - below) / (2 * step)
    raise AssertionError("no step is small enough")


def active_units(p):
    """Which units of a relu network are on, at every step."""
    if p.rnn.cell != "relu":
        return None
    hidden = bptt.RNN(p.rnn.input_size, p.rnn.hidden_size, cell="relu", bias=p.rnn.bias, dtype="float64")
    hidden.params[:] = p.rnn.params[: hidden.params.size]
    return hidden.forward(p.x, p.state, reset=p.reset, tape=False)[0] > 0


def torch_gradients(torch, p, cell):
    """The same by torch's autograd: carry scales the gradient by a detached copy, reset multiplies by zero."""
    f = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda z: z}[cell]
    leaf = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in p.rnn.param_views().items()}
    leaf["x"] = torch.tensor(p.x, requires_grad=True)
    leaf["state"] = torch.tensor(p.state, requires_grad=True)
    h, T = leaf["state"][0], len(p.x)
    ys = []
    for t in range(T):
        if t > 0 and p.carry is not None:
            m = torch.tensor(p.carry[t - 1])
            m = m[:, None] if m.ndim else m
            h = m * h + (1 - m) * h.detach()
        if p.reset is not None:
            h = h * torch.tensor(~p.reset[t])[:, None]
        z = leaf["x"][t] @ leaf["weight_ih_l0"].T + h @ leaf["weight_hh_l0"].T
        if "bias_ih_l0" in leaf:
            z = z + leaf["bias_ih_l0"] + leaf["bias_hh_l0"]
        h = f(z)
        y = h @ leaf["weight_ho"].T if "weight_ho" in leaf else h
        ys.append(y + leaf["bias_o"] if "bias_o" in leaf else y)
    y = torch.stack(ys)
    ((y * torch.tensor(p.dy)).sum() + (h * torch.tensor(p.dstate[0])).sum()).backward()
    return {n: v.grad.numpy() for n, v in leaf.items()}, y.detach().numpy()


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
@pytest.mark.parametrize("cell", CELLS)
def test_torch_autograd(torch, problem, shape, cell):
    T, B, H = shape
    for options in OPTIONS:
        p = problem(T, B, 3, H, cell=cell, **options)
        ours = p.gradients()
        theirs, y = torch_gradients(torch, p, cell)
        assert_close(ours["y"], y, 1e-12, f"y {options}")
        for name, gradient in theirs.items():
            assert_close(ours[name], gradient, 1e-10, f"{name} {options}")


@pytest.mark.parametrize("cell", ["tanh", "relu"])
@pytest.mark.parametrize("bias", [True, False])
def test_torch_module(torch, problem, cell, bias):
    """torch.nn.RNN and Linear loaded with our state_dict: names, shapes and order are theirs."""
    p = problem(20, 5, 6, 11, 3, cell=cell, bias=bias)
    state = {name: torch.tensor(value) for name, value in p.rnn.state_dict().items()}
    module = torch.nn.RNN(6, 11, nonlinearity=cell, bias=bias, dtype=torch.float64)
    linear = torch.nn.Linear(11, 3, bias=bias, dtype=torch.float64)
    linear.load_state_dict({"weight": state.pop("weight_ho")} | ({"bias": state.pop("bias_o")} if bias else {}))
    assert list(state) == list(module.state_dict())
    module.load_state_dict(state)
    h, _ = module(torch.tensor(p.x), torch.tensor(p.state))
    y = linear(h)
    y.backward(torch.tensor(p.dy))
    p.dstate[:] = 0
    ours = p.gradients()
    assert_close(ours["y"], y.detach().numpy(), 1e-12, "y")
    for name, parameter in module.named_parameters():
        assert_close(ours[name], parameter.grad.numpy(), 1e-10, name)
    assert_close(ours["weight_ho"], linear.weight.grad.numpy(), 1e-10, "weight_ho")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("clip", [{}, {"step_clip_norm": 0.7}, {"step_clip_value": 0.2},
                                  {"step_clip_norm": 0.9, "step_clip_value": 0.3}], ids=str)  # fmt: skip
@pytest.mark.parametrize("carry", [0, 1, 2])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("O", [None, 3])
def test_oracle_with_clips_and_norms(problem, cell, clip, carry, reset, O):
    p = problem(9, 4, 3, 7, O, cell=cell, carry=carry, reset=reset)
    norms = np.empty(9)
    ours, theirs = p.gradients(**clip, step_norms=norms), p.oracle(**clip)
    assert_close(norms, theirs["norms"][0], 1e-12, "norms")
    for name, gradient in ours.items():
        assert_close(gradient, theirs[name], 1e-12, name)


def rounding_dot(rng, terms):
    """np.dot whose every result is off as float32 could make it: by up to n units of roundoff of the sum of sizes."""
    unit = np.finfo(np.float32).eps / 2

    def dot(a, b):
        bound = (terms + 4) * unit * np.dot(np.abs(a), np.abs(b))
        return np.dot(a, b) + rng.uniform(-1, 1, bound.shape) * bound

    return dot


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 3, 5), (50, 3, 33), (23, 16, 64)], ids=shape_id)
@pytest.mark.parametrize("cell", [*CELLS, "lstm", "gru"])
def test_float32_against_float64_oracle(problem, shape, cell):
    """The bound is derived: the oracle runs eight more times with the worst rounding float32 may make in each sum
    (Higham 2002, eq. 3.5: n units of roundoff), and three times the largest change that this makes is allowed,
    plus the rounding of a sum over all steps and rows."""
    T, B, H = shape
    p = problem(T, B, 3, H, 2, cell=cell, dtype="float32", reset=True, carry=2)
    ours = p.gradients()
    exact = p.oracle()
    draws = [p.oracle(rounding_dot(np.random.default_rng(i), H + 5)) for i in range(8)]
    for name in ours:
        moved = max(np.abs(draw[name] - exact[name]).max() for draw in draws)
        final_sum = T * B * np.finfo(np.float32).eps * np.abs(exact[name]).max()
        error = np.abs(ours[name] - exact[name]).max()
        assert error <= 3 * moved + final_sum, (name, error, moved, final_sum)
        assert moved <= 2e-2 * max(1.0, np.abs(exact[name]).max()), "a bound this wide would prove nothing"


def test_backward_adds_and_may_be_called_again(problem):
    p = problem(6, 2, 3, 5, 2)
    once = {name: g.copy() for name, g in p.gradients().items()}
    p.rnn.backward(p.dy, p.dstate)
    for name, g in p.rnn.grad_views().items():
        assert_close(g, 2 * once[name], 1e-15, name)
    dx, dstate0 = p.rnn.backward(None, input_grad=False, state_grad=False)
    assert dx is None
    assert dstate0 is None
    for name, g in p.rnn.grad_views().items():
        assert_close(g, 2 * once[name], 1e-15, name)  # no gradient came in: nothing is added


@pytest.mark.parametrize("cell", [*CELLS, "lstm", "gru"])
def test_what_is_not_wanted_changes_nothing_else(problem, cell):
    p = problem(6, 3, 4, 5, 2, cell=cell, learn_state=True)
    wanted = p.gradients()
    p.rnn.zero_grad()
    dx, dstate0 = p.rnn.backward(p.dy, p.dstate, input_grad=False, state_grad=False)
    assert dx is None
    assert dstate0 is None
    for name, g in p.rnn.grad_views().items():
        np.testing.assert_array_equal(g, wanted[name], err_msg=name)


def test_layouts(problem):
    """batch_first and (T,I) are the same numbers in another layout."""
    p = problem(6, 4, 3, 5, 2, seed=3)
    ours = {name: g.copy() for name, g in p.gradients().items()}
    other = problem(6, 4, 3, 5, 2, seed=3, batch_first=True).rnn
    np.testing.assert_array_equal(other.params, p.rnn.params)
    y, state = other.forward(p.x.swapaxes(0, 1), p.state)
    dx, dstate0 = other.backward(p.dy.swapaxes(0, 1), p.dstate)
    np.testing.assert_array_equal(y, ours["y"].swapaxes(0, 1))
    np.testing.assert_array_equal(dx, ours["x"].swapaxes(0, 1))
    np.testing.assert_array_equal(dstate0, ours["state"])
    np.testing.assert_array_equal(other.grads, p.rnn.grads)

    one = problem(6, 1, 3, 5, 2, seed=3)
    ours = {name: g.copy() for name, g in one.gradients().items()}
    one.rnn.zero_grad()
    y, state = one.rnn.forward(one.x[:, 0], one.state)
    dx, _ = one.rnn.backward(one.dy[:, 0], one.dstate)
    assert y.shape == (6, 2)
    assert dx.shape == (6, 3)
    assert state.shape == (1, 1, 5)
    np.testing.assert_array_equal(dx, ours["x"][:, 0])
    for name, g in one.rnn.grad_views().items():
        np.testing.assert_array_equal(g, ours[name])


def test_inputs_are_converted_once(problem):
    p = problem(5, 2, 3, 4, 2, dtype="float32")
    y, _ = p.rnn.forward(p.x)
    for same in (p.x.astype(np.float64), p.x.astype(">f4"), np.asfortranarray(p.x), p.x.tolist(),
                 np.repeat(p.x, 2, axis=2)[:, :, ::2], memoryview(p.x)):  # fmt: skip
        np.testing.assert_array_equal(p.rnn.forward(same)[0], y)
    ints = np.arange(30).reshape(5, 2, 3)
    np.testing.assert_array_equal(p.rnn.forward(ints)[0], p.rnn.forward(ints.astype(np.float32))[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_pass_through(problem, dtype, bad):
    p = problem(6, 3, 2, 5, 2, dtype=dtype)
    p.x[2, 1, 0] = bad
    y, state = p.rnn.forward(p.x)
    if np.isnan(bad):
        assert np.isnan(y[2:, 1]).all()
        assert np.isnan(state[0, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()
    assert np.isfinite(y[:2]).all()
    p.dy[4, 0, 0] = bad
    p.rnn.forward(np.zeros_like(p.x))
    p.rnn.zero_grad()
    p.rnn.backward(p.dy)
    assert not np.isfinite(p.rnn.grad_views()["weight_hh_l0"]).all()


def test_a_cut_stops_nan_and_inf(problem):
    """carry = 0 and a reset let nothing through, not even what 0 * Inf would make."""
    p = problem(6, 2, 3, 4)
    p.dy[4, 0, 0] = np.inf
    carry = np.ones(6)
    carry[2] = 0
    p.rnn.forward(p.x, p.state)
    dx, dstate = p.rnn.backward(p.dy, carry=carry)
    assert np.isfinite(dx[:3]).all()
    assert np.isfinite(dstate).all()
    assert not np.isfinite(dx[3:5]).all()
    reset = np.zeros((6, 2), bool)
    reset[3] = True
    state = p.state.copy()
    p.rnn.forward(p.x, state, reset=reset)
    dx, dstate = p.rnn.backward(p.dy)
    assert np.isfinite(dx[:3]).all()
    x = p.x.copy()
    x[:3] = np.nan
    y, _ = p.rnn.forward(x, state, reset=reset)
    assert np.isfinite(y[3:]).all()


def test_tape_or_not_is_the_same_to_the_bit(problem):
    p = problem(700, 3, 4, 33, 5, dtype="float32", reset=True)
    with_tape, state = p.rnn.forward(p.x, p.state, reset=p.reset)
    without, same_state = p.rnn.forward(p.x, p.state, reset=p.reset, tape=False)
    np.testing.assert_array_equal(with_tape, without)
    np.testing.assert_array_equal(state, same_state)
    with pytest.raises(RuntimeError, match="forward"):
        p.rnn.backward(p.dy)
