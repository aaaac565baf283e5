"""Forward and backward of every kind of network against signed finite differences, torch's autograd and the oracle."""

import numpy as np
import pytest
from cases import CELLS, CLIPS, DROPOUT, INPUTS, STARTS, VANILLA, assert_all_close, assert_close, case_id, covering

import bptt

SIZES = {"T": [7, 1, 2, 50], "B": [3, 1, 16], "H": [5, 1, 33]}
NETWORKS = {
    "cell": CELLS,
    "num_layers": [2, 1, 3],
    "bidirectional": [False, True],
    "O": [None, 3],
    "bias": [True, False],
    "lengths": [False, True],
    "reset": [False, True],
    "start": STARTS,
    "inputs": INPUTS,
}


# ---- signed finite differences -----------------------------------------------------------------------------------


class SameMasks:
    """The loss of a problem whose every forward drops the same."""

    def __init__(self, p):
        self.p, self.dropout_state = p, p.rnn.dropout_state

    def __call__(self):
        self.p.rnn.dropout_state = self.dropout_state
        return self.p.loss(tape=True)


def derivative(loss, flat, direction, step):
    """That of the loss along a direction of the entries of `flat`: central differences of fourth order, signed."""
    before = flat.copy()
    at = {}
    for k in (-2, -1, 1, 2):
        flat[:] = before + k * step * direction
        at[k] = loss()
    flat[:] = before
    return (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)


@pytest.mark.parametrize("case", covering({**NETWORKS, **SIZES, "dropout": DROPOUT}), ids=case_id)
def test_signed_central_differences(problem, case):
    """By every tensor along a random direction, and by two of its entries. relu has kinks: where one lies between the
    points no formula holds, so there it may take a smaller step, and 1e-8 loses half of the digits."""
    options = dict(case)
    rng = np.random.default_rng(3)
    options |= options.pop("dropout") | options.pop("inputs")
    p = problem(*(options.pop(name) for name in ("T", "B")), 3, options.pop("H"), **options)
    loss = SameMasks(p)
    g = p.copied_gradients()
    steps, tolerance = ((1e-4, 1e-6, 1e-8), 1e-6) if p.rnn.cell == "relu" else ((1e-4,), 1e-7)
    for name, tensor in p.tensors().items():
        flat, gradient = tensor.reshape(-1), g[name].reshape(-1)
        directions = [rng.uniform(-1, 1, flat.shape)]
        for entry in rng.choice(flat.size, min(flat.size, 2), replace=False):
            directions.append(np.eye(1, flat.size, entry)[0])
        for direction in directions:
            if name == "embedding":  # this row is no parameter
                direction.reshape(tensor.shape)[p.rnn.padding_idx] = 0
            bound = tolerance * max(np.abs(direction) @ np.abs(gradient), 1e-2)
            errors = (abs(derivative(loss, flat, direction, step) - direction @ gradient) for step in steps)
            assert any(error <= bound for error in errors), name


# ---- torch -------------------------------------------------------------------------------------------------------


def torch_gradients(torch, p):
    """The same as p.gradients() for one layer, by torch's autograd: carry scales the gradient by a detached copy, reset
    multiplies by zero."""
    f = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda z: z}[p.rnn.cell]
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
    return {n: v.grad.numpy() for n, v in leaf.items()} | {"y": y.detach().numpy()}


ONE_LAYER = {"cell": VANILLA, "carry": [0, 1, 2], **{name: NETWORKS[name] for name in ("O", "bias", "reset")}}


@pytest.mark.parametrize("case", covering({**ONE_LAYER, **SIZES}), ids=case_id)
def test_torch_autograd(torch, problem, case):
    options = dict(case)
    p = problem(*(options.pop(name) for name in ("T", "B")), 3, options.pop("H"), **options)
    ours = p.gradients()
    assert_all_close(ours, torch_gradients(torch, p), 1e-10)


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


# ---- the oracle --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", covering({**NETWORKS, "carry": [0, 1, 2], "clip": CLIPS}, 3), ids=case_id)
def test_oracle(problem, case):
    """Every three options together, with the norms of each step before any clip."""
    options = dict(case)
    clip = options.pop("clip")
    p = problem(7, 4, 3, 5, **options.pop("inputs"), **options)
    norms = np.empty((p.rnn.num_layers * (1 + p.rnn.bidirectional), 7))
    ours = p.gradients(step_norms=norms if len(norms) > 1 else norms[0], **clip)
    theirs = p.oracle(**clip)
    assert_close(norms, theirs["norms"], 1e-12, "norms")
    assert_all_close(ours, theirs, 1e-12)
    for tensor in ("state_h0", "state_c0"):  # a state that is given is not the learned one
        assert p.state is None or not ours.get(tensor, np.zeros(1)).any()


