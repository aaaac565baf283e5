"""Losses with options and losses of the user's own, within windows and fit: what they are given, how means divide."""

import functools
import math
import pickle

import numpy as np
import pytest

import bptt

T, B, I, H, C = 23, 4, 3, 5, 6
WEIGHT = np.array([0.5, 1, 2, 0.25, 3, 1.5])
weighted = functools.partial(bptt.cross_entropy, weight=WEIGHT, label_smoothing=0.1)
TRUNCATIONS = [None, bptt.TBPTT(5), bptt.TBPTT(4, 9), bptt.ARTBP(5, seed=1)]


def network(seed=0, **options):
    return bptt.RNN(I, H, C, **{"dtype": "float64", "seed": seed} | options)


@pytest.fixture
def data(rng):
    """(x, labels), with ignored ones."""
    labels = rng.integers(0, C, (T, B))
    labels[rng.random((T, B)) < 0.2] = -100
    return rng.normal(size=(T, B, I)), labels


def torch_loss(torch, y, labels, reduction="mean"):
    """torch's loss of the same options, and its gradient."""
    leaf = torch.tensor(y, requires_grad=True)
    value = torch.nn.functional.cross_entropy(
        leaf.reshape(-1, C), torch.tensor(labels).reshape(-1), torch.tensor(WEIGHT), label_smoothing=0.1,
        reduction=reduction,
    )  # fmt: skip
    value.backward()
    return value.item(), leaf.grad.numpy()


# ---- options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("truncation", TRUNCATIONS[:3], ids=str)
def test_windows_take_a_loss_with_options(torch, data, truncation, reduction):
    """Each window has the loss and the gradient of torch over its own steps."""
    (x, labels), rnn = data, network()
    y, _ = rnn.forward(x)
    for w in rnn.windows(x, labels, weighted, truncation=truncation, reduction=reduction):
        value, dy = torch_loss(torch, y[w.start : w.stop], labels[w.start : w.stop], reduction)
        assert w.loss == pytest.approx(value, rel=1e-12)
        if truncation is None:
            grads = rnn.grads.copy()
            rnn.forward(x)
            rnn.zero_grad()
            rnn.backward(dy)
            np.testing.assert_allclose(grads, rnn.grads, atol=1e-12 * np.abs(grads).max())


def test_own_function_around_a_loss_of_bptt(data):
    (x, labels), rnn = data, network()
    mask = np.random.default_rng(0).random((T, B)) < 0.5
    losses = [
        weighted,
        lambda y, target, **options: bptt.cross_entropy(y, target, weight=WEIGHT, label_smoothing=0.1, **options),
    ]
    one, two = ([w.loss for w in rnn.windows(x, labels, loss, truncation=bptt.TBPTT(5), mask=mask)] for loss in losses)
    assert one == two


@pytest.mark.parametrize("truncation", TRUNCATIONS, ids=str)
@pytest.mark.parametrize("extra", ["nothing", "mask", "lengths", "batch first", "minibatches"])
def test_the_loss_of_an_epoch_is_the_weighted_mean_over_all_windows(data, truncation, extra):
    """As over the whole sequences at once: each window counts by the sum of its labels' weights."""
    if extra == "lengths" and truncation is not None:
        truncation = None
    (x, labels), rnn = data, network(batch_first=extra == "batch first")
    mask = np.ones((T, B), bool)
    options = {}
    if extra == "mask":
        mask = options["mask"] = np.random.default_rng(0).random((T, B)) < 0.6
    if extra == "lengths":
        options["lengths"] = np.array([T, 9, 2, 14])
        mask = np.arange(T)[:, None] < options["lengths"]
    if extra == "minibatches":
        options["batch_size"] = 3
    y, _ = network().forward(x)
    expected, _ = weighted(y, labels, mask=mask)
    swap = (lambda array: array.swapaxes(0, 1)) if rnn.batch_first else (lambda array: array)
    held_out = (swap(x), swap(labels), swap(mask))
    options |= {"optimizer": "sgd", "lr": 0, "epochs": 1, "seed": 0, "truncation": truncation, "validation": held_out}
    history = bptt.fit(rnn, swap(x), swap(labels), loss=weighted, progress=False, **options)
    assert history.loss[0] == pytest.approx(expected, rel=1e-12)
    assert history.val_loss[0] == pytest.approx(expected, rel=1e-12)


