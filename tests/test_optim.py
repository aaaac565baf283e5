"""Optimisers beside torch's, and their state."""

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
