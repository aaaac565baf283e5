"""One step at a time."""

import numpy as np
import pytest
from cases import CELLS, INPUTS, case_id, covering

import bptt

STREAMS = {
    "cell": CELLS,
    "sizes": [(1, 1, 1, None), (1, 16, 64, 3), (3, 5, 33, 7), (16, 4, 40, None)],
    "num_layers": [2, 1],
    "bias": [True, False],
    "inputs": INPUTS,
    "dtype": ["float32", "float64"],
}


@pytest.mark.parametrize("case", covering(STREAMS), ids=case_id)
def test_stream_equals_forward(problem, case):
    """Nothing is dropped, as in a forward without a tape."""
    options = dict(case)
    B, I, H, O = options.pop("sizes")
    p = problem(12, B, I, H, O, dropout=0.5, recurrent_dropout=0.3, **options.pop("inputs"), **options)
    y, state = p.rnn.forward(p.x, p.state, tape=False)
    stream = p.rnn.stream(batch=B, state=p.state)
    out = np.empty((B, O or H), p.rnn.dtype)
    for t in range(12):
        assert stream(p.x[t], out=out) is out
        np.testing.assert_array_equal(out, y[t])
    np.testing.assert_array_equal(stream.state, state)


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
def test_a_stream_begins_with_the_learned_state(problem, cell):
    p = problem(5, 3, 2, 4, num_layers=2, start="learned", cell=cell)
    y, state = p.forward(tape=False)
    stream = p.rnn.stream(batch=3)
    np.testing.assert_array_equal([stream(x) for x in p.x], y)
    np.testing.assert_array_equal(stream.state, p.as_given(state))
    stream.reset(rows=[1])
    again = stream(p.x[0])
    np.testing.assert_array_equal(again[1], y[0, 1])
    assert (again[[0, 2]] != y[0, [0, 2]]).any(axis=1).all()
    p.rnn.param_views()["state_h0"][...] *= 2
    stream.refresh()
    stream.reset()
    np.testing.assert_array_equal(stream(p.x[0]), p.forward(tape=False)[0][0])


def test_the_state_of_an_lstm_is_a_pair(problem):
    p = problem(5, 3, 2, 4, cell="lstm")
    stream = p.rnn.stream(batch=3, state=p.state)
    h, c = stream.state
    np.testing.assert_array_equal((h, c), p.state)
    h[:] = c[:] = 0  # copies
    np.testing.assert_array_equal(stream.state, p.state)
    stream.reset(rows=[2])
    h, c = stream.state
    assert not h[0, 2].any()
    assert not c[0, 2].any()
    assert c[0, :2].all()
    kept = stream.state
    for wrong in (p.state[0], (p.state[0], p.state[1][:, :2])):
        with pytest.raises((ValueError, TypeError), match="state"):
            stream.state = wrong
    np.testing.assert_array_equal(stream.state, kept)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_state_says_how_many_rows(problem, cell):
    p = problem(5, 3, 2, 4, num_layers=2, cell=cell)
    assert p.rnn.stream(state=p.state).batch == 3
    assert p.rnn.stream().batch == 1
    for wrong in (3, "state", p.x, (), np.zeros((2, 0, 4)), {}):
        with pytest.raises((TypeError, ValueError), match=r"^state"):
            p.rnn.stream(state=wrong)
    with pytest.raises(ValueError, match=r"^state.* got \(2, 3, 4\)"):
        p.rnn.stream(batch=2, state=p.state)


def test_a_pair_of_states_may_come_from_an_iterator(problem):
    p = problem(5, 1, 2, 4, cell="lstm")
    stream = p.rnn.stream(state=iter(p.state))
    np.testing.assert_array_equal(stream.state, p.state)


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