def test_another_ignored_label(data):
    x, labels = data
    labels[labels == -100] = 1
    loss = functools.partial(bptt.cross_entropy, ignore_index=1)
    y, _ = network().forward(x)
    history = bptt.fit(network(), x, labels, loss=loss, optimizer="sgd", lr=0, epochs=1, truncation=bptt.TBPTT(4),
                       progress=False)  # fmt: skip
    assert history.loss[0] == pytest.approx(loss(y, labels)[0], rel=1e-12)


def test_metrics_get_no_label_that_the_loss_ignores(data):
    x, labels = data
    labels[labels == -100] = 1
    loss = functools.partial(bptt.cross_entropy, ignore_index=1)
    seen = []
    bptt.fit(network(), x, labels, loss=loss, epochs=1, validation=(x, labels), progress=False,
             metrics={"rows": lambda y, target: seen.append(target) or len(target)})  # fmt: skip
    assert len(seen) == 2
    for target in seen:
        np.testing.assert_array_equal(target, labels[labels != 1])
    labels[-3:] = 1
    assert bptt.gradient_flow(network(), x, labels, loss=loss, max_distance=2).anchors.max() < T - 3


class Recorder:
    """An optimiser that changes nothing."""

    def __init__(self, rnn):
        self.rnn, self.grads = rnn, []

    def step(self):
        self.grads.append(self.rnn.grads.copy())


def test_artbp_weighs_a_window_by_its_labels(data):
    """Its gradient in fit is that of the sum over its steps, however the mean divides: so the expectation is right."""
    (x, labels), rnn = data, network()
    recorder = Recorder(rnn)
    options = {"optimizer": recorder, "epochs": 1, "truncation": bptt.ARTBP(5, seed=1), "clip_norm": None}
    bptt.fit(rnn, x, labels, loss=weighted, progress=False, **options)
    sums = []
    for _ in rnn.windows(x, labels, weighted, truncation=bptt.ARTBP(5, seed=1), reduction="sum"):
        sums.append(rnn.grads / (5 * B))
    assert len(sums) > 2
    np.testing.assert_allclose(recorder.grads, sums, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["huber", "Huber"])
def test_huber_by_name(rng, name):
    x, target = rng.normal(size=(T, B, I)), 3 * rng.normal(size=(T, B, C))
    rnn = network()
    y, _ = rnn.forward(x)
    (w,) = rnn.windows(x, target, name)
    assert w.loss == bptt.huber(y, target)[0]
    (w,) = rnn.windows(x, target, functools.partial(bptt.huber, delta=0.1))
    assert w.loss == bptt.huber(y, target, delta=0.1)[0]


# ---- what a function of the user's own is given --------------------------------------------------------------


class PreEmphasis:
    """The squared error of e_t - 0.9 e_{t-1}, e = y - target, over the seams between windows too."""

    def __init__(self):
        self.starts, self.last = [], None

    def __call__(self, y, target, start):
        self.starts.append(start)
        error = y - target
        before = np.zeros_like(error[:1]) if self.last is None else self.last
        self.last = error[-1:]
        filtered = error - 0.9 * np.concatenate([before, error[:-1]])
        dy = 2 * filtered
        dy[:-1] -= 1.8 * filtered[1:]
        return float((filtered**2).sum()), dy


def test_a_filter_goes_over_the_seams(rng):
    x, target = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, C))
    rnn, loss = network(), PreEmphasis()
    (whole,) = rnn.windows(x, target, PreEmphasis())
    parts = list(rnn.windows(x, target, loss, truncation=bptt.TBPTT(5)))
    assert loss.starts == [w.start for w in parts] == [0, 5, 10, 15, 20]
    assert sum(w.loss for w in parts) == pytest.approx(whole.loss, rel=1e-12)
    apart = [PreEmphasis()(w.y, target[w.start : w.stop], w.start)[0] for w in parts]
    assert sum(apart) != pytest.approx(whole.loss, rel=1e-3)  # a filter that begins anew in each window is another loss


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("burn_in", [0, 3])
@pytest.mark.parametrize("k1, k2", [(4, 4), (3, 7)])
def test_start_counts_the_steps_of_x(rng, batch_first, burn_in, k1, k2):
    x = rng.normal(size=(B, T, I) if batch_first else (T, B, I))
    target = rng.normal(size=(*x.shape[:2], C))
    given = []

    def loss(y, target, *, start):
        given.append((start, y.shape[int(batch_first)]))
        return bptt.mse(y, target)

    rnn = network(batch_first=batch_first)
    windows = list(rnn.windows(x, target, loss, truncation=bptt.TBPTT(k1, k2), burn_in=burn_in))
    assert given == [(w.start, w.stop - w.start) for w in windows]
    assert given[0][0] == burn_in


