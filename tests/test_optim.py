"""Optimisers beside torch's, and their state."""

import itertools
import re
import sys

import numpy as np
import pytest
from cases import assert_close

import bptt

CASES = [
    ("SGD", {}, {}),
    ("SGD", {"momentum": 0.9, "weight_decay": 0.01}, {}),
    ("SGD", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1}, {}),
    ("RMSprop", {}, {}),
    ("RMSprop", {"alpha": 0.95, "eps": 1e-3, "weight_decay": 0.05}, {}),
    ("Adagrad", {}, {}),
    ("Adagrad", {"initial_accumulator_value": 0.1, "eps": 1e-5, "weight_decay": 0.05}, {}),
    ("Adam", {}, {}),
    ("Adam", {"betas": (0.5, 0.9), "eps": 1e-4, "weight_decay": 0.1}, {}),
    ("Adam", {"weight_decay": 0.1}, {"decoupled": True}),
]


def case_id(value):
    return str(value) if isinstance(value, (str, dict)) else None


@pytest.mark.parametrize("name, options, ours_only", CASES, ids=case_id)
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 3e-5)])
def test_torch(torch, name, options, ours_only, dtype, tolerance):
    rng = np.random.default_rng(0)
    params = rng.normal(size=101).astype(dtype)
    grads = np.zeros_like(params)
    ours = getattr(bptt, name)(params, grads, lr=0.05, **options, **ours_only)
    leaf = torch.tensor(params.astype(np.float64), requires_grad=True)
    theirs = getattr(torch.optim, "AdamW" if ours_only else name)([leaf], lr=0.05, **options)
    for _ in range(20):
        grads[:] = rng.normal(size=101)
        leaf.grad = torch.tensor(grads.astype(np.float64))
        ours.step()
        theirs.step()
    assert_close(params, leaf.detach().numpy(), tolerance)


@pytest.mark.parametrize("name, options, ours_only", CASES, ids=case_id)
def test_state_goes_on_where_it_was(name, options, ours_only):
    rng = np.random.default_rng(1)
    all_grads = rng.normal(size=(8, 30))
    runs = []
    for interrupted in (False, True):
        params, grads = np.ones(30), np.zeros(30)
        optimizer = getattr(bptt, name)(params, grads, **options, **ours_only)
        for i, g in enumerate(all_grads):
            if interrupted and i == 4:
                kept = optimizer.state_dict()
                optimizer = getattr(bptt, name)(params, grads, **options, **ours_only)
                optimizer.load_state_dict(kept)
            grads[:] = g
            optimizer.step()
        runs.append(params)
    np.testing.assert_array_equal(*runs)


def test_rate_may_change_between_steps():
    params, grads = np.zeros(3), np.ones(3)
    optimizer = bptt.SGD(params, grads, lr=0.5)
    optimizer.step()
    optimizer.lr = 0.25
    optimizer.step()
    assert params.tolist() == [-0.75] * 3
    with pytest.raises(ValueError, match="lr"):
        optimizer.lr = -1
    assert optimizer.lr == 0.25


def test_shapes_other_than_flat():
    params, grads = np.zeros((2, 3)), np.ones((2, 3))
    bptt.SGD(params, grads, lr=1).step()
    assert (params == -1).all()


def test_gradients_without_a_mask_of_their_own():
    grads = np.ma.masked_array(np.ones(3), [0, 1, 0])
    with pytest.raises(TypeError, match=r"grads must be .* got a masked float64 array"):
        bptt.SGD(np.zeros(3), grads)
    with pytest.raises(TypeError, match="got an int64 array of shape"):
        bptt.SGD(np.zeros(3), np.zeros(3, np.int64))


def test_overlapping_arrays():
    params = np.ones(9)
    for grads in (params, params[::1], params.reshape(3, 3).reshape(-1)):
        with pytest.raises(ValueError, match="grads must have memory of its own"):
            bptt.SGD(params, grads)
    with pytest.raises(ValueError, match="overlap"):
        bptt.SGD(params[:5], params[4:])
    bptt.SGD(params[:4], params[4:8], lr=1).step()
    assert params.tolist() == [0] * 4 + [1] * 5


MAKERS = {
    "lr": lambda p, g, x: bptt.SGD(p, g, lr=x),
    "momentum": lambda p, g, x: bptt.SGD(p, g, momentum=x),
    "weight_decay": lambda p, g, x: bptt.RMSprop(p, g, weight_decay=x),
    "eps": lambda p, g, x: bptt.Adam(p, g, eps=x),
    "initial_accumulator_value": lambda p, g, x: bptt.Adagrad(p, g, initial_accumulator_value=x),
}


@pytest.mark.parametrize("name", MAKERS)
def test_numbers_that_are_others_in_float32(name):
    make, arrays = MAKERS[name], (np.ones(3, np.float32), np.ones(3, np.float32))
    for value in (1e-46, 1e-300, 1e39, 1e308):
        with pytest.raises(ValueError, match=re.escape(f"float32, got {value}")):
            make(*arrays, value)
        with pytest.raises(ValueError, match=f"^{name} must be 0 or in "):
            make(*arrays, value)
        make(np.ones(3), np.ones(3), value).step()
    for value in (0, 2.0**-149, 1e-40, 1e38):
        make(*arrays, value).step()


