"""Bad input: an exception that names the argument, what was expected and what came; and nothing is half done."""

import copy
import functools
import re

import numpy as np
import pytest

import bptt

T, B, I, H, O = 5, 3, 2, 4, 2
F32 = np.float32
x = np.ones((T, B, I), F32)
y = np.ones((T, B, O), F32)
state = np.ones((1, B, H), F32)
labels = np.zeros((T, B), int)
endless = []
endless.append(endless)


def make(**options):
    return bptt.RNN(I, H, O, seed=0, **options)


def gated():
    return make(cell="lstm")


def wide():
    return bptt.RNN(7, H, seed=0)


class Stateless:
    """An optimiser without state_dict()."""

    def step(self):
        raise AssertionError("not reached")


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(n):
    return np.frombuffer(bytearray(4 * n + 1), F32, n, 1) if n else None


def after_forward(call):
    def run(rnn):
        rnn.forward(x)
        return call(rnn)

    return run


def of_batch_first(dy):
    rnn = make(batch_first=True)
    rnn.forward(x.swapaxes(0, 1))
    rnn.backward(dy)


def after_step(call):
    def run(rnn):
        learner = bptt.RTRL(rnn, B)
        learner(x[0])
        return call(learner)

    return run


def windows(rnn, x=x, target=y, loss="mse", **options):
    return list(rnn.windows(x, target, loss, **options))


def to_c(rnn, name="model", **options):
    return bptt.convert.to_c(rnn, "none/none", name, **options)


def with_weight(rnn, value):
    """A copy whose W_hh holds this number."""
    rnn = copy.deepcopy(rnn)
    rnn.param_views()["weight_hh_l0"][0, 1] = value
    return rnn


def sharded(rnn, x=x, target=y, **options):
    group = bptt.Shards(None, 2)
    group.start(rnn)
    return list(group.windows(rnn, x, target, **options))


