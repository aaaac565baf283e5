"""Integers as inputs, by one_hot and by an embedding, wherever an input enters."""

import copy
import itertools
import pickle
import tracemalloc
from functools import partial

import numpy as np
import pytest
from cases import CELLS, assert_all_close, assert_close, assert_same, case_id, covering

import bptt

INTEGERS = [np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)]


def vectors(rnn, x):
    """What stands for integers: unit vectors, or rows of the table."""
    return np.eye(rnn.input_size, dtype=rnn.dtype)[x] if rnn.one_hot else rnn.param_views()["embedding"][x]


def without_integers(rnn):
    """The network that takes vectors(rnn, x), with the same parameters."""
    inputs = {"one_hot": False, "num_embeddings": None, "padding_idx": None}
    plain = bptt.RNN(**{**rnn.description(), **inputs}, seed=0)
    plain.params = rnn.params[: plain.params.size]
    return plain


def table_gradient(rnn, x, dx):
    """The gradient of the table by that of the vectors."""
    expected = np.zeros((rnn.num_embeddings, rnn.input_size))
    np.add.at(expected, x, dx)
    if rnn.padding_idx is not None:
        expected[rnn.padding_idx] = 0
    return expected


NETWORKS = {
    "cell": CELLS,
    "num_layers": [1, 2],
    "bidirectional": [False, True],
    "O": [3, None],
    "bias": [True, False],
    "lengths": [False, True],
    "reset": [False, True],
    "dtype": ["float64", "float32"],
    "shape": [(9, 4, 7, 5), (1, 1, 1, 1), (70, 33, 65, 40), (3, 2, 300, 6)],  # T, B, V, H
}


@pytest.mark.parametrize("case", covering(NETWORKS), ids=case_id)
def test_one_hot_is_the_network_of_unit_vectors(problem, case):
    """Outputs to the bit: the sum over inputs has one term that is not zero."""
    options = dict(case)
    T, B, V, H = options.pop("shape")
    p = problem(T, B, V, H, options.pop("O"), one_hot=True, **options)
    integers = p.copied_gradients()
    plain, x = without_integers(p.rnn), p.x
    p.rnn, p.x = plain, vectors(p.rnn, x)
    real = p.gradients()
    assert "x" not in integers
    np.testing.assert_array_equal(integers["y"], real["y"])
    tolerance = 1e-12 if p.rnn.dtype == np.float64 else 1e-5
    if p.rnn.cell in ("relu", "identity"):
        tolerance *= 100  # whose states grow
    assert_all_close(integers, real, tolerance)


@pytest.mark.parametrize("case", covering({**NETWORKS, "padding_idx": [None, 0, -1]}), ids=case_id)
def test_an_embedding_is_rows_of_a_table(problem, case):
    """Repeated integers and those of the padding row too; outputs to the bit."""
    options = dict(case)
    T, B, V, H = options.pop("shape")
    p = problem(T, B, 6, H, options.pop("O"), num_embeddings=V, **options)
    integers, rnn, x = p.copied_gradients(), p.rnn, p.x
    p.rnn, p.x = without_integers(rnn), vectors(rnn, x)
    real = p.gradients()
    np.testing.assert_array_equal(integers["y"], real["y"])
    tolerance = 1e-12 if rnn.dtype == np.float64 else 1e-5
    if rnn.cell in ("relu", "identity"):
        tolerance *= 100
    table = integers.pop("embedding")
    assert_all_close(integers, real, tolerance)
    expected = table_gradient(rnn, x, real["x"].astype(float))
    error = np.abs(table - expected).max()
    assert error <= tolerance * max(np.abs(expected).max(), np.abs(real["x"]).max())
    if rnn.padding_idx is not None:
        assert not table[rnn.padding_idx].any()