CHUNKS = {name: NETWORKS[name] for name in ("cell", "num_layers", "bidirectional", "lengths", "reset", "inputs")}


@pytest.mark.parametrize("case", covering({**CHUNKS, "carry": [0, 1, 2]}), ids=case_id)
def test_oracle_over_chunks_of_steps(problem, case):
    """The core goes over time in chunks of 512 kB of gate gradients: here 10 steps of a vanilla cell, 2 of others, and
    a rest."""
    options = dict(case)
    p = problem(23, 160, 2, 40, 1, **options.pop("inputs"), **options)
    norms = np.empty((p.rnn.num_layers * (1 + p.rnn.bidirectional), 23))
    ours, theirs = p.gradients(step_norms=norms), p.oracle()
    tolerance = 1e-9 if p.rnn.cell in ("relu", "identity") else 1e-11
    assert_close(norms, theirs["norms"], tolerance, "norms")
    assert_all_close(ours, theirs, tolerance)


def rounding_dot(rng, terms):
    """np.dot whose every result is off as float32 could make it: by up to n units of roundoff of the sum of sizes."""
    unit = np.finfo(np.float32).eps / 2

    def dot(a, b):
        bound = (terms + 4) * unit * np.dot(np.abs(a), np.abs(b))
        return np.dot(a, b) + rng.uniform(-1, 1, bound.shape) * bound

    return dot


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 3, 5), (50, 3, 33), (23, 16, 64)], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_float32_against_float64_oracle(problem, shape, cell):
    """The bound is derived: the oracle runs five more times with the worst rounding float32 may make in each sum
    (Higham 2002, eq. 3.5: n units of roundoff), and three times the largest change that this makes is allowed,
    plus the rounding of a sum over all steps and rows."""
    T, B, H = shape
    p = problem(T, B, 3, H, 2, cell=cell, dtype="float32", reset=True, carry=2)
    ours = p.gradients()
    exact = p.oracle()
    draws = [p.oracle(rounding_dot(np.random.default_rng(i), H + 5)) for i in range(5)]
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


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_not_wanted_changes_nothing_else(problem, cell):
    p = problem(6, 3, 4, 5, 2, cell=cell, start="given over learned")
    wanted = p.copied_gradients()
    p.rnn.zero_grad()
    dx, dstate0 = p.rnn.backward(p.dy, p.dstate, input_grad=False, state_grad=False)
    assert dx is None
    assert dstate0 is None
    for name, g in p.rnn.grad_views().items():
        np.testing.assert_array_equal(g, wanted[name], err_msg=name)


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


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", ["weight_hh_l0", "bias_ih_l0"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_state_of_zeros_does_not_hide_a_bad_parameter(cell, name, bad):
    """Zero times NaN or Inf is NaN: in a batch, alone and in a stream, whether the rows of a thread all begin with
    zeros or not."""
    T, B, H = 2, 32, 192
    rnns = [bptt.RNN(5, H, dtype="float32", seed=1, threads=threads, **CELLS[cell]) for threads in (1, 2, 3)]
    for rnn in rnns:
        rnn.param_views()[name].flat[0] = bad
    rnn = rnns[0]
    x = np.random.default_rng(0).normal(size=(T, B, 5)).astype("f")
    state = np.zeros((1, B, H), "f")
    state[:, B // 2 :] = 0.5
    given = (state, state) if rnn.cell == "lstm" else state
    whole = rnn.forward(x, given)[0]
    assert name == "bias_ih_l0" or np.isnan(whole[0, 0]).any()
    np.testing.assert_array_equal(rnn.forward(x)[0][:, : B // 2], whole[:, : B // 2])
    np.testing.assert_array_equal(np.isfinite(rnn.forward(x[:, :1])[0]), np.isfinite(whole[:, :1]))
    stream = rnn.stream(batch=B)
    np.testing.assert_array_equal(np.stack([stream(step).copy() for step in x])[:, : B // 2], whole[:, : B // 2])
    for other in rnns[1:]:
        np.testing.assert_array_equal(other.forward(x, given)[0], whole)