def test_start_over_chunks(rng):
    x, target = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, C))
    losses = [PreEmphasis(), PreEmphasis()]
    whole = [w.loss for w in network().windows(x, target, losses[0], truncation=bptt.TBPTT(5))]
    chunks = network().windows((x[i : i + 7] for i in range(0, T, 7)), target, losses[1], truncation=bptt.TBPTT(5))
    assert [w.loss for w in chunks] == pytest.approx(whole, rel=1e-12)
    assert losses[0].starts == losses[1].starts


def test_fit_and_gradient_flow_give_start(rng):
    x, target = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, C))
    given = []

    def loss(y, target, start):
        given.append(start)
        return bptt.mse(y, target)

    bptt.fit(network(), x, target, loss=loss, epochs=2, truncation=bptt.TBPTT(9), burn_in=2, validation=(x, target),
             progress=False)  # fmt: skip
    assert given == 2 * [2, 11, 20, 2]
    given.clear()
    bptt.gradient_flow(network(), x, target, loss=loss, max_distance=5, anchors=4)
    assert len(given) == 4
    assert min(given) >= 5
    assert max(given) < T


def takes_all(y, target, **options):
    return bptt.mse(y, target, **options)


def takes_none(y, target):
    return bptt.mse(y, target)


class Unhashable:
    __hash__ = None

    def __call__(self, y, target, mask=None):
        return bptt.mse(y, target, mask=mask)


@pytest.mark.parametrize("loss", [bptt.mse, takes_all, Unhashable(), functools.partial(takes_all, reduction="mean")])
def test_a_mask_goes_to_what_takes_one(rng, loss):
    x, target, mask = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, C)), rng.random((T, B)) < 0.5
    rnn = network()
    expected = [w.loss for w in rnn.windows(x, target, truncation=bptt.TBPTT(5), mask=mask)]
    for _ in range(2):  # the second time its signature is known
        assert [w.loss for w in rnn.windows(x, target, loss, truncation=bptt.TBPTT(5), mask=mask)] == expected
    assert [w.loss for w in rnn.windows(x, target, loss)] == [w.loss for w in rnn.windows(x, target)]


@pytest.mark.parametrize(
    "loss", [takes_none, functools.partial(takes_none), PreEmphasis(), lambda y, t, start=0: (0.0, y)]
)
@pytest.mark.parametrize("given", ["mask", "lengths"])
def test_a_mask_for_what_takes_none_is_an_error_before_the_first_step(rng, loss, given):
    x, target = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, C))
    options = {"mask": np.ones((T, B), bool), "lengths": np.full(B, 3)}
    words = "loss must take mask= where lengths or a mask are given, got one that cannot take a mask"
    rnn = network()
    rnn.grads[:] = 7
    kept = rnn.params.copy()
    with pytest.raises(TypeError, match=words):
        rnn.windows(x, target, loss, **{given: options[given]})
    with pytest.raises(TypeError, match=words):
        bptt.fit(rnn, x, target, loss=loss, progress=False, **{given: options[given]})
    held_out = (x, target, options["mask"]) if given == "mask" else (x, target, None, options["lengths"])
    with pytest.raises(TypeError, match=words):
        bptt.fit(rnn, x, target, loss=loss, progress=False, validation=held_out)
    with pytest.raises(TypeError, match=words):
        bptt.gradient_flow(rnn, x, target, loss=loss, mask=options["mask"], max_distance=3)
    assert (rnn.grads == 7).all()
    np.testing.assert_array_equal(rnn.params, kept)