@pytest.mark.parametrize("cell", ["tanh", "relu", "lstm", "gru"])
@pytest.mark.parametrize("padding_idx", [None, 3])
@pytest.mark.parametrize(
    "deep", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}], ids=["flat", "deep"]
)
def test_torch_embedding(torch, cell, padding_idx, deep):
    """torch.nn.Embedding and RNN, LSTM or GRU, with gradients to 1e-10."""
    V, E, H, T, B = 11, 4, 6, 20, 5
    rnn = bptt.RNN(E, H, num_embeddings=V, padding_idx=padding_idx, cell=cell, dtype="float64", seed=0, **deep)
    state = {name: torch.tensor(value) for name, value in rnn.state_dict().items()}
    table = torch.nn.Embedding(V, E, padding_idx, dtype=torch.float64)
    table.load_state_dict({"weight": state.pop("embedding")})
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
    extra = {"nonlinearity": cell} if kind is torch.nn.RNN else {}
    module = kind(E, H, dtype=torch.float64, **extra, **deep)
    module.load_state_dict(state)
    rng = np.random.default_rng(0)
    x = rng.choice([0, 3, 3, 10, 5], size=(B, T) if deep else (T, B))  # repeated, and the padding among them
    y, _ = rnn.forward(x)
    theirs, _ = module(table(torch.tensor(x)))
    assert_close(y, theirs.detach().numpy(), 1e-12, "y")
    dy = rng.normal(size=y.shape)
    theirs.backward(torch.tensor(dy))
    assert rnn.backward(dy)[0] is None
    for name, gradient in rnn.grad_views().items():
        parameter = table.weight if name == "embedding" else getattr(module, name)
        assert_close(gradient, parameter.grad.numpy(), 1e-10, name)


@pytest.mark.parametrize(
    "inputs", [{"one_hot": True}, {"num_embeddings": 3}, {"num_embeddings": 5000, "padding_idx": 1}]
)
def test_same_bits_for_1_to_4_threads(inputs):
    found = []
    for threads in (1, 2, 3, 4):
        rnn = bptt.RNN(32, 48, 5, cell="gru", seed=0, threads=threads, **inputs)
        rng = np.random.default_rng(1)
        x = rng.integers(rnn.spec.vocabulary, size=(120, 37))
        y, _ = rnn.forward(x)
        rnn.backward(rng.normal(size=y.shape))
        found.append([y, rnn.grads])
    assert all(np.array_equal(a, b) for others in found[1:] for a, b in zip(others, found[0], strict=True))


SHARDED = {
    "B": [17, 33, 64, 70],
    "truncation": [(bptt.TBPTT, 31, 66), (bptt.TBPTT, 66), (bptt.ARTBP, 70, 20, 3), None],
    "checkpoint": [None, 9],  # where windows do not overlap
    "network": [
        {"cell": "lstm", "num_layers": 2, "peepholes": True},
        {"cell": "gru", "dropout": 0.3, "recurrent_dropout": 0.2, "num_layers": 2},
        {"cell": "tanh", "learn_state": True},
    ],
    "inputs": [{"one_hot": True}, {"num_embeddings": 20, "padding_idx": 3}],
}


@pytest.mark.parametrize("case", covering(SHARDED), ids=case_id)
def test_windows_over_batches_of_several_shards(rng, case):
    """Backward gives parts of a large batch gradients of their own: the same bits for any number of threads, and the
    numbers of the network on vectors."""
    kind, *numbers = case["truncation"] or (lambda: None,)
    checkpoint = None if len(numbers) > 1 else case["checkpoint"]
    T, V = 140, 13
    x, target = rng.integers(V, size=(2, T, case["B"]))
    reset = rng.random(x.shape) < 0.03

    def gradients(rnn, x):
        windows = rnn.windows(x, target, "cross_entropy", truncation=kind(*numbers), reset=reset, checkpoint=checkpoint)
        return [(w.loss, w.grad_norms, rnn.grads.copy()) for w in windows]

    found = []
    for threads in (1, 2, 3, 5):
        rnn = bptt.RNN(V, 14, V, seed=0, dtype="float64", threads=threads, **case["network"], **case["inputs"])
        found.append(gradients(rnn, x))
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            assert_same(a, b)
    plain = without_integers(rnn)
    plain.dropout_state = bptt.RNN(**rnn.description(), seed=0).dropout_state
    for (_, norms, grads), (_, real_norms, real) in zip(found[0], gradients(plain, vectors(rnn, x)), strict=True):
        assert_close(norms, real_norms, 1e-11)
        assert_close(grads[: real.size], real, 1e-11)


