"""Networks from the weights of Keras' layers and back, beside numbers that Keras printed and beside Keras itself."""

import numpy as np
import pytest

import bptt

G = {"tanh": 1, "relu": 1, "sigmoid": 1, "identity": 1, "lstm": 4, "gru": 3}


def constant(cell, I, H, *, forget_bias=None, reset_after=True):
    """Kernel .01, recurrent kernel .02, bias .03."""
    width = G[cell] * H
    bias = np.full((2, width) if cell == "gru" and reset_after else width, 0.03, np.float32)
    if forget_bias is not None:
        bias[H : 2 * H] = forget_bias
    return [np.full((I, width), 0.01, np.float32), np.full((H, width), 0.02, np.float32), bias]


def drawn(cell, I, H, *, num_layers=1, bidirectional=False, bias=True, reset_after=True, dtype=np.float32):
    rng = np.random.default_rng(3)
    D, width, layers = 1 + bidirectional, G[cell] * H, []
    for layer in range(num_layers):
        shapes = [(D * H if layer else I, width), (H, width)]
        shapes += [(2, width) if cell == "gru" and reset_after else (width,)] * bias
        layers.append([(rng.normal(size=shape) * 0.5).astype(dtype) for shape in shapes * D])
    return layers


def parts(state):
    return state if isinstance(state, tuple) else (state,)


SIMPLE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
GATED = np.arange(72, dtype=np.float32).reshape(3, 6, 4)


@pytest.mark.parametrize("cell, H, x, options, expected", [
    ("tanh", 4, SIMPLE, {}, [0.405432, 0.73605347]),
    ("lstm", 3, GATED, {"forget_bias": 1}, [0.6288687, 0.86899155, 0.9460773]),
    ("lstm", 3, GATED, {}, [0.57019705, 0.8661914, 0.9459622]),
    ("gru", 3, GATED, {}, [0.5217289, 0.6371659, 0.39384964]),
    ("gru", 3, GATED, {"reset_after": False}, [0.51447755, 0.6426879, 0.40208298]),
])  # fmt: skip
def test_numbers_of_keras_own_tests(cell, H, x, options, expected):
    rnn = bptt.convert.from_keras_weights(constant(cell, 4, H, **options), cell)
    _, last = rnn.forward(x)
    np.testing.assert_allclose(parts(last)[0][0], np.repeat(np.array(expected)[:, None], H, 1), rtol=2e-6)


