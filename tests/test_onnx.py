"""Networks to ONNX models and back; the node tests of ONNX itself."""

import copy
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import bptt

onnx = pytest.importorskip("onnx")
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
    arrays = {"three": [0, 0, 3], "flat": [-1, 3], "back": [4, -1, 2], "V": V, "v": V[:, 0]}
    rnn = bptt.convert.from_onnx(model_of(nodes, constants, outputs=["end"], arrays=arrays))
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
    "reshape": (after("Reshape", ["y", "s"], {"s": [6, 1]}), r"directions, or steps and rows, got shape \[6, 1\]"),
    "squeeze": (after("Squeeze", ["y", "s"], {"s": [0]}), "only remove the axis of a single direction"),
    "end": (after("Identity", ["y"], outputs=["y"]), "must end in an output of the graph, ends in end"),
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
    with pytest.raises(ValueError, match=r"metadata of bptt must be a JSON object, got '\{'"):
        bptt.convert.from_onnx(model)