# (what is done to a network, exception, words that the message must hold)
CASES = {
    # the constructor
    "hidden size zero": (lambda r: bptt.RNN(I, 0), ValueError, ["hidden_size", "at least 1", "0"]),
    "input size negative": (lambda r: bptt.RNN(-3, H), ValueError, ["input_size", "at least 1", "-3"]),
    "output size zero": (lambda r: bptt.RNN(I, H, 0), ValueError, ["output_size", "at least 1", "0"]),
    "size True": (lambda r: bptt.RNN(I, True), TypeError, ["hidden_size", "integer", "True"]),
    "size not an integer": (lambda r: bptt.RNN(I, 4.5), TypeError, ["hidden_size", "integer", "4.5"]),
    "size is text": (lambda r: bptt.RNN("2", H), TypeError, ["input_size", "integer", "'2'"]),
    "sizes overflow": (lambda r: bptt.RNN(I, 2**40), MemoryError, ["sizes", "memory", "hidden_size=1099511627776"]),
    "size beyond int64": (lambda r: bptt.RNN(2**70, H), ValueError, ["input_size", "below 2**63", str(2**70)]),
    "unknown cell": (lambda r: make(cell="gelu"), ValueError, ["cell", "tanh, relu, sigmoid, identity", "'gelu'"]),
    "cell is a number": (lambda r: make(cell=1), ValueError, ["cell", "tanh", "1"]),
    "unknown dtype": (lambda r: make(dtype="float16"), TypeError, ["dtype", "float32 or float64", "'float16'"]),
    "foreign byte order": (lambda r: make(dtype=">f4"), TypeError, ["dtype", "float32", "'>f4'"]),
    "dtype None": (lambda r: make(dtype=None), TypeError, ["dtype", "float32 or float64", "None"]),
    "no dtype": (lambda r: make(dtype="nonsense"), TypeError, ["dtype", "float32", "'nonsense'"]),
    "dtype that NumPy cannot parse": (lambda r: make(dtype="3,,d"), TypeError, ["dtype", "float32", "'3,,d'"]),
    "unknown init": (lambda r: make(init="he"), ValueError, ["init", "uniform", "'he'"]),
    "init of the wrong shape": (lambda r: make(init=lambda n, s, g: np.ones(99)), ValueError, ["init", "shape", "(99,)"]),
    "bias not a bool": (lambda r: make(bias="no"), TypeError, ["bias", "True or False", "'no'"]),
    "threads zero": (lambda r: make(threads=0), ValueError, ["threads", "at least 1", "0"]),
    "no layers": (lambda r: make(num_layers=0), ValueError, ["num_layers", "at least 1", "0"]),
    "layers not an integer": (lambda r: make(num_layers=1.5), TypeError, ["num_layers", "integer", "1.5"]),
    "too many layers": (lambda r: make(num_layers=10_001), ValueError, ["num_layers", "at most 10000", "10001"]),
    "layers beyond int64": (lambda r: make(num_layers=2**40), ValueError, ["num_layers", "at most 10000", str(2**40)]),
    "bidirectional not a bool": (lambda r: make(bidirectional=1), TypeError, ["bidirectional", "True or False", "1"]),
    "reset_after not a bool": (lambda r: make(cell="gru", reset_after="no"), TypeError, ["reset_after", "True or False", "'no'"]),
    "reset_after without a GRU": (lambda r: make(reset_after=False), ValueError, ["reset_after=False", "cell='gru'", "'tanh'"]),
    "peepholes not a bool": (lambda r: make(cell="lstm", peepholes=1), TypeError, ["peepholes", "True or False", "1"]),
    "peepholes without an LSTM": (lambda r: make(cell="gru", peepholes=True), ValueError, ["peepholes=True", "cell='lstm'", "'gru'"]),
    "dropout of all": (lambda r: make(dropout=1), ValueError, ["dropout", "[0, 1)", "got 1"]),
    "dropout negative": (lambda r: make(dropout=-0.1), ValueError, ["dropout", "[0, 1)", "-0.1"]),
    "dropout NaN": (lambda r: make(dropout=np.nan), ValueError, ["dropout", "[0, 1)", "nan"]),
    "dropout text": (lambda r: make(dropout="half"), TypeError, ["dropout", "number", "'half'"]),
    "recurrent dropout of all": (lambda r: make(recurrent_dropout=1.0), ValueError, ["recurrent_dropout", "[0, 1)", "got 1"]),
    "recurrent dropout text": (lambda r: make(recurrent_dropout="a"), TypeError, ["recurrent_dropout", "number", "'a'"]),
    "leak zero": (lambda r: make(leak=0), ValueError, ["leak", "(0, 1]", "got 0"]),
    "leak above one": (lambda r: make(leak=1.5), ValueError, ["leak", "(0, 1]", "1.5"]),
    "leak NaN": (lambda r: make(leak=np.nan), ValueError, ["leak", "finite", "nan"]),
    "leak text": (lambda r: make(leak="0.1"), TypeError, ["leak", "number", "'0.1'"]),
    "leak per unit": (lambda r: make(leak=np.full(H, 0.5)), TypeError, ["leak", "number", "array"]),
    "leak that is zero in the dtype": (lambda r: make(leak=1e-60), ValueError, ["leak", "range of float32", "1e-60"]),
    "leak of gates": (lambda r: make(cell="lstm", leak=0.5), ValueError, ["leak=0.5", "tanh, relu", "cell='lstm'"]),
    "trained leak of gates": (lambda r: make(cell="gru", leak=1, learn_leak=True), ValueError,
                              ["learn_leak=True", "tanh, relu", "cell='gru'"]),
    "trained leak from one": (lambda r: make(learn_leak=True), ValueError, ["learn_leak=True", "leak below 1", "leak=1.0"]),
    "learn_leak not a bool": (lambda r: make(leak=0.5, learn_leak=1), TypeError, ["learn_leak", "True or False", "1"]),
    "noise negative": (lambda r: make(noise=-0.1), ValueError, ["noise", "at least 0", "-0.1"]),
    "noise infinite": (lambda r: make(noise=np.inf), ValueError, ["noise", "finite", "inf"]),
    "noise text": (lambda r: make(noise="0.1"), TypeError, ["noise", "number", "'0.1'"]),
    "noise beyond the dtype": (lambda r: make(noise=1e39), ValueError, ["noise", "range of float32", "1e+39"]),
    "noise that is zero in the dtype": (lambda r: make(noise=1e-60), ValueError, ["noise", "range of float32", "1e-60"]),
    "learn_state not a bool": (lambda r: make(learn_state=None), TypeError, ["learn_state", "True or False", "None"]),
    "forget bias without an LSTM": (lambda r: make(cell="gru", forget_bias=1), ValueError, ["forget_bias", "cell='lstm'", "1.0", "'gru'"]),
    "forget bias without biases": (lambda r: make(cell="lstm", bias=False, forget_bias=1), ValueError,
                                   ["forget_bias", "bias=True", "bias=False"]),
    "forget bias infinite": (lambda r: make(cell="lstm", forget_bias=np.inf), ValueError, ["forget_bias", "finite", "inf"]),
    "forget bias text": (lambda r: make(cell="lstm", forget_bias="1"), TypeError, ["forget_bias", "number", "'1'"]),
    "identity of gates": (lambda r: make(cell="lstm", init="identity"), ValueError, ["identity", "one recurrent matrix", "holds 4"]),
    "signs of no share": (lambda r: bptt.init.dale_signs(H, 1.0), ValueError, ["excitatory", "(0, 1)", "1.0"]),
    "signs of one unit": (lambda r: bptt.init.dale_signs(1), ValueError, ["hidden_size", "at least 2", "1"]),
    "dale without a radius": (lambda r: bptt.init.dale(0.8, 0), ValueError, ["spectral_radius", "above 0", "0"]),
    "dale of gates": (lambda r: make(cell="gru", init=bptt.init.dale()), ValueError, ["dale", "one recurrent matrix", "(12, 4)"]),
    # constraints
    "constraints of no network": (lambda r: bptt.Constraints(r.params), TypeError, ["rnn", "bptt.RNN", "ndarray"]),
    "masks not by name": (lambda r: bptt.Constraints(r, np.ones((H, H))), TypeError, ["masks", "mapping", "array"]),
    "mask of another name": (lambda r: bptt.Constraints(r, {"weight_hh": 1}), ValueError, ["masks", "'weight_hh_l0'", "'weight_hh'"]),
    "mask of another shape": (lambda r: bptt.Constraints(r, {"weight_hh_l0": np.ones(H)}), ValueError,
                              ["masks['weight_hh_l0']", "(4, 4)", "(4,)"]),
    "mask of other numbers": (lambda r: bptt.Constraints(r, {"weight_hh_l0": np.full((H, H), 0.5)}), ValueError,
                              ["masks['weight_hh_l0']", "0 and 1", "0.5"]),
    "mask of text": (lambda r: bptt.Constraints(r, {"weight_hh_l0": "all"}), TypeError, ["masks['weight_hh_l0']", "0 and 1", "'all'"]),
    "mask with NaN": (lambda r: bptt.Constraints(r, {"bias_o": [1, np.nan]}), ValueError, ["masks['bias_o']", "0 and 1", "nan"]),
    "signs for each row": (lambda r: bptt.Constraints(r, signs={"weight_ho": np.ones(O)}), ValueError,
                           ["signs['weight_ho']", "(2, 4) or (4,)", "(2,)"]),
    "signs of other numbers": (lambda r: bptt.Constraints(r, signs={"weight_hh_l0": [1, 1, 2, -1]}), ValueError,
                               ["signs['weight_hh_l0']", "-1, 0 and 1", "2"]),
    "max_norm zero": (lambda r: bptt.Constraints(r, max_norm=0), ValueError, ["max_norm['weight_ih_l0']", "above 0", "0"]),
    "max_norm of a vector": (lambda r: bptt.Constraints(r, max_norm={"bias_o": 1.0}), ValueError, ["max_norm", "'weight_ho'", "'bias_o'"]),
    "max_norm zero in the dtype": (lambda r: bptt.Constraints(r, max_norm=1e-60), ValueError, ["max_norm", "float32", "1e-60"]),
    "optimiser of another network": (lambda r: bptt.Constraints(r).apply(bptt.Adam(wide().params, wide().grads)), ValueError,
                                     ["optimizer", "this network's params"]),
    "optimiser of a part": (lambda r: bptt.Constraints(r).apply(bptt.Adam(r.params[:4], r.grads[:4])), ValueError,
                            ["optimizer", "all of this network's params"]),
    "optimiser of another library": (lambda r: bptt.Constraints(r).apply(Stateless()), TypeError, ["optimizer", "bptt", "Stateless"]),
    "fit with masks": (lambda r: bptt.fit(r, x, y, constraints={}, progress=False), TypeError, ["constraints", "bptt.Constraints", "{}"]),
    "fit with constraints of another network": (lambda r: bptt.fit(r, x, y, constraints=bptt.Constraints(make()), progress=False),
                                                ValueError, ["constraints", "this network"]),
    "dropout state a number": (lambda r: setattr(r, "dropout_state", 5), TypeError, ["dropout_state", "(seed, draws)", "5"]),
    "dropout state negative": (lambda r: setattr(r, "dropout_state", (1, -1)), ValueError, ["dropout_state[1]", "2**64", "-1"]),
    "dropout state of floats": (lambda r: setattr(r, "dropout_state", (1.5, 0)), TypeError, ["dropout_state[0]", "integer", "1.5"]),
    # to_c, in a folder that is not there
    "to_c of no network": (lambda r: to_c(r.params), TypeError, ["rnn", "bptt.RNN", "ndarray"]),
    "to_c of two directions": (lambda r: to_c(make(bidirectional=True)), ValueError, ["bidirectional=False", "bidirectional=True", "reverse"]),
    "to_c of NaN": (lambda r: to_c(with_weight(r, np.nan)), ValueError, ["finite in float32", "nan", "weight_hh_l0", "[0, 1]"]),
    "to_c beyond float32": (lambda r: to_c(with_weight(make(dtype="float64"), 1e39)), ValueError, ["finite in float32", "1e+39", "weight_hh_l0"]),
    "to_c into a number": (lambda r: bptt.convert.to_c(r, 3), TypeError, ["directory", "path-like", "3"]),
    "to_c into no folder": (lambda r: to_c(r), FileNotFoundError, ["none", "model.h"]),
    "to_c with a number as name": (lambda r: to_c(r, 3), TypeError, ["name", "str", "3"]),
    "to_c with a name of two words": (lambda r: to_c(r, "my model"), ValueError, ["name", "identifier", "'my model'"]),
    "to_c with a name that begins with a digit": (lambda r: to_c(r, "3d"), ValueError, ["name", "identifier", "'3d'"]),
    "to_c with an empty name": (lambda r: to_c(r, ""), ValueError, ["name", "identifier", "''"]),
    "to_c with a reserved name": (lambda r: to_c(r, "a__b"), ValueError, ["name", "single underscores", "'a__b'"]),
    "to_c with a name that ends a line": (lambda r: to_c(r, "a\n"), ValueError, ["name", "identifier", "letters and digits"]),
    "to_c with letters beyond ASCII": (lambda r: to_c(r, "é"), ValueError, ["name", "identifier", "'é'"]),
    "to_c with a keyword": (lambda r: to_c(r, "float"), ValueError, ["name", "keyword", "'float'"]),
    "to_c with a standard header": (lambda r: to_c(r, "string"), ValueError, ["name", "standard library", "'string'"]),
    "to_c with unknown weights": (lambda r: to_c(r, weights="int4"), ValueError, ["weights", "float32, int8", "'int4'"]),
    "to_c with x of float weights": (lambda r: to_c(r, x=x), ValueError, ["x", "weights='int8'", "'float32'"]),
    "to_c with x of another width": (lambda r: to_c(r, weights="int8", x=y[..., :1]), ValueError, ["x", "I = 2", "(5, 3, 1)"]),
    "to_c with x of NaN": (lambda r: to_c(r, weights="int8", x=x * np.nan), ValueError, ["x", "finite", "NaN"]),
    # forward
    "x is text": (lambda r: r.forward("abc"), TypeError, ["x", "real numbers", "str"]),
    "x ragged": (lambda r: r.forward([[1.0, 2], [3]]), ValueError, ["x", "array", "list"]),
    "x a list that holds itself": (lambda r: r.forward(endless), (ValueError, TypeError), ["x", "real numbers", "list"]),
    "x complex": (lambda r: r.forward(x * 1j), TypeError, ["x", "real numbers", "complex"]),
    "x of objects": (lambda r: r.forward(np.full((T, B, I), None)), TypeError, ["x", "real numbers", "object"]),
    "x rank 1": (lambda r: r.forward(np.ones(I)), ValueError, ["x", "(T,B,I)", "(2,)"]),
    "x rank 4": (lambda r: r.forward(np.ones((1, T, B, I))), ValueError, ["x", "(T,B,I)", "4 dimensions"]),
    "x of another width": (lambda r: r.forward(np.ones((T, B, 9))), ValueError, ["x", "I = 2", "(5, 3, 9)"]),
    "x without steps": (lambda r: r.forward(np.ones((0, B, I))), ValueError, ["x", "no empty axis", "(0, 3, 2)"]),
    "x without rows": (lambda r: r.forward(np.ones((T, 0, I))), ValueError, ["x", "no empty axis", "(5, 0, 2)"]),
    "state of another batch": (lambda r: r.forward(x, state[:, :2]), ValueError, ["state", "(1, 3, 4)", "(1, 2, 4)"]),
    "state without its axis": (lambda r: r.forward(x, state[0]), ValueError, ["state", "(1, 3, 4)", "(3, 4)"]),
    "reset of another length": (lambda r: r.forward(x, reset=np.zeros((4, B), bool)), ValueError,
                                ["reset", "(5, 3)", "(4, 3)"]),
    "reset of floats": (lambda r: r.forward(x, reset=np.zeros((T, B))), TypeError, ["reset", "booleans", "float64"]),
    "lengths of another batch": (lambda r: r.forward(x, lengths=[1, 2]), ValueError, ["lengths", "(B,) = (3,)", "(2,)"]),
    "lengths a number": (lambda r: r.forward(x, lengths=3), ValueError, ["lengths", "(B,) = (3,)", "()"]),
    "lengths with a zero": (lambda r: r.forward(x, lengths=[5, 0, 3]), ValueError, ["lengths", "1..5", "0..5"]),
    "lengths beyond the steps": (lambda r: r.forward(x, lengths=[6, 2, 3]), ValueError, ["lengths", "1..5", "2..6"]),
    "lengths of floats": (lambda r: r.forward(x, lengths=[5.0, 2, 3]), TypeError, ["lengths", "integers", "list", "float64"]),
    "lengths of text": (lambda r: r.forward(x, lengths="abc"), TypeError, ["lengths", "integers", "str"]),
    "checkpoint zero": (lambda r: r.forward(x, checkpoint=0), ValueError, ["checkpoint", "at least 1", "0"]),
    "checkpoint not an integer": (lambda r: r.forward(x, checkpoint=2.5), TypeError, ["checkpoint", "integer", "2.5"]),
    "checkpoint of a word": (lambda r: r.forward(x, checkpoint="all"), ValueError, ["checkpoint", "'auto'", "'all'"]),
    "checkpoint True": (lambda r: r.forward(x, checkpoint=True), ValueError, ["checkpoint", "'auto'", "True"]),
    "checkpoint where nothing is kept": (lambda r: r.forward(x, checkpoint=-1, tape=False), ValueError, ["checkpoint", "at least 1", "-1"]),
    "checkpoint and a budget": (lambda r: r.forward(x, checkpoint=2, memory_budget=99), ValueError,
                                ["checkpoint", "memory_budget", "one of them", "2", "99"]),
    "budget zero": (lambda r: r.forward(x, memory_budget=0), ValueError, ["memory_budget", "at least 1", "0"]),
    "budget in words": (lambda r: r.forward(x, memory_budget="1 GB"), TypeError, ["memory_budget", "integer", "'1 GB'"]),
    "budget too small": (lambda r: r.forward(x, memory_budget=7), ValueError, ["memory_budget", "at least 288 bytes", "T = 5", "B = 3", "7"]),
    "state a pair without an LSTM": (lambda r: r.forward(x, (state, state)), TypeError, ["state", "an array", "pair (h, c)", "tuple of 2"]),
    "target what forward returns": (lambda r: bptt.mse(r.forward(x), y), ValueError, ["array", "tuple", "forward returns (y, state)"]),
    "x of classes": (lambda r: wide().forward(np.zeros((T, B), int)), ValueError, ["x", "I = 7", "(5, 3)", "bptt.RNN(7, ..., one_hot=True)"]),
    "x of classes of one row": (lambda r: wide().forward([0, 6, 3]), ValueError, ["x", "I = 7", "(3,)", "one_hot=True"]),
    "x of a class in a stream": (lambda r: wide().stream()(np.int64(3)), ValueError, ["x", "(1, 7)", "()", "one_hot=True"]),
    "x of classes in a stream": (lambda r: wide().stream(3)([0, 6, 3]), ValueError, ["x", "(3, 7)", "(3,)", "one_hot=True"]),
    "x of single numbers": (lambda r: bptt.RNN(1, H).forward(np.ones(T)), ValueError, ["x", "(5,)", "x[..., None]"]),
    "state of lists of another batch": (lambda r: r.forward(x, state[:, :2].tolist()), ValueError, ["state", "(1, 3, 4)", "(1, 2, 4)"]),
    "state ragged": (lambda r: r.forward(x, [[[1.0], [2, 3]]]), ValueError, ["state", "real numbers", "list"]),
    # backward
    "dy of one step": (lambda r: (r.forward(x), r.backward(y[-1])), ValueError, ["dy", "3 axes", str(y[-1].shape)]),
    "backward before forward": (lambda r: make().backward(y), RuntimeError, ["backward", "forward"]),
    "backward after a failed forward": (
        lambda r: (r.forward(x), pytest.raises(ValueError, r.forward, x, state[0]), r.backward(y[:2])), ValueError,
        ["dy", "(5, 3, 2)", "(2, 3, 2)"]),
    "dy of another length": (after_forward(lambda r: r.backward(y[:4])), ValueError, ["dy", "(5, 3, 2)", "(4, 3, 2)"]),
    "dy of another width": (after_forward(lambda r: r.backward(np.ones((T, B, 7)))), ValueError, ["dy", "O = 2", "(5, 3, 7)"]),
    "dy of another order": (
        lambda r: of_batch_first(y), ValueError, ["dy", "(B,T,O) = (3, 5, 2)", "(5, 3, 2)"]),
    "dy of another rank": (after_forward(lambda r: r.backward(y[:, 0])), ValueError, ["dy", "3 axes", "(5, 2)"]),
    "dstate of another batch": (after_forward(lambda r: r.backward(y, state[:, :1])), ValueError,
                                ["dstate", "(1, 3, 4)", "(1, 1, 4)"]),
    "carry of another length": (after_forward(lambda r: r.backward(y, carry=np.ones(4))), ValueError,
                                ["carry", "(5,)", "(4,)"]),
    "carry of another batch": (after_forward(lambda r: r.backward(y, carry=np.ones((T, 2)))), ValueError,
                               ["carry", "(5, 3)", "(5, 2)"]),
    "state_grad not a bool": (after_forward(lambda r: r.backward(y, state_grad=None)), TypeError,
                              ["state_grad", "True or False", "None"]),
    "step clip NaN": (after_forward(lambda r: r.backward(y, step_clip_norm=np.nan)), ValueError,
                      ["step_clip_norm", "above 0", "nan"]),
    "step clip negative": (after_forward(lambda r: r.backward(y, step_clip_value=-1)), ValueError,
                           ["step_clip_value", "above 0", "-1"]),
    "step clip zero in float32": (after_forward(lambda r: r.backward(y, step_clip_value=1e-60)), ValueError,
                                  ["step_clip_value", "range of float32", "1e-60"]),
    "step norms of another dtype": (after_forward(lambda r: r.backward(y, step_norms=np.empty(T))), TypeError,
                                    ["step_norms", "float32", "float64"]),
    "step norms of another length": (after_forward(lambda r: r.backward(y, step_norms=np.empty(4, F32))), ValueError,
                                     ["step_norms", "(5,)", "(4,)"]),
    "step norms read-only": (after_forward(lambda r: r.backward(y, step_norms=read_only(np.empty(T, F32)))), TypeError,
                             ["step_norms", "writable", "read-only"]),
    # parameters
    "params of another shape": (lambda r: setattr(r, "params", np.ones(3)), ValueError, ["params", "(42,)", "(3,)"]),
    "params of text": (lambda r: setattr(r, "grads", "abc"), TypeError, ["grads", "real numbers", "str"]),
    "state dict with a name missing": (
        lambda r: r.load_state_dict({k: v + 1 for k, v in r.state_dict().items() if k != "bias_o"}), ValueError,
        ["state", "missing ['bias_o']"]),
    "state dict with a name too many": (lambda r: r.load_state_dict({**r.state_dict(), "weight_hh_l1": 0}), ValueError,
                                        ["state", "unknown ['weight_hh_l1']"]),
    "state dict with a wrong shape": (
        lambda r: r.load_state_dict({**{k: v + 1 for k, v in r.state_dict().items()}, "weight_ho": np.ones((O, 9))}),
        ValueError, ["weight_ho", "(2, 4)", "(2, 9)"]),
    "state dict of text": (lambda r: r.load_state_dict({**r.state_dict(), "bias_o": ["a", "b"]}), TypeError,
                           ["state['bias_o']", "real numbers", "<U1"]),
    "state dict is a list": (lambda r: r.load_state_dict([1, 2]), TypeError, ["state", "mapping", "list"]),
    # clipping
    "clip norm NaN": (lambda r: r.clip_grad_norm(np.nan), ValueError, ["max_norm", "above 0", "nan"]),
    "clip norm zero": (lambda r: r.clip_grad_norm(0), ValueError, ["max_norm", "above 0", "0"]),
    "clip norm text": (lambda r: r.clip_grad_norm("1"), TypeError, ["max_norm", "number", "'1'"]),
    "clip value negative": (lambda r: r.clip_grad_value(-2), ValueError, ["limit", "above 0", "-2"]),
    "clip value NaN": (lambda r: bptt.clip_grad_value(np.ones(3), np.nan), ValueError, ["limit", "above 0", "nan"]),
    "clip integers": (lambda r: bptt.clip_grad_norm(np.ones(3, int), 1), TypeError, ["array", "float32 or float64", "int64"]),
    "clip a list of numbers": (lambda r: bptt.clip_grad_norm([3.0, 4.0], 1), TypeError, ["array[0]", "float32 or float64", "got float"]),
    "clip a number": (lambda r: bptt.clip_grad_norm(3.0, 1), TypeError, ["array", "float32 or float64", "float"]),
    "clip a dict of views": (lambda r: bptt.clip_grad_norm(r.grad_views(), 1), TypeError, ["array[0]", "float32 or float64", "str"]),
    "clip integers in a list": (lambda r: bptt.clip_grad_value([r, np.ones(3, int)], 1), TypeError,
                                ["array[1]", "float32 or float64", "int64"]),
    "clip read-only in a list": (lambda r: bptt.clip_grad_norm([r.grads, read_only(np.ones(3))], 1), TypeError,
                                 ["array[1]", "writable", "read-only"]),
    "clip a network twice": (lambda r: bptt.clip_grad_norm([r, r], 1), ValueError, ["array[1]", "memory of its own", "array[0]"]),
    "clip a network and its view": (lambda r: bptt.clip_grad_value((r.grads[3:5], np.ones(2), r), 1), ValueError,
                                    ["array[", "memory of its own", "overlaps"]),
    "clip jointly by nothing": (lambda r: bptt.clip_grad_norm([r, np.ones(3)], 0), ValueError, ["max_norm", "above 0", "0"]),
    "clip jointly below float32": (lambda r: bptt.clip_grad_value([np.ones(3), r], 1e-60), ValueError, ["limit", "above 0 in float32", "1e-60"]),
    "clip read-only": (lambda r: bptt.clip_grad_norm(read_only(np.ones(3)), 1), TypeError, ["array", "writable", "read-only"]),
    "clip strided": (lambda r: bptt.clip_grad_norm(np.ones(6)[::2], 1), TypeError, ["array", "contiguous", "non-contiguous"]),
    "clip foreign byte order": (lambda r: bptt.clip_grad_norm(np.ones(3, ">f8"), 1), TypeError, ["array", "float64", ">f8"]),
    "clip unaligned": (lambda r: bptt.clip_grad_norm(unaligned(3), 1), TypeError, ["array", "C-contiguous", "unaligned"]),
    # windows
    "k2 below k1": (lambda r: bptt.TBPTT(5, 4), ValueError, ["k2", "at least k1 = 5", "4"]),
    "k1 zero": (lambda r: bptt.TBPTT(0), ValueError, ["k1", "at least 1", "0"]),
    "k1 not an integer": (lambda r: bptt.TBPTT(2.5), TypeError, ["k1", "integer", "2.5"]),
    "target None": (lambda r: windows(r, target=None), TypeError, ["target", "real numbers", "NoneType"]),
    "target of another length": (lambda r: windows(r, target=y[:4]), ValueError, ["target", "(5, 3)", "(4, 3, 2)"]),
    "target of another width": (lambda r: windows(r, target=np.ones((T, B, 9))), ValueError, ["target", "(5, 3, 2)", "(5, 3, 9)"]),
    "x of windows of another width": (lambda r: windows(r, x=np.ones((T, B, 9))), ValueError, ["x", "I = 2", "(5, 3, 9)"]),
    "x of windows of text": (lambda r: windows(r, x=np.full((T, B, I), "a")), TypeError, ["x", "real numbers", "<U1"]),
    "unknown loss": (lambda r: windows(r, loss="hinge"), ValueError, ["loss", "mse", "'hinge'"]),
    "loss that returns no gradient": (lambda r: windows(r, loss=lambda y, t: 0.5), TypeError, ["loss", "(loss, dy)", "0.5"]),
    "loss that takes no mask": (lambda r: windows(r, loss=lambda y, t: bptt.mse(y, t), mask=labels == 0), TypeError,
                                ["loss must take mask=", "lengths or a mask are given", "cannot take a mask", "lambda"]),
    "loss that takes no mask for lengths": (lambda r: windows(r, loss=lambda y, t: bptt.mse(y, t), lengths=[5, 2, 3]), TypeError,
                                            ["loss must take mask=", "lengths or a mask are given", "cannot take a mask"]),
    "loss that takes no reduction": (lambda r: windows(r, loss=lambda y, t: bptt.mse(y, t), reduction="sum"), TypeError,
                                     ["loss must take reduction=", "'sum'", "lambda"]),
    "loss with a weight that does not fit": (
        lambda r: windows(r, target=labels, loss=functools.partial(bptt.cross_entropy, weight=[1, 2, 3])), ValueError,
        ["weight", "(C,) = (2,)", "(3,)"]),
    "loss with a wrong gradient": (lambda r: windows(r, loss=lambda y, t: (0.0, y[:1])), ValueError,
                                   ["loss", "(5, 3, 2)", "(1, 3, 2)"]),
    "unknown reduction": (lambda r: windows(r, reduction="max"), ValueError, ["reduction", "'mean' or 'sum'", "'max'"]),
    "truncation is a number": (lambda r: windows(r, truncation=5), TypeError, ["truncation", "TBPTT", "int"]),
    "windows state of another batch": (lambda r: windows(r, state=state[:, :2]), ValueError, ["state", "(1, 3, 4)", "(1, 2, 4)"]),
    "windows state of text": (lambda r: windows(r, state="abc"), TypeError, ["state", "real numbers", "str"]),
    "windows clip NaN": (lambda r: windows(r, step_clip_norm=np.nan), ValueError, ["step_clip_norm", "above 0", "nan"]),
    "windows mask of floats": (lambda r: windows(r, mask=np.ones((T, B))), TypeError, ["mask", "booleans", "float64"]),
    "burn-in negative": (lambda r: windows(r, burn_in=-1), ValueError, ["burn_in", "at least 0", "-1"]),
    "burn-in not an integer": (lambda r: windows(r, burn_in=1.5), TypeError, ["burn_in", "integer", "1.5"]),
    "burn-in of all steps": (lambda r: windows(r, burn_in=T), ValueError, ["burn_in", "below the 5 steps of x", "got 5"]),
    "windows lengths with truncation": (lambda r: windows(r, lengths=[1, 2, 3], truncation=bptt.TBPTT(2)), ValueError,
                                        ["lengths", "truncation=None", "TBPTT(k1=2, k2=2)"]),
    "windows lengths with a burn-in": (lambda r: windows(r, lengths=[1, 2, 3], burn_in=2), ValueError, ["lengths", "burn_in=0", "2"]),
    "windows lengths of another batch": (lambda r: windows(r, lengths=[1, 2]), ValueError, ["lengths", "(3,)", "(2,)"]),
    "windows lengths beyond the steps": (lambda r: windows(r, lengths=[1, 2, 9]), ValueError, ["lengths", "1..5", "1..9"]),
    "windows checkpoint of a word": (lambda r: r.windows(x, y, checkpoint="x"), ValueError, ["checkpoint", "'auto'", "'x'"]),
    "windows budget in words": (lambda r: r.windows(x, y, memory_budget="x"), TypeError, ["memory_budget", "integer", "'x'"]),
    "windows checkpoint and a budget": (lambda r: r.windows(x, y, checkpoint=2, memory_budget=9), ValueError, ["checkpoint and memory_budget", "one of them", "2 and 9"]),
    "windows budget too small": (lambda r: windows(r, memory_budget=7), ValueError, ["memory_budget", "at least 288 bytes", "7"]),
    "windows checkpoint with overlap": (lambda r: r.windows(x, y, truncation=bptt.TBPTT(1, 2), checkpoint=2), ValueError,
                                        ["checkpoint", "overlap", "TBPTT(k1=1, k2=2)"]),
    "ARTBP mean below one": (lambda r: bptt.ARTBP(0.5), ValueError, ["mean_length", "[1, ...]", "0.5"]),
    "ARTBP mean infinite": (lambda r: bptt.ARTBP(np.inf), ValueError, ["mean_length", "finite", "inf"]),
    "ARTBP mean of text": (lambda r: bptt.ARTBP("16"), TypeError, ["mean_length", "number", "'16'"]),
    "ARTBP a one": (lambda r: bptt.ARTBP(16, 1), ValueError, ["a must be", "above 1", "got 1"]),
    "ARTBP a negative": (lambda r: bptt.ARTBP(16, -np.inf), ValueError, ["a must be", "above 1", "-inf"]),
    "ARTBP a NaN": (lambda r: bptt.ARTBP(16, np.nan), ValueError, ["a must be", "above 1", "nan"]),
    "ARTBP a missing": (lambda r: bptt.ARTBP(16, None), TypeError, ["a must be", "a number", "None"]),
    "ARTBP seed negative": (lambda r: bptt.ARTBP(16, seed=-1), ValueError, ["seed", "int >= 0", "-1"]),
    "ARTBP seed of text": (lambda r: bptt.ARTBP(16, seed="x"), (TypeError, ValueError), ["seed", "int >= 0", "'x'"]),
    "ARTBP schedule of no steps": (lambda r: bptt.ARTBP(16).schedule(0), ValueError, ["steps", "at least 1", "0"]),
    "windows target of labels": (lambda r: windows(r, target=labels), ValueError,
                                 ["target", "(5, 3, 2)", "got (5, 3)", "loss='cross_entropy'"]),
    "fit target of labels": (lambda r: bptt.fit(r, x, labels.tolist(), progress=False), ValueError,
                             ["target", "(5, 3, 2)", "got (5, 3)", "loss='cross_entropy'"]),
    "windows x of classes": (lambda r: windows(wide(), np.zeros((T, B), int)), ValueError, ["x", "I = 7", "(5, 3)", "one_hot=True"]),
    "windows chunk of classes": (lambda r: windows(wide(), iter([np.zeros((T, B), int)]), truncation=bptt.TBPTT(2)), ValueError,
                                 ["chunk 0 of x", "I = 7", "(5, 3)", "one_hot=True"]),
    "fit x of class numbers": (lambda r: bptt.fit(wide(), labels, labels, loss="cross_entropy", progress=False), ValueError,
                               ["x", "I = 7", "(5, 3)", "one_hot=True"]),
    # losses
    "weight of another size": (lambda r: bptt.cross_entropy(y, labels, weight=[1, 2, 3]), ValueError, ["weight", "(C,) = (2,)", "(3,)"]),
    "weight a number": (lambda r: bptt.cross_entropy(y, labels, weight=2.0), ValueError, ["weight", "(C,) = (2,)", "()"]),
    "weight negative": (lambda r: bptt.cross_entropy(y, labels, weight=[1, -2]), ValueError,
                        ["weight", "at least 0", "float32", "got -2.0", "class 1"]),
    "weight NaN": (lambda r: bptt.cross_entropy(y, labels, weight=[np.nan, 1]), ValueError, ["weight", "finite", "nan", "class 0"]),
    "weight beyond float32": (lambda r: bptt.cross_entropy(y, labels, weight=[1, 1e99]), ValueError, ["weight", "float32", "inf", "class 1"]),
    "weight text": (lambda r: bptt.cross_entropy(y, labels, weight="balanced"), TypeError, ["weight", "real numbers", "str"]),
    "weight masked": (lambda r: bptt.cross_entropy(y, labels, weight=np.ma.ones(2)), TypeError, ["weight", "without a mask", "masked array"]),
    "smoothing above one": (lambda r: bptt.cross_entropy(y, labels, label_smoothing=1.5), ValueError, ["label_smoothing", "[0, 1]", "1.5"]),
    "smoothing NaN": (lambda r: bptt.cross_entropy(y, labels, label_smoothing=np.nan), ValueError, ["label_smoothing", "[0, 1]", "nan"]),
    "smoothing text": (lambda r: bptt.cross_entropy(y, labels, label_smoothing="0.1"), TypeError, ["label_smoothing", "number", "'0.1'"]),
    "delta zero": (lambda r: bptt.huber(y, y, delta=0), ValueError, ["delta", "above 0", "0"]),
    "delta negative": (lambda r: bptt.huber(y, y, delta=-1.0), ValueError, ["delta", "above 0", "-1"]),
    "delta below float32": (lambda r: bptt.huber(y, y, delta=1e-60), ValueError, ["delta", "above 0 in float32", "1e-60"]),
    "delta text": (lambda r: bptt.huber(y, y, delta="1"), TypeError, ["delta", "number", "'1'"]),
    "huber target of labels": (lambda r: bptt.huber(y, labels), ValueError, ["target", "(5, 3, 2)", "got (5, 3)", "cross_entropy"]),
    "loss target of labels": (lambda r: bptt.binary_cross_entropy(y, labels), ValueError,
                              ["target", "(5, 3, 2)", "got (5, 3)", "cross_entropy"]),
    "loss target of single numbers": (lambda r: bptt.mse(y[..., :1], y[..., 0]), ValueError, ["target", "(5, 3, 1)", "target[..., None]"]),
    "labels with an axis of one": (lambda r: bptt.cross_entropy(y, labels[..., None]), ValueError,
                                   ["labels", "(5, 3)", "(5, 3, 1)", "labels[..., 0]"]),
    "labels as one-hot floats": (lambda r: bptt.cross_entropy(y, y), TypeError, ["labels", "integers", "labels.argmax(-1)"]),
    "label too large": (lambda r: bptt.cross_entropy(y, labels + 2), ValueError, ["labels", "0..1", "2"]),
    "label negative": (lambda r: bptt.cross_entropy(y, labels - 1), ValueError, ["labels", "0..1", "-1"]),
    "label beyond int64": (lambda r: bptt.cross_entropy(y, labels.astype(np.uint64) + np.uint64(2**64 - 100)), ValueError,
                           ["labels", "int64", str(2**64 - 100)]),
    "labels of floats": (lambda r: bptt.cross_entropy(y, y[..., 0]), TypeError, ["labels", "integers", "float32"]),
    "labels of another shape": (lambda r: bptt.cross_entropy(y, labels[:4]), ValueError, ["labels", "(5, 3)", "(4, 3)"]),
    "labels as one-hot": (lambda r: bptt.cross_entropy(y, y.astype(int)), ValueError, ["labels", "(5, 3)", "(5, 3, 2)", "labels.argmax(-1)"]),
    "loss target of another shape": (lambda r: bptt.mse(y, y[:, :1]), ValueError, ["target", "(5, 3, 2)", "(5, 1, 2)"]),
    "loss of a vector": (lambda r: bptt.mse(np.ones(3), np.ones(3)), ValueError, ["y", "2 axes", "(3,)"]),
    "loss of nothing": (lambda r: bptt.mse(np.ones((0, 2)), np.ones((0, 2))), ValueError, ["y", "empty", "(0, 2)"]),
    "loss mask of another shape": (lambda r: bptt.mse(y, y, mask=np.ones((T, 1), bool)), ValueError,
                                   ["mask", "(5, 3)", "(5, 1)"]),
    "loss reduction": (lambda r: bptt.binary_cross_entropy(y, y, reduction="none"), ValueError, ["reduction", "'mean' or 'sum'", "'none'"]),
    "ignore_index text": (lambda r: bptt.cross_entropy(y, labels, ignore_index="a"), TypeError, ["ignore_index", "integer", "'a'"]),
    # optimisers
    "optimiser on two sizes": (lambda r: bptt.SGD(np.ones(3), np.ones(4)), ValueError, ["grads", "(3,)", "(4,)"]),
    "optimiser on two dtypes": (lambda r: bptt.SGD(np.ones(3), np.ones(3, F32)), TypeError, ["grads", "float64", "float32"]),
    "optimiser on read-only": (lambda r: bptt.SGD(read_only(np.ones(3)), np.ones(3)), TypeError, ["params", "writable", "read-only"]),
    "optimiser on nothing": (lambda r: bptt.Adam(np.ones(0), np.ones(0)), ValueError, ["params", "empty"]),
    "rate negative": (lambda r: bptt.Adam(r.params, r.grads, lr=-1), ValueError, ["lr", "[0, ...]", "-1"]),
    "rate NaN": (lambda r: bptt.RMSprop(r.params, r.grads, lr=np.nan), ValueError, ["lr", "finite", "nan"]),
    "beta one": (lambda r: bptt.Adam(r.params, r.grads, betas=(0.9, 1)), ValueError, ["betas[1]", "[0, 0.99", "got 1"]),
    "betas a number": (lambda r: bptt.Adam(r.params, r.grads, betas=0.9), TypeError, ["betas", "two numbers", "0.9"]),
    "nesterov without momentum": (lambda r: bptt.SGD(r.params, r.grads, nesterov=True), ValueError, ["nesterov", "momentum"]),
    "optimiser state of another size": (
        lambda r: bptt.Adagrad(r.params, r.grads).load_state_dict({"lr": 1, "square": np.ones(3)}), ValueError,
        ["state['square']", "(42,)", "(3,)"]),
    "optimiser state of another kind": (
        lambda r: bptt.Adagrad(r.params, r.grads).load_state_dict({"mean": 0}), ValueError, ["state", "square", "mean"]),
    # streams
    "stream batch zero": (lambda r: r.stream(batch=0), ValueError, ["batch", "at least 1", "0"]),
    "stream x of another batch": (lambda r: r.stream(batch=2)(x[0]), ValueError, ["x", "(2, 2)", "(3, 2)"]),
    "stream out of another dtype": (lambda r: r.stream(batch=3)(x[0], out=np.empty((B, O))), TypeError,
                                    ["out", "float32", "float64"]),
    "stream out of another shape": (lambda r: r.stream(batch=3)(x[0], out=np.empty((B, 9), F32)), ValueError,
                                    ["out", "(3, 2)", "(3, 9)"]),
    "stream out read-only": (lambda r: r.stream(batch=3)(x[0], out=read_only(y[0])), TypeError, ["out", "writable", "read-only"]),
    "RTRL of no network": (lambda r: bptt.RTRL("net"), TypeError, ["rnn", "bptt.RNN", "str"]),
    "SnAp1 of parameters": (lambda r: bptt.SnAp1(r.params), TypeError, ["rnn", "bptt.RNN", "ndarray"]),
    "RTRL batch zero": (lambda r: bptt.RTRL(r, 0), ValueError, ["batch", "at least 1", "0"]),
    "SnAp1 batch text": (lambda r: bptt.SnAp1(r, "3"), TypeError, ["batch", "integer", "'3'"]),
    "SnAp1 batch None": (lambda r: bptt.SnAp1(r, None), TypeError, ["batch", "integer", "None"]),
    "RTRL batch beyond memory": (lambda r: bptt.RTRL(r, 2**62), MemoryError, ["sizes", "memory", f"B={2**62}"]),
    "RTRL of two layers": (lambda r: bptt.RTRL(make(num_layers=2)), ValueError, ["RTRL", "num_layers=1", "num_layers=2"]),
    "SnAp1 both ways": (lambda r: bptt.SnAp1(make(bidirectional=True)), ValueError, ["SnAp1", "bidirectional=False", "bidirectional=True"]),
    "RTRL with dropout of the state": (lambda r: bptt.RTRL(make(recurrent_dropout=0.5)), ValueError,
                                       ["RTRL", "recurrent_dropout=0.0", "recurrent_dropout=0.5"]),
    "SnAp1 of a GRU with the reset before": (lambda r: bptt.SnAp1(make(cell="gru", reset_after=False)), ValueError,
                                             ["SnAp1", "reset_after=True", "reset_after=False", "all units", "RTRL"]),
    "learner x of another batch": (lambda r: bptt.RTRL(r, 2)(x[0]), ValueError, ["x", "(2, 2)", "(3, 2)"]),
    "learner x of another width": (lambda r: bptt.SnAp1(r)(np.ones(3)), ValueError, ["x", "(2,)", "(3,)"]),
    "learner x of text": (lambda r: bptt.SnAp1(r)("abc"), TypeError, ["x", "real numbers", "str"]),
    "learner out of another dtype": (lambda r: bptt.RTRL(r, B)(x[0], out=np.empty((B, O))), TypeError, ["out", "float32", "float64"]),
    "learner out of another shape": (lambda r: bptt.RTRL(r, B)(x[0], out=np.empty((B, 9), F32)), ValueError, ["out", "(3, 2)", "(3, 9)"]),
    "learner out read-only": (lambda r: bptt.RTRL(r, B)(x[0], out=read_only(y[0])), TypeError, ["out", "writable", "read-only"]),
    "learner dy of another shape": (after_step(lambda l: l.backward(y[0, :2])), ValueError, ["dy", "(B,O)", "(3, 2)", "(2, 2)"]),
    "learner dy without rows": (after_step(lambda l: l.backward(y[0, 0])), ValueError, ["dy", "(B,O)", "(2,)"]),
    "learner dy of text": (after_step(lambda l: l.backward("abc")), TypeError, ["dy", "real numbers", "str"]),
    "learner dy masked": (after_step(lambda l: l.backward(np.ma.masked_array(y[0]))), TypeError, ["dy", "without a mask", "masked array"]),
    "learner dy None": (after_step(lambda l: l.backward(None)), TypeError, ["dy", "real numbers", "NoneType"]),
    "learner without a step": (lambda r: bptt.SnAp1(r).backward(y[0, 0]), RuntimeError, ["backward", "a step before it"]),
    "learner rows": (after_step(lambda l: l.reset(rows=[3])), ValueError, ["rows", "0..2", "3..3"]),
    "learner state": (after_step(lambda l: setattr(l, "state", state[:, :2])), ValueError, ["state", "(1, 3, 4)", "(1, 2, 4)"]),
    "stream out strided": (lambda r: r.stream(batch=3)(x[0], out=np.empty((B, 4), F32)[:, ::2]), TypeError,
                           ["out", "C-contiguous", "non-contiguous"]),
    # shards
    "shards of a communicator's class": (lambda r: bptt.Shards(dict), TypeError, ["comm", "mpi4py", "Get_rank"]),
    "shards zero": (lambda r: bptt.Shards(None, 0), ValueError, ["shards", "at least 1", "0"]),
    "shards too many": (lambda r: bptt.Shards(None, 65537), ValueError, ["shards", "at most 65536", "65537"]),
    "shards of text": (lambda r: bptt.Shards(None, "8"), TypeError, ["shards", "integer", "'8'"]),
    "shards of a batch of none": (lambda r: bptt.Shards().rows(0), ValueError, ["batch", "at least 1", "got 0"]),
    "shards start of no network": (lambda r: bptt.Shards().start(r.params), TypeError, ["rnn", "bptt.RNN", "ndarray"]),
    "shards start with no optimiser": (lambda r: bptt.Shards().start(r, Stateless()), TypeError, ["optimizer", "state_dict", "Stateless"]),
    "shards start with an optimiser of another network": (
        lambda r: bptt.Shards().start(r, bptt.SGD(make().params, make().grads)), ValueError, ["optimizer", "this network"]),
    "shards start with data of objects": (lambda r: bptt.Shards().start(r, data=["a", None]), TypeError, ["data", "numbers", "<U1"]),
    "shards windows before start": (lambda r: bptt.Shards().windows(r, x, y), RuntimeError, ["before windows", "call start(rnn)"]),
    "shards windows of no network": (lambda r: bptt.Shards().windows(None, x, y), TypeError, ["rnn", "bptt.RNN", "NoneType"]),
    "shards windows with an unknown keyword": (lambda r: sharded(r, truncate=3), TypeError, ["windows()", "truncate", "truncation"]),
    "shards windows of another batch": (lambda r: sharded(r, target=y[:, :2]), ValueError, ["target", "(5, 3)", "(5, 2, 2)"]),
    "shards windows with lengths of another batch": (lambda r: sharded(r, lengths=[1, 2]), ValueError, ["lengths", "(3,)", "(2,)"]),
    "shards windows with another state": (lambda r: sharded(r, state=state[:, :2]), ValueError, ["state", "(1,B,H)", "(1, 2, 4)"]),
    "shards windows with a chunk of another batch": (
        lambda r: sharded(r, x=iter([x[:, :2], x]), target=y[:, :2], truncation=bptt.TBPTT(7)), ValueError, ["chunk 1 of x", "(T, 2)", "(5, 3, 2)"]),
    # fit
    "fit shards zero": (lambda r: bptt.fit(r, x, y, shards=0, progress=False), ValueError, ["shards", "at least 1", "0"]),
    "fit comm of text": (lambda r: bptt.fit(r, x, y, comm="world", progress=False), TypeError, ["comm", "mpi4py", "'world'"]),
    "fit batch size zero": (lambda r: bptt.fit(r, x, y, batch_size=0, progress=False), ValueError, ["batch_size", "at least 1", "got 0"]),
    "fit no epochs": (lambda r: bptt.fit(r, x, y, epochs=0, progress=False), ValueError, ["epochs", "at least 1", "got 0"]),
    "fit clip NaN": (lambda r: bptt.fit(r, x, y, clip_norm=np.nan, progress=False), ValueError, ["clip_norm", "above 0", "nan"]),
    "fit unknown optimiser": (lambda r: bptt.fit(r, x, y, optimizer="lion", progress=False), ValueError,
                              ["optimizer", "adam", "'lion'"]),
    "fit target None": (lambda r: bptt.fit(r, x, None, progress=False), TypeError, ["target", "real numbers", "NoneType"]),
    "fit x None": (lambda r: bptt.fit(r, None, y, progress=False), TypeError, ["x", "real numbers", "NoneType"]),
    "fit mask of another rank": (lambda r: bptt.fit(r, x, y, mask=np.ones((T, B, 1), bool), progress=False), ValueError,
                                 ["mask", "(5, 3)", "(5, 3, 1)"]),
    "flow target None": (lambda r: bptt.gradient_flow(r, x, None), TypeError, ["target", "real numbers", "NoneType"]),
    "option of the network assigned": (lambda r: setattr(r, "dropout", 0.5), AttributeError, ["'dropout'", "no setter"]),
    "fit target of another length": (lambda r: bptt.fit(r, x, y[:4], progress=False), ValueError, ["target", "(5, 3)", "(4, 3, 2)"]),
    "fit truncation is a number": (lambda r: bptt.fit(r, x, y, truncation=20, progress=False), TypeError, ["truncation", "TBPTT", "20"]),
    "fit burn-in of all steps": (lambda r: bptt.fit(r, x, y, burn_in=5, progress=False), ValueError,
                                 ["burn_in", "below the 5 steps of x", "got 5"]),
    "fit validation within the burn-in": (
        lambda r: bptt.fit(r, x, y, burn_in=3, validation=(x[:3], y[:3]), progress=False), ValueError,
        ["burn_in", "below the 3 steps of validation x", "got 3"]),
    "fit lengths with truncation": (lambda r: bptt.fit(r, x, y, lengths=[1, 2, 3], truncation=bptt.ARTBP(2), progress=False),
                                    ValueError, ["lengths", "truncation=None", "ARTBP(2.0, a=3.0)"]),
    "fit lengths with a burn-in": (lambda r: bptt.fit(r, x, y, lengths=[1, 2, 3], burn_in=1, progress=False), ValueError,
                                   ["lengths", "burn_in=0", "1"]),
    "fit lengths of another batch": (lambda r: bptt.fit(r, x, y, lengths=[1, 2], progress=False), ValueError, ["lengths", "(3,)", "(2,)"]),
    "fit lengths beyond the steps": (lambda r: bptt.fit(r, x, y, lengths=[1, 2, 9], progress=False), ValueError, ["lengths", "1..5", "1..9"]),
    "fit seed of text": (lambda r: bptt.fit(r, x, y, seed="x", progress=False), (TypeError, ValueError), ["seed", "int >= 0", "'x'"]),
    "fit a stream": (lambda r: bptt.fit(r, iter([x]), y, progress=False), TypeError, ["x", "array of real numbers", "iterator"]),
    "fit optimiser class": (lambda r: bptt.fit(r, x, y, optimizer=bptt.Adam, progress=False), ValueError, ["optimizer", "adam", "bptt._optim.Adam"]),
    "fit optimiser of another network": (
        lambda r: bptt.fit(r, x, y, optimizer=bptt.SGD(make().params, make().grads), progress=False), ValueError,
        ["optimizer", "this network"]),
    "fit validation of another width": (lambda r: bptt.fit(r, x, y, validation=(np.ones((T, B, 9)), y), progress=False),
                                        ValueError, ["validation x", "I = 2", "(5, 3, 9)"]),
    "fit loss in a list": (lambda r: bptt.fit(r, x, y, loss=["mse"], progress=False), ValueError, ["loss", "cross_entropy", "['mse']"]),
    "fit rate of a callable that is no number": (lambda r: bptt.fit(r, x, y, lr=lambda k: "a", progress=False), TypeError,
                                                 ["lr", "number", "'a'"]),
    "fit rate of a callable negative": (lambda r: bptt.fit(r, x, y, lr=lambda k: -0.5, progress=False), ValueError, ["lr", "0", "-0.5"]),
    "fit rate of text": (lambda r: bptt.fit(r, x, y, lr="fast", progress=False), TypeError, ["lr", "number", "'fast'"]),
    "fit schedule not called": (lambda r: bptt.fit(r, x, y, lr=bptt.schedule.step, progress=False), TypeError, ["lr", "call it", "step"]),
    "fit rate of an object": (
        lambda r: bptt.fit(r, x, y, optimizer=bptt.SGD(r.params, r.grads), lr=0.1, progress=False), ValueError,
        ["lr", "0.1", "SGD", "function"]),
    "fit accumulate zero": (lambda r: bptt.fit(r, x, y, accumulate=0, progress=False), ValueError, ["accumulate", "at least 1", "0"]),
    "fit accumulate a share": (lambda r: bptt.fit(r, x, y, accumulate=0.5, progress=False), TypeError, ["accumulate", "integer", "0.5"]),
    "fit patience zero": (lambda r: bptt.fit(r, x, y, patience=0, progress=False), ValueError, ["patience", "at least 1", "0"]),
    "fit patience text": (lambda r: bptt.fit(r, x, y, patience="long", progress=False), TypeError, ["patience", "integer", "'long'"]),
    "fit min_delta negative": (lambda r: bptt.fit(r, x, y, patience=2, min_delta=-1, progress=False), ValueError, ["min_delta", "0", "-1"]),
    "fit min_delta without patience": (lambda r: bptt.fit(r, x, y, min_delta=0.1, progress=False), ValueError,
                                       ["min_delta", "patience=None", "0.1"]),
    "fit min_delta NaN": (lambda r: bptt.fit(r, x, y, patience=2, min_delta=np.nan, progress=False), ValueError, ["min_delta", "finite", "nan"]),
    "fit metrics a number": (lambda r: bptt.fit(r, x, y, metrics=3, progress=False), TypeError, ["metrics", "function (y, target)", "3"]),
    "fit metrics of an unknown name": (lambda r: bptt.fit(r, x, y, metrics=["auc"], progress=False), ValueError,
                                       ["metrics[0]", "accuracy", "'auc'"]),
    "fit metrics twice": (lambda r: bptt.fit(r, x, y, metrics=["accuracy"] * 2, progress=False), ValueError, ["metrics", "dict", "accuracy"]),
    "fit metrics without a name": (lambda r: bptt.fit(r, x, y, metrics=lambda y, t: 0, progress=False), ValueError, ["metrics", "dict", "name"]),
    "fit validation batches without validation": (lambda r: bptt.fit(r, x, y, validation_batch_size=3, progress=False), ValueError,
                                                  ["validation_batch_size", "validation", "3"]),
    "fit validation batch of none": (
        lambda r: bptt.fit(r, x, y, validation=(x, y), validation_batch_size=0, progress=False), ValueError,
        ["validation_batch_size", "at least 1", "0"]),
    "fit resume a number": (lambda r: bptt.fit(r, x, y, resume=5, progress=False), TypeError, ["resume", "path-like", "5"]),
    "fit resume True": (lambda r: bptt.fit(r, x, y, resume=True, progress=False), TypeError, ["resume", "path-like", "True"]),
    "fit resume with a null": (lambda r: bptt.fit(r, x, y, resume="a\0b", progress=False), ValueError, ["resume", "without null characters", r"a\x00b"]),
    "fit resume in no folder": (lambda r: bptt.fit(r, x, y, resume="/nowhere/run", progress=False), OSError, ["No such file", "/nowhere/run"]),
    "fit resume of something else": (lambda r: bptt.fit(r, x, y, resume=__file__, progress=False), ValueError,
                                     ["resume", "training file", __file__, "not a whole safetensors file"]),
    "fit resume of an optimiser without a state": (
        lambda r: bptt.fit(r, x, y, resume="/nowhere/run", optimizer=Stateless(), progress=False), TypeError,
        ["optimizer", "state_dict()", "load_state_dict()", "Stateless"]),
    "fit save_every without a file": (lambda r: bptt.fit(r, x, y, save_every=3, progress=False), ValueError, ["save_every", "resume=None", "3"]),
    "fit save_every zero": (lambda r: bptt.fit(r, x, y, resume="/nowhere/run", save_every=0, progress=False), ValueError,
                            ["save_every", "at least 1", "0"]),
    "fit on_update no function": (lambda r: bptt.fit(r, x, y, on_update=5, progress=False), TypeError, ["on_update", "(update, history)", "5"]),
    "fit callback no function": (lambda r: bptt.fit(r, x, y, callback=5, progress=False), TypeError, ["callback", "(epoch, history)", "5"]),
    "save_training of no network": (lambda r: bptt.save_training("/nowhere/run", 5), TypeError, ["rnn", "bptt.RNN", "5"]),
    "save_training of no optimiser": (lambda r: bptt.save_training("/nowhere/run", r, 5), TypeError, ["optimizer", "state_dict()", "5"]),
    "save_training of an object": (lambda r: bptt.save_training("/nowhere/run", r, a=[{"b": object()}]), TypeError,
                                   ["more['a'][0]['b']", "numpy Generator", "object"]),
    "save_training in no folder": (lambda r: bptt.save_training("/nowhere/run", r), OSError, ["No such file", "/nowhere/run"]),
    "load_training of something else": (lambda r: bptt.load_training(__file__, r), ValueError, ["path", "training file", __file__]),
    "ARTBP state a number": (lambda r: setattr(bptt.ARTBP(4), "state", 5), TypeError, ["state", "(key, passes)", "5"]),
    "ARTBP state negative": (lambda r: setattr(bptt.ARTBP(4), "state", (1, -1)), ValueError, ["state[1]", "at least 0", "-1"]),
    "schedule total within the warm-up": (lambda r: bptt.schedule.cosine(1, 9, 9), ValueError, ["total", "warmup = 9", "9"]),
    "schedule peak negative": (lambda r: bptt.schedule.step(-1, 3), ValueError, ["peak", "[0, ...]", "-1"]),
    "cell in a list": (lambda r: make(cell=["tanh"]), ValueError, ["cell", "lstm", "['tanh']"]),
    "init in a list": (lambda r: make(init=["uniform"]), ValueError, ["init", "orthogonal", "['uniform']"]),
    "init of text": (lambda r: make(init=lambda n, s, g: "a"), TypeError, ["init", "real numbers", "str"]),
    "seed is text": (lambda r: bptt.RNN(I, H, seed="abc"), (TypeError, ValueError), ["seed", "int >= 0", "'abc'"]),
    "seed negative": (lambda r: bptt.RNN(I, H, seed=-1), ValueError, ["seed", "int >= 0", "-1"]),
    "tape is text": (lambda r: r.forward(x, tape="no"), TypeError, ["tape", "True or False", "'no'"]),
    "threshold beyond floats": (lambda r: r.clip_grad_norm(10**400), ValueError, ["max_norm", "range"]),
    "threshold below float32": (lambda r: r.clip_grad_norm(1e-60), ValueError, ["max_norm", "above 0 in float32", "1e-60"]),
    "windows ragged": (lambda r: windows(r, x=[[1.0], [2, 3]]), ValueError, ["x", "real numbers", "list"]),
    "optimiser state half wrong": (
        lambda r: bptt.Adam(r.params, r.grads).load_state_dict(
            {"lr": 1, "mean": np.ones(r.params.size), "square": np.full(r.params.size, "a"), "steps": 3}),
        TypeError, ["state['square']", "real numbers", "<U1"]),
    "optimiser steps negative": (
        lambda r: bptt.Adam(r.params, r.grads).load_state_dict(
            {"lr": 1, "mean": np.ones(r.params.size), "square": np.ones(r.params.size), "steps": -3}), ValueError, ["state['steps']", "at least 0", "-3"]),
    "fit validation": (lambda r: bptt.fit(r, x, y, validation=5, progress=False), TypeError, ["validation", "(x, target)", "int"]),
    # other formats
    "RTNeural of a vanilla cell": (lambda r: bptt.convert.to_rtneural(r, "none.json"), ValueError, ["RTNeural", "cell='tanh'"]),
    "RTNeural of no network": (lambda r: bptt.convert.to_rtneural(r.params, "none.json"), TypeError, ["rnn", "bptt.RNN", "ndarray"]),
    "RTNeural to a number": (lambda r: bptt.convert.to_rtneural(gated(), 5), TypeError, ["path", "path-like", "5"]),
    "RTNeural that skips twice": (lambda r: bptt.convert.to_rtneural(gated(), "none.json", in_skip=2), ValueError, ["in_skip", "0 or 1", "2"]),
    "RTNeural without a file": (lambda r: bptt.convert.from_rtneural("none.json"), FileNotFoundError, ["No such file", "none.json"]),
    "NAM of a vanilla cell": (lambda r: bptt.convert.to_nam(r, "none.nam"), ValueError, ["NAM", "cell='tanh'"]),
    "NAM at no rate": (lambda r: bptt.convert.to_nam(gated(), "none.nam", sample_rate=0), ValueError, ["sample_rate", "above 0", "0"]),
    "NAM without a file": (lambda r: bptt.convert.from_nam("none.nam"), FileNotFoundError, ["No such file", "none.nam"]),
    "NAM in half precision": (lambda r: bptt.convert.from_nam("none.nam", dtype="float16"), TypeError, ["dtype", "float32", "'float16'"]),
    # schedules
    "peak NaN": (lambda r: bptt.schedule.constant(np.nan), ValueError, ["peak", "a finite number in [0, ...]", "got nan"]),
    "peak of text": (lambda r: bptt.schedule.constant("1"), TypeError, ["peak", "a number", "got '1'"]),
    "warm-up negative": (lambda r: bptt.schedule.cosine(1, -1, 9), ValueError, ["warmup", "an integer of at least 0", "got -1"]),
    "warm-up of half an update": (lambda r: bptt.schedule.cosine(1, 0.5, 9), TypeError, ["warmup", "an integer", "got 0.5"]),
    "total zero": (lambda r: bptt.schedule.linear(1, 0, 0), ValueError, ["total", "an integer of at least 1", "got 0"]),
    "power zero": (lambda r: bptt.schedule.polynomial(1, 0, 9, power=0), ValueError, ["power", "above 0", "got 0"]),
    "gamma zero": (lambda r: bptt.schedule.exponential(1, 0), ValueError, ["gamma", "above 0", "got 0"]),
    "every zero updates": (lambda r: bptt.schedule.exponential(1, 0.9, every=0), ValueError, ["every", "an integer of at least 1", "got 0"]),
    "gamma negative in steps": (lambda r: bptt.schedule.step(1, 3, -0.1), ValueError, ["gamma", "a finite number in [0, ...]", "got -0.1"]),
    "no milestones": (lambda r: bptt.schedule.multistep(1, []), TypeError, ["milestones", "a sequence of at least one integer", "got []"]),
    "milestones descending": (lambda r: bptt.schedule.multistep(1, [5, 3]), ValueError, ["milestones", "ascending", "[5, 3]"]),
    "milestones of text": (lambda r: bptt.schedule.multistep(1, "53"), TypeError, ["milestones", "a sequence of at least one integer", "got '53'"]),
    "milestones of floats": (lambda r: bptt.schedule.multistep(1, [1.5]), TypeError, ["milestones[0]", "an integer", "got 1.5"]),
    "first zero": (lambda r: bptt.schedule.cosine_restarts(1, 0), ValueError, ["first", "an integer of at least 1", "got 0"]),
    "factor zero": (lambda r: bptt.schedule.cosine_restarts(1, 3, factor=0), ValueError, ["factor", "an integer of at least 1", "got 0"]),
    "pct_start above one": (lambda r: bptt.schedule.one_cycle(1, 9, pct_start=2), ValueError, ["pct_start", "a finite number in [0, 1]", "got 2"]),
    "div_factor zero": (lambda r: bptt.schedule.one_cycle(1, 9, div_factor=0), ValueError, ["div_factor", "above 0", "got 0"]),
    "three_phase not a bool": (lambda r: bptt.schedule.one_cycle(1, 9, three_phase=1), TypeError, ["three_phase", "True or False", "got 1"]),
    "one schedule in sequence": (
        lambda r: bptt.schedule.sequence([bptt.schedule.constant(1)], [3]), TypeError,
        ["schedules", "a list of at least two functions", "[constant(peak=1.0, warmup=0)]"]),
    "a number in a sequence": (
        lambda r: bptt.schedule.sequence([bptt.schedule.constant(1), 5], [3]), TypeError,
        ["schedules", "a list of at least two functions", "[constant(peak=1.0, warmup=0), 5]"]),
    "sequence of a number": (lambda r: bptt.schedule.sequence(5, [3]), TypeError, ["schedules", "a list of at least two functions", "got 5"]),
    # initial values
    "identity of text": (lambda r: bptt.init.identity("a"), TypeError, ["scale", "a number", "got 'a'"]),
    "identity infinite": (lambda r: bptt.init.identity(np.inf), ValueError, ["scale", "a finite number", "got inf"]),
    "signs of a share of a unit": (lambda r: bptt.init.dale_signs(4.5), TypeError, ["hidden_size", "an integer", "got 4.5"]),
    "dale of text": (lambda r: bptt.init.dale("x"), TypeError, ["excitatory", "a number", "got 'x'"]),
    "dale with radius NaN": (lambda r: bptt.init.dale(0.8, np.nan), ValueError, ["spectral_radius", "a finite number in [0, ...]", "got nan"]),
    "self_connections not a bool": (lambda r: bptt.init.dale(0.8, self_connections=1), TypeError, ["self_connections", "True or False", "got 1"]),
    "signs in words": (lambda r: bptt.init.dale_signs(H, "half"), TypeError, ["excitatory", "a number", "'half'"]),
    # gradient_flow
    "gradient_flow of parameters": (lambda r: bptt.gradient_flow(r.params, x, y), TypeError, ["rnn", "a bptt.RNN", "ndarray"]),
    "gradient_flow x of another width": (
        lambda r: bptt.gradient_flow(r, x[..., :1], y), ValueError,
        ["x must", "shape (T,B,I) or (T,I) with I = 2", "(5, 3, 1)"]),
    "gradient_flow target of another length": (
        lambda r: bptt.gradient_flow(r, x, y[:4]), ValueError,
        ["target", "the shape (5, 3) of x in its", "(4, 3, 2)"]),
    "gradient_flow anchors zero": (lambda r: bptt.gradient_flow(r, x, y, anchors=0), ValueError, ["anchors", "an integer of at least 1", "got 0"]),
    "gradient_flow anchors of a half": (lambda r: bptt.gradient_flow(r, x, y, anchors=1.5), TypeError, ["anchors", "an integer", "got 1.5"]),
    "gradient_flow distance zero": (
        lambda r: bptt.gradient_flow(r, x, y, max_distance=0), ValueError,
        ["max_distance", "an integer of at least 1", "got 0"]),
    "gradient_flow distance of text": (lambda r: bptt.gradient_flow(r, x, y, max_distance="far"), TypeError, ["max_distance", "an integer", "'far'"]),
    "gradient_flow unknown loss": (
        lambda r: bptt.gradient_flow(r, x, y, loss="hinge"), ValueError,
        ["loss", "one of mse, huber, cross_entropy,", "'hinge'"]),
    "gradient_flow state of another batch": (
        lambda r: bptt.gradient_flow(r, x, y, state=state[:, :2]), ValueError,
        ["state", "shape (1,B,H) = (1, 3, 4)", "(1, 2, 4)"]),
    "gradient_flow mask of another shape": (
        lambda r: bptt.gradient_flow(r, x, y, mask=np.ones((T, 1), bool)), ValueError,
        ["mask", "the shape (5, 3) of x in its", "(5, 1)"]),
    # files
    "save to a number": (lambda r: r.save(5), TypeError, ["path", "a str or path-like", "got 5"]),
    "save to a name with a null": (lambda r: r.save("a\0b"), ValueError, ["path", "without null characters", "'a\\x00b'"]),
    "load of something else": (lambda r: bptt.RNN.load(__file__), ValueError, ["path", "a model file", __file__]),
    "load of a number": (lambda r: bptt.RNN.load(5), TypeError, ["path", "a str or path-like", "got 5"]),
    "load_training of no network": (lambda r: bptt.load_training("/nowhere/run", 5), TypeError, ["rnn", "a bptt.RNN or a list of them", "got 5"]),
    "load_training of a number": (lambda r: bptt.load_training(5, r), TypeError, ["path", "a str or path-like", "got 5"]),
    # settings
    "threads of text": (lambda r: setattr(r, "threads", "all"), TypeError, ["threads", "an integer", "'all'"]),
    "threads negative": (lambda r: setattr(r, "threads", -1), ValueError, ["threads", "an integer of at least 1", "got -1"]),
    "batch_first not a bool": (lambda r: make(batch_first=1), TypeError, ["batch_first", "True or False", "got 1"]),
    # optimisers
    "eps negative": (lambda r: bptt.Adam(r.params, r.grads, eps=-1), ValueError, ["eps", "a finite number in [0, ...]", "got -1"]),
    "one beta": (lambda r: bptt.Adam(r.params, r.grads, betas=(0.9,)), TypeError, ["betas", "two numbers", "(0.9,)"]),
    "momentum infinite": (lambda r: bptt.SGD(r.params, r.grads, momentum=np.inf), ValueError, ["momentum", "a finite number in [0, ...]", "got inf"]),
    "weight decay of text": (lambda r: bptt.SGD(r.params, r.grads, weight_decay="a"), TypeError, ["weight_decay", "a number", "got 'a'"]),
    "alpha above one": (lambda r: bptt.RMSprop(r.params, r.grads, alpha=2), ValueError, ["alpha", "a finite number in [0, 1]", "got 2"]),
    "rate below float32": (lambda r: bptt.Adagrad(r.params, r.grads, lr=1e-60), ValueError, ["lr must", "0 or in [1.4e-45, 3.4e+38], the", "1e-60"]),
    "gradients that are the parameters": (
        lambda r: bptt.Adam(r.params, r.params), ValueError,
        ["grads", "memory of its own", "one that overlaps with params"]),
    "optimiser on a network": (lambda r: bptt.Adam(r, r.grads), TypeError, ["params", "a float32 or float64 array", "got RNN"]),
    "rate negative later": (
        lambda r: setattr(bptt.Adam(r.params, r.grads), "lr", -1), ValueError,
        ["lr must", "a finite number in [0, ...]", "got -1"]),
    "optimiser state a number": (
        lambda r: bptt.Adam(r.params, r.grads).load_state_dict(5), TypeError,
        ["state", "a mapping of names to arrays", "got int"]),
    "decoupled not a bool": (lambda r: bptt.Adam(r.params, r.grads, decoupled=1), TypeError, ["decoupled", "True or False", "got 1"]),
    "optimiser on a list": (lambda r: bptt.Adam(list(r.params), r.grads), TypeError, ["params", "a float32 or float64 array", "got list"]),
    "gradients in a list": (lambda r: bptt.Adam(r.params, list(r.grads)), TypeError, ["grads", "a C-contiguous float32 array as", "got list"]),
    "nesterov not a bool": (lambda r: bptt.SGD(r.params, r.grads, momentum=0.9, nesterov=1), TypeError, ["nesterov", "True or False", "got 1"]),
    "optimiser on every second parameter": (
        lambda r: bptt.Adam(r.params[::2], r.grads[::2]), TypeError,
        ["params", "a writable C-contiguous float32", "a non-contiguous float32 array of shape"]),
    # streams
    "stream batch of text": (lambda r: r.stream(batch="3"), TypeError, ["batch", "an integer", "got '3'"]),
    "stream x of text": (lambda r: r.stream(3)("abc"), TypeError, ["x must", "an array of real numbers", "str (<U3)"]),
    "stream state None": (lambda r: setattr(r.stream(3), "state", None), TypeError, ["state", "an array", "got None"]),
    "stream state set for another batch": (
        lambda r: setattr(r.stream(3), "state", state[:, :2]), ValueError,
        ["state", "shape (1,B,H) = (1, 3, 4)", "(1, 2, 4)"]),
    "stream state without its axis": (lambda r: r.stream(3, state=state[0]), ValueError, ["state", "shape (1,B,H) = (1, 3, 4)", "(3, 4)"]),
    "stream rows beyond the batch": (lambda r: r.stream(3).reset([5]), ValueError, ["rows", "in 0..2", "got 5..5"]),
    "stream rows twice": (lambda r: r.stream(3).reset([0, 0]), ValueError, ["rows", "numbers of distinct rows", "[0, 0]"]),
    "stream mask of another batch": (
        lambda r: r.stream(3).reset([True]), ValueError,
        ["rows", "a mask of shape (B,) = (3,), or", "a bool array of shape (1,)"]),
    "stream rows of text": (lambda r: r.stream(3).reset("a"), TypeError, ["rows", "an array of booleans or integers", "str (<U1)"]),
    "stream rows of floats": (
        lambda r: r.stream(3).reset([0.5]), TypeError,
        ["rows", "None, a mask of booleans (B,) or", "a float64 array of shape (1,)"]),
    "stream out a list": (lambda r: r.stream(3)(x[0], out=[1]), TypeError, ["out", "a writable C-contiguous float32", "got list"]),
    # learners
    "learner out a list": (
        lambda r: bptt.RTRL(r, B)(x[0], out=np.zeros((B, O), F32)[::1].tolist()), TypeError,
        ["out", "a writable C-contiguous float32", "got list"]),
    "learner mask of another batch": (
        after_step(lambda l: l.reset(rows=[True])), ValueError,
        ["rows", "a mask of shape (B,) = (3,), or", "a bool array of shape (1,)"]),
    "learner state None": (after_step(lambda l: setattr(l, "state", None)), TypeError, ["state", "an array", "got None"]),
    "learner rows of text": (after_step(lambda l: l.reset(rows="a")), TypeError, ["rows", "an array of booleans or integers", "str (<U1)"]),
    "learner dy complex": (
        after_step(lambda l: l.backward(y[0] * 1j)), TypeError,
        ["dy must", "an array of real numbers", "a complex64 array of shape (3, 2)"]),
    "learner x of a width too large": (after_step(lambda l: l(np.ones((B, I + 1)))), ValueError, ["x must", "shape (B,I) = (3, 2)", "(3, 3)"]),
    # converters
    "ONNX of no network": (lambda r: bptt.convert.to_onnx(r.params, "none.onnx"), TypeError, ["rnn", "a bptt.RNN", "ndarray"]),
    "ONNX to a number": (lambda r: bptt.convert.to_onnx(r, 5), TypeError, ["path", "a str or path-like", "got 5"]),
    "ONNX of a number": (lambda r: bptt.convert.from_onnx(5), TypeError, ["path", "a str or path-like", "got 5"]),
    "ONNX state_inputs not a bool": (
        lambda r: bptt.convert.to_onnx(r, "none.onnx", state_inputs=1), TypeError,
        ["state_inputs", "True or False", "got 1"]),
    "Keras of a number": (lambda r: bptt.convert.to_keras_weights(5), TypeError, ["rnn", "a bptt.RNN", "got int"]),
    "Keras weights of an LSTM as a vanilla cell": (
        lambda r: bptt.convert.from_keras_weights([np.ones((2, 16)), np.ones((4, 16)), np.ones(16)], cell="tanh"), ValueError,
        ["weights of l0", "the shapes [(2, 4), (4, 4), (4,)]", "[(2, 16), (4, 16), (16,)]"]),
    "NAM to a number": (lambda r: bptt.convert.to_nam(gated(), 5), TypeError, ["path", "a str or path-like", "got 5"]),
    "NAM rate of text": (lambda r: bptt.convert.to_nam(gated(), "none.nam", sample_rate="x"), TypeError, ["sample_rate", "a number", "got 'x'"]),
    "RTNeural of a number": (lambda r: bptt.convert.from_rtneural(5), TypeError, ["path", "a str or path-like", "got 5"]),
    "NAM of a Python file": (lambda r: bptt.convert.from_nam(__file__), ValueError, ["path", "a .nam file", __file__]),
    "RTNeural of a Python file": (lambda r: bptt.convert.from_rtneural(__file__), ValueError, ["path", "an RTNeural JSON file", __file__]),
    "to_c with weights of 8": (lambda r: bptt.convert.to_c(r, "none", "m", weights=8), ValueError, ["weights", "one of float32, int8", "got 8"]),
    # clipping and losses
    "clip norm of a network in words": (lambda r: bptt.clip_grad_norm(r, "a"), TypeError, ["max_norm", "a number", "got 'a'"]),
    "clip value None": (lambda r: bptt.clip_grad_value(r, None), TypeError, ["limit", "a number", "got None"]),
    "delta NaN": (lambda r: bptt.huber(y, y, delta=np.nan), ValueError, ["delta", "above 0", "got nan"]),
    "logits and targets of two lengths": (
        lambda r: bptt.binary_cross_entropy(y, y[:4]), ValueError,
        ["target", "shape logits.shape = (5, 3, 2)", "(4, 3, 2)"]),
    "ignore_index beyond int64": (
        lambda r: bptt.cross_entropy(y, labels, ignore_index=2**70), ValueError,
        ["ignore_index", "an integer below 2**63", "1180591620717411303424"]),
    "reduction None": (lambda r: bptt.mse(y, y, reduction=None), ValueError, ["reduction", "'mean' or 'sum'", "got None"]),
    "loss of text": (lambda r: bptt.mse("a", y), TypeError, ["y must", "an array of real numbers", "str (<U1)"]),
    "loss of complex logits": (
        lambda r: bptt.cross_entropy(y * 1j, labels), TypeError,
        ["logits", "an array of real numbers", "a complex64 array of shape (5, 3, 2)"]),
    # forward and backward
    "lengths with an axis too many": (lambda r: r.forward(x, lengths=[[5, 2, 3]]), ValueError, ["lengths", "shape (B,) = (3,)", "(1, 3)"]),
    "x None": (lambda r: r.forward(None), TypeError, ["x must", "an array of real numbers", "NoneType (object)"]),
    "state of text": (lambda r: r.forward(x, "a"), TypeError, ["state", "an array of real numbers", "str (<U1)"]),
    "reset with an axis too many": (
        lambda r: r.forward(x, reset=np.zeros((T, B, 1), bool)), ValueError,
        ["reset", "shape (T,B) = (5, 3)", "(5, 3, 1)"]),
    "reset of text": (lambda r: r.forward(x, reset="a"), TypeError, ["reset", "an array of booleans", "str (<U1)"]),
    "length beyond int64": (lambda r: r.forward(x, lengths=[2**63, 1, 1]), TypeError, ["lengths", "an array of integers", "list (float64)"]),
    "budget negative": (lambda r: r.forward(x, memory_budget=-5), ValueError, ["memory_budget", "an integer of at least 1", "got -5"]),
    "checkpoint beyond int64": (
        lambda r: r.forward(x, checkpoint=2**70), ValueError,
        ["checkpoint", "an integer below 2**63", "1180591620717411303424"]),
    "dy of text": (after_forward(lambda r: r.backward("a")), TypeError, ["dy must", "an array of real numbers", "str (<U1)"]),
    "dy complex": (
        after_forward(lambda r: r.backward(y * 1j)), TypeError,
        ["dy must", "an array of real numbers", "a complex64 array of shape (5, 3, 2)"]),
    "carry of text": (after_forward(lambda r: r.backward(y, carry="a")), TypeError, ["carry", "an array of real numbers", "str (<U1)"]),
    "carry with an axis too many": (
        after_forward(lambda r: r.backward(y, carry=np.ones((T, B, 1)))), ValueError,
        ["carry", "shape (T,) or (T,B) = (5, 3)", "(5, 3, 1)"]),
    "input_grad not a bool": (after_forward(lambda r: r.backward(y, input_grad="no")), TypeError, ["input_grad", "True or False", "got 'no'"]),
    "step clip of text": (after_forward(lambda r: r.backward(y, step_clip_norm="a")), TypeError, ["step_clip_norm", "a number", "got 'a'"]),
    "step clip zero": (after_forward(lambda r: r.backward(y, step_clip_norm=0)), ValueError, ["step_clip_norm", "above 0", "got 0"]),
    "step norms in the parameters": (
        after_forward(lambda r: r.backward(y, step_norms=r.params[:T])), ValueError,
        ["step_norms", "memory of its own", "memory of the network's params"]),
    "dstate of text": (after_forward(lambda r: r.backward(y, dstate="a")), TypeError, ["dstate", "an array of real numbers", "str (<U1)"]),
    # constraints, shards
    "signs in a list": (lambda r: bptt.Constraints(r, signs=[1]), TypeError, ["signs", "a mapping of parameters' names to", "got [1]"]),
    "max_norm of text": (lambda r: bptt.Constraints(r, max_norm="a"), TypeError, ["max_norm['weight_ih_l0']", "a number", "got 'a'"]),
    "max_norm NaN": (lambda r: bptt.Constraints(r, max_norm=np.nan), ValueError, ["max_norm['weight_ih_l0']", "above 0", "got nan"]),
    "signs of another name": (lambda r: bptt.Constraints(r, signs={"nothing": 1}), ValueError, ["signs", "names of ['weight_ih_l0',", "'nothing'"]),
    "mask None": (
        lambda r: bptt.Constraints(r, {"weight_hh_l0": None}), TypeError,
        ["masks['weight_hh_l0']", "an array of numbers 0 and 1", "got None"]),
    "constraints with a number as optimiser": (lambda r: bptt.Constraints(r).apply(5), TypeError, ["optimizer", "one of bptt's", "got 5"]),
    "max_norm of a number as name": (lambda r: bptt.Constraints(r, max_norm={5: 1}), ValueError, ["max_norm", "names of ['weight_ih_l0',", "got 5"]),
    "shards of a half": (lambda r: bptt.Shards(None, 0.5), TypeError, ["shards", "an integer", "got 0.5"]),
    "shards rows of text": (lambda r: bptt.Shards().rows("a"), TypeError, ["batch", "an integer", "got 'a'"]),
    "shards windows with an unknown loss": (lambda r: sharded(r, loss="hinge"), ValueError, ["loss", "one of mse, huber, cross_entropy,", "'hinge'"]),
    "shards windows with a number as truncation": (
        lambda r: sharded(r, truncation=5), TypeError,
        ["truncation", "a bptt.TBPTT, a bptt.ARTBP or None", "5 of type int"]),
    "shards windows with a burn-in below zero": (lambda r: sharded(r, burn_in=-1), ValueError, ["burn_in", "an integer of at least 0", "got -1"]),
    "shards windows x of text": (lambda r: sharded(r, x="abc"), TypeError, ["x must", "an array of real numbers", "str (<U3)"]),
    "shards start of a number": (lambda r: bptt.Shards().start(5), TypeError, ["rnn", "a bptt.RNN", "got int"]),
    "shards windows mask of floats": (
        lambda r: sharded(r, mask=np.ones((T, B))), TypeError,
        ["mask", "an array of booleans", "a float64 array of shape (5, 3)"]),
    "shards of a number as communicator": (
        lambda r: bptt.Shards(5), TypeError,
        ["comm", "a communicator of mpi4py, such as", "5, which has no Get_rank, Get_size,"]),
    # windows and fit
    "loss a number": (lambda r: windows(r, loss=5), ValueError, ["loss", "one of mse, huber, cross_entropy,", "got 5"]),
    "windows x None": (lambda r: windows(r, x=None), TypeError, ["x must", "an array of real numbers", "NoneType (object)"]),
    "windows lengths of text": (lambda r: windows(r, lengths="a"), TypeError, ["lengths", "an array of integers", "str (<U1)"]),
    "windows reset of another length": (
        lambda r: windows(r, reset=np.zeros((4, B), bool)), ValueError,
        ["reset", "the shape (5, 3) of x in its", "(4, 3)"]),
    "windows mask of another shape": (
        lambda r: windows(r, mask=np.ones((T, 1), bool)), ValueError,
        ["mask", "the shape (5, 3) of x in its", "(5, 1)"]),
    "windows clip of text": (lambda r: windows(r, step_clip_value="a"), TypeError, ["step_clip_value", "a number", "got 'a'"]),
    "truncation class": (
        lambda r: windows(r, truncation=bptt.TBPTT), TypeError,
        ["truncation", "a bptt.TBPTT, a bptt.ARTBP or None", "<class 'bptt._truncation.TBPTT'> of"]),
    "windows chunk of another batch": (
        lambda r: windows(r, x=iter([x[:1], x[1:, :2]]), truncation=bptt.TBPTT(2)), ValueError,
        ["chunk 1 of x", "(T, 3)", "(4, 2, 2)"]),
    "windows checkpoint zero": (lambda r: windows(r, checkpoint=0), ValueError, ["checkpoint", "an integer of at least 1", "got 0"]),
    "k2 of text": (lambda r: bptt.TBPTT(2, "a"), TypeError, ["k2 must", "an integer", "got 'a'"]),
    "ARTBP a of text": (lambda r: bptt.ARTBP(16, "a"), TypeError, ["a must", "a number", "got 'a'"]),
    "windows chunks without truncation": (
        lambda r: windows(r, x=iter([x]), lengths=[1, 2, 3]), ValueError,
        ["truncation", "a bptt.TBPTT or a bptt.ARTBP", "got None"]),
    "fit of a number": (lambda r: bptt.fit(5, x, y), TypeError, ["rnn", "a bptt.RNN", "got int"]),
    "fit clip value negative": (lambda r: bptt.fit(r, x, y, clip_value=-1, progress=False), ValueError, ["clip_value", "above 0", "got -1"]),
    "fit shuffle not a bool": (lambda r: bptt.fit(r, x, y, shuffle=1, progress=False), TypeError, ["shuffle", "True or False", "got 1"]),
    "fit rate negative": (lambda r: bptt.fit(r, x, y, lr=-1, progress=False), ValueError, ["lr must", "a finite number in [0, ...]", "got -1"]),
    "fit epochs of a half": (lambda r: bptt.fit(r, x, y, epochs=1.5, progress=False), TypeError, ["epochs", "an integer", "got 1.5"]),
    "fit batch size in words": (lambda r: bptt.fit(r, x, y, batch_size="all", progress=False), TypeError, ["batch_size", "an integer", "'all'"]),
    "fit reset of floats": (
        lambda r: bptt.fit(r, x, y, reset=labels * 0.5, progress=False), TypeError,
        ["reset", "an array of booleans", "a float64 array of shape (5, 3)"]),
    "fit validation without target": (
        lambda r: bptt.fit(r, x, y, validation=(x,), progress=False), TypeError,
        ["validation", "(x, target), (x, target, mask) or", "a tuple of 1"]),
    "fit validation target of another length": (
        lambda r: bptt.fit(r, x, y, validation=(x, y[:4]), progress=False), ValueError,
        ["validation target", "the shape (5, 3) of x in its", "(4, 3, 2)"]),
    "fit mask of another shape": (
        lambda r: bptt.fit(r, x, y, mask=np.ones((T, 1), bool), progress=False), ValueError,
        ["mask", "the shape (5, 3) of x in its", "(5, 1)"]),
    "fit optimiser a number": (
        lambda r: bptt.fit(r, x, y, optimizer=5, progress=False), ValueError,
        ["optimizer", "one of sgd, rmsprop, adagrad,", "got 5"]),
}  # fmt: skip


