"""Losses: values and gradients against torch and exact cases."""

import numpy as np
import pytest
from cases import assert_close

import bptt

LOSSES = ["mse", "cross_entropy", "binary_cross_entropy", "huber"]
NAMES_IN_TORCH = {
    "mse": "mse_loss",
    "binary_cross_entropy": "binary_cross_entropy_with_logits",
    "huber": "huber_loss",
    "cross_entropy": "cross_entropy",
}
SHAPES = [(1, 1), (5, 3), (4, 7, 1), (3, 5, 97), (2, 3, 300)]


def case(loss, shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    y = (4 * rng.normal(size=shape)).astype(dtype)
    if loss == "cross_entropy":
        return y, rng.integers(0, shape[-1], shape[:-1])
    return y, rng.random(shape).astype(dtype)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-13), ("float32", 3e-6)])
def test_torch(torch, loss, shape, reduction, dtype, tolerance):
    F = torch.nn.functional
    y, target = case(loss, shape, dtype)
    leaf = torch.tensor(y.astype(np.float64), requires_grad=True)
    if loss == "cross_entropy":
        theirs = F.cross_entropy(leaf.reshape(-1, shape[-1]), torch.tensor(target).reshape(-1), reduction=reduction)
    else:
        function = getattr(F, NAMES_IN_TORCH[loss])
        theirs = function(leaf, torch.tensor(target.astype(np.float64)), reduction=reduction)
    theirs.backward()
    value, dy = getattr(bptt, loss)(y, target, reduction=reduction)
    assert value == pytest.approx(theirs.item(), rel=tolerance)
    assert dy.dtype == dtype
    assert_close(dy, leaf.grad.numpy(), tolerance)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_mask_leaves_rows_out(loss, reduction):
    y, target = case(loss, (6, 5, 4), "float64")
    mask = np.random.default_rng(1).random((6, 5)) < 0.5
    value, dy = getattr(bptt, loss)(y, target, mask=mask, reduction=reduction)
    expected, expected_dy = getattr(bptt, loss)(y[mask], target[mask], reduction=reduction)
    assert value == pytest.approx(expected, rel=1e-14)
    assert_close(dy[mask], expected_dy, 1e-14)
    assert not dy[~mask].any()
    value, dy = getattr(bptt, loss)(y, target, mask=np.zeros((6, 5), bool), reduction=reduction)
    assert value == 0
    assert not dy.any()


def test_masked_rows_may_hold_anything():
    y, target = case("cross_entropy", (3, 2, 4), "float64")
    mask = np.ones((3, 2), bool)
    mask[1, 1] = False
    value, _ = bptt.cross_entropy(y, target, mask=mask)
    y[1, 1], target[1, 1] = np.nan, 999
    again, dy = bptt.cross_entropy(y, target, mask=mask)
    assert again == value
    assert np.isfinite(dy).all()