def test_a_reduction_for_what_takes_none(rng):
    x, target = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, C))
    with pytest.raises(TypeError, match=r"loss must take reduction= where reduction='sum' is given.*takes_none"):
        network().windows(x, target, takes_none, reduction="sum")


# ---- losses of torch ---------------------------------------------------------------------------------------


@pytest.fixture
def bt(torch):
    return pytest.importorskip("bptt.torch")


def pairs(torch):
    """{name: (ours, a function or module of torch)}"""
    F, weight = torch.nn.functional, torch.tensor(WEIGHT)
    return {
        "mse": (bptt.mse, F.mse_loss),
        "mse module": (bptt.mse, torch.nn.MSELoss()),
        "huber": (functools.partial(bptt.huber, delta=0.3), torch.nn.HuberLoss(delta=0.3)),
        "binary": (bptt.binary_cross_entropy, torch.nn.BCEWithLogitsLoss()),
        "labels": (bptt.cross_entropy, F.cross_entropy),
        "labels weighed": (weighted, torch.nn.CrossEntropyLoss(weight, label_smoothing=0.1)),
        "labels by partial": (weighted, functools.partial(F.cross_entropy, weight=weight, label_smoothing=0.1)),
    }


PAIRS = ["mse", "mse module", "huber", "binary", "labels", "labels weighed", "labels by partial"]


def target_for(name, rng, shape):
    return rng.integers(0, C, shape) if name.startswith("labels") else rng.random((*shape, C))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("layout", ["time first", "batch first", "unbatched"])
def test_a_loss_of_torch_in_windows(torch, bt, rng, name, layout):
    """Losses and gradients are ours, in float64 to 1e-12. B = C - 2 and T are all different from C."""
    shape = {"time first": (T, B), "batch first": (B, T), "unbatched": (T,)}[layout]
    x, target = rng.normal(size=(*shape, I)), target_for(name, rng, shape)
    ours, fn = pairs(torch)[name]
    rnn = network(batch_first=layout == "batch first")
    expected = [(w.loss, rnn.grads.copy()) for w in rnn.windows(x, target, ours, truncation=bptt.TBPTT(4, 7))]
    for (loss, grads), w in zip(
        expected, rnn.windows(x, target, bt.loss(fn), truncation=bptt.TBPTT(4, 7)), strict=True
    ):
        assert w.loss == pytest.approx(loss, rel=1e-12)
        np.testing.assert_allclose(rnn.grads, grads, atol=1e-12 * np.abs(grads).max())


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("given", ["mask", "lengths"])
def test_a_mask_takes_rows_out_for_a_loss_of_torch(torch, bt, rng, name, given):
    x, target = rng.normal(size=(T, B, I)), target_for(name, rng, (T, B))
    ours, fn = pairs(torch)[name]
    options = {"mask": rng.random((T, B)) < 0.5} if given == "mask" else {"lengths": [T, 2, 9, 17]}
    rnn = network()
    (w,) = rnn.windows(x, target, ours, **options)
    grads = rnn.grads.copy()
    (v,) = rnn.windows(x, target, bt.loss(fn, rows=True), **options)
    assert v.loss == pytest.approx(w.loss, rel=1e-12)
    np.testing.assert_allclose(rnn.grads, grads, atol=1e-12 * np.abs(grads).max())


def test_fit_with_a_loss_of_torch(torch, bt, data):
    (x, labels), one, two = data, network(), network()
    labels[labels < 0] = 0
    options = {"epochs": 3, "truncation": bptt.TBPTT(7), "batch_size": 3, "seed": 0, "validation": (x, labels)}
    ours = bptt.fit(one, x, labels, loss="cross_entropy", progress=False, **options)
    theirs = bptt.fit(two, x, labels, loss=bt.loss(torch.nn.functional.cross_entropy), progress=False, **options)
    np.testing.assert_allclose(theirs.loss, ours.loss, rtol=1e-10)
    np.testing.assert_allclose(theirs.val_loss, ours.val_loss, rtol=1e-10)
    np.testing.assert_allclose(two.params, one.params, atol=1e-9)