def tells_what_is_wrong(call, exception, words):
    """The call raises an error with these words: the argument, what was expected and, where the error tells it, what
    came."""
    with pytest.raises(exception) as caught:
        call()
    message = str(caught.value)
    for word in words:
        assert word in message
    assert len(words) >= (3 if re.search(r"\bgot\b", message) else 2), message


def fails_and_leaves(rnn, call, exception, words):
    """The call raises such an error, and parameters and gradients are as they were."""
    params, grads = rnn.params.copy(), rnn.grads.copy()
    tells_what_is_wrong(lambda: call(rnn), exception, words)
    np.testing.assert_array_equal(rnn.params, params)
    np.testing.assert_array_equal(rnn.grads, grads)


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name):
    """The network is as it was: parameters, gradients and what forward left for backward."""
    call, exception, words = CASES[name]
    rnn = make()
    rnn.forward(x)
    dx, _ = rnn.backward(y)
    rnn.grads[:] = 7
    fails_and_leaves(rnn, call, exception, words)
    np.testing.assert_array_equal(rnn.backward(y)[0], dx)


LSTM = {"cell": "lstm", "num_layers": 2, "dropout": 0.5}
BOTH = {"cell": "gru", "bidirectional": True, "dropout": 0.5}
deep = np.ones((2, B, H), F32)
# (the network's options, what is done to it, exception, words that the message must hold)
DEEP = {
    "state not a pair": (LSTM, lambda r: r.forward(x, 5), TypeError, ["state", "pair (h, c)", "int"]),
    "state of h alone": (LSTM, lambda r: r.forward(x, deep), ValueError, ["state[0]", "(2, 3, 4)", "(3, 4)"]),
    "state of one": (LSTM, lambda r: r.forward(x, (deep,)), TypeError, ["state", "pair (h, c)", "tuple of 1"]),
    "state of three": (LSTM, lambda r: r.forward(x, (deep,) * 3), TypeError, ["state", "pair (h, c)", "tuple of 3"]),
    "state without c": (LSTM, lambda r: r.forward(x, (deep, None)), TypeError, ["state[1]", "real numbers", "NoneType"]),
    "c of one layer": (LSTM, lambda r: r.forward(x, (deep, deep[:1])), ValueError, ["state[1]", "(2, 3, 4)", "(1, 3, 4)"]),
    "state of one direction": (BOTH, lambda r: r.forward(x, deep[:1]), ValueError, ["state", "(L*D,B,H) = (2, 3, 4)", "(1, 3, 4)"]),
    "dstate of h alone": (LSTM, lambda r: r.backward(None, deep), ValueError, ["dstate[0]", "(2, 3, 4)", "(3, 4)"]),
    "dstate of another batch": (BOTH, lambda r: r.backward(None, deep[:, :1]), ValueError, ["dstate", "(2, 3, 4)", "(2, 1, 4)"]),
    "norms of one layer": (LSTM, lambda r: r.backward(y, step_norms=np.empty(T, F32)), ValueError, ["step_norms", "(L*D,T) = (2, 5)", "(5,)"]),
    "norms of three": (BOTH, lambda r: r.backward(y, step_norms=np.empty((3, T), F32)), ValueError, ["step_norms", "(2, 5)", "(3, 5)"]),
    "norms of another dtype": (BOTH, lambda r: r.backward(y, step_norms=np.empty((2, T))), TypeError, ["step_norms", "float32", "float64"]),
    "dy of one direction": ({**BOTH, "output_size": None}, lambda r: r.backward(np.ones((T, B, H))), ValueError, ["dy", "2*H = 8", "(5, 3, 4)"]),
    "checkpoint both ways": (BOTH, lambda r: r.forward(x, checkpoint="auto"), ValueError, ["checkpoint", "bidirectional=False", "bidirectional=True"]),
    "budget both ways": (BOTH, lambda r: r.forward(x, memory_budget=10**9), ValueError, ["memory_budget", "bidirectional=False", "bidirectional=True"]),
    "stream both ways": (BOTH, lambda r: r.stream(), ValueError, ["stream", "bidirectional=False", "bidirectional=True"]),
    "stream state of h alone": (LSTM, lambda r: r.stream(3, state=deep), ValueError, ["state[0]", "(2, 3, 4)", "(3, 4)"]),
    "stream state of another batch": (LSTM, lambda r: r.stream(3, state=(deep, deep[:, :1])), ValueError, ["state[1]", "(2, 3, 4)", "(2, 1, 4)"]),
    "windows both ways": (BOTH, lambda r: r.windows(x, y, truncation=bptt.TBPTT(2)), ValueError, ["truncation", "bidirectional=False", "TBPTT(k1=2, k2=2)"]),
    "burn-in both ways": (BOTH, lambda r: r.windows(x, y, burn_in=2), ValueError, ["burn_in", "bidirectional=False", "2"]),
    "windows checkpoint both ways": (BOTH, lambda r: r.windows(x, y, checkpoint=2), ValueError, ["checkpoint", "bidirectional=False", "bidirectional=True"]),
    "windows state of h alone": (LSTM, lambda r: r.windows(x, y, state=deep), ValueError, ["state[0]", "(2, 3, 4)", "(3, 4)"]),
    "fit both ways": (BOTH, lambda r: bptt.fit(r, x, y, truncation=bptt.TBPTT(2), progress=False), ValueError, ["truncation", "bidirectional=False", "bidirectional=True"]),
    "params of one layer": (LSTM, lambda r: setattr(r, "params", np.ones(7)), ValueError, ["params", "(298,)", "(7,)"]),
}  # fmt: skip