@pytest.mark.parametrize("cell", G)
@pytest.mark.parametrize("options", [
    {}, {"num_layers": 3}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True, "dtype": np.float64},
    {"bias": False}, {"bias": False, "bidirectional": True},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("output_size", [None, 2])
def test_there_and_back(cell, options, output_size):
    weights = drawn(cell, 3, 5, **options)
    sides = 1 + options.get("bidirectional", False)
    readout = None
    if output_size:
        readout = [np.ones((5 * sides, 2), options.get("dtype", np.float32)) * 0.5]
        readout += [readout[0][0]] * options.get("bias", True)
    rnn = bptt.convert.from_keras_weights(weights, cell, readout=readout, threads=1)
    assert (rnn.num_layers, rnn.bidirectional, rnn.bias, rnn.batch_first, rnn.output_size, rnn.threads) == (
        options.get("num_layers", 1), sides == 2, options.get("bias", True), True, output_size, 1)  # fmt: skip
    layers, dense = bptt.convert.to_keras_weights(rnn)
    for mine, theirs in zip(layers, weights, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
    assert (dense is None) == (readout is None)
    for a, b in zip(dense or [], readout or [], strict=True):
        np.testing.assert_array_equal(a, b)
    again = bptt.convert.from_keras_weights(layers, cell, readout=dense)
    np.testing.assert_array_equal(again.params, rnn.params)


def test_an_embedding_in_front():
    weights, table = drawn("gru", 3, 5), np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    rnn = bptt.convert.from_keras_weights(weights, "gru", embedding=[table])
    assert rnn.num_embeddings == 9
    x = np.random.default_rng(1).integers(9, size=(2, 7))
    plain = bptt.convert.from_keras_weights(weights, "gru")
    np.testing.assert_array_equal(rnn.forward(x)[0], plain.forward(table[x])[0])
    embedding, layers, dense = bptt.convert.to_keras_weights(rnn)
    assert dense is None
    np.testing.assert_array_equal(embedding[0], table)
    again = bptt.convert.from_keras_weights(layers, "gru", embedding=embedding)
    np.testing.assert_array_equal(again.params, rnn.params)


def test_one_hot_has_the_weights_of_its_layers():
    rnn = bptt.convert.from_keras_weights(drawn("lstm", 9, 5), "lstm", one_hot=True)
    assert rnn.one_hot
    layers, dense = bptt.convert.to_keras_weights(rnn)
    again = bptt.convert.from_keras_weights(layers, "lstm", readout=dense, one_hot=True)
    assert again.spec == rnn.spec
    np.testing.assert_array_equal(again.params, rnn.params)


@pytest.mark.parametrize("options, error, text", [
    ({"embedding": np.ones((9, 3))}, TypeError, r"embedding must be the weights of an Embedding layer, \[table\]"),
    ({"embedding": []}, TypeError, "embedding must be the weights of an Embedding layer"),
    ({"embedding": [np.ones((9, 4), np.float32)]}, ValueError, r"table must have shape \(V, 3\), got \(9, 4\)"),
    ({"embedding": [np.ones((0, 3), np.float32)]}, ValueError, r"table must have shape \(V, 3\), got \(0, 3\)"),
    ({"embedding": [np.ones((9, 3))]}, TypeError, "weights must all be float32 or all float64"),
    ({"embedding": [np.ones((9, 3), np.float32)], "one_hot": True}, ValueError, "one_hot=True goes with"),
    ({"one_hot": 1}, TypeError, "one_hot must be True or False, got 1"),
], ids=str)  # fmt: skip
def test_embeddings_that_do_not_fit(options, error, text):
    with pytest.raises(error, match=text):
        bptt.convert.from_keras_weights(drawn("gru", 3, 5), "gru", **options)


def test_which_gru():
    def reset_after(bias, **options):
        weights = drawn("gru", 3, 5, bias=bias, reset_after=options.pop("drawn", True))
        return bptt.convert.from_keras_weights(weights, "gru", **options).reset_after

    assert reset_after(True)
    assert not reset_after(True, drawn=False)
    assert reset_after(False)
    assert not reset_after(False, reset_after=False)
    with pytest.raises(ValueError, match=r"reset_after must be True, as a bias of shape \(2, 15\) says, got False"):
        reset_after(True, reset_after=False)


@pytest.mark.parametrize("cell, options", [
    ("tanh", {}), ("lstm", {}), ("gru", {"reset_after": False}), ("gru", {"reset_after": True}),
], ids=str)  # fmt: skip
def test_two_biases_become_one(cell, options):
    rnn = bptt.RNN(3, 5, 2, cell=cell, seed=0, batch_first=True, **options)
    layers, dense = bptt.convert.to_keras_weights(rnn)
    again = bptt.convert.from_keras_weights(layers, cell, readout=dense)
    x = np.random.default_rng(0).normal(size=(2, 6, 3))
    np.testing.assert_allclose(again.forward(x)[0], rnn.forward(x)[0], rtol=1e-5, atol=1e-6)


def test_a_single_layer_as_get_weights_gives_it():
    weights = drawn("lstm", 3, 5)
    a = bptt.convert.from_keras_weights(weights[0], "lstm", batch_first=False)
    b = bptt.convert.from_keras_weights(weights, "lstm")
    np.testing.assert_array_equal(a.params, b.params)
    assert not a.batch_first


@pytest.mark.parametrize("weights, options, error, text", [
    (None, {}, TypeError, "weights must be a list of arrays, .* got None"),
    ([], {}, TypeError, r"weights must be a list of arrays, .* got \[\]"),
    ([np.ones((3, 5))], {}, ValueError, "2 arrays for each layer, .* got 1"),
    ([[np.ones((3, 5))] * 2, [np.ones((3, 5))] * 3], {}, ValueError, "got 2, 3"),
    ([np.ones(3), np.ones((5, 5))], {}, ValueError, r"a kernel must have 2 axes, got shape \(3,\)"),
    ([np.ones((3, 5)), np.ones(5)], {}, ValueError, r"a recurrent kernel must have 2 axes, got shape \(5,\)"),
    ([np.ones((3, 5)), np.ones((5, 5))], {"cell": "lstm"}, ValueError,
     r"weights of l0 must have the shapes \[\(3, 20\), \(5, 20\)\] for cell='lstm', got"),
    ([[np.ones((3, 5)), np.ones((5, 5))]] * 2, {}, ValueError, r"weights of l1 must have the shapes \[\(5, 5\)"),
    ([np.ones((3, 5)), np.ones((5, 5))], {"cell": "linear"}, ValueError, "cell must be one of tanh, .* got 'linear'"),
    ([np.ones((3, 5)), np.ones((5, 5))], {"reset_after": True}, ValueError, "reset_after goes with cell='gru'"),
    ([np.ones((3, 5)), np.ones((5, 5), "f4")], {}, TypeError, "float32 or all float64, got float32, float64"),
    ([np.ones((3, 5), int)] + [np.ones((5, 5), int)], {}, TypeError, "float32 or all float64, got int64"),
    ([np.ones((3, 5)), np.ones((5, 5))], {"readout": 3}, TypeError, "readout must be the weights of a Dense layer"),
    ([np.ones((3, 5)), np.ones((5, 5))], {"readout": [np.ones((4, 2))]}, ValueError, r"shape \(5, O\), got \(4, 2\)"),
    ([np.ones((3, 5)), np.ones((5, 5))], {"readout": [np.ones((5, 2)), np.ones(3)]}, ValueError, r"got \(3,\)"),
    ([np.ones((3, 5)), np.ones((5, 5))], {"batch_first": 1}, TypeError, "batch_first must be True or False"),
    ([np.ones((3, 15)), np.ones((5, 15)), np.ones((2, 15))], {"cell": "gru", "reset_after": 1}, TypeError,
     "reset_after must be True or False, got 1"),
    ([np.ma.masked_array(np.ones((3, 5))), np.ones((5, 5))], {}, TypeError, "weights must be arrays without a mask"),
    ([np.ones((3, 5)), np.ones((5, 5))], {"readout": [np.ma.masked_array(np.ones((5, 2)))]}, TypeError,
     "readout must be arrays without a mask"),
    ([np.ones((3, 5)), [[1.0], [1.0, 2.0]]], {}, ValueError, "weights must be arrays, got list: "),
])  # fmt: skip
def test_errors(weights, options, error, text):
    with pytest.raises(error, match=text):
        bptt.convert.from_keras_weights(weights, **{"cell": "tanh"} | options)


@pytest.mark.parametrize("options, text", [({"cell": "lstm", "peepholes": True}, "peepholes"),
                                           ({"learn_state": True}, "learn_state")])  # fmt: skip
def test_what_keras_does_not_have(options, text):
    with pytest.raises(ValueError, match=f"Keras has no counterpart of {text}=True"):
        bptt.convert.to_keras_weights(bptt.RNN(2, 3, **options))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Keras' own
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", ["tanh", "relu", "identity", "lstm", "gru", "gru reset before"])
def test_beside_keras(cell, bidirectional):
    keras = pytest.importorskip("keras")
    cell, before = cell.split()[0], "before" in cell
    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}.get(cell, keras.layers.SimpleRNN)
    options = {"reset_after": not before} if cell == "gru" else {}
    if kind is keras.layers.SimpleRNN:
        options["activation"] = "linear" if cell == "identity" else cell
    wrap = keras.layers.Bidirectional if bidirectional else lambda layer: layer
    layers = [wrap(kind(5, return_sequences=True, **options)) for _ in range(2)]
    model = keras.Sequential([keras.Input((6, 3)), *layers, keras.layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    rnn = bptt.convert.from_keras_weights([layer.get_weights() for layer in layers], cell,
                                      readout=model.layers[-1].get_weights())  # fmt: skip
    np.testing.assert_allclose(rnn.forward(x)[0], np.asarray(model(x)), rtol=1e-5, atol=1e-6)