# ---- what an input of integers may be ----------------------------------------------------------------------------


@pytest.fixture
def rnn():
    return bptt.RNN(5, 6, 3, num_embeddings=9, seed=0)


@pytest.fixture
def x(rng):
    return rng.integers(9, size=(7, 4))


def test_arrays_of_any_integers_and_layout(rnn, x):
    y, _ = rnn.forward(x)
    frozen = x.copy()
    frozen.flags.writeable = False
    same = [x.astype(dtype) for dtype in INTEGERS] + [x.astype(">i4"), x.astype("<u2")]
    same += [
        np.asfortranarray(x),
        np.repeat(x, 2, axis=1)[:, ::2],
        x[::-1].copy()[::-1],
        frozen,
        x.tolist(),
        memoryview(x),
    ]
    same += [[[np.int8(v) for v in row] for row in x], tuple(map(tuple, x.tolist())), x.astype(np.uint64).T.copy().T]
    for array in same:
        np.testing.assert_array_equal(rnn.forward(array)[0], y)


def test_layouts(rnn, x):
    y, state = rnn.forward(x)
    rows_first = bptt.RNN(**{**rnn.description(), "batch_first": True})
    rows_first.params = rnn.params
    np.testing.assert_array_equal(rows_first.forward(x.T)[0], y.swapaxes(0, 1))
    np.testing.assert_array_equal(rows_first.forward(x.T.copy())[0], y.swapaxes(0, 1))
    for network in (rnn, rows_first):
        one, last = network.forward(x[:, 2])
        assert one.shape == (7, 3)
        np.testing.assert_allclose(one, y[:, 2], atol=1e-6)
        assert last.shape == (1, 1, 6)
        network.backward(np.ones_like(one))


def test_no_gradient_by_integers(rnn, x):
    y, _ = rnn.forward(x)
    for wanted in (True, False):
        dx, dstate = rnn.backward(np.ones_like(y), input_grad=wanted)
        assert dx is None
        assert dstate.shape == (1, 4, 6)


def test_what_lies_beyond_a_length_may_be_any_integer(rnn, x):
    lengths = [7, 1, 3, 5]
    y, _ = rnn.forward(x, lengths=lengths)
    rnn.backward(np.ones_like(y))
    grads = rnn.grads.copy()
    rnn.zero_grad()
    x = np.where(np.arange(7)[:, None] < lengths, x, -100)
    np.testing.assert_array_equal(rnn.forward(x, lengths=lengths)[0], y)
    rnn.backward(np.ones_like(y))
    np.testing.assert_array_equal(rnn.grads, grads)
    (w,) = rnn.windows(x, np.zeros_like(y), lengths=lengths)
    bptt.fit(rnn, x, np.zeros_like(y), lengths=lengths, batch_size=2, epochs=1, progress=False,
             validation=(x, np.zeros_like(y), None, lengths))  # fmt: skip
    x[2, 1], x[2, 2] = 9, 9
    for call in (
        rnn.forward,
        lambda x, **o: list(rnn.windows(x, y, **o)),
        lambda x, **o: bptt.fit(rnn, x, y, progress=False, **o),
    ):
        with pytest.raises(ValueError, match=r"^x must hold integers in 0..8, got 9 at \[2, 2\]$"):
            call(x, lengths=lengths)


