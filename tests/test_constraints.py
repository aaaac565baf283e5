"""bptt.Constraints: masks, signs, norms of rows, what an optimiser keeps of masked weights, training with them, resume;
and the initial values that go with them."""

import copy
import pickle

import numpy as np
import pytest
from cases import assert_same

import bptt

H = 12
HH = "weight_hh_l0"
OPTIMIZERS = {
    "sgd": lambda rnn: bptt.SGD(rnn.params, rnn.grads, lr=0.1),
    "momentum": lambda rnn: bptt.SGD(rnn.params, rnn.grads, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "rmsprop": lambda rnn: bptt.RMSprop(rnn.params, rnn.grads, weight_decay=0.1),
    "adagrad": lambda rnn: bptt.Adagrad(rnn.params, rnn.grads, initial_accumulator_value=0.5),
    "adam": lambda rnn: bptt.Adam(rnn.params, rnn.grads, lr=0.05),
    "adamw": lambda rnn: bptt.Adam(rnn.params, rnn.grads, lr=0.05, weight_decay=0.1, decoupled=True),
}


def make(dtype="float32", **options):
    return bptt.RNN(3, H, 2, cell="relu", leak=0.3, dtype=dtype, seed=0, **options)


def sparse(shape, seed=1):
    return np.random.default_rng(seed).random(shape) < 0.5


def projected(weights, mask=None, signs=None):
    """W*M and s*max(0, s*W), the naive way."""
    out = weights.copy()
    for place in np.ndindex(out.shape):
        sign = 0 if signs is None else np.broadcast_to(signs, out.shape)[place]
        if sign * out[place] < 0 or (mask is not None and not mask[place]):
            out[place] = 0
    return out


# ---- the projection --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_projection(dtype):
    rnn = make(dtype)
    before = {name: view.copy() for name, view in rnn.param_views().items()}
    masks = {HH: sparse((H, H)), "weight_ih_l0": sparse((H, 3)).astype(float), "bias_o": np.array([1, 0])}
    signs = {HH: bptt.init.dale_signs(H), "weight_ho": np.array([[1] * H, [0] * H])}
    constraints = bptt.Constraints(rnn, masks, signs)
    assert_same(rnn.param_views(), before)  # making them changes nothing
    for _ in range(2):
        constraints.apply()
        for name, view in rnn.param_views().items():
            np.testing.assert_array_equal(view, projected(before[name], masks.get(name), signs.get(name)), name)
    assert (before[HH] != rnn.param_views()[HH]).any()


def test_a_masked_nan_is_zero_and_another_stays():
    rnn = make()
    rnn.params[:] = np.nan
    bptt.Constraints(rnn, masks={HH: np.eye(H)}, signs={HH: np.ones(H, int)}).apply()
    np.testing.assert_array_equal(np.isnan(rnn.param_views()[HH]), np.eye(H, dtype=bool))


def test_signs_of_a_gated_cell_and_of_a_vector():
    rnn = bptt.RNN(3, 4, cell="lstm", num_layers=2, bidirectional=True, seed=0)
    signs = np.array([1, -1, 1, 0])
    bptt.Constraints(rnn, signs={"weight_hh_l1_reverse": signs, "bias_ih_l0": np.ones(16)}).apply()
    weights = rnn.param_views()["weight_hh_l1_reverse"]
    assert ((weights * signs) >= 0).all()
    assert (weights[:, 3] < 0).any()
    assert (weights[:, 3] > 0).any()
    assert (rnn.param_views()["bias_ih_l0"] >= 0).all()
    assert (rnn.param_views()["bias_hh_l0"] < 0).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_norms_of_rows(dtype):
    rnn = make(dtype)
    before = rnn.state_dict()
    bptt.Constraints(rnn, max_norm={HH: 0.5}).apply()
    after = rnn.param_views()
    norms = np.linalg.norm(before[HH], axis=1)
    assert (norms > 0.5).any()
    expected = before[HH] * np.minimum(1, 0.5 / norms)[:, None]
    np.testing.assert_allclose(after[HH], expected, rtol=1e-6 if dtype == "float32" else 1e-14)
    np.testing.assert_array_equal(after["weight_ih_l0"], before["weight_ih_l0"])
    bptt.Constraints(rnn, max_norm=0.1).apply()
    for name, view in after.items():
        if name.startswith("weight"):
            assert (np.linalg.norm(view, axis=1) <= 0.1 * (1 + 1e-6)).all(), name
        else:
            np.testing.assert_array_equal(view, before[name], name)


# ---- training ---------------------------------------------------------------------------------------------------


def data(T=20, B=8, dtype="float32"):
    rng = np.random.default_rng(2)
    return rng.normal(size=(T, B, 3)).astype(dtype), rng.normal(size=(T, B, 2)).astype(dtype)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("masks_grads", [True, False])
def test_masked_weights_and_what_is_kept_of_them_stay_zero(kind, masks_grads):
    rnn = make(init=bptt.init.dale(0.75))
    mask = sparse((H, H))
    optimizer = OPTIMIZERS[kind](rnn)
    constraints = bptt.Constraints(rnn, masks={HH: mask}, signs={HH: bptt.init.dale_signs(H, 0.75)})
    constraints.apply(optimizer)
    first, before = rnn.param_views()[HH].copy(), rnn.state_dict()
    x, target = data()
    offset = next(offset for name, offset, _ in rnn.tensors() if name == HH)
    for _ in range(5):
        rnn.zero_grad()
        y, _ = rnn.forward(x)
        rnn.backward(bptt.mse(y, target)[1])
        if masks_grads:
            constraints.mask_grads()
            assert not rnn.grad_views()[HH][~mask].any()
        optimizer.step()
        constraints.apply(optimizer)
        weights = rnn.param_views()[HH]
        assert not weights[~mask].any()
        assert (weights * bptt.init.dale_signs(H, 0.75) >= 0).all()
        for array in optimizer.accumulators():
            kept = array[offset : offset + H * H].reshape(H, H)
            assert not kept[~mask].any()
            assert kept[mask].any()
    assert (weights != first)[mask].mean() > 0.5
    for name, view in rnn.param_views().items():
        assert (view != before[name]).any(), name


@pytest.mark.parametrize("kind", ["adam", "momentum", "foreign"])
def test_fit_keeps_them(kind):
    class Foreign:
        """An optimiser of another library."""

        def __init__(self, rnn):
            self.rnn = rnn

        def step(self):
            self.rnn.params -= 0.1 * self.rnn.grads

    rnn = make()
    mask, signs = 1 - np.eye(H), bptt.init.dale_signs(H)
    constraints = bptt.Constraints(rnn, masks={HH: mask}, signs={HH: signs}, max_norm={"weight_ho": 0.3})
    optimizer = Foreign(rnn) if kind == "foreign" else OPTIMIZERS[kind](rnn)
    norms = []

    def held(update, history):
        weights = rnn.param_views()[HH]
        assert not weights.diagonal().any()
        assert (weights * signs >= 0).all()
        assert (np.linalg.norm(rnn.param_views()["weight_ho"], axis=1) < 0.3 * (1 + 1e-6)).all()
        norms.append((history.grad_norm[-1], np.linalg.norm(rnn.grads)))

    x, target = data()
    history = bptt.fit(rnn, x, target, optimizer=optimizer, epochs=4, batch_size=4, clip_norm=None, seed=0,
                       constraints=constraints, on_update=held, progress=False)  # fmt: skip
    assert len(norms) == 8
    np.testing.assert_allclose(*np.transpose(norms), rtol=1e-5)  # masked gradients are not in the norm
    assert history.loss[-1] < history.loss[0]
    if kind != "foreign":
        for array in optimizer.accumulators():
            assert not array[3 * H : 3 * H + H * H].reshape(H, H).diagonal().any()


def test_fit_begins_with_the_projection():
    rnn = make()
    constraints = bptt.Constraints(rnn, masks={HH: np.zeros((H, H))})
    x, target = data()
    seen = []

    def stop(update, history):
        seen.append(rnn.param_views()[HH].any())
        return True

    bptt.fit(rnn, x, target, lr=0.0, epochs=1, constraints=constraints, on_update=stop, progress=False)
    plain = make()
    plain.param_views()[HH][...] = 0
    assert seen == [False]
    np.testing.assert_array_equal(rnn.params, plain.params)


def test_without_constraints_fit_is_the_same_to_the_bit():
    x, target = data()
    runs = []
    for given in (False, True):
        rnn = make()
        constraints = bptt.Constraints(rnn) if given else None
        bptt.fit(rnn, x, target, epochs=3, batch_size=4, seed=0, constraints=constraints, progress=False)
        runs.append(rnn.params)
    np.testing.assert_array_equal(*runs)


def test_resume_goes_on_to_the_bit_and_knows_the_constraints(tmp_path):
    x, target = data()

    def run(path, epochs, stop=None, **options):
        rnn = make(noise=0.1)
        arguments = {"masks": {HH: 1 - np.eye(H)}, "max_norm": 0.4} | options
        constraints = bptt.Constraints(rnn, **arguments)

        def interrupt(epoch, history):
            if epoch == stop:
                raise KeyboardInterrupt

        bptt.fit(rnn, x, target, epochs=epochs, batch_size=4, lr=0.01, seed=0, resume=path, constraints=constraints,
                 callback=interrupt, progress=False)  # fmt: skip
        return rnn.params

    whole = run(tmp_path / "whole", 5)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", 5, stop=2)
    with pytest.raises(ValueError, match="constraints"):
        run(tmp_path / "parts", 5, max_norm=0.5)
    with pytest.raises(ValueError, match="constraints"):
        run(tmp_path / "parts", 5, masks=None)
    np.testing.assert_array_equal(run(tmp_path / "parts", 5), whole)


def test_fit_in_shards_keeps_them():
    """Each shard's gradient is added up before masked ones are set to zero."""
    x, target = data(dtype="float64")
    runs = []
    for shards in (1, 4, None):
        rnn = make("float64")
        constraints = bptt.Constraints(rnn, {HH: 1 - np.eye(H)}, {HH: bptt.init.dale_signs(H)}, max_norm=0.5)
        history = bptt.fit(rnn, x, target, epochs=3, batch_size=4, seed=0, shards=shards, constraints=constraints,
                           progress=False)  # fmt: skip
        runs.append((rnn.params, history.grad_norm))
        assert not rnn.param_views()[HH].diagonal().any()
    for params, norms in runs[:2]:
        np.testing.assert_allclose(params, runs[2][0], atol=1e-9)
        np.testing.assert_allclose(norms, runs[2][1], rtol=1e-9)


def test_copies_work_on_the_copied_network():
    rnn = make()
    constraints = bptt.Constraints(rnn, masks={HH: np.zeros((H, H))})
    for other in (copy.deepcopy(constraints), pickle.loads(pickle.dumps(constraints))):
        other.apply()
        assert other.rnn is not rnn
        assert not other.rnn.param_views()[HH].any()
    assert rnn.param_views()[HH].any()


# ---- initial values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hidden, share, count", [(2, 0.01, 1), (2, 0.99, 1), (5, 0.8, 4), (10, 0.5, 5), (100, 0.8, 80)]
)
def test_dale_signs(hidden, share, count):
    signs = bptt.init.dale_signs(hidden, share)
    np.testing.assert_array_equal(signs, [1] * count + [-1] * (hidden - count))


