"""Networks from torch's modules and back, and bptt.torch beside torch.nn."""

import copy
import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

import bptt

torch = pytest.importorskip("torch")

KINDS = ("tanh", "relu", "lstm", "gru")
PLACES = {"lstm": "LSTM", "gru": "GRU", "tanh": "RNN", "relu": "RNN"}


def made(home, kind, *args, seed=0, **options):
    """A module of torch.nn or bptt.torch in float64, drawn from a seed."""
    torch.manual_seed(seed)
    if kind == "relu":
        options["nonlinearity"] = "relu"
    return getattr(home, PLACES[kind])(*args, **{"dtype": torch.float64} | options)


def pair(kind, *args, **options):
    return made(torch.nn, kind, *args, **options), made(bt, kind, *args, **options)


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def close(actual, expected, tolerance=1e-10):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# ---- from_torch, to_torch


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("readout", [None, True, False], ids=["no readout", "readout", "readout without bias"])
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 3, "bidirectional": True, "batch_first": True, "dropout": 0.25}, {"bias": False},
     {"dtype": torch.float32}],
    ids=str,
)  # fmt: skip
def test_from_torch_and_back(kind, readout, options):
    module = made(torch.nn, kind, 3, 5, **options).eval()
    linear = None
    if readout is not None:
        linear = torch.nn.Linear(10 if module.bidirectional else 5, 2, bias=readout, dtype=module.weight_ih_l0.dtype)
    rnn = bptt.RNN.from_torch(module, linear)
    x = torch.randn(4, 6, 3, dtype=module.weight_ih_l0.dtype)
    expected, state = module(x)
    y, last = rnn.forward(x.numpy(), tape=False)
    tolerance = 1e-12 if rnn.dtype == np.float64 else 1e-6
    close(torch.from_numpy(y), expected if linear is None else linear(expected), tolerance)
    for ours, theirs in zip(parts(last), parts(state), strict=True):
        close(torch.from_numpy(ours), theirs, tolerance)

    generator = torch.get_rng_state()
    again, back = rnn.to_torch()
    assert torch.equal(generator, torch.get_rng_state())
    assert type(again) is type(module)
    assert str(again.eval()) == str(module) or rnn.bias != module.bias
    for name, value in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert (back is None) == (linear is None)
    if linear is not None:
        assert torch.equal(back.weight, linear.weight)
    np.testing.assert_array_equal(bptt.RNN.from_torch(again, back).params, rnn.params)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_from_torch_cells(kind, bias):
    options = {"nonlinearity": kind} if kind in ("tanh", "relu") else {}
    cell = getattr(torch.nn, PLACES[kind] + "Cell")(3, 5, bias=bias, dtype=torch.float64, **options)
    rnn = bptt.RNN.from_torch(cell, threads=1)
    assert (rnn.cell, rnn.bias, rnn.dtype.name, rnn.threads) == (kind, bias, "float64", 1)
    x, state = torch.randn(4, 2, 3, dtype=torch.float64), None
    y, _ = rnn.forward(x.numpy())
    for t in range(4):
        state = cell(x[t], state)
        close(torch.from_numpy(y[t]), parts(state)[0], 1e-12)


def test_from_torch_copies():
    module = torch.nn.GRU(2, 3)
    rnn = bptt.RNN.from_torch(module)
    rnn.params += 1
    assert not np.allclose(rnn.param_views()["bias_ih_l0"], module.bias_ih_l0.detach())


@pytest.mark.parametrize("module, readout, error, text", [
    (torch.nn.Linear(2, 3), None, TypeError, "module must be a torch.nn.RNN, LSTM, GRU, .* got Linear"),
    ("lstm", None, TypeError, "module must be .* got str"),
    (torch.nn.LSTM(2, 3, proj_size=1), None, ValueError, "module must have proj_size 0, .* got 1"),
    (torch.nn.GRU(2, 3, dtype=torch.float16), None, TypeError, "all torch.float64, got torch.float16"),
    (torch.nn.GRU(2, 3), torch.nn.ReLU(), TypeError, "readout must be a torch.nn.Linear, got ReLU"),
    (torch.nn.GRU(2, 3, bidirectional=True), torch.nn.Linear(3, 1), ValueError, "in_features = 6, .* got 3"),
    (torch.nn.GRU(2, 3), torch.nn.Linear(3, 1).double(), TypeError, "float64, got torch.float.., torch.float"),
], ids=str)  # fmt: skip
def test_from_torch_errors(module, readout, error, text):
    with pytest.raises(error, match=text):
        bptt.RNN.from_torch(module, readout)


@pytest.mark.parametrize("options, text", [
    ({"cell": "sigmoid"}, "cell='sigmoid'"),
    ({"cell": "identity"}, "cell='identity'"),
    ({"cell": "gru", "reset_after": False}, "reset_after=False"),
    ({"cell": "lstm", "peepholes": True}, "peepholes=True"),
    ({"learn_state": True}, "learn_state=True"),
    ({"recurrent_dropout": 0.5}, "recurrent_dropout=0.5"),
    ({"cell": "sigmoid", "learn_state": True}, "cell='sigmoid' and learn_state=True"),
], ids=str)  # fmt: skip
def test_to_torch_errors(options, text):
    with pytest.raises(ValueError, match=f"torch.nn has no counterpart of {text}"):
        bptt.RNN(2, 3, **options).to_torch()