@pytest.mark.parametrize("options", [{}, {"lengths": [7, 2, 5, 1]}], ids=str)
def test_x_may_be_changed_after_forward(rnn, x, options):
    """A buffer that is filled again must never be read with numbers that nobody checked."""
    y, _ = rnn.forward(x, **options)
    rnn.backward(np.ones_like(y))
    grads = rnn.grads.copy()
    rnn.zero_grad()
    rnn.forward(x, **options)
    x[...] = 2**40
    rnn.backward(np.ones_like(y))
    np.testing.assert_array_equal(rnn.grads, grads)


def test_a_loss_may_change_the_buffer_of_x(rnn, x):
    def loss(y, target):
        buffer[...] = 2**40
        return 0.0, np.ones_like(y)

    found = []
    for change in (False, True):
        buffer = x.copy()
        for _ in rnn.windows(buffer, np.zeros((7, 4)), loss if change else lambda y, target: (0.0, np.ones_like(y))):
            found.append(rnn.grads.copy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("options", [{}, {"batch_first": True}], ids=["time first", "batch first"])
def test_the_first_place_is_in_the_layout_of_the_user(options):
    rnn = bptt.RNN(9, 4, one_hot=True, seed=0, **options)
    for bad in (-1, 9, 2**62, -(2**62)):
        x = np.zeros((6, 5), int)
        x[4, 2] = x[5, 1] = bad
        with pytest.raises(ValueError, match=rf"^x must hold integers in 0..8, got {bad} at \[4, 2\]$"):
            rnn.forward(x)
        with pytest.raises(ValueError, match=rf"got {bad} at \[4, 2\]$"):
            list(rnn.windows(x, np.zeros((6, 5, 4))))
    for dtype in (np.uint64, object):
        x = np.zeros((6, 5), dtype)
        x[3, 3] = 2**64 - 5  # -5 as int64
        with pytest.raises(ValueError, match=r"got 18446744073709551611 at \[3, 3\]$"):
            rnn.forward(x.tolist() if dtype is object else x)


# ---- one step at a time ------------------------------------------------------------------------------------------


def test_a_stream_of_one_row_takes_an_integer(rnn, x):
    y, _ = rnn.forward(x[:, :1])
    out = np.empty(3, np.float32)
    kinds = [int, np.int64, np.int32, np.uint8, lambda v: np.array(v, np.int16)]
    for kind in kinds:
        stream = rnn.stream()
        for t, token in enumerate(x[:, 0]):
            assert stream(kind(token), out=out) is out
            np.testing.assert_array_equal(out, y[t, 0])
    stream = rnn.stream()
    assert stream(3).shape == (3,)
    assert stream([3]).shape == (1, 3)


def test_a_stream_of_rows(rnn, x):
    y, state = rnn.forward(x)
    for dtype in (*INTEGERS, list):
        stream = rnn.stream(batch=4)
        for t in range(7):
            tokens = x[t].tolist() if dtype is list else x[t].astype(dtype)
            np.testing.assert_array_equal(stream(tokens), y[t])
        np.testing.assert_array_equal(stream.state, state)
    stream(x[:, 0][::2])  # not contiguous


BAD_STEPS = {
    "beyond": (1, 9, ValueError, "x must hold integers in 0..8, got 9"),
    "negative": (1, -1, ValueError, "got -1"),
    "beyond int64": (1, 2**80, ValueError, f"got {2**80}"),
    "negative beyond int64": (1, -(2**80), ValueError, f"got {-(2**80)}"),
    "one of a row": (4, [1, 2, 9, 10], ValueError, "got 9 at [2]"),
    "unsigned": (2, np.array([0, 2**64 - 1], np.uint64), ValueError, "got 18446744073709551615 at [1]"),
    "float": (1, 3.0, TypeError, "x must be an array of integers in 0..8, got float"),
    "bool": (1, True, TypeError, "integers in 0..8, got bool"),
    "None": (1, None, TypeError, "integers in 0..8, got NoneType"),
    "text": (1, "a", TypeError, "integers in 0..8, got str"),
    "one for several rows": (4, 3, ValueError, "x must have shape (B,) = (4,), got ()"),
    "too few": (4, [1, 2], ValueError, "(B,) = (4,), got (2,)"),
    "two axes": (1, [[1]], ValueError, "(B,) = (1,), got (1, 1)"),
}


@pytest.mark.parametrize("name", BAD_STEPS)
def test_bad_steps_leave_the_state(rnn, name):
    batch, bad, exception, text = BAD_STEPS[name]
    stream = rnn.stream(batch=batch)
    stream(np.arange(batch))
    out = np.full((3,) if np.ndim(bad) == 0 and batch == 1 else (batch, 3), 7, np.float32)
    before = stream.state
    with pytest.raises(exception) as caught:
        stream(bad, out=out)
    assert text in str(caught.value)
    np.testing.assert_array_equal(stream.state, before)
    assert (out == 7).all()


# ---- windows, fit, diagnostics -----------------------------------------------------------------------------------


def windows_of(rnn, x, target, rule, **options):
    windows = rnn.windows(x, target, "cross_entropy", truncation=rule(), **options)
    return [(w.loss, w.y, rnn.grads.copy(), w.grad_norms) for w in windows]


def assert_same_windows(actual, expected):
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected, strict=True):
        assert_same(a, b)