@pytest.mark.parametrize("hidden", [10, 31, 100])
@pytest.mark.parametrize("self_connections", [False, True])
def test_dale(hidden, self_connections):
    init = bptt.init.dale(0.8, 1.3, self_connections=self_connections)
    rnn = bptt.RNN(
        4, hidden, 2, cell="relu", num_layers=2, leak=0.2, learn_leak=True, init=init, dtype="float64", seed=0
    )
    for name, view in rnn.param_views().items():
        if name.startswith("weight_hh"):
            assert (view * bptt.init.dale_signs(hidden) >= 0).all()
            assert abs(view.sum(axis=1)).max() < 1e-13
            assert abs(np.linalg.eigvals(view)).max() == pytest.approx(1.3, rel=1e-10)
            assert view.diagonal().any() == self_connections
            assert (view == 0).sum() == (0 if self_connections else hidden)
        elif name.startswith("bias"):
            assert not view.any()
        elif name.startswith("weight"):
            assert 0.5 < abs(view).max() * np.sqrt(view.shape[1]) <= 1


def test_the_balance_keeps_eigenvalues_together():
    """Rajan & Abbott 2006: without the balance of each row one eigenvalue lies far outside the disc of the others."""
    weights = bptt.RNN(1, 200, cell="relu", init=bptt.init.dale(0.8), dtype="float64", seed=0).param_views()[HH]
    sizes = np.sort(abs(np.linalg.eigvals(weights)))[::-1]
    unbalanced = np.sort(abs(np.linalg.eigvals(np.where(weights < 0, weights * 1.5, weights))))[::-1]
    assert sizes[0] < 1.5 * sizes[2]
    assert unbalanced[0] > 2 * unbalanced[2]