def seen(torch, **options):
    """(a loss of torch that records what it is given, the record)"""
    record = []

    def fn(y, target):
        record.append((tuple(y.shape), y.dtype, tuple(target.shape), target.dtype))
        return y.sum()

    import bptt.torch

    return bptt.torch.loss(fn, **options), record


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind, became", [("int8", "int64"), ("uint16", "int64"), ("int64", "int64"), ("bool", "bool"),
                                          ("float16", None), ("float32", None), (">f8", None)])  # fmt: skip
def test_types_that_torch_is_given(torch, bt, rng, dtype, kind, became):
    """y has the network's dtype, the gradient too; integers stay integers, floats become y's."""
    x, target = rng.normal(size=(T, B, I)), np.ones((T, B, C), kind)
    rnn = network(dtype=dtype)
    loss, record = seen(torch)
    (w,) = rnn.windows(x, target, loss)
    expected = getattr(torch, became or dtype)
    assert record == [((T, B, C), getattr(torch, dtype), (T, B, C), expected)]
    value, dy = loss(w.y, target)
    assert type(value) is float
    assert dy.dtype == dtype
    assert (dy == 1).all()
    assert dy.flags.c_contiguous


def test_layouts_that_torch_is_given(torch, bt, rng):
    labels = np.ones((T, B), np.int32)
    y = rng.normal(size=(T, B, C))
    for rows, target, expected in (
        (None, labels, ((T * B, C), (T * B,))),
        (False, labels, ((T, B, C), (T, B))),
        (None, y, ((T, B, C), (T, B, C))),
        (True, y, ((T * B, C), (T * B, C))),
        (None, y[..., 0], ((T, B, C), (T, B))),  # floats are no labels
        (True, y[..., 0], ((T * B, C), (T * B,))),
        (True, y[..., None], ((T * B, C), (T * B, C, 1))),
    ):
        loss, record = seen(torch, rows=rows)
        loss(y, target)
        assert record[0][::2] == expected
    loss, record = seen(torch)
    loss(y[:, 0], labels[:, 0])
    assert record[0][::2] == ((T, C), (T,))


def test_start_and_mask_for_a_loss_of_torch(torch, bt, rng):
    x, target, mask = rng.normal(size=(T, B, I)), rng.normal(size=(T, B, C)), rng.random((T, B)) < 0.5
    starts = []

    def fn(y, target, mask, start):
        starts.append(start)
        assert mask.dtype == torch.bool
        return ((y - target) ** 2)[mask].mean()

    rnn = network()
    ours = [w.loss for w in rnn.windows(x, target, truncation=bptt.TBPTT(5), mask=mask)]
    theirs = [w.loss for w in rnn.windows(x, target, bt.loss(fn), truncation=bptt.TBPTT(5), mask=mask)]
    assert theirs == pytest.approx(ours, rel=1e-12)
    assert starts == [0, 5, 10, 15, 20]


def test_reduction_of_a_loss_of_torch(torch, bt, data):
    (x, labels), rnn = data, network()
    loss = bt.loss(torch.nn.functional.cross_entropy)
    (ours,), (theirs,) = (list(rnn.windows(x, labels, one, reduction="sum")) for one in ("cross_entropy", loss))
    assert theirs.loss == pytest.approx(ours.loss, rel=1e-12)
    with pytest.raises(TypeError, match="must take reduction="):
        rnn.windows(x, labels, bt.loss(torch.nn.CrossEntropyLoss()), reduction="sum")


def test_no_row_counts(torch, bt, data):
    loss = bt.loss(torch.nn.functional.cross_entropy)
    value, dy = loss(np.ones((T, B, C), np.float32), data[1], mask=np.zeros((T, B), bool))
    assert value == 0
    assert dy.dtype == np.float32
    assert dy.shape == (T, B, C)
    assert not dy.any()


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_gradients_where_torch_makes_none(torch, bt, rng, mode):
    y, target = rng.normal(size=(2, T, B, C))
    with getattr(torch, mode)():
        value, dy = bt.loss(torch.nn.functional.mse_loss)(y, target)
    expected, expected_dy = bptt.mse(y, target)
    assert value == pytest.approx(expected)
    np.testing.assert_allclose(dy, expected_dy, rtol=1e-12)