WINDOWS = {
    "truncation": [(bptt.TBPTT, 5), (bptt.TBPTT, 3, 7), (bptt.ARTBP, 4, 3, 0)],
    "burn_in": [0, 4],
    "reset": [False, True],
    "batch_first": [False, True],
    "inputs": [{"one_hot": True}, {"num_embeddings": 9}],
}


@pytest.mark.parametrize("case", covering(WINDOWS), ids=case_id)
def test_windows_over_arrays_memmaps_and_chunks(tmp_path, rng, case):
    rnn = bptt.RNN(9, 6, 9, seed=0, cell="lstm", dtype="float64", batch_first=case["batch_first"], **case["inputs"])
    shape, time = ((3, 33), 1) if case["batch_first"] else ((33, 3), 0)
    x, target = rng.integers(9, size=shape), rng.integers(9, size=shape)
    kind, *numbers = case["truncation"]
    options = {"rule": partial(kind, *numbers), "burn_in": case["burn_in"]}
    if case["reset"]:
        options["reset"] = rng.random(shape) < 0.1
    expected = windows_of(rnn, x, target, **options)
    stored = np.memmap(tmp_path / "x", np.uint16, "w+", shape=shape)
    stored[...] = x
    ends = [0, 1, 2, 9, 9, 30, 33]
    chunks = [np.split(a, ends, axis=time) for a in (x.astype(np.int8), target)]
    for given in (x.astype(np.uint64), stored, x.tolist()):
        assert_same_windows(windows_of(rnn, given, target, **options), expected)
    assert_same_windows(windows_of(rnn, *map(iter, chunks), **options), expected)

    real = windows_of(without_integers(rnn), vectors(rnn, x), target, **options)
    of_both = slice(0, without_integers(rnn).params.size)
    for (loss, y, grads, norms), (real_loss, real_y, real_grads, real_norms) in zip(expected, real, strict=True):
        assert loss == pytest.approx(real_loss, rel=1e-13)
        np.testing.assert_array_equal(y, real_y)
        assert_close(grads[of_both], real_grads, 1e-12)
        assert_close(norms, real_norms, 1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_place_of_a_bad_integer_in_the_whole_sequence(batch_first):
    """And the windows before it are right, the parameters are their own."""
    rnn = bptt.RNN(9, 4, 9, one_hot=True, batch_first=batch_first, seed=0)
    x = np.zeros((3, 40) if batch_first else (40, 3), np.uint64)
    place = (2, 27) if batch_first else (27, 2)
    x[place] = 2**64 - 1
    target = np.zeros(x.shape, int)
    text = rf"^x must hold integers in 0..8, got 18446744073709551615 at \[{place[0]}, {place[1]}\]$"
    time = int(batch_first)
    sources = [lambda: x, lambda: iter(np.split(x, [11, 12, 35], axis=time))]
    for truncation in (bptt.TBPTT(5), bptt.TBPTT(4, 9), bptt.ARTBP(6, seed=0)):
        for source in sources:
            seen = []
            with pytest.raises(ValueError, match=text):
                for w in rnn.windows(source(), target, "cross_entropy", truncation=truncation):
                    seen.append(w.stop)
            assert seen
            assert max(seen) <= 27
    for source in sources:
        with pytest.raises(ValueError, match=text):
            next(iter(rnn.windows(source(), target, "cross_entropy", truncation=bptt.TBPTT(5), burn_in=30)))
    for call in (bptt.fit, bptt.gradient_flow):
        params = rnn.params.copy()
        options = {"batch_size": 1, "progress": False} if call is bptt.fit else {}
        with pytest.raises(ValueError, match=text):
            call(rnn, x, target, loss="cross_entropy", **options)
        np.testing.assert_array_equal(rnn.params, params)
    with pytest.raises(ValueError, match=text.replace("^x", "^validation x")):
        bptt.fit(rnn, x * 0, target, loss="cross_entropy", progress=False, validation=(x, target))


def test_a_long_memmap_is_read_window_by_window(tmp_path):
    x = np.memmap(tmp_path / "x", np.uint16, "w+", shape=(50_000_000, 1))  # sparse files
    target = np.memmap(tmp_path / "target", np.int8, "w+", shape=x.shape)
    rnn = bptt.RNN(4, 6, 3, num_embeddings=1000, seed=0)
    tracemalloc.start()
    try:
        windows = rnn.windows(x, target, "cross_entropy", truncation=bptt.TBPTT(50), burn_in=2000)
        for w in itertools.islice(windows, 20):
            assert w.stop <= 3000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_fit(rng):
    """The class is the first integer; the same as with unit vectors."""
    x = rng.integers(5, size=(12, 64))
    labels = np.full(x.shape, -100)
    labels[-1] = x[0]
    losses = []
    for one_hot in (True, False):
        rnn = bptt.RNN(5, 16, 5, cell="gru", one_hot=one_hot, dtype="float64", seed=0)
        given = x if one_hot else np.eye(5)[x]
        history = bptt.fit(rnn, given, labels, loss="cross_entropy", lr=1e-2, epochs=30, batch_size=16, seed=0,
                           validation=(given, labels), progress=False)  # fmt: skip
        losses.append([history.loss, history.val_loss, history.grad_norm])
    np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-6)
    np.testing.assert_allclose(losses[0][1], losses[1][1], rtol=1e-6)
    assert losses[0][1][-1] < 0.1