@pytest.mark.parametrize("dtype, most", [("float32", 3e38), ("float64", 1e308)])
def test_numbers_made_of_several_that_are_infinite(dtype, most):
    arrays = np.ones(3, dtype), np.zeros(3, dtype)
    optimizer = bptt.Adam(*arrays, betas=(0.9, 0.9))
    with pytest.raises(ValueError, match=r"lr/\(1-betas\[0\]\)"):
        optimizer.lr = most / 5
    optimizer.lr = most / 20
    optimizer.step()
    with pytest.raises(ValueError, match=r"lr\*weight_decay"):
        bptt.Adam(*arrays, lr=100, betas=(0, 0), weight_decay=most / 20, decoupled=True)
    bptt.Adam(*arrays, lr=100, betas=(0, 0), weight_decay=most / 200, decoupled=True).step()
    assert np.isfinite(arrays[0]).all()


def test_state_holds_the_rate():
    params, grads = np.zeros(3), np.ones(3)
    first, second = bptt.SGD(params, grads, lr=0.5), bptt.SGD(params, grads)
    second.load_state_dict(first.state_dict())
    assert second.lr == 0.5
    second.load_state_dict({"lr": 1})
    assert second.lr == 1
    for bad in (-1, np.nan, [1], "a", None, 1e400):
        with pytest.raises((ValueError, TypeError), match=r"state\['lr'\]"):
            second.load_state_dict({"lr": bad})
        assert second.lr == 1


def adam_with_state():
    optimizer = bptt.Adam(np.ones(3, np.float32), np.ones(3, np.float32))
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("name, value, message", [
    ("square", [0, 1, -1e-9], "at least 0"), ("square", [0, -np.inf, 1], "at least 0"),
    ("square", [0, 1, 1e39], "range of float32"), ("mean", [0, 1, -1e39], "range of float32"),
    ("mean", np.ma.masked_array([1, 2, 3], [0, 0, 1]), "mask"), ("mean", [1, 2], r"\(3,\)"),
    ("mean", [True] * 3, "real numbers"), ("steps", 2**63 - 1, "2\\*\\*53"), ("steps", 2**64, "2\\*\\*63"),
    ("steps", -1, "at least 0"), ("steps", 1.5, "integer"), ("steps", [1, 2], "integer"), ("lr", 1e-50, "float32"),
], ids=str)  # fmt: skip
def test_states_that_no_step_leaves(name, value, message):
    optimizer = adam_with_state()
    before = optimizer.state_dict()
    new = {"lr": 0.5, "mean": [4, 5, 6], "square": [4, 5, 6], "steps": 9}
    with pytest.raises((ValueError, TypeError), match=message) as caught, np.errstate(all="raise"):
        optimizer.load_state_dict(new | {name: value})
    assert f"state['{name}']" in str(caught.value)
    for key, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[key])
    optimizer.load_state_dict(new)
    optimizer.step()
    assert optimizer.state_dict()["steps"] == 10


def test_state_of_a_diverged_training():
    optimizer = adam_with_state()
    state = {"lr": 0.1, "mean": [np.nan, np.inf, -np.inf], "square": [np.nan, np.inf, 0], "steps": 2}
    with np.errstate(all="raise"):
        optimizer.load_state_dict(state)
    for key, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, np.asarray(state[key], array.dtype))


def test_state_of_its_own_arrays():
    optimizer = adam_with_state()
    mean, square = optimizer._mean, optimizer._square
    expected = square.copy(), mean.copy()
    optimizer.load_state_dict({"lr": 1, "mean": square[::-1], "square": mean, "steps": optimizer._steps})
    np.testing.assert_array_equal((optimizer._mean, optimizer._square), expected)


def interrupts(call, first=0, stride=1):
    """Calls it again and again, each time with Ctrl-C `stride` instructions of Python later, until a call comes to its
    end; yields after each."""
    old = sys.gettrace()
    for number in itertools.count(first, stride):
        instructions = iter(range(number))

        def trace(frame, event, _, instructions=instructions):
            frame.f_trace_opcodes = True
            if event == "opcode" and next(instructions, None) is None:
                raise KeyboardInterrupt
            return trace

        try:
            sys.settrace(trace)
            call()
            break
        except KeyboardInterrupt:
            yield
        finally:
            sys.settrace(old)


def test_ctrl_c_inside_a_step():
    """The moments and the step count go on together."""
    optimizer = bptt.Adam(np.ones(3), np.ones(3))
    count = 0
    for _ in interrupts(optimizer.step):
        count += 1
        state = optimizer.state_dict()
        np.testing.assert_allclose(state["mean"], 1 - 0.9 ** int(state["steps"]), rtol=1e-12)
        np.testing.assert_allclose(state["square"], 1 - 0.999 ** int(state["steps"]), rtol=1e-12)
    assert count > 10
    assert state["steps"] > 0  # some came after the core's call


def test_ctrl_c_inside_load_state_dict():
    optimizer, other = adam_with_state(), adam_with_state()
    for _ in range(4):
        other.step()
    old, new = optimizer.state_dict(), other.state_dict() | {"lr": np.array(0.5)}
    count = 0
    for _ in interrupts(lambda: optimizer.load_state_dict(new)):
        count += 1
        state = optimizer.state_dict()
        expected = old if state["steps"] == old["steps"] else new
        for name, value in expected.items():
            np.testing.assert_array_equal(state[name], value)
        optimizer.load_state_dict(old)
    assert count > 50
    np.testing.assert_array_equal(optimizer.state_dict()["mean"], new["mean"])
