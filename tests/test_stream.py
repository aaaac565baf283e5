"""One step at a time."""

import numpy as np
import pytest

import bptt


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", ["tanh", "relu", "sigmoid", "identity"])
@pytest.mark.parametrize("B, I, H, O", [(1, 1, 1, None), (1, 16, 64, 3), (3, 5, 33, 7), (16, 4, 40, None)])
def test_stream_equals_forward(problem, dtype, cell, B, I, H, O):
    p = problem(12, B, I, H, O, dtype=dtype, cell=cell)
    y, state = p.rnn.forward(p.x, p.state)
    stream = p.rnn.stream(batch=B, state=p.state)
    out = np.empty((B, O or H), dtype)
    for t in range(12):
        assert stream(p.x[t], out=out) is out
        np.testing.assert_array_equal(out, y[t])
    np.testing.assert_array_equal(stream.state, state)


def test_state_can_be_set_and_reset(problem):
    p = problem(5, 3, 2, 4)
    stream = p.rnn.stream(batch=3)
    first = stream(p.x[0])
    assert stream.batch == 3
    stream.reset(rows=[1])
    assert not stream.state[0, 1].any()
    np.testing.assert_array_equal(stream.state[0, [0, 2]], first[[0, 2]])
    stream.reset()
    np.testing.assert_array_equal(stream(p.x[0]), first)
    stream.state = p.state
    np.testing.assert_array_equal(stream.state, p.state)
    with pytest.raises(ValueError, match="state"):
        stream.state = p.state[:, :2]
    np.testing.assert_array_equal(stream.state, p.state)


def test_weights_are_those_of_the_last_refresh(problem):
    p = problem(2, 1, 2, 4)
    stream = p.rnn.stream()
    before = stream(p.x[0, 0])
    assert before.shape == (4,)
    p.rnn.params *= 2
    stream.reset()
    np.testing.assert_array_equal(stream(p.x[0, 0]), before)
    stream.refresh()
    stream.reset()
    np.testing.assert_array_equal(stream(p.x[0, 0]), p.rnn.forward(p.x[:1])[0][0, 0])


def test_a_stream_outlives_its_network():
    stream = bptt.RNN(2, 3, seed=0).stream()
    assert stream(np.ones(2)).shape == (3,)
