"""Clipping in place, by norm and by value."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import bptt


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_cases(dtype):
    g = np.array([3, 4], dtype)
    assert bptt.clip_grad_norm(g, 5) == 5
    assert g.tolist() == [3, 4]
    assert bptt.clip_grad_norm(g, 2.5) == 5  # the norm before
    assert g.tolist() == [1.5, 2]
    assert bptt.clip_grad_norm(g, math.inf) == 2.5
    assert g.tolist() == [1.5, 2]
    g = np.array([[2, -3], [6, 0]], dtype)
    assert bptt.clip_grad_norm(g, 3.5) == 7
    assert g.tolist() == [[1, -1.5], [3, 0]]
    zeros = np.zeros(7, dtype)
    assert bptt.clip_grad_norm(zeros, 1) == 0
    assert not zeros.any()
    assert bptt.clip_grad_norm(np.zeros(0, dtype), 1) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_cases_by_value(dtype):
    g = np.array([-7, -5, -1, 0, 1, 5, 7], dtype)
    assert bptt.clip_grad_value(g, 5) == 7
    assert g.tolist() == [-5, -5, -1, 0, 1, 5, 5]
    assert bptt.clip_grad_value(g, 5) == 5


@pytest.mark.parametrize("n", [1, 7, 64, 1001])
@pytest.mark.parametrize("dtype, size", [("float32", 3e38), ("float32", 1e30), ("float32", 1e-40), ("float64", 1e200),
                                         ("float64", 1e-200), ("float64", 1e-310)])  # fmt: skip
def test_squares_beyond_the_type(n, dtype, size):
    """Squares that overflow or vanish in the array's type (and in double) are clipped right all the same."""
    g = np.full(n, size, dtype)
    kept = g.astype(np.longdouble)
    norm = float(np.sqrt(np.sum(kept**2)))
    assert bptt.clip_grad_norm(g, norm / 4) == pytest.approx(norm, rel=1e-12)
    np.testing.assert_allclose(
        g.astype(np.longdouble), kept / 4, rtol=1e-6, atol=float(np.finfo(dtype).smallest_subnormal)
    )


def test_small_terms_are_not_lost():
    """A million small squares beside one large: a float32 sum would lose them all."""
    g = np.full(1_000_001, 1e-2, np.float32)
    g[0] = 1e3
    assert bptt.clip_grad_norm(g, math.inf) == pytest.approx(math.hypot(1e3, 1e-2 * 1e3), rel=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 5, 16, 32])
def test_nan_and_inf_are_reported_and_nothing_is_scaled(dtype, bad, place):
    g = np.arange(1, 34, dtype=dtype)
    g[place] = bad
    kept = g.copy()
    norm = bptt.clip_grad_norm(g, 1)
    assert math.isnan(norm) if np.isnan(bad) else norm == math.inf
    np.testing.assert_array_equal(g, kept)
    largest = bptt.clip_grad_value(g, 2)
    assert math.isnan(largest) if np.isnan(bad) else largest == math.inf
    assert np.isnan(g[place]) if np.isnan(bad) else abs(g[place]) == 2


def test_nan_wins_over_inf():
    for pair in ([np.nan, np.inf], [np.inf, np.nan]):
        assert math.isnan(bptt.clip_grad_norm(np.array(pair), 1))
        assert math.isnan(bptt.clip_grad_value(np.array(pair), 1))


@given(g=hnp.arrays(np.float32, st.integers(1, 70), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
       limit=st.floats(1e-3, 1e3))  # fmt: skip
def test_direction_stays_and_norm_falls_to_the_limit(g, limit):
    before = g.astype(np.float64)
    norm = bptt.clip_grad_norm(g, limit)
    assert norm == pytest.approx(np.linalg.norm(before), rel=1e-12)
    expected = before * min(1, limit / norm) if norm else before
    np.testing.assert_allclose(g, expected, rtol=1e-6, atol=1e-40)


def test_network_clips_all_its_gradients_together(problem):
    p = problem(6, 2, 3, 4, 2)
    p.gradients()
    norm = np.linalg.norm(p.rnn.grads)
    kept = p.rnn.grads.copy()
    assert p.rnn.clip_grad_norm(norm / 3) == pytest.approx(norm, rel=1e-14)
    np.testing.assert_allclose(p.rnn.grads, kept / 3, rtol=1e-12)
    assert p.rnn.clip_grad_value(1e-3) == pytest.approx(np.abs(kept / 3).max(), rel=1e-12)
    assert np.abs(p.rnn.grads).max() == 1e-3


def test_any_contiguous_writable_buffer():
    import array

    a = array.array("d", [3, 4])
    assert bptt.clip_grad_norm(a, 1) == 5
    assert a.tolist() == pytest.approx([0.6, 0.8])
