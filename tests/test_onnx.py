"""Networks to ONNX models and back; the node tests of ONNX itself."""

import copy
import io
import json
import os
import random
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import bptt

onnx = pytest.importorskip("onnx")
import mutate_onnx  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

CELLS = ("tanh", "relu", "sigmoid", "identity", "lstm", "gru")


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def randomised(rnn, seed=0):
    rng = np.random.default_rng(seed)
    rnn.params = rng.normal(size=rnn.params.size) * 0.4
    return rnn


def exported(rnn, tmp_path, **options):
    path = tmp_path / "model.onnx"
    bptt.convert.to_onnx(rnn, path, **options)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model, feeds):
    """Outputs by onnxruntime, {name: array}."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def same(a, b):
    assert a.description() == b.description()
    np.testing.assert_array_equal(a.params, b.params)


# ---- there and back


@pytest.mark.parametrize("output_size", [None, 3])
@pytest.mark.parametrize("num_layers, bidirectional", [(1, False), (1, True), (2, False), (3, True)])
@pytest.mark.parametrize("cell", [*CELLS, "gru reset before", "lstm peepholes"])
def test_exported_models_run_and_come_back(tmp_path, cell, num_layers, bidirectional, output_size):
    options = {"gru reset before": {"reset_after": False}, "lstm peepholes": {"peepholes": True}}.get(cell, {})
    rnn = randomised(bptt.RNN(4, 5, output_size, cell=cell.split()[0], num_layers=num_layers,
                              bidirectional=bidirectional, **options))  # fmt: skip
    model = exported(rnn, tmp_path)
    same(bptt.convert.from_onnx(tmp_path / "model.onnx"), rnn)
    for T, B in ((6, 2), (1, 1)):
        x = np.random.default_rng(1).normal(size=(T, B, 4)).astype(np.float32)
        y, state = rnn.forward(x)
        found = run(model, {"x": x})
        for name, expected in zip(("y", "h", "c"), (y, *parts(state)), strict=False):
            np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", ["tanh", "lstm", "gru"])
@pytest.mark.parametrize("options", [
    {"batch_first": True}, {"bias": False}, {"dropout": 0.25, "recurrent_dropout": 0.125}, {"learn_state": True},
    {"learn_state": True, "batch_first": True}, {"dtype": "float64"},
], ids=str)  # fmt: skip
def test_options_come_back(tmp_path, cell, options):
    rnn = randomised(bptt.RNN(3, 5, 2, cell=cell, num_layers=2, bidirectional=True, **options))
    model = exported(rnn, tmp_path)
    same(bptt.convert.from_onnx(str(tmp_path / "model.onnx"), threads=1), rnn)
    if rnn.dtype == np.float32:
        x = np.random.default_rng(1).normal(size=(6, 2, 3)).astype(rnn.dtype)
        y, state = rnn.forward(x, tape=False)
        found = run(model, {"x": x})
        np.testing.assert_allclose(found["y"], y, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found["h"], parts(state)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cell", ["tanh", "gru"])  # of an LSTM it has no final c
def test_double_by_the_reference_implementation(tmp_path, cell):
    rnn = randomised(bptt.RNN(3, 5, 2, cell=cell, num_layers=2, dtype="float64"))
    x = np.random.default_rng(1).normal(size=(6, 2, 3))
    y = ReferenceEvaluator(exported(rnn, tmp_path)).run(["y"], {"x": x})[0]
    np.testing.assert_allclose(y, rnn.forward(x)[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", ["relu", "lstm", "gru"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("batch_first", [False, True])
def test_states_as_inputs(tmp_path, cell, num_layers, batch_first):
    rnn = randomised(bptt.RNN(3, 5, cell=cell, num_layers=num_layers, batch_first=batch_first, learn_state=True))
    model = exported(rnn, tmp_path, state_inputs=True)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 4, 3)).astype(np.float32)
    state = tuple(rng.normal(size=(num_layers, 4, 5)).astype(np.float32) for _ in range(rnn.states))
    found = run(model, {"x": x} | dict(zip(("h0", "c0"), state, strict=False)))
    y, last = rnn.forward(x, state if cell == "lstm" else state[0])
    np.testing.assert_allclose(found["y"], y, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["h"], parts(last)[0], rtol=1e-5, atol=1e-5)
    again = bptt.convert.from_onnx(model)
    assert not again.learn_state  # it is not in the model: there the caller gives the state
    np.testing.assert_array_equal(again.param_views()["weight_hh_l0"], rnn.param_views()["weight_hh_l0"])


INTEGERS = [{"one_hot": True}, {"num_embeddings": 9}, {"num_embeddings": 9, "padding_idx": 2}]


@pytest.mark.parametrize("inputs", INTEGERS, ids=str)
@pytest.mark.parametrize("options", [
    {"cell": "lstm"}, {"cell": "gru", "num_layers": 2, "bidirectional": True}, {"cell": "gru", "dtype": "float64"},
    {"cell": "relu", "batch_first": True, "learn_state": True},
], ids=str)  # fmt: skip
def test_integers_as_inputs(tmp_path, inputs, options):
    """A node Gather or OneHot in front."""
    rnn = randomised(bptt.RNN(4, 5, 3, **inputs, **options))
    model = exported(rnn, tmp_path)
    assert model.graph.node[0].op_type == ("OneHot" if rnn.one_hot else "Gather") or rnn.learn_state
    same(bptt.convert.from_onnx(tmp_path / "model.onnx"), rnn)
    x = np.random.default_rng(1).integers(rnn.spec.vocabulary, size=(6, 2))
    y, state = rnn.forward(x)
    if rnn.dtype == np.float64:
        found = {"y": ReferenceEvaluator(model).run(["y"], {"x": x})[0]}
    else:
        found = run(model, {"x": x})
        np.testing.assert_allclose(found["h"], parts(state)[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["y"], y, rtol=1e-5, atol=1e-5)
    if not rnn.learn_state:
        model = exported(rnn, tmp_path, state_inputs=True)
        assert [each.name for each in model.graph.input] == ["x", "h0", "c0"][: 1 + rnn.states]
        same(bptt.convert.from_onnx(model), rnn)


def lookup(nodes, stored, x_type=onnx.TensorProto.INT64, x_shape=("t", "b"), values="v"):
    """A model whose `nodes` make the vectors `v` of a GRU from x, with these stored arrays."""
    rng = np.random.default_rng(0)
    stored = stored | {"W": rng.normal(size=(1, 15, 3)), "R": rng.normal(size=(1, 15, 5))}
    gru = helper.make_node("GRU", [values, "W", "R"], ["Y"], hidden_size=5, linear_before_reset=1, name="gru")
    tensors = [
        numpy_helper.from_array(a.astype(np.float32) if a.dtype == float else a, name) for name, a in stored.items()
    ]
    graph = helper.make_graph(
        [*nodes, gru], "g", [helper.make_tensor_value_info("x", x_type, x_shape)],
        [helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, [None] * 4)], initializer=tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


TABLE = np.random.default_rng(1).normal(size=(9, 3))
OFF_ON = {"depth": np.array(3), "off_on": np.array([0.0, 1])}


@pytest.mark.parametrize("nodes, stored, x_type", [
    ([("Gather", ["table", "x"], "v", {})], {"table": TABLE}, 7),
    ([("Gather", ["table", "x"], "v", {"axis": 0})], {"table": TABLE}, 6),
    ([("Cast", ["x"], "w", {"to": 7}), ("Gather", ["table", "w"], "v", {})], {"table": TABLE}, 6),
    ([("Identity", ["x"], "w", {}), ("Gather", ["table", "w"], "u", {}), ("Dropout", ["u"], "v", {})],
     {"table": TABLE}, 7),
    ([("OneHot", ["x", "depth", "off_on"], "v", {})], OFF_ON, 7),
    ([("OneHot", ["x", "depth", "off_on"], "v", {"axis": 2})], OFF_ON, 6),
    ([("OneHot", ["x", "depth", "off_on"], "u", {}), ("Cast", ["u"], "v", {"to": 1})],
     OFF_ON | {"off_on": np.array([0, 1])}, 7),
], ids=range(7))  # fmt: skip
def test_what_others_make_of_integers(nodes, stored, x_type):
    made = [helper.make_node(op, ins, [out], **attributes) for op, ins, out, attributes in nodes]
    model = lookup(made, stored, x_type)
    onnx.checker.check_model(model, full_check=True)
    rnn = bptt.convert.from_onnx(model)
    assert (rnn.one_hot, rnn.num_embeddings) == ((True, None) if "depth" in stored else (False, 9))
    x = np.random.default_rng(2).integers(rnn.spec.vocabulary, size=(5, 2))
    y = ReferenceEvaluator(model).run(None, {"x": x.astype(helper.tensor_dtype_to_np_dtype(x_type))})[0]
    np.testing.assert_allclose(rnn.forward(x)[0], y[:, 0], rtol=1e-5, atol=1e-5)


def test_a_table_and_its_transposed_integers():
    transposed = helper.make_node("Transpose", ["x"], ["w"])
    model = lookup([transposed, helper.make_node("Gather", ["table", "w"], ["v"])], {"table": TABLE})
    with pytest.raises(ValueError, match="time and batch in the order of the input"):
        bptt.convert.from_onnx(model)


PICKED, ONE_HOT = [("Gather", ["table", "x"], "v", {})], [("OneHot", ["x", "depth", "off_on"], "v", {})]
BAD_LOOKUPS = {
    "no lookup": ([("Identity", ["x"], "v", {})], {}, 7, r"its input must be \(time, batch, features\)"),
    "columns": (
        [("Gather", ["table", "x"], "v", {"axis": 1})],
        {"table": TABLE},
        7,
        "it may only pick rows of a table",
    ),
    "a table of three axes": (PICKED, {"table": TABLE[None]}, 7, "it may only pick rows"),
    "of floats": (PICKED, {"table": TABLE}, 1, "float or double with 3 axes, or of int32 or int64 with 2"),
    "a table too wide": (PICKED, {"table": np.ones((9, 4))}, 7, "W must take the 4 features"),
    "a table of integers": (PICKED, {"table": np.ones((9, 3), int)}, 7, "must all be float32 or all float64"),
    "twice": ([("Gather", ["table", "x"], "u", {}), ("Gather", ["u", "x"], "v", {})], {"table": TABLE}, 7, "one node"),
    "on, off": (ONE_HOT, OFF_ON | {"off_on": np.array([1.0, 0])}, 7, "unit vectors"),
    "along time": ([("OneHot", ["x", "depth", "off_on"], "v", {"axis": 0})], OFF_ON, 7, "unit vectors"),
    "a depth of 1.5": (ONE_HOT, OFF_ON | {"depth": np.array(1.5)}, 7, "unit vectors"),
    "a depth beyond W": (ONE_HOT, OFF_ON | {"depth": np.array(8)}, 7, "W must take the 8"),
    "integers as floats": ([("Cast", ["x"], "v", {"to": 1})], {}, 7, "it may only cast integers"),
}


@pytest.mark.parametrize("name", BAD_LOOKUPS)
def test_lookups_that_are_none(name):
    nodes, stored, x_type, text = BAD_LOOKUPS[name]
    made = [helper.make_node(op, ins, [out], **attributes) for op, ins, out, attributes in nodes]
    with pytest.raises(ValueError, match=text):
        bptt.convert.from_onnx(lookup(made, stored, x_type))


def test_state_inputs_is_a_flag(tmp_path):
    with pytest.raises(TypeError, match="state_inputs must be True or False, got 1"):
        bptt.convert.to_onnx(bptt.RNN(2, 3), tmp_path / "model.onnx", state_inputs=1)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_export_leaves_the_old_file_whole(tmp_path, monkeypatch):
    rnn = bptt.RNN(2, 3)
    bptt.convert.to_onnx(rnn, tmp_path / "model.onnx")
    old = (tmp_path / "model.onnx").read_bytes()

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(KeyboardInterrupt):
        bptt.convert.to_onnx(randomised(rnn), tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == old


# ---- models of others

NODES = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
NODE_TESTS = sorted(
    path.name
    for kind in ("rnn", "simple_rnn", "gru", "lstm")
    for path in NODES.glob(f"test_{kind}_*")
    if (path / "model.onnx").exists()
)


def node_test(name):
    """The model, its inputs and the outputs that it must give, {name: array}."""
    folder = NODES / name
    model = onnx.load(folder / "model.onnx")

    def arrays(kind, infos):
        loaded = (onnx.load_tensor(folder / "test_data_set_0" / f"{kind}_{i}.pb") for i in range(len(infos)))
        return {info.name: numpy_helper.to_array(tensor) for info, tensor in zip(infos, loaded, strict=True)}

    return model, arrays("input", model.graph.input), arrays("output", model.graph.output)


@pytest.mark.skipif(not NODE_TESTS, reason="this version of onnx ships no node tests (1.20.1 does)")
@pytest.mark.parametrize("name", NODE_TESTS or [None])
def test_onnx_node_tests(name):
    model, inputs, outputs = node_test(name)
    rnn = bptt.convert.from_onnx(model, weights={key: inputs[key] for key in "WRBP" if key in inputs})
    state = tuple(inputs[key] for key in ("initial_h", "initial_c") if key in inputs)
    state = None if not state else state if rnn.cell == "lstm" else state[0]
    y, last = rnn.forward(inputs["X"], state, lengths=inputs.get("sequence_lens"))
    h = parts(last)[0]
    if rnn.batch_first:  # layout 1 has the batch first in states too
        h = h.swapaxes(0, 1)
    np.testing.assert_allclose(h, outputs["Y_h"], rtol=1e-5, atol=1e-6)
    if "Y" in outputs:
        np.testing.assert_allclose(y, outputs["Y"].squeeze(2 if rnn.batch_first else 1), rtol=1e-5, atol=1e-6)


def test_all_of_the_node_tests_are_there():
    if onnx.__version__ == "1.20.1":
        assert len(NODE_TESTS) == 12


@pytest.mark.parametrize("kind, batch_first, bidirectional, num_layers, dynamic", [
    ("LSTM", False, False, 1, False), ("GRU", True, True, 2, True), ("RNN", False, True, 1, True),
    ("LSTM", True, False, 2, True),
])  # fmt: skip
def test_models_that_torch_exported(kind, batch_first, bidirectional, num_layers, dynamic):
    torch = pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(torch.nn, kind)(3, 5, num_layers, batch_first=batch_first, bidirectional=bidirectional)
            self.readout = torch.nn.Linear(10 if bidirectional else 5, 2)

        def forward(self, x):
            return self.readout(self.rnn(x)[0])

    module, file = Model().eval(), io.BytesIO()
    axes = {"x": {0: "a", 1: "b"}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(4, 2, 3),), file, dynamo=False, input_names=["x"], dynamic_axes=axes)
    rnn = bptt.convert.from_onnx(onnx.load_from_string(file.getvalue()))
    same(rnn, bptt.convert.from_torch(module.rnn, module.readout))


def test_an_embedding_that_torch_exported():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Embedding(9, 3), torch.nn.GRU(3, 5, batch_first=True)).eval()
    file, x = io.BytesIO(), torch.randint(0, 9, (4, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), file, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "b", 1: "t"}})
    rnn = bptt.convert.from_onnx(onnx.load_from_string(file.getvalue()))
    same(rnn, bptt.convert.from_torch(module[1], embedding=module[0]))


def layer(op, *, name="n", inputs=("x",), outputs=("Y",), H=3, I=2, D=1, bias=False, extra=(), **attributes):
    """A recurrent node and its constants."""
    G = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    shapes = {"W": (D, G * H, I), "R": (D, G * H, H)} | ({"B": (D, 2 * G * H)} if bias else {})
    rng = np.random.default_rng(5)
    constants = [numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), f"{key}_{name}")
                 for key, shape in shapes.items()]  # fmt: skip
    names = [*inputs, *(c.name for c in constants), *([""] if extra and not bias else []), *extra]
    return helper.make_node(op, names, list(outputs), name=name, hidden_size=H, **attributes), constants


def model_of(nodes, constants, inputs=("x",), outputs=("Y",), arrays=()):
    infos = [helper.make_tensor_value_info(name, 1, ["a", "b", 2][: 3 if name == "x" else 2]) for name in inputs]
    ends = [helper.make_tensor_value_info(name, 1, None) for name in outputs]
    constants = [*constants, *(numpy_helper.from_array(np.array(array), name) for name, array in dict(arrays).items())]
    graph = helper.make_graph(nodes, "g", infos, ends, initializer=constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def stack(*, first=("RNN", {}), second=("RNN", {})):
    """Two layers with a Squeeze in between."""
    a, constants = layer(first[0], name="a", outputs=["Ya"], **first[1])
    b, more = layer(second[0], name="b", inputs=["ya"], I=3, **second[1])
    squeeze = helper.make_node("Squeeze", ["Ya", "axes"], ["ya"])
    return model_of([a, squeeze, b], constants + more, arrays={"axes": [1]})


def test_layers_may_share_a_gemm_readout_by_reshaping():
    node, constants = layer("GRU", bias=True)
    nodes = [
        node,
        helper.make_node("Reshape", ["Y", "three"], ["y"]),
        helper.make_node("Reshape", ["y", "flat"], ["rows"]),
        helper.make_node("Dropout", ["rows"], ["kept"]),
        helper.make_node("Gemm", ["kept", "V", "v"], ["out"], transB=1),
        helper.make_node("Reshape", ["out", "back"], ["end"]),
    ]
    V = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = {"three": [0, -1, 3], "flat": [-1, 3], "back": [4, -1, 2], "V": V, "v": V[:, 0]}
    model = model_of(nodes, constants, outputs=["end"], arrays=arrays)
    with pytest.raises(ValueError, match=r"node end \(Reshape\): it may only merge directions, or steps and rows"):
        bptt.convert.from_onnx(model)  # other numbers of steps than 4 would be mixed with rows
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    rnn = bptt.convert.from_onnx(model)
    assert (rnn.cell, rnn.reset_after, rnn.output_size, rnn.bias) == ("gru", False, 2, True)
    np.testing.assert_array_equal(rnn.param_views()["weight_ho"], V)
    np.testing.assert_array_equal(rnn.param_views()["bias_o"], V[:, 0])


def test_constant_initial_states_become_learned():
    row = np.array([[[1.0, 2.0, 3.0]]], np.float32)
    for value in (row, np.repeat(row, 4, 1)):
        node, constants = layer("RNN", extra=["", "h0"])
        rnn = bptt.convert.from_onnx(model_of([node], constants, arrays={"h0": value}))
        np.testing.assert_array_equal(rnn.param_views()["state_h0"], [[1, 2, 3]])
    node, constants = layer("RNN", extra=["", "h0"])
    assert not bptt.convert.from_onnx(model_of([node], constants, arrays={"h0": row * 0})).learn_state
    with pytest.raises(ValueError, match=r"node n \(RNN\): initial_h must be the same for all rows"):
        bptt.convert.from_onnx(model_of([node], constants, arrays={"h0": np.concatenate([row, 2 * row], 1)}))


def test_outputs_that_are_left_out_say_nothing_of_inputs_that_are():
    node, constants = layer("LSTM", outputs=["Y", "", "c"], extra=["", "h0"])
    rnn = bptt.convert.from_onnx(model_of([node], constants, arrays={"h0": np.ones((1, 1, 3), np.float32)}))
    np.testing.assert_array_equal(rnn.param_views()["state_h0"], [[1, 1, 1]])
    np.testing.assert_array_equal(rnn.param_views()["state_c0"], [[0, 0, 0]])


def with_attribute(**attributes):
    return lambda: model_of(*layer_list("RNN", **attributes))


def layer_list(op, **options):
    node, constants = layer(op, **options)
    return [node], constants


def after(op, inputs, arrays=(), outputs=("end",), **attributes):
    """A node behind an RNN whose single direction is squeezed."""

    def make():
        node, constants = layer("RNN")
        squeeze = helper.make_node("Squeeze", ["Y", "axes"], ["y"])
        behind = helper.make_node(op, inputs, ["end"], name="behind", **attributes)
        return model_of([node, squeeze, behind], constants, outputs=outputs, arrays={"axes": [1], **dict(arrays)})

    return make


def after_readout(op, inputs, arrays=()):
    """A node behind a readout."""

    def make():
        model = after("MatMul", ["y", "V"], {"V": V, **dict(arrays)})()
        model.graph.node[-1].output[0] = "z"
        model.graph.node.append(helper.make_node(op, inputs, ["end"], name="behind"))
        return model

    return make


V = np.ones((3, 2), np.float32)
ERRORS = {
    "clip": (with_attribute(clip=1.0), r"node n \(RNN\): bptt has no clip"),
    "reverse": (with_attribute(direction="reverse"), "direction must be forward or bidirectional, got reverse"),
    "activation": (with_attribute(activations=["Elu"]), "activations must be Tanh, Relu, Sigmoid, Affine .* got Elu"),
    "two activations": (with_attribute(activations=["Tanh", "Relu"], direction="bidirectional", D=2), "got Tanh, Relu"),
    "affine": (with_attribute(activations=["Affine"], activation_alpha=[2.0], activation_beta=[0.0]), "with alpha"),
    "lstm activation": (lambda: model_of(*layer_list("LSTM", activations=["Tanh"] * 3)), "must be Sigmoid, Tanh, Tanh"),
    "input_forget": (lambda: model_of(*layer_list("LSTM", input_forget=1)), "input_forget must be 0"),
    "lengths": (lambda: model_of(*layer_list("RNN", extra=["s"]), arrays={"s": np.array([2], np.int32)}),
                "sequence_lens must be an input of the graph"),
    "shape of W": (lambda: model_of(*layer_list("GRU", D=2)), r"W must have shape \(1, 9, 2\), got \(2, 9, 2\)"),
    "other cells": (lambda: stack(second=("GRU", {})), r"node b \(GRU\): layers must be alike"),
    "other sizes": (lambda: stack(first=("RNN", {}), second=("RNN", {"H": 4})), "layers must be alike"),
    "not squeezed": (lambda: model_of(
        [layer("RNN", name="a", outputs=["y"])[0], layer("RNN", name="b", inputs=["y"], I=3)[0]],
        layer("RNN", name="a")[1] + layer("RNN", name="b", I=3)[1]), r"node b \(RNN\): its input must be"),
    "softmax": (after("Softmax", ["y"]), r"node behind \(Softmax\): this operator is not supported on the path"),
    "readout of a wrong size": (after("MatMul", ["y", "V"], {"V": V.T}), "must take 3 features, got shape"),
    "weight that is no constant": (after("MatMul", ["y", "y"]), "the weight must be constant"),
    "bias without a readout": (after("Add", ["y", "v"], {"v": V[0]}), "only the bias of a readout"),
    "gemm": (after("Gemm", ["y", "V"], {"V": V}, alpha=0.5), "alpha must be 1.0, got 0.5"),
    "axes": (after("Transpose", ["y"], perm=[1, 0, 2]), "time and batch in the order of the input"),
    "features before": (lambda: model_of(
        [layer("RNN")[0], helper.make_node("Transpose", ["Y"], ["end"], perm=[0, 2, 3, 1])], layer("RNN")[1],
        outputs=["end"]), "time and batch in the order of the input, and the features last"),
    "reshape": (after("Reshape", ["y", "s"], {"s": [6, 1]}), r"directions, or steps and rows, got shape \[6, 1\]"),
    "squeeze": (after("Squeeze", ["y", "s"], {"s": [0]}), "only remove the axis of a single direction"),
    "end": (after("Identity", ["y"], outputs=["y"]), "must end in an output of the graph, ends in end"),
    "bias along rows": (after_readout("Add", ["z", "b"], {"b": V[:2, :1]}), r"along its last axis, got shape \(2, 1\)"),
    "bias per step": (after_readout("Add", ["z", "b"], {"b": np.ones((4, 1, 2), "f4")}), r"got shape \(4, 1, 2\)"),
    "bias with more axes": (after_readout("Add", ["b", "z"], {"b": np.ones((1, 1, 1, 2), "f4")}), r"1, 1, 1, 2\)"),
    "two biases": (after_readout("Add", ["z", "z"]), "the bias must be constant"),
    "two readouts": (after_readout("MatMul", ["z", "b"], {"b": V[:2]}), "only a readout of the last layer's outputs"),
    "weight on the left": (after("MatMul", ["V", "y"], {"V": V.T}), "not supported on the path"),
    "gemm of 3 axes": (after("Gemm", ["y", "V"], {"V": V}), "its input must have 2 axes"),
    "rows for steps": (after("Reshape", ["y", "s"], {"s": [0, 4, -1]}), r"steps and rows, got shape \[0, 4, -1\]"),
    "steps as rows": (after("Reshape", ["y", "s"], {"s": [4, -1, 3]}), r"steps and rows, got shape \[4, -1, 3\]"),
    "a third 0": (after("Reshape", ["y", "s"], {"s": [0, 0, 0, 0]}), "steps and rows"),
    "zeros that count": (after("Reshape", ["y", "s"], {"s": [0, -1, 3]}, allowzero=1), "steps and rows"),
    "shape of floats": (after("Reshape", ["y", "s"], {"s": [0.0, 0.0, 3.0]}), "must be a list of integers"),
    "negative perm": (after("Transpose", ["y"], perm=[-3, 1, 2]), "perm must be an order of 3 axes"),
    "twice the axis": (after("Transpose", ["y"], perm=[0, 0, 2]), "perm must be an order of 3 axes"),
    "far axis": (after("Squeeze", ["y", "s"], {"s": [9]}), "only remove the axis of a single direction"),
    "training": (after("Dropout", ["y", "r", "t"], {"r": np.array(0.5, "f4"), "t": np.array(True)}),
                 r"node behind \(Dropout\): training_mode must be false"),
    "beside": (lambda: model_of(
        [layer("RNN", outputs=["Y", "Y_h"])[0], helper.make_node("Relu", ["Y_h"], ["r"], name="beside")],
        layer("RNN")[1]), r"node beside \(Relu\): this operator is not supported off the path"),
    "two ways": (lambda: model_of(
        [layer("RNN")[0], helper.make_node("Relu", ["Y"], ["r"]), helper.make_node("Tanh", ["Y"], ["t"])],
        layer("RNN")[1]), r"Y must go to one node, goes to node r \(Relu\), node t \(Tanh\)"),
    "no recurrent node": (lambda: model_of([helper.make_node("Relu", ["x"], ["Y"])], []), "RNN, GRU or LSTM, got none"),
}  # fmt: skip


@pytest.mark.parametrize("what", ERRORS)
def test_what_is_not_supported_is_named(what):
    make, text = ERRORS[what]
    with pytest.raises(ValueError, match=text):
        bptt.convert.from_onnx(make())


def test_weights_that_are_inputs():
    model, inputs, _ = node_test("test_gru_defaults") if NODE_TESTS else pytest.skip("no node tests")
    with pytest.raises(ValueError, match=r"W must be constant: for inputs of the graph give weights=\{name: array\}"):
        bptt.convert.from_onnx(model)
    with pytest.raises(ValueError, match="weights must name inputs of the graph, X, W, R, got Q"):
        bptt.convert.from_onnx(model, weights={"Q": inputs["W"]})
    with pytest.raises(TypeError, match="weights must be a mapping of names to arrays, got list"):
        bptt.convert.from_onnx(model, weights=[inputs["W"]])
    halves = {key: inputs[key].astype(np.float16) for key in "WR"}
    with pytest.raises(TypeError, match=r"float32 or all float64, got float16"):
        bptt.convert.from_onnx(model, weights=halves)


def test_files_that_are_no_models(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(FileNotFoundError):
        bptt.convert.from_onnx(path)
    path.write_bytes(b"not a model " * 20)
    with pytest.raises(ValueError, match=r"path must name an ONNX model, got .*model.onnx: "):
        bptt.convert.from_onnx(path)


def test_metadata_that_was_changed(tmp_path):
    rnn = randomised(bptt.RNN(2, 3, dropout=0.5, num_layers=2))
    model = exported(rnn, tmp_path)
    plain = copy.deepcopy(model)
    del plain.metadata_props[:]
    assert bptt.convert.from_onnx(plain).dropout == 0
    helper.set_model_props(model, {"bptt": json.dumps({"dropout": 0.25, "hidden_size": 7})})
    assert bptt.convert.from_onnx(model).dropout == 0.25
    helper.set_model_props(model, {"bptt": "{"})
    with pytest.raises(ValueError, match=r"metadata of bptt must be a JSON object .*, got '\{'"):
        bptt.convert.from_onnx(model)


def test_a_bias_of_one_element_is_that_of_all_outputs():
    for bias in (np.array([2.0], np.float32), np.array(2.0, np.float32), np.full((1, 1, 2), 2.0, np.float32)):
        rnn = bptt.convert.from_onnx(after_readout("Add", ["b", "z"], {"b": bias})())
        np.testing.assert_array_equal(rnn.param_views()["bias_o"], [2, 2])


# ---- what would be read as another network


def test_the_first_node_must_read_an_input(tmp_path):
    node, constants = layer("RNN", inputs=["constant"])
    model = model_of([node], constants, arrays={"constant": np.ones((4, 2, 2), np.float32)})
    with pytest.raises(ValueError, match=r"the model: node n \(RNN\): its X must come from an input of the graph"):
        bptt.convert.from_onnx(model)
    model.graph.input.append(helper.make_tensor_value_info("constant", 1, [4, 2, 2]))  # now a default of that input
    with pytest.raises(ValueError, match="its X must come from an input of the graph"):
        bptt.convert.from_onnx(model)


def encoder_and_decoder():
    """Two layers, where the second one's initial state is the first one's last."""
    model = stack()
    model.graph.node[0].output.append("last")
    model.graph.node[2].input.extend(["", "", "last"])
    return model


def state_of(make):
    """A model whose initial state is what `make(graph)` adds as "h0"."""
    node, constants = layer("RNN", extra=["", "h0"])
    model = model_of([node], constants)
    make(model.graph)
    return model


def state_from_x(graph):
    graph.node[0].input[5] = "x"


def state_from_sizes(graph):
    graph.initializer.append(numpy_helper.from_array(np.array([1, 1, 3]), "shape"))
    nodes = [
        helper.make_node("Shape", ["x"], ["steps"], start=0, end=1),
        helper.make_node("Cast", ["steps"], ["real"], to=1),
        helper.make_node("Expand", ["real", "shape"], ["h0"]),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)


def state_of_other_rows(graph):
    graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 3, 3), np.float32), "h0"))


def one_constant_state():
    """Two layers: the first one's initial state is an input of the graph, the second one's a constant."""
    model = stack()
    model.graph.input.append(helper.make_tensor_value_info("h0", 1, [1, "b", 3]))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 1, 3), np.float32), "ones"))
    for node, name in ((model.graph.node[0], "h0"), (model.graph.node[2], "ones")):
        node.input.extend(["", "", name])
    return model


def lengths_of_one_layer():
    model = stack()
    model.graph.input.append(helper.make_tensor_value_info("s", 6, ["b"]))
    model.graph.node[0].input.extend(["", "s"])
    return model


@pytest.mark.parametrize("make, text", [
    (encoder_and_decoder, r"node b \(RNN\): initial_h must not depend on the sequence"),
    (lambda: state_of(state_from_x), r"node n \(RNN\): initial_h must not depend on the sequence"),
    (lambda: state_of(state_from_sizes), r"node n \(RNN\): initial_h must not depend on sizes"),
    (lambda: state_of(state_of_other_rows), r"initial_h must have shape \(1,B,3\) with B = 2, got \(1, 3, 3\)"),
    (one_constant_state, "initial states must all be inputs of the graph, or all be constant"),
    (lengths_of_one_layer, r"node b \(RNN\): sequence_lens must be the same for all layers"),
], ids=["other layer's", "from x", "from sizes", "other rows", "one constant", "one layer's lengths"])  # fmt: skip
def test_states_and_lengths_that_the_network_could_not_have(make, text):
    with pytest.raises(ValueError, match=text):
        bptt.convert.from_onnx(make())


# ---- models that are not valid, or too large


def simple_model():
    node, constants = layer("RNN", bias=True)
    return model_of([node], constants)


def changed(change):
    def make():
        model = simple_model()
        change(model)
        return model

    return make


def cycle(model):
    squeeze = helper.make_node("Squeeze", ["Y"], ["a"], name="s")
    model.graph.node[0].input[0] = "a"
    model.graph.node.append(squeeze)


def own_cycle(model):
    model.graph.node[0].input[0] = "Y"


def huge_state(op):
    def change(model):
        inputs = ["huge"] if op == "ConstantOfShape" else ["one", "huge"]
        arrays = {"huge": np.array([2**31, 2**20, 9]), "one": np.ones((1, 1, 1), np.float32)}
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
        model.graph.node.insert(0, helper.make_node(op, inputs, ["h0"], name="big"))
        model.graph.node[1].input.extend(["", "h0"])

    return change


def growing_state(model):
    """Each node doubles the tensor."""
    arrays = {"g0": np.ones((1, 1, 3), np.float32)}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    nodes = [helper.make_node("Concat", [f"g{i}"] * 2, [f"g{i + 1}"], axis=1, name=f"twice{i}") for i in range(40)]
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    model.graph.node[-1].input.extend(["", "g40"])


def many_axes(op):
    """A shape of so many sizes that their product alone would take minutes."""

    def change(model):
        sizes = np.full(10**6, 2**62)
        model.graph.initializer.append(numpy_helper.from_array(sizes, "sizes"))
        if op == "Reshape":
            model.graph.node[0].output[0] = "a"
            model.graph.node.append(helper.make_node("Reshape", ["a", "sizes"], ["Y"], name="r"))
        else:
            model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["sizes"], ["h0"], name="r"))
            model.graph.node[1].input.extend(["", "h0"])

    return change


def state_by(op, *shape, **attributes):
    """An initial state that such a node makes of zeros."""

    def change(model):
        model.opset_import[0].version = 18
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), "zeros"))
        model.graph.node.insert(0, helper.make_node(op, ["zeros"], ["h0"], name="r", **attributes))
        model.graph.node[1].input.extend(["", "h0"])

    return change


def set_tensor(index, **fields):
    def change(model):
        tensor = model.graph.initializer[index]
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(tensor, name)[:] = value
            else:
                setattr(tensor, name, value)

    return change


def set_node(**fields):
    def change(model):
        for name, value in fields.items():
            setattr(model.graph.node[0], name, value)

    return change


def attribute(**attributes):
    return lambda model: model.graph.node[0].attribute.extend(
        helper.make_attribute(name, value) for name, value in attributes.items()
    )


def subgraph(model):
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["b"])], "g", [],
                             [helper.make_tensor_value_info("b", 1, None)])  # fmt: skip
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.insert(0, helper.make_node("If", ["yes"], ["c"], name="if", then_branch=body, else_branch=body))
    model.graph.node[1].input[0] = "c"


def own_function(model):
    opset = [helper.make_opsetid("", 17)]
    body = [helper.make_node("Identity", ["a"], ["b"])]
    model.functions.append(helper.make_function("", "RNN", ["a"], ["b"], body, opset))


def sparse(model):
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(dims=[4]))


def external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="W.bin")


def opset(*versions):
    def change(model):
        del model.opset_import[:]
        model.opset_import.extend(helper.make_opsetid("", version) for version in versions)

    return change


INVALID = {
    "cycle": (cycle, r"node n \(RNN\): its input a is no input of the graph and no output of an earlier node"),
    "own cycle": (own_cycle, r"node n \(RNN\): its input Y is no input"),
    "ConstantOfShape": (huge_state("ConstantOfShape"), r"node big \(ConstantOfShape\): its result would have \d+ elem"),
    "Expand": (huge_state("Expand"), r"node big \(Expand\): its result would have \d+ elements"),
    "doubling": (growing_state, r"node twice\d+ \(Concat\): its result would have \d+ elements"),
    "axes of a Reshape": (many_axes("Reshape"), r"node r \(Reshape\): shape must have at most 32 sizes, got 1000000"),
    "axes of a state": (many_axes(""), r"node r \(ConstantOfShape\): its shape must have at most 32 axes, got 1000000"),
    "axes of a tensor": (lambda m: m.graph.initializer[0].dims.extend([2**62] * 10**6), "at most 32 axes, got 1000003"),
    "text of a state": (state_by("Cast", 1, 1, 3, to=8), r"node r \(Cast\): to must be a type of real numbers"),
    "parts of a state": (state_by("Split", 1, 1, 3, num_outputs=10**8), r"node r \(Split\): num_outputs must be 1"),
    "no such axis": (state_by("Transpose", 1, 1, 3, perm=[0, 1, 7]), r"node r \(Transpose\): it cannot be computed: "),
    "two producers": (lambda m: m.graph.node.append(m.graph.node[0]), "its output Y has that name already"),
    "shadowing": (lambda m: m.graph.node[0].output.append("W_n"), "its output W_n has that name already"),
    "initializer twice": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "each initializer once"),
    "input twice": (lambda m: m.graph.input.append(m.graph.input[0]), "must have each input once"),
    "no such output": (lambda m: setattr(m.graph.output[0], "name", "q"), "output 'q' is no output of a node"),
    "few inputs": (lambda m: m.graph.node[0].ClearField("input"), r"inputs must be those of the operator, got \[\]"),
    "many inputs": (lambda m: m.graph.node[0].input.extend("x" * 9), "its inputs must be those of the operator"),
    "no X": (lambda m: m.graph.node[0].input.__setitem__(0, ""), "inputs must be those of the operator, got .'', "),
    "no outputs": (lambda m: m.graph.node[0].ClearField("output"), r"node n \(RNN\): its outputs must be those"),
    "two axes": (lambda m: m.graph.input[0].type.tensor_type.shape.dim.pop(), "x must be a tensor .* with 3 axes"),
    "negative size": (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", -3),
                      "input x must have positive sizes, got -3"),
    "integers": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 7), "x must be a tensor of float"),
    "other features": (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 5),
                       r"node n \(RNN\): W must take the 5 features of the input, got shape \(1, 3, 2\)"),
    "few bytes": (set_tensor(0, raw_data=b"abc"), r"tensor W_n: shape \(1, 3, 2\) needs 24 bytes, it has 3"),
    "huge tensor": (set_tensor(0, dims=[2**40, 3, 2]), r"tensor W_n: shape \(1099511627776, 3, 2\) needs"),
    "negative dims": (set_tensor(0, dims=[-1, 3, -2]), r"tensor W_n: its shape \(-1, 3, -2\) has a negative size"),
    "empty": (set_tensor(0, dims=[0, 2**40, 2**40], raw_data=b""), "tensor W_n: array is too big|W must have shape"),
    "W of one axis": (set_tensor(0, dims=[6]), r"W must have shape \(1, 3, 6\), got \(6,\)|must take the 2 features"),
    "two places": (set_tensor(0, float_data=[1.0] * 6), "tensor W_n: its values must lie in one place"),
    "text": (set_tensor(0, data_type=8), "tensor W_n: its type STRING is not supported"),
    "bfloat16": (set_tensor(0, data_type=16), "tensor W_n: its type BFLOAT16 is not supported"),
    "no type": (set_tensor(0, data_type=99), "tensor W_n: its type 99 is not supported"),
    "half": (set_tensor(0, data_type=10, raw_data=b"\0" * 12), "all be float32 or all float64, got float16, float32"),
    "external": (external, "tensor W_n: its values lie in the file 'W.bin': give the path of the model"),
    "sparse": (sparse, "sparse initializers are not supported"),
    "subgraph": (subgraph, r"node if \(If\): subgraphs are not supported"),
    "function": (own_function, "functions of the model must have a domain of their own, RNN has none"),
    "domain": (set_node(domain="com.microsoft"), r"\(RNN\): operators of domain com.microsoft are not supported"),
    "operator": (set_node(op_type="Nonsense"), r"node n \(Nonsense\): opset 17 has no such operator"),
    "no opset": (opset(), r"opset must be in \[7, \d+\], got none"),
    "opset 6": (opset(6), r"opset must be in \[7, \d+\], got 6"),
    "later opset": (opset(999), "got 999"),
    "two opsets": (opset(13, 17), "got 13, 17"),
    "attribute twice": (attribute(hidden_size=3), r"node n \(RNN\): it has attribute hidden_size twice"),
    "attribute of another type": (attribute(direction=3), "attribute direction must be STRING, got INT"),
    "unknown attribute": (attribute(wings=2), "the operator has no attribute 'wings'"),
    "layout": (attribute(layout=2), "layout must be 0 or 1, got 2"),
    "reference": (lambda m: setattr(m.graph.node[0].attribute[0], "ref_attr_name", "a"), "_size must have a value"),
    "hidden_size": (lambda m: setattr(m.graph.node[0].attribute[0], "i", 0), "_size must be given and positive"),
    "huge hidden_size": (lambda m: setattr(m.graph.node[0].attribute[0], "i", 2**62), "W must have shape"),
    "empty graph": (lambda m: m.ClearField("graph"), "the graph must have a node RNN, GRU or LSTM, got none"),
}  # fmt: skip


@pytest.mark.parametrize("what", INVALID)
def test_models_that_are_not_valid(tmp_path, what):
    change, text = INVALID[what]
    model = changed(change)()
    with pytest.raises(ValueError, match=f"^the model: .*({text})"):
        bptt.convert.from_onnx(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=str(path)):
        bptt.convert.from_onnx(path)


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(simple_model().SerializeToString().replace(b"RNN", b"R\xffN"))
    with pytest.raises(ValueError, match=r"model.onnx: onnx.NodeProto.op_type must be UTF-8"):
        bptt.convert.from_onnx(path)


@pytest.mark.parametrize("text", [
    "[]", "[]x", "[" * 100_000, "1", '{"dropout": "a"}', '{"dropout": 2}', '{"learn_state": 1}',
])  # fmt: skip
def test_metadata_that_are_no_options(text):
    model = simple_model()
    helper.set_model_props(model, {"bptt": text})
    with pytest.raises(ValueError, match="the model: metadata of bptt must be a JSON object"):
        bptt.convert.from_onnx(model)


def test_a_long_chain_of_nodes():
    node, constants = layer("RNN")
    node.input[1] = "c3000"
    chain = [helper.make_node("Identity", [f"c{i}"], [f"c{i + 1}"]) for i in range(3000)]
    constants[0].name = "c0"
    rnn = bptt.convert.from_onnx(model_of([*chain, node], constants))
    np.testing.assert_array_equal(rnn.param_views()["weight_ih_l0"], numpy_helper.to_array(constants[0])[0])


# ---- files


def external_model(folder, **entries):
    """A file whose W lies in W.bin, 8 bytes into it."""
    model = simple_model()
    data = model.graph.initializer[0].raw_data
    external(model)
    for key, value in {"offset": "8", "length": "24", **entries}.items():
        kept = [entry for entry in model.graph.initializer[0].external_data if entry.key != key]
        del model.graph.initializer[0].external_data[:]
        model.graph.initializer[0].external_data.extend(kept)
        model.graph.initializer[0].external_data.add(key=key, value=value)
    (folder / "W.bin").write_bytes(b"12345678" + data)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_another_file(tmp_path, monkeypatch):
    path = external_model(tmp_path)
    same(bptt.convert.from_onnx(path), bptt.convert.from_onnx(simple_model()))
    monkeypatch.chdir(tmp_path)
    same(bptt.convert.from_onnx("model.onnx"), bptt.convert.from_onnx(simple_model()))


@pytest.mark.parametrize("entries, text", [
    ({"length": "20"}, r"shape \(1, 3, 2\) needs 24 bytes, its length in 'W.bin' is 20"),
    ({"offset": "9"}, "'W.bin' must have 24 bytes from offset 9 on, has 23"),
    ({"offset": "-8"}, "its offset must be a number of bytes, got '-8'"),
    ({"offset": "9" * 5000}, "its offset must be a number of bytes, got '999"),
    ({"location": "missing"}, "its location must be a file in the folder of the model, got 'missing'"),
    ({"location": ""}, "its location must be a file in the folder"),
    ({"location": "../W.bin"}, "its location must be a file in the folder"),
    ({"location": "/dev/zero"}, "its location must be a file in the folder"),
    ({"location": "link"}, "its location must be a file in the folder"),
], ids=str)  # fmt: skip
def test_weights_in_another_file_that_does_not_fit(tmp_path, entries, text):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "W.bin").write_bytes(b"x" * 100)
    (folder / "link").symlink_to(tmp_path / "W.bin")
    path = external_model(folder, **entries)
    with pytest.raises(ValueError, match=f"{path}: tensor W_n: .*{text}"):
        bptt.convert.from_onnx(path)


def test_paths_that_are_no_paths(tmp_path):
    path = tmp_path / "model.onnx"
    bptt.convert.to_onnx(bptt.RNN(2, 3), path)
    with path.open("rb") as file:
        for call in (bptt.convert.from_onnx, lambda number: bptt.convert.to_onnx(bptt.RNN(2, 3), number)):
            with pytest.raises(TypeError, match=f"path must be a str or path-like, got {file.fileno()}"):
                call(file.fileno())
        os.fstat(file.fileno())  # it is open still
    with pytest.raises(ValueError, match="path must be without null characters"):
        bptt.convert.from_onnx("a\0b")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        bptt.convert.from_onnx(tmp_path)
    if not hasattr(os, "mkfifo"):
        return
    os.mkfifo(tmp_path / "pipe")
    for name in (tmp_path / "pipe", "/dev/zero"):  # a read would never end
        with pytest.raises(ValueError, match=f"path must name a regular file, got {name}"):
            bptt.convert.from_onnx(name)


def test_files_that_cannot_be_read_whole(tmp_path):
    large = tmp_path / "large"
    with open(large, "wb") as file:
        file.truncate(2**31)  # without a byte on disk, where the system has sparse files
    with pytest.raises(ValueError, match=f"less than 2 GiB, {large} has 2147483648 bytes"):
        bptt.convert.from_onnx(large)
    if sys.platform == "linux":
        with pytest.raises(OSError, match="Input/output error: '/proc/self/mem'"):
            bptt.convert.from_onnx("/proc/self/mem")


def test_networks_that_one_file_cannot_hold(tmp_path, monkeypatch):
    from bptt.convert import _to_onnx

    monkeypatch.setattr(_to_onnx, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match="an ONNX file holds less than 2 GiB, the network's parameters are 116 bytes"):
        bptt.convert.to_onnx(bptt.RNN(2, 3, 2), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_mutated_models(tmp_path):
    """Each ends in the right network, or in an error that names the file. More of them: python tests/mutate.py onnx."""
    seeds, ended = mutate_onnx.seeds(), Counter()
    for number in range(400):
        path = tmp_path / f"{number}.onnx"
        rng = random.Random(number)
        path.write_bytes(mutate_onnx.mutate(rng.choice(seeds), rng))
        try:
            mutate_onnx.read(path)
            ended["network"] += 1
        except (ValueError, OSError) as error:
            assert str(path) in str(error)  # noqa: PT017
            ended["error"] += 1
    assert min(ended["network"], ended["error"]) > 20


def test_the_comparison_finds_other_numbers(tmp_path):
    """A model whose weights are changed after it was read, for each way of running it."""
    for seed, runner in ((0, "onnxruntime"), (-9, "onnxruntime"), (-13, "reference")):
        path = tmp_path / "model.onnx"
        path.write_bytes(mutate_onnx.seeds()[seed])
        rnn = bptt.convert.from_onnx(path)
        assert mutate_onnx.compare(path, rnn) == runner
        rnn.params = rnn.params * 1.1
        with pytest.raises(AssertionError, match="the outputs are others"):
            mutate_onnx.compare(path, rnn)