@pytest.mark.parametrize("name", DEEP)
def test_bad_input_of_deep_networks(name):
    """The network is as it was: parameters, gradients, what forward left for backward, and what dropout drops next."""
    options, call, exception, words = DEEP[name]
    rnn = bptt.RNN(**{"input_size": I, "hidden_size": H, "output_size": O, "seed": 0, **options})
    out, _ = rnn.forward(x, lengths=[5, 2, 4])
    dx, _ = rnn.backward(out)
    before = rnn.forward_steps, rnn.dropout_state
    fails_and_leaves(rnn, call, exception, words)
    assert (rnn.forward_steps, rnn.dropout_state) == before
    np.testing.assert_array_equal(rnn.backward(out)[0], dx)


V = 9
ONE_HOT = {"input_size": V, "one_hot": True, "dropout": 0.5, "num_layers": 2}
TABLE = {"num_embeddings": V, "padding_idx": 0, "cell": "lstm"}
tokens = np.arange(T * B).reshape(T, B) % V
far = tokens.copy()
far[3, 1] = far[4, 0] = 2**40


def token_windows(rnn, x, **options):
    return list(rnn.windows(x, y, truncation=bptt.TBPTT(2), **options))


# (the network's options, what is done to it, exception, words that the message must hold)
TOKENS = {
    # the constructor
    "one_hot not a bool": (ONE_HOT, lambda r: make(one_hot=1), TypeError, ["one_hot", "True or False", "1"]),
    "one_hot and a table": (ONE_HOT, lambda r: make(one_hot=True, num_embeddings=5), ValueError, ["one_hot=True", "num_embeddings=None", "num_embeddings=5"]),
    "no rows": (TABLE, lambda r: make(num_embeddings=0), ValueError, ["num_embeddings", "at least 1", "0"]),
    "rows not an integer": (TABLE, lambda r: make(num_embeddings=5.0), TypeError, ["num_embeddings", "integer", "5.0"]),
    "rows beyond int64": (TABLE, lambda r: make(num_embeddings=2**70), ValueError, ["num_embeddings", "below 2**63", str(2**70)]),
    "rows beyond memory": (TABLE, lambda r: make(num_embeddings=2**61), MemoryError, ["num_embeddings", "at most", str(2**61)]),
    "padding without a table": (TABLE, lambda r: make(padding_idx=0), ValueError, ["padding_idx", "num_embeddings", "padding_idx=0"]),
    "padding of one_hot": (ONE_HOT, lambda r: make(one_hot=True, padding_idx=0), ValueError, ["padding_idx", "num_embeddings", "padding_idx=0"]),
    "padding beyond the rows": (TABLE, lambda r: make(num_embeddings=5, padding_idx=5), ValueError, ["padding_idx", "-5..4", "5"]),
    "padding before the rows": (TABLE, lambda r: make(num_embeddings=5, padding_idx=-6), ValueError, ["padding_idx", "-5..4", "-6"]),
    "padding not an integer": (TABLE, lambda r: make(num_embeddings=5, padding_idx=1.0), TypeError, ["padding_idx", "integer", "1.0"]),
    # forward
    "floats": (ONE_HOT, lambda r: r.forward(tokens * 1.0), TypeError, ["x", "integers in 0..8", "float64", "x.astype(int)"]),
    "float32 of whole numbers": (TABLE, lambda r: r.forward(tokens.astype(F32)), TypeError, ["x", "integers", "float32", "x.astype(int)"]),
    "a list of floats": (TABLE, lambda r: r.forward([[1.0, 2.0]]), TypeError, ["x", "integers", "list (float64)", "np.asarray(x, int)"]),
    "an empty list": (TABLE, lambda r: r.forward([]), TypeError, ["x", "integers in 0..8", "got list"]),
    "a list of one-hot rows": (ONE_HOT, lambda r: r.forward(np.eye(V)[tokens].tolist()), TypeError, ["x", "integers", "np.argmax(x, -1)"]),
    "one-hot rows": (ONE_HOT, lambda r: r.forward(np.eye(V)[tokens]), TypeError, ["x", "integers", "(5, 3, 9)", "x.argmax(-1)"]),
    "one-hot rows of integers": (ONE_HOT, lambda r: r.forward(np.eye(V, dtype=int)[tokens]), ValueError, ["x", "(T,B) or (T,)", "(5, 3, 9)"]),
    "bools": (ONE_HOT, lambda r: r.forward(tokens > 3), TypeError, ["x", "integers", "bool"]),
    "objects": (ONE_HOT, lambda r: r.forward(tokens.astype(object)), TypeError, ["x", "integers", "object"]),
    "text": (TABLE, lambda r: r.forward("abc"), TypeError, ["x", "integers", "str"]),
    "None": (TABLE, lambda r: r.forward(None), TypeError, ["x", "integers", "NoneType"]),
    "ragged": (TABLE, lambda r: r.forward([[1, 2], [3]]), ValueError, ["x", "integers", "list"]),
    "masked": (TABLE, lambda r: r.forward(np.ma.masked_array(tokens)), TypeError, ["x", "without a mask", "masked array"]),
    "one integer": (TABLE, lambda r: r.forward(3), ValueError, ["x", "(T,B) or (T,)", "got ()"]),
    "no steps": (ONE_HOT, lambda r: r.forward(tokens[:0]), ValueError, ["x", "no empty axis", "(0, 3)"]),
    "an integer too large": (ONE_HOT, lambda r: r.forward(far), ValueError, ["x", "0..8", str(2**40), "[3, 1]"]),
    "a table's integer too large": (TABLE, lambda r: r.forward(np.full(4, V)), ValueError, ["x", "0..8", "got 9 at [0]"]),
    "a negative integer": (TABLE, lambda r: r.forward(-tokens), ValueError, ["x", "0..8", "got -1 at [0, 1]"]),
    "an unsigned integer beyond int64": (TABLE, lambda r: r.forward(np.uint64(2**64 - 9) + tokens.astype(np.uint64)), ValueError,
                                         ["x", "0..8", f"{2**64 - 9} at [0, 0]"]),
    "an integer of Python beyond int64": (ONE_HOT, lambda r: r.forward([[1, 2], [3, 2**64]]), ValueError, ["x", "0..8", f"{2**64} at [1, 1]"]),
    "with checkpoints": (ONE_HOT, lambda r: r.forward(far, checkpoint=2), ValueError, ["x", "0..8", "[3, 1]"]),
    "without a tape": (ONE_HOT, lambda r: r.forward(far, tape=False), ValueError, ["x", "0..8", "[3, 1]"]),
    "of another length": (ONE_HOT, lambda r: r.forward(far[-1:]), ValueError, ["x", "0..8", "[0, 0]"]),
    "of many steps": (ONE_HOT, lambda r: r.forward(np.tile(far, (50, 9))), ValueError, ["x", "0..8", "[3, 1]"]),
    # windows, fit, gradient_flow
    "windows of floats": (ONE_HOT, lambda r: token_windows(r, tokens * 1.0), TypeError, ["x", "integers", "float64"]),
    "windows of unit vectors": (ONE_HOT, lambda r: token_windows(r, np.eye(V)[tokens]), TypeError, ["x", "integers", "argmax"]),
    "windows of three axes": (TABLE, lambda r: token_windows(r, tokens[..., None]), ValueError, ["x", "(T,B) or (T,)", "(5, 3, 1)"]),
    "windows with a float chunk": (TABLE, lambda r: token_windows(r, iter([tokens * 1.0])), TypeError, ["chunk 0 of x", "integers", "float64"]),
    "windows with a float chunk later": (TABLE, lambda r: token_windows(r, iter([tokens[:1], tokens[1:] * 1.0])), TypeError,
                                         ["chunk 1 of x", "integers", "float64"]),
    "windows with another row count": (TABLE, lambda r: token_windows(r, iter([tokens[:1], tokens[1:, :2]])), ValueError,
                                       ["chunk 1 of x", "(T, 3)", "(4, 2)"]),
    "target without rows": (TABLE, lambda r: r.windows(tokens, y[:, 0]), ValueError, ["target", "(5, 3)", "(5, 2)"]),
    "fit of floats": (TABLE, lambda r: bptt.fit(r, tokens * 1.0, y, progress=False), TypeError, ["x", "integers", "float64"]),
    "fit of a far integer": (TABLE, lambda r: bptt.fit(r, far, y, batch_size=1, progress=False), ValueError, ["x", "0..8", "[3, 1]"]),
    "validation of floats": (TABLE, lambda r: bptt.fit(r, tokens, y, validation=(tokens * 1.0, y), progress=False), TypeError,
                             ["validation x", "integers", "float64"]),
    "validation of a far integer": (TABLE, lambda r: bptt.fit(r, tokens, y, validation=(far, y), progress=False), ValueError,
                                    ["validation x", "0..8", "[3, 1]"]),
    "gradient_flow of a far integer": (TABLE, lambda r: bptt.gradient_flow(r, far, y), ValueError, ["x", "0..8", "[3, 1]"]),
    "state dict without the table": (
        TABLE, lambda r: r.load_state_dict({n: a + 1 for n, a in r.state_dict().items() if n != "embedding"}), ValueError,
        ["state", "missing ['embedding']"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENS)
def test_bad_input_of_integers(name):
    """The network is as it was, whatever size the call had."""
    options, call, exception, words = TOKENS[name]
    rnn = bptt.RNN(**{"input_size": I, "hidden_size": H, "output_size": O, "seed": 0, **options})
    out, _ = rnn.forward(tokens, lengths=[5, 2, 4])
    _, dstate = rnn.backward(out)
    before = rnn.forward_steps, rnn.dropout_state
    fails_and_leaves(rnn, call, exception, words)
    if "window" not in name and "flow" not in name:
        assert (rnn.forward_steps, rnn.dropout_state) == before
    np.testing.assert_array_equal(rnn.backward(out)[1], dstate)


def test_a_failed_clip_changes_nothing():
    g = np.array([3.0, 4.0])
    for limit in (np.nan, 0, -1):
        with pytest.raises(ValueError):
            bptt.clip_grad_norm(g, limit)
        with pytest.raises(ValueError):
            bptt.clip_grad_value(g, limit)
    assert g.tolist() == [3, 4]


def test_a_failed_forward_leaves_the_tape_of_the_last_one():
    rnn = make()
    rnn.forward(x)
    dx, _ = rnn.backward(y)
    with pytest.raises(ValueError):
        rnn.forward(x[:, :, :1])
    again, _ = rnn.backward(y)
    np.testing.assert_array_equal(again, dx)


hidden = np.ma.masked_array(x, x > 0)  # T = 5, B = 3, I = 2, and as many outputs
mask = np.ma.masked_array(np.ones((T, B), bool), np.eye(T, B, dtype=bool))
WINDOW = {"truncation": bptt.TBPTT(2)}
MASKED = {  # what is done to a network, and the argument that the error must name
    "forward": (lambda r: r.forward(hidden), "x"),
    "forward of a list": (lambda r: r.forward([x[0], hidden[1]]), "x"),
    "forward of nested lists": (lambda r: r.forward([[x[0, 0]], [hidden[0, 0]]]), "x"),
    "state": (lambda r: r.forward(x, np.ma.masked_array(state)), "state"),
    "lengths": (lambda r: r.forward(x, lengths=np.ma.masked_array([1, 2, 3])), "lengths"),
    "reset": (lambda r: r.forward(x, reset=mask), "reset"),
    "dy": (after_forward(lambda r: r.backward(np.ma.masked_array(y))), "dy"),
    "carry": (after_forward(lambda r: r.backward(y, carry=mask * 1.0)), "carry"),
    "step_norms": (after_forward(lambda r: r.backward(y, step_norms=np.ma.masked_array(np.zeros(T, F32)))), "step_norms"),
    "out": (lambda r: r.stream(B)(x[0], out=np.ma.masked_array(y[0])), "out"),
    "params": (lambda r: setattr(r, "params", np.ma.masked_array(r.params)), "params"),
    "mse": (lambda r: bptt.mse(hidden, y), "y"),
    "target of mse": (lambda r: bptt.mse(y, hidden), "target"),
    "mask of mse": (lambda r: bptt.mse(y, y, mask=mask), "mask"),
    "labels": (lambda r: bptt.cross_entropy(y, np.ma.masked_array(labels)), "labels"),
    "clipped by norm": (lambda r: bptt.clip_grad_norm(np.ma.masked_array(np.ones(3)), 1), "array"),
    "clipped by value": (lambda r: bptt.clip_grad_value(np.ma.masked_array(np.ones(3)), 1), "array"),
    "windows": (lambda r: windows(r, hidden), "x"),
    "windows of a list": (lambda r: windows(r, [*hidden]), "x"),
    "target of windows": (lambda r: windows(r, target=hidden), "target"),
    "mask of windows": (lambda r: windows(r, mask=mask), "mask"),
    "reset of windows": (lambda r: windows(r, reset=mask), "reset"),
    "chunk of windows": (lambda r: windows(r, iter([x[:4], hidden[4:]]), iter([y]), **WINDOW), "chunk 1 of x"),
    "chunk of target": (lambda r: windows(r, x, iter([hidden]), **WINDOW), "chunk 0 of target"),
    "gradient of a loss": (lambda r: windows(r, loss=lambda y, t: (0.0, np.ma.masked_array(y))), "the gradient that loss returns"),
    "fit": (lambda r: bptt.fit(r, hidden, y, progress=False), "x"),
    "target of fit": (lambda r: bptt.fit(r, x, hidden, progress=False), "target"),
    "mask of fit": (lambda r: bptt.fit(r, x, y, mask=mask, progress=False), "mask"),
    "validation of fit": (lambda r: bptt.fit(r, x, y, validation=(x, hidden), progress=False), "validation target"),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKED)
def test_masked_arrays_are_refused(name):
    """Their mask would be lost without a word."""
    call, argument = MASKED[name]
    rnn = make()
    params = rnn.params.copy()
    with pytest.raises(TypeError, match=f"^{argument} .*must be.*got a masked "):
        call(rnn)
    np.testing.assert_array_equal(rnn.params, params)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_other_subclasses_are_arrays():
    """A matrix or a memmap stands for its numbers."""
    rnn, one = make(), x[:, 0]
    expected, _ = rnn.forward(one)
    np.testing.assert_array_equal(rnn.forward(np.asmatrix(one))[0], expected)
    losses = [
        [w.loss for w in rnn.windows(a, y[:, 0], **WINDOW)] for a in (one, np.asmatrix(one), [*one], one.tolist())
    ]
    assert losses[1:] == losses[:-1]


def test_tensors_that_require_a_gradient(torch):
    """torch's reason and the argument's name."""
    tensor = torch.zeros(T, B, I, requires_grad=True)
    for call in (
        make().forward,
        lambda x: windows(make(), x),
        lambda x: bptt.mse(x, y),
        lambda x: bptt.fit(make(), x, y, progress=False),
    ):
        with pytest.raises(ValueError, match=r"^[xy] must be an array of real numbers, got Tensor: .*detach"):
            call(tensor)


# (what is done to a module of bptt.torch, exception, words that the message must hold); m has what torch offers
TORCH = {
    "input a list": (lambda m: m([1.0]), TypeError, ["input", "torch.Tensor", "list"]),
    "input of another width": (lambda m: m(m.x[..., :1]), ValueError, ["input", "I = 2", "(5, 3, 1)"]),
    "input of another dtype": (lambda m: m(m.x.double()), TypeError, ["input", "torch.float32", "torch.float64"]),
    "input of integers": (lambda m: m(m.x.int()), TypeError, ["input", "torch.float32", "torch.int32"]),
    "input of one axis": (lambda m: m(m.x[0, 0]), ValueError, ["input", "2 or 3 axes", "(2,)"]),
    "input sparse": (lambda m: m(m.x.to_sparse()), TypeError, ["input", "dense", "torch.sparse_coo"]),
    "hx of another batch": (lambda m: m(m.x, m.x.new_ones(1, 2, H)), ValueError, ["hx", "(1, 3, 4)", "(1, 2, 4)"]),
    "hx a number": (lambda m: m(m.x, 5), TypeError, ["hx", "torch.Tensor", "int"]),
    "lengths of another batch": (lambda m: m(m.x, lengths=[1, 2]), ValueError, ["lengths", "(3,)", "(2,)"]),
    "lengths beyond the steps": (lambda m: m(m.x, lengths=[1, 2, 9]), ValueError, ["lengths", "1..5", "1..9"]),
    "lengths of floats": (lambda m: m(m.x, lengths=[1.5, 2, 3]), TypeError, ["lengths", "integers", "float64"]),
    "reset of another length": (lambda m: m(m.x, reset=m.x[:4, :, 0] > 2), ValueError, ["reset", "(5, 3)", "(4, 3)"]),
    "reset of floats": (lambda m: m(m.x, reset=m.x[:, :, 0]), TypeError, ["reset", "bools", "torch.float32"]),
    "return_states not a bool": (lambda m: m(m.x, return_states=1), TypeError, ["return_states", "True or False", "1"]),
    "projections": (lambda m: m.bptt.LSTM(I, H, proj_size=2), ValueError, ["proj_size", "must be 0", "got 2"]),
    "two kinds of integers": (lambda m: m.bptt.RNN(I, H, one_hot=True, num_embeddings=3), ValueError,
                              ["one_hot=True", "num_embeddings=None", "num_embeddings=3"]),
    "padding without a table": (lambda m: m.bptt.RNN(I, H, padding_idx=1), ValueError,
                                ["padding_idx", "num_embeddings", "padding_idx=1"]),
    "loss of a number": (lambda m: m.bptt.loss(5), TypeError, ["fn", "function (y, target)", "5"]),
    "loss of each element": (lambda m: m.bptt.loss(m.nn.MSELoss(reduction="none"))(y, y), ValueError,
                             ["fn", "one number", "(5, 3, 2)"]),
    "from_torch of a number": (lambda m: bptt.convert.from_torch(5), TypeError, ["module", "torch.nn.RNN", "int"]),
    "from_torch of a readout": (lambda m: bptt.convert.from_torch(m.nn.Linear(3, 4)), TypeError,
                                ["module", "torch.nn.RNN", "Linear"]),
    "from_torch with a number as readout": (lambda m: bptt.convert.from_torch(m.nn.LSTM(I, H), 5), TypeError,
                                            ["readout", "torch.nn.Linear", "int"]),
    "from_torch with another readout": (lambda m: bptt.convert.from_torch(m.nn.LSTM(I, H), m.nn.Linear(9, 2)), ValueError,
                                        ["readout", "in_features = 4", "9"]),
    "to_torch of a number": (lambda m: bptt.convert.to_torch(5), TypeError, ["rnn", "bptt.RNN", "int"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_bad_input_of_modules(torch, name):
    """The module is as it was."""
    bptt_torch = pytest.importorskip("bptt.torch")
    call, exception, words = TORCH[name]
    module = bptt_torch.RNN(I, H)
    module.x, module.nn, module.bptt = torch.ones(T, B, I), torch.nn, bptt_torch
    before = {key: value.clone() for key, value in module.state_dict().items()}
    tells_what_is_wrong(lambda: call(module), exception, words)
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])
    assert module(module.x)[0].shape == (T, B, H)