NO_ROWS = np.array([], int)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", ["tanh", "lstm"])
def test_a_mask_or_row_numbers_reset_rows(problem, cell, layers):
    p = problem(5, 3, 2, 4, num_layers=layers, start="learned", cell=cell)
    masks = np.array([True, False, True]), [False, True, False], np.zeros(3, bool), np.ones(6, bool)[::2]
    for rows in (None, *masks, [1], [2, 0], [], NO_ROWS, (0, 2), np.array([0, 1]), np.uint8([2])):
        stream = p.rnn.stream(batch=3)
        first = np.array(stream.state)
        stream(p.x[0])
        expected = np.array(stream.state)
        index = slice(None) if rows is None else np.array(rows) if len(rows) else NO_ROWS
        expected[..., index, :] = first[..., index, :]
        stream.reset(rows=rows)
        np.testing.assert_array_equal(stream.state, expected)


ROWS = {  # (rows, exception, words of the message)
    "mask of integers": (np.array([0, 1, 0]), ValueError, ["distinct", "[0, 1, 0]", "dtype bool", "rows.astype(bool)"]),
    "mask in a list": ([1, 1, 1], ValueError, ["distinct", "dtype bool"]),
    "mask of floats": (np.array([0.0, 1, 0]), TypeError, ["mask of booleans (B,)", "row numbers", "float64", "(3,)"]),
    "twice": ([0, 2, 0], ValueError, ["distinct", "[0, 2, 0]"]),
    "negative": ([-1], ValueError, ["0..2", "-1..-1"]),
    "beyond": (np.array([0, 3]), ValueError, ["0..2", "0..3"]),
    "far beyond": (np.array([2**64 - 1], np.uint64), ValueError, ["0..2", str(2**64 - 1)]),
    "mask too short": ([True, False], ValueError, ["(B,) = (3,)", "(2,)"]),
    "mask too long": (np.ones(4, bool), ValueError, ["(B,) = (3,)", "(4,)"]),
    "mask of two axes": (np.ones((3, 1), bool), ValueError, ["(B,) = (3,)", "(3, 1)"]),
    "numbers of two axes": ([[0], [1]], TypeError, ["row numbers", "(2, 1)"]),
    "an integer": (1, TypeError, ["row numbers", "()"]),
    "True": (True, ValueError, ["(B,) = (3,)", "()"]),
    "a slice": (slice(1, 3), TypeError, ["rows", "slice"]),
    "text": ("all", TypeError, ["rows", "str"]),
    "masked": (np.ma.masked_array([True, True, True], [0, 1, 0]), TypeError, ["rows", "mask of its own"]),
}


@pytest.mark.parametrize("name", ROWS)
def test_other_rows_reset_nothing(problem, name):
    rows, exception, words = ROWS[name]
    p = problem(5, 3, 2, 4)
    stream = p.rnn.stream(batch=3, state=p.state)
    with pytest.raises(exception, match=r"^rows") as caught:
        stream.reset(rows=rows)
    for word in words:
        assert word in str(caught.value)
    np.testing.assert_array_equal(stream.state, p.state)


def test_zero_and_one_number_the_rows_of_a_batch_of_two(problem):
    """The only integers that could be a mask or row numbers: they are row numbers, as all integers are."""
    p = problem(5, 2, 2, 4)
    stream = p.rnn.stream(state=p.state)
    stream.reset(rows=np.array([0, 1]))
    assert not stream.state.any()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_state_in_nested_lists(problem, cell, layers):
    p = problem(5, 3, 2, 4, num_layers=layers, cell=cell)
    expected, _ = p.rnn.forward(p.x, p.state)
    for state in (p.states.tolist()[0] if cell == "gru" else p.states.tolist(), p.as_given(p.states[:, :])):
        stream = p.rnn.stream(state=state)
        assert stream.batch == 3
        np.testing.assert_array_equal(stream(p.x[0]), expected[0])
    if cell == "lstm":
        for state in (p.states, iter(p.states), [*p.states], {"h": p.states[0], "c": p.states[1]}.values()):
            assert p.rnn.stream(state=state).batch == 3