@pytest.mark.parametrize("ignored", [-100, -1, 2])
def test_ignored_labels(torch, ignored):
    y, target = case("cross_entropy", (40, 5), "float64")
    target[::3] = ignored
    leaf = torch.tensor(y, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(leaf, torch.tensor(target), ignore_index=ignored)
    theirs.backward()
    value, dy = bptt.cross_entropy(y, target, ignore_index=ignored)
    assert value == pytest.approx(theirs.item(), rel=1e-13)
    assert_close(dy, leaf.grad.numpy(), 1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits(dtype):
    """Nothing overflows: the losses of logits of +-1000 are what the formulas say."""
    y = np.array([[1000.0, -1000.0], [-1000.0, 1000.0]], dtype)
    value, dy = bptt.cross_entropy(y, np.array([0, 0]), reduction="sum")
    assert value == 2000
    assert dy.tolist() == [[0, 0], [-1, 1]]
    value, dy = bptt.binary_cross_entropy(y, np.array([[1.0, 0], [1, 0]]), reduction="sum")
    assert value == 2000
    assert dy.tolist() == [[0, 0], [-1, 1]]


def test_infinite_logits_rule_classes_out():
    y = np.array([[0.0, -np.inf, 0.0]])
    value, dy = bptt.cross_entropy(y, np.array([0]))
    assert value == pytest.approx(np.log(2))
    assert dy.tolist() == [[-0.5, 0, 0.5]]


@pytest.mark.parametrize("loss", LOSSES)
def test_nan_is_not_hidden(loss):
    y, target = case(loss, (6, 3), "float32")
    y[2, 1] = np.nan
    value, dy = getattr(bptt, loss)(y, target)
    assert np.isnan(value)
    assert np.isnan(dy[2, 1])
    assert np.isfinite(np.delete(dy, 2, axis=0)).all()


def test_other_dtypes_are_taken_as_float64():
    value, dy = bptt.mse([[1, 2], [3, 4]], [[0, 2], [3, 2]])
    assert value == 5 / 4
    assert dy.dtype == np.float64
    assert dy.tolist() == [[0.5, 0], [0, 1]]


INFINITE = {  # (loss, logits, target, value, gradient)
    "certain and right": ("binary_cross_entropy", [np.inf, -np.inf], [1.0, 0], 0, [0, 0]),
    "certain and wrong": ("binary_cross_entropy", [np.inf, -np.inf], [0.0, 1], np.inf, [1, -1]),
    "certain of a half": ("binary_cross_entropy", [np.inf, -np.inf], [0.5, 0.5], np.inf, [0.5, -0.5]),
    "certain beside others": ("binary_cross_entropy", [np.inf, 0.0], [1.0, 0.5], np.log(2), [0, 0]),
    "certain class": ("cross_entropy", [0.0, np.inf, 5], 1, 0, [0, 0, 0]),
    "certain of another class": ("cross_entropy", [0.0, np.inf, -np.inf], 0, np.inf, [-1, 1, 0]),
    "two certain classes": ("cross_entropy", [0.0, np.inf, np.inf], 1, np.nan, [np.nan] * 3),
    "only class": ("cross_entropy", [-np.inf, 3.0, -np.inf], 1, 0, [0, 0, 0]),
    "excluded class": ("cross_entropy", [0.0, 0, -np.inf], 2, np.inf, [0.5, 0.5, -1]),
    "no class": ("cross_entropy", [-np.inf] * 3, 1, np.nan, [np.nan] * 3),
    "NaN beside a certain class": ("cross_entropy", [np.nan, np.inf, 0], 1, np.nan, [np.nan] * 3),
    "infinite output": ("mse", [np.inf, 1.0], [0.0, 1], np.inf, [np.inf, 0]),
    "infinite output and target": ("mse", [np.inf, 1.0], [np.inf, 1], np.nan, [np.nan, 0]),
    "infinite error of huber": ("huber", [-np.inf, 1.0], [0.0, 1], np.inf, [-1, 0]),
    "infinite output and target of huber": ("huber", [np.inf, 1.0], [np.inf, 1], np.nan, [np.nan, 0]),
}
# where torch gives NaN, as it computes 0 * inf or inf - inf, and the limit is a number
LIMITS = {"certain and right", "certain and wrong", "certain of a half", "certain beside others", "certain class",
          "certain of another class"}  # fmt: skip


@pytest.mark.parametrize("name", INFINITE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_infinities_give_the_limit(torch, name, dtype):
    loss, y, target, value, gradient = INFINITE[name]
    y = np.array([y], dtype)
    labels = loss == "cross_entropy"
    target = np.array([target], int if labels else dtype)
    ours, dy = getattr(bptt, loss)(y, target, reduction="sum")
    np.testing.assert_allclose(ours, value, rtol=1e-7)
    np.testing.assert_array_equal(dy, [gradient])
    function = getattr(torch.nn.functional, NAMES_IN_TORCH[loss])
    theirs = function(torch.tensor(y), torch.tensor(target), reduction="sum").item()
    assert np.isnan(theirs) if name in LIMITS else theirs == pytest.approx(value, nan_ok=True)


# ---- class weights, label smoothing, delta -----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (3, 5, 97), (2, 3, 700)], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-13), ("float32", 3e-6)])
def test_weights_and_smoothing_are_torchs(torch, rng, shape, reduction, smoothing, weighted, dtype, tolerance):
    """With ignored labels too; a weight of another dtype and layout is converted."""
    C = shape[-1]
    y, labels = case("cross_entropy", shape, dtype)
    labels.flat[1::3] = -100
    weight = np.ascontiguousarray(rng.random((C, 2)) + 0.1)[:, 0] if weighted else None
    leaf = torch.tensor(y.astype(np.float64), requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(
        leaf.reshape(-1, C), torch.tensor(labels).reshape(-1), None if weight is None else torch.tensor(weight),
        label_smoothing=smoothing, reduction=reduction,
    )  # fmt: skip
    theirs.backward()
    value, dy = bptt.cross_entropy(y, labels, weight=weight, label_smoothing=smoothing, reduction=reduction)
    assert value == pytest.approx(theirs.item(), rel=tolerance, abs=tolerance)
    assert dy.dtype == dtype
    np.testing.assert_allclose(dy, leaf.grad.numpy(), rtol=0, atol=tolerance * max(1, np.abs(leaf.grad.numpy()).max()))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_mask_and_weights(rng, smoothing):
    """A masked row is out of the sum of weights too, and may hold anything."""
    y, labels = case("cross_entropy", (6, 5, 4), "float64")
    mask, options = rng.random((6, 5)) < 0.5, {"weight": [1, 0, 2.5, 7], "label_smoothing": smoothing}
    expected, expected_dy = bptt.cross_entropy(y[mask], labels[mask], **options)
    y[~mask], labels[~mask] = np.nan, 999
    value, dy = bptt.cross_entropy(y, labels, mask=mask, **options)
    assert value == pytest.approx(expected, rel=1e-14)
    assert_close(dy[mask], expected_dy, 1e-14)
    assert not dy[~mask].any()


def test_weights_by_finite_differences(rng):
    y, labels = case("cross_entropy", (4, 5), "float64")
    options = {"weight": rng.random(5), "label_smoothing": 0.2}
    _, dy = bptt.cross_entropy(y, labels, **options)
    numeric = np.empty_like(y)
    for place in np.ndindex(y.shape):
        step = np.zeros_like(y)
        step[place] = 1e-6
        above, below = (bptt.cross_entropy(y + sign * step, labels, **options)[0] for sign in (1, -1))
        numeric[place] = (above - below) / 2e-6
    np.testing.assert_allclose(dy, numeric, atol=1e-9)


def test_a_weight_of_zero_takes_a_class_out():
    """Also where its logit is -Inf, and where nothing else counts, which torch divides by 0."""
    y = np.array([[0.0, -np.inf, 0.0], [1.0, 2, 3]])
    value, dy = bptt.cross_entropy(y, [0, 1], weight=[1, 0, 1])
    assert value == pytest.approx(np.log(2))
    assert dy.tolist() == [[-0.5, 0, 0.5], [0, 0, 0]]
    value, dy = bptt.cross_entropy(y, [1, 1], weight=[1, 0, 1], label_smoothing=0.5)
    assert value == 0
    assert not dy.any()


def test_nan_is_not_hidden_by_a_weight_of_zero():
    value, dy = bptt.cross_entropy([[np.nan, 1.0], [0, 0]], [0, 1], weight=[0, 1])
    assert np.isnan(value)
    assert np.isnan(dy[0]).all()
    assert np.isfinite(dy[1]).all()


@pytest.mark.parametrize("delta", [0.3, 1, 2.5, np.inf])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-13), ("float32", 3e-6)])
def test_delta(torch, delta, reduction, dtype, tolerance):
    y, target = case("huber", (7, 2, 33), dtype)
    y[0, 0, 0] = target[0, 0, 0] + min(delta, 2)  # where the two parts meet
    leaf = torch.tensor(y.astype(np.float64), requires_grad=True)
    theirs = torch.nn.HuberLoss(reduction, delta)(leaf, torch.tensor(target.astype(np.float64)))
    theirs.backward()
    value, dy = bptt.huber(y, target, delta=delta, reduction=reduction)
    assert value == pytest.approx(theirs.item(), rel=tolerance)
    assert_close(dy, leaf.grad.numpy(), tolerance)