def test_memory_of_others_is_left(torch, bt, rng, tmp_path):
    """Whatever fn does to its tensors; read-only, reversed and mapped arrays come without a warning."""
    y, target = rng.normal(size=(2, T, B, C))
    np.save(tmp_path / "target.npy", target)
    mapped = np.load(tmp_path / "target.npy", mmap_mode="r")

    def fn(y, target):
        value = ((y - target) ** 2).mean()
        with torch.no_grad():
            y.zero_()
            target.zero_()
        return value

    kept = y.copy(), target.copy()
    for given in (target, mapped, target[::-1].copy()[::-1]):
        value, _ = bt.loss(fn)(y, given)
        assert value == pytest.approx(bptt.mse(y, target)[0])
    np.testing.assert_array_equal((y, target), kept)
    np.testing.assert_array_equal(mapped, target)


def test_parameters_of_a_loss_get_no_gradient(torch, bt, rng):
    y, target = rng.normal(size=(2, T, B, C))
    module = torch.nn.Linear(C, 1, dtype=torch.float64)
    bt.loss(lambda y, target: (module(y) - module(target)).abs().mean())(y, target)
    assert module.weight.grad is None


def test_a_loss_of_torch_can_be_pickled(torch, bt, rng):
    y, target = rng.normal(size=(2, T, B, C))
    loss = bt.loss(torch.nn.HuberLoss(delta=0.5))
    again = pickle.loads(pickle.dumps(loss))
    assert again(y, target)[0] == loss(y, target)[0]
    assert repr(loss) == "bptt.torch.loss(HuberLoss())"


def test_errors_of_losses_of_torch(torch, bt, rng):
    y, labels, mask = rng.normal(size=(T, B, C)), np.zeros((T, B), int), np.ones((T, B), bool)
    F, MSELoss = torch.nn.functional, torch.nn.MSELoss
    for call, error, words in (
        (lambda: bt.loss(5), TypeError, ["fn", "function", "5"]),
        (lambda: bt.loss(MSELoss), TypeError, ["fn", "module", "MSELoss()"]),
        (lambda: bt.loss(F.mse_loss, rows=1), TypeError, ["rows", "True or False", "1"]),
        (lambda: bt.loss(MSELoss())(y, y, mask=mask), TypeError, ["cannot take a mask", "MSELoss()", "rows=True"]),
        (lambda: bt.loss(F.cross_entropy)(y, labels, mask=mask[:2]), ValueError, ["mask", "(23, 4)", "(2, 4)"]),
        (lambda: bt.loss(F.cross_entropy)(y, labels, mask=mask + 0.5), TypeError, ["mask", "booleans", "float64"]),
        (lambda: bt.loss(F.cross_entropy)(y, labels[:3]), ValueError, ["target", "(23, 4)", "(3, 4)"]),
        (lambda: bt.loss(F.mse_loss)(y, "a"), TypeError, ["target", "real numbers", "str"]),
        (lambda: bt.loss(F.mse_loss)(np.ones(3), np.ones(3)), ValueError, ["y", "2 axes", "(3,)"]),
        (lambda: bt.loss(MSELoss(reduction="none"))(y, y), ValueError, ["one number", "(23, 4, 6)"]),
        (lambda: bt.loss(lambda y, t: 3.0)(y, y), TypeError, ["fn", "tensor", "3.0"]),
        (lambda: bt.loss(lambda y, t: y.detach().sum())(y, y), ValueError, ["fn", "does not depend on y"]),
        (lambda: bt.loss(lambda y, t: torch.ones((), requires_grad=True))(y, y), ValueError, ["does not depend on y"]),
        (lambda: network().windows(np.ones((T, B, I)), labels, F.cross_entropy), TypeError, ["bptt.torch.loss"]),
        (
            lambda: network().windows(np.ones((T, B, I)), labels, torch.nn.NLLLoss()),
            TypeError,
            ["bptt.torch.loss", "NLLLoss"],
        ),
    ):
        with pytest.raises(error) as caught:
            call()
        for word in words:
            assert word in str(caught.value)
    assert math.isnan(bt.loss(F.cross_entropy)(y, labels - 100)[0])  # as torch has it
