"""Runs: forward calls of one network whose backward may come at any time, as graphs of other libraries need them."""

import gc

import numpy as np
import pytest

import bptt
from bptt._core import Run


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_as_forward_and_backward(rng, cell, batch_first):
    rnn = bptt.RNN(3, 5, 2, cell=cell, num_layers=2, batch_first=batch_first, seed=0)
    x = rng.normal(size=(2, 6, 3) if batch_first else (6, 2, 3)).astype(rnn.dtype)
    state = [rng.normal(size=(2, 2, 5)).astype(rnn.dtype) for _ in range(rnn.states)]
    dy = rng.normal(size=(*x.shape[:2], 2)).astype(rnn.dtype)
    expected = rnn.forward(x, tuple(state) if cell == "lstm" else state[0])
    dstate = tuple(state) if cell == "lstm" else state[0]
    rnn.zero_grad()
    back = rnn.backward(dy, dstate)
    grads = rnn.grads.copy()

    run = Run(rnn, None, 0)
    y, last, tape = run.forward(x, rnn.params, state, True)
    rnn.forward(x[:1])  # and others in between
    Run(rnn, None, None).forward(x + 1, rnn.params, [None] * rnn.states, True)
    for a, b in zip([y, *last], [expected[0], *parts(expected[1])], strict=True):
        np.testing.assert_array_equal(a, b)
    for _ in range(2):  # the tape stays as it is
        dx, dstate0, flat = run.backward(x, rnn.params, tape, dy, state, True, True, True)
        for a, b in zip([dx, *dstate0, flat], [back[0], *parts(back[1]), grads], strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(rnn.grads, grads)  # which are the network's own, not touched
    dx, dstate0, flat = run.backward(x, rnn.params, tape, dy, [None] * rnn.states, False, False, False)
    assert dx is flat is None
    assert dstate0 == [None] * rnn.states


@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_in_any_order_and_resets(rng, batch_first):
    rnn = bptt.RNN(3, 5, cell="lstm", num_layers=2, batch_first=batch_first, seed=0)
    x = rng.normal(size=(3, 6, 3) if batch_first else (6, 3, 3)).astype(rnn.dtype)
    lengths, reset = [2, 6, 4], rng.random(x.shape[:2]) < 0.3
    state = [rng.normal(size=(2, 3, 5)).astype(rnn.dtype) for _ in range(2)]
    expected, last = rnn.forward(x, tuple(state), lengths=lengths, reset=reset)
    rnn.zero_grad()
    dx, dstate0 = rnn.backward(expected, last)

    run = Run(rnn, lengths, 0, reset)
    for _ in range(2):  # a second forward is asked the same
        y, parts, tape = run.forward(x, rnn.params, state, True, True)
    h, c, every_h, every_c = parts
    back = run.backward(x, rnn.params, tape, y, [h, c, None, None], True, True, True)
    for a, b in zip([y, h, c, back[0], *back[1], back[2]], [expected, *last, dx, *dstate0, rnn.grads], strict=True):
        np.testing.assert_array_equal(a, b)
    assert every_h.shape == every_c.shape == (6, 2, 3, 5)
    np.testing.assert_array_equal(every_h[:, 1], y.swapaxes(0, 1) if batch_first else y)
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(every_c[length - 1, :, row], c[:, row])
        assert not every_c[length:, :, row].any()


def test_dropout_by_its_seed(rng):
    rnn = bptt.RNN(3, 8, num_layers=2, dropout=0.5, seed=0)
    x = rng.normal(size=(4, 2, 3)).astype(rnn.dtype)
    y = [
        Run(rnn, None, seed).forward(x, rnn.params, [None], keep)[0]
        for seed, keep in ((1, True), (1, False), (2, True))
    ]
    np.testing.assert_array_equal(y[0], y[1])
    assert not np.array_equal(y[0], y[2])
    np.testing.assert_array_equal(
        Run(rnn, None, None).forward(x, rnn.params, [None], True)[0], rnn.forward(x, tape=False)[0]
    )


def tape_of(rnn, steps):
    return Run(rnn, None, None).forward(np.ones((steps, 4, 3), rnn.dtype), rnn.params, [None], True)[2]


def test_the_memory_of_a_tape_goes_to_the_next():
    rnn = bptt.RNN(3, 64)
    first = tape_of(rnn, 50)
    place = first.ctypes.data
    first.fill(7)
    other = tape_of(rnn, 50)
    assert other.ctypes.data != place
    assert (first == 7).all()
    view = first[10:]
    del first
    other = tape_of(rnn, 50)
    assert other.ctypes.data != place  # somebody still looks into it
    del view
    assert tape_of(rnn, 40).ctypes.data == place


def test_tapes_outlive_their_network():
    tapes = [tape_of(bptt.RNN(3, 64), 40) for _ in range(2)]
    gc.collect()
    for tape in tapes:
        tape.fill(1)
    del tapes
    gc.collect()


def test_what_comes_back_is_checked():
    rnn = bptt.RNN(3, 5)
    x = np.zeros((4, 2, 3), np.float32)
    run, params = Run(rnn, None, None), rnn.params
    y, state, tape = run.forward(x, params, [None], True)

    def backward(x=x, params=params, tape=tape, dy=y, dstate=None):
        return run.backward(x, params, tape, dy, [dstate], True, True, True)

    for bad, error, text in (
        (lambda: backward(tape=tape[1:]), ValueError, "tape must have shape"),
        (
            lambda: backward(tape=tape.astype(float)),
            TypeError,
            "tape must be a contiguous float32 array, got .*float64",
        ),
        (lambda: backward(tape=None), TypeError, "tape must be a contiguous float32 array, got None"),
        (lambda: backward(params=params[1:]), ValueError, r"params must have shape \(P,\)"),
        (lambda: backward(params=params.astype(float)), TypeError, "params must be a contiguous float32 array"),
        (lambda: backward(x=x[1:]), ValueError, r"input must have shape \(T,B,"),
        (lambda: backward(dy=y[1:]), ValueError, r"dy must have shape \(T,B,H\)"),
        (lambda: backward(dstate=state[0][:, :1]), ValueError, "dstate must have shape"),
        (
            lambda: run.forward(x, params[::2], [None], True),
            TypeError,
            "params must be .* got a non-contiguous float32",
        ),
        (lambda: run.__init__(rnn, None, None), RuntimeError, "__init__ was called before"),
        (lambda: Run(rnn, np.array([4, 9]), None).forward(x, params, [None], True), ValueError, r"in 1\.\.4"),
        (
            lambda: Run(rnn, None, None, np.zeros((3, 2), bool)).forward(x, params, [None], True),
            ValueError,
            r"reset must have shape \(T,B\) = \(4, 2\)",
        ),
    ):
        with pytest.raises(error, match=text):
            bad()


def test_the_parameters_of_a_run_are_those_it_is_given(rng):
    rnn, other = (
        bptt.RNN(3, 5, cell="gru", dtype="float64", seed=0),
        bptt.RNN(3, 5, cell="gru", dtype="float64", seed=1),
    )
    x = rng.normal(size=(4, 2, 3))
    expected, last = other.forward(x)
    dx, dstate0 = other.backward(expected, last)
    run, before = Run(rnn, None, None), rnn.params.copy()
    y, state, tape = run.forward(x, other.params, [None], True)
    back = run.backward(x, other.params, tape, y, state, True, True, True)
    for a, b in zip([y, *state, back[0], *back[1], back[2]], [expected, last, dx, dstate0, other.grads], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(rnn.params, before)
