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
    kept = g.astype(np.float64)
    norm = math.hypot(*kept.tolist())
    assert bptt.clip_grad_norm(g, norm / 4) == pytest.approx(norm, rel=1e-12)
    np.testing.assert_allclose(g, kept / 4, rtol=1e-6, atol=float(np.finfo(dtype).smallest_subnormal))


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


# ---- several arrays jointly --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("as_given", [list, tuple, iter, lambda arrays: (array for array in arrays)])
def test_several_arrays_are_clipped_as_torch_clips_parameters(torch, rng, dtype, as_given):
    shapes = [(3,), (1,), (17, 5), (0,), (2, 3, 4)]
    arrays = [(100 * rng.normal(size=shape)).astype(dtype) for shape in shapes]
    params = [torch.nn.Parameter(torch.zeros(shape, dtype=getattr(torch, dtype))) for shape in shapes]
    for param, array in zip(params, arrays, strict=True):
        param.grad = torch.tensor(array)
    theirs = torch.nn.utils.clip_grad_norm_(params, 2.5)
    tolerance = 1e-6 if dtype == "float32" else 1e-7  # torch adds 1e-6 to the norm that it divides by
    assert bptt.clip_grad_norm(as_given(arrays), 2.5) == pytest.approx(theirs.item(), rel=1e-6)
    for param, array in zip(params, arrays, strict=True):
        np.testing.assert_allclose(array, param.grad.numpy(), rtol=tolerance)
    assert bptt.clip_grad_norm(as_given(arrays), math.inf) == pytest.approx(2.5, rel=1e-6)


def test_two_dtypes_have_one_norm():
    one, two = np.array([3, 0, 4], np.float32), np.array([12.0])
    assert bptt.clip_grad_norm([one, two], 6.5) == 13
    assert one.tolist() == [1.5, 0, 2]
    assert two.tolist() == [6]
    assert bptt.clip_grad_value([one, two], 1.75) == 6
    assert one.tolist() == [1.5, 0, 1.75]
    assert two.tolist() == [1.75]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_array_in_a_list_has_the_bits_that_it_has_alone(rng, dtype):
    alone = rng.normal(size=1001).astype(dtype)
    listed, with_empty = alone.copy(), alone.copy()
    norm = bptt.clip_grad_norm(alone, 0.3)
    assert bptt.clip_grad_norm([listed], 0.3) == bptt.clip_grad_norm([with_empty, alone[:0]], 0.3) == norm
    np.testing.assert_array_equal(listed, alone)
    np.testing.assert_array_equal(with_empty, alone)


def test_nothing_has_no_norm():
    assert bptt.clip_grad_norm([], 1) == bptt.clip_grad_value([], 1) == 0
    assert bptt.clip_grad_norm([np.zeros(0)], 1) == bptt.clip_grad_value([np.zeros((0, 3))], 1) == 0


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_norms_whose_squares_leave_the_range(size):
    arrays = [np.array([3 * size]), np.array([4 * size])]
    assert bptt.clip_grad_norm(arrays, size) == pytest.approx(5 * size, rel=1e-15)
    assert [array[0] / size for array in arrays] == pytest.approx([0.6, 0.8], rel=1e-15)


@pytest.mark.parametrize("bad, norm", [([np.inf, np.nan], np.nan), ([np.nan, 1], np.nan), ([1, -np.inf], np.inf)])
def test_nan_and_inf_in_one_of_several(bad, norm):
    arrays = [np.array([5.0, value]) for value in bad]
    np.testing.assert_equal(bptt.clip_grad_norm(arrays, 1), norm)
    np.testing.assert_array_equal(arrays, [[5, value] for value in bad])
    np.testing.assert_equal(bptt.clip_grad_value(arrays, 2), norm)
    np.testing.assert_array_equal(arrays, np.clip([[5, value] for value in bad], -2, 2))


def test_networks_are_clipped_jointly(rng):
    encoder, decoder = bptt.RNN(2, 3, seed=0), bptt.RNN(3, 5, 2, cell="lstm", dtype="float64", seed=1)
    head = rng.normal(size=(4, 2))
    for rnn in (encoder, decoder):
        rnn.grads = rng.normal(size=rnn.grads.size)
    kept = [encoder.grads.copy(), decoder.grads.copy(), head.copy()]
    norm = math.sqrt(sum(float(np.sum(array.astype(np.float64) ** 2)) for array in kept))
    assert bptt.clip_grad_norm([encoder, decoder, head], 0.5) == pytest.approx(norm, rel=1e-14)
    for array, before in zip((encoder.grads, decoder.grads, head), kept, strict=True):
        np.testing.assert_allclose(array, before * (0.5 / norm), rtol=1e-6)
    assert bptt.clip_grad_value([decoder, encoder], 0.01) <= 0.5
    assert [np.abs(rnn.grads).max() for rnn in (encoder, decoder)] == [np.float32(0.01), 0.01]


def test_one_network():
    one, two = bptt.RNN(2, 3, seed=0), bptt.RNN(2, 3, seed=0)
    one.grads = two.grads = np.arange(one.grads.size)
    assert bptt.clip_grad_norm(one, 2) == two.clip_grad_norm(2)
    np.testing.assert_array_equal(one.grads, two.grads)
    assert bptt.clip_grad_value(one, 0.1) == two.clip_grad_value(0.1)


def test_views_of_one_network_are_a_group():
    """Slices that lie beside each other do not overlap."""
    rnn = bptt.RNN(2, 3, 1, seed=0)
    rnn.grads[:] = 2
    views = rnn.grad_views()
    assert bptt.clip_grad_norm(views.values(), math.inf) == pytest.approx(2 * math.sqrt(rnn.grads.size))
    assert bptt.clip_grad_norm([views["weight_hh_l0"], views["bias_o"]], 1) == pytest.approx(2 * math.sqrt(10))
    assert (views["weight_ih_l0"] == 2).all()
    assert (views["bias_ih_l0"] == 2).all()
    assert np.linalg.norm(views["weight_hh_l0"]) < 1


def broken():
    yield np.array([3.0, 4.0])
    raise OSError("gone")


@pytest.mark.parametrize("clip", [bptt.clip_grad_norm, bptt.clip_grad_value])
def test_an_error_at_one_of_several_leaves_all(clip):
    rnn, good = bptt.RNN(2, 3, seed=0), np.array([3.0, 4.0])
    rnn.grads[:] = 7
    grads = rnn.grads
    half = [np.ones(4, np.float32), np.array([3.0])]
    for bad, limit, error in (
        ([rnn, good, 5.0], 1, TypeError),
        ([rnn, good, np.ones(3, int)], 1, TypeError),
        ([rnn, good, np.ones(6)[::2]], 1, TypeError),
        ([good, rnn, good], 1, ValueError),
        ([good, rnn, good[1:]], 1, ValueError),
        ([rnn, grads[3:5]], 1, ValueError),
        ([good, rnn], 0, ValueError),
        ([good, rnn], 1e-60, ValueError),  # 0 in the network's float32
        ([half[1], half[0]], 1e-60, ValueError),
        (broken(), 1, OSError),
    ):
        with pytest.raises(error):
            clip(bad, limit)
        assert good.tolist() == [3, 4]
        assert (rnn.grads == 7).all()
    assert half[1] == 3
    assert clip([np.array([3e-60]), good], 1e-60) == pytest.approx(5 if clip is bptt.clip_grad_norm else 4)