def test_gradient_flow(rng):
    rnn = bptt.RNN(5, 8, 5, num_embeddings=7, num_layers=2, dtype="float64", seed=0)
    x, target = rng.integers(7, size=(40, 3)), rng.integers(5, size=(40, 3))
    flow = bptt.gradient_flow(rnn, x, target, "cross_entropy")
    real = bptt.gradient_flow(without_integers(rnn), vectors(rnn, x), target, "cross_entropy")
    np.testing.assert_array_equal(flow.anchors, real.anchors)
    assert_close(flow.norms, real.norms, 1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("V", [9, 300])
@pytest.mark.parametrize("embeds", [False, True])
def test_parameters_of_an_integer_that_does_not_occur(rng, cell, V, embeds):
    """They may be anything, and their gradient is zero; whether the vocabulary is small or large."""
    inputs = {"num_embeddings": V} if embeds else {"one_hot": True}
    rnn = bptt.RNN(5 if embeds else V, 6, 3, **CELLS[cell], **inputs, bidirectional=True, dtype="float64", seed=0)
    x = rng.integers(V - 1, size=(20, 30))
    x[x == 4] = 3
    views, absent = rnn.param_views(), [4, V - 1]
    of_integers = [views["embedding"]] if embeds else [views["weight_ih_l0"].T, views["weight_ih_l0_reverse"].T]
    outputs = []
    for values in (np.nan, np.inf, 0):
        for of_each in of_integers:
            of_each[absent] = values
        rnn.zero_grad()
        y, _ = rnn.forward(x)
        rnn.backward(np.cos(y))
        outputs.append((y, rnn.grads.copy()))
    grads = rnn.grad_views()
    names = ["embedding"] if embeds else ["weight_ih_l0", "weight_ih_l0_reverse"]
    for name in names:
        assert not (grads[name] if embeds else grads[name].T)[absent].any()
    for y, grad in outputs:
        assert_same(y, outputs[-1][0])
        assert_same(grad, outputs[-1][1])


def test_training_keeps_the_padding_row(rng):
    rnn = bptt.RNN(4, 6, 3, num_embeddings=8, padding_idx=-3, seed=0)
    before = rnn.param_views()["embedding"].copy()
    x, target = rng.integers(7, size=(10, 16)), rng.normal(size=(10, 16, 3))
    bptt.fit(rnn, x, target, epochs=3, progress=False)
    table = rnn.param_views()["embedding"]
    assert not table[5].any()
    np.testing.assert_array_equal(table[7], before[7])  # which does not occur
    assert (table[[0, 1, 2, 3, 4, 6]] != before[[0, 1, 2, 3, 4, 6]]).any(axis=1).all()


# ---- the network -------------------------------------------------------------------------------------------------


def test_initial_values():
    """The other parameters are those of the network without the table; the table is N(0, 1) with a row of zeros."""
    for init in ("uniform", "orthogonal", "glorot", "identity", bptt.init.identity(0.9)):
        plain = bptt.RNN(30, 20, 3, init=init, seed=0)
        rnn = bptt.RNN(30, 20, 3, init=init, num_embeddings=400, padding_idx=7, seed=0)
        np.testing.assert_array_equal(rnn.params[: plain.params.size], plain.params)
        table = rnn.param_views()["embedding"]
        assert table.shape == (400, 30)
        assert not table[7].any()
        rest = np.delete(table, 7, axis=0)
        assert abs(rest.mean()) < 0.03
        assert abs(rest.std() - 1) < 0.03
    own = bptt.RNN(3, 4, num_embeddings=5, padding_idx=0, init=lambda name, shape, rng: np.full(shape, 2.0))
    assert not own.param_views()["embedding"][0].any()
    assert (own.param_views()["embedding"][1:] == 2).all()
    one_hot, plain = (bptt.RNN(30, 20, 3, one_hot=one_hot, seed=0) for one_hot in (True, False))
    np.testing.assert_array_equal(one_hot.params, plain.params)


@pytest.mark.parametrize("inputs", [{"one_hot": True}, {"num_embeddings": 9, "padding_idx": -1}], ids=str)
def test_copies_files_and_descriptions(tmp_path, x, inputs):
    rnn = bptt.RNN(9, 6, 3, cell="gru", seed=0, **inputs)
    y, _ = rnn.forward(x)
    rnn.save(tmp_path / "model")
    again = bptt.RNN(**rnn.description())
    again.load_state_dict(rnn.state_dict())
    copies = [
        again,
        bptt.RNN.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(rnn)),
        copy.copy(rnn),
        copy.deepcopy(rnn),
    ]
    for other in copies:
        assert other.spec == rnn.spec
        np.testing.assert_array_equal(other.forward(x)[0], y)
    assert all(f"{name}={value}" in repr(rnn) for name, value in rnn.spec.changed().items() if name in inputs)
    assert (rnn.padding_idx, rnn.num_embeddings) == ((None, None) if rnn.one_hot else (8, 9))
    plain = bptt.RNN(9, 6, 3, cell="gru")
    assert list(rnn.param_views()) == [*plain.param_views(), *([] if rnn.one_hot else ["embedding"])]
