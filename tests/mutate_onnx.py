"""Mutated ONNX models for mutate.py: their bytes, and their nodes, tensors, attributes and declarations.

`read` also runs what from_onnx accepted, where onnx's checker accepts it too, by onnxruntime or by onnx's reference
implementation: the outputs must be the network's.
"""

import functools
import math
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import bptt

RECURRENT = ("RNN", "GRU", "LSTM")
SIZES = ((5, 2), (4, 4), (2, 4))  # steps and rows, some of them like the sizes of the networks
EXTERNAL = "weights.bin"  # beside the model of one seed

# ---- seeds -----------------------------------------------------------------------------------------------

NETWORKS = [
    {},
    {"output_size": 2, "cell": "relu", "num_layers": 2, "bidirectional": True},
    {"output_size": 2, "cell": "identity", "batch_first": True, "bias": False},
    {"cell": "sigmoid", "learn_state": True, "num_layers": 2},
    {"output_size": 2, "cell": "lstm", "num_layers": 2, "bidirectional": True, "learn_state": True},
    {"output_size": 4, "cell": "lstm", "peepholes": True, "batch_first": True, "learn_state": True},
    {"output_size": 2, "cell": "gru", "num_layers": 2, "bidirectional": True, "dropout": 0.5},
    {"cell": "gru", "reset_after": False, "num_layers": 2, "dtype": "float64"},
    {"output_size": 2, "cell": "gru", "one_hot": True, "learn_state": True},
    {"output_size": 2, "cell": "lstm", "num_embeddings": 5, "padding_idx": 1, "batch_first": True},
]


@functools.cache
def seeds() -> list[bytes]:
    models = [*_own_models(), *_foreign_models()]
    return [model.SerializeToString() for model in models]


def _own_models():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        for number, options in enumerate(NETWORKS):
            for state_inputs in (False, True)[: 1 + number % 2]:
                rnn = bptt.RNN(3, 4, seed=number, **options)
                rnn.params = np.random.default_rng(number).normal(size=rnn.params.size) * 0.5
                bptt.convert.to_onnx(rnn, path, state_inputs=state_inputs)
                yield onnx.load(path)


class Writer:
    """Collects the nodes and constants of a graph; a node's outputs are named by their number."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants = [], []

    def constant(self, value):
        """The name of a constant: an array, or a shape for random numbers."""
        if isinstance(value, tuple):
            value = (self.rng.normal(size=value) * 0.5).astype(np.float32)
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"k{len(self.constants)}"))
        return self.constants[-1].name

    def node(self, op, *inputs, outputs=1, **attributes):
        names = [f"{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def recurrent(self, op, x, width, *, D=1, H=4, bias=True, lengths="", states=(), **attributes):
        """The names of Y, Y_h (and Y_c)."""
        G = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
        weights = [self.constant((D, G * H, width)), self.constant((D, G * H, H))]
        weights.append(self.constant((D, 2 * G * H)) if bias else "")
        direction = {"direction": "bidirectional"} if D == 2 else {}
        outputs = 2 + (op == "LSTM")
        return self.node(op, x, *weights, lengths, *states, outputs=outputs, hidden_size=H, **direction, **attributes)

    def model(self, x, inputs, outputs, opset=17):
        """The model; `x` and `inputs` are shapes, inputs by name."""
        ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)]
        for name, shape in inputs.items():
            kind = TensorProto.INT32 if name == "lengths" else TensorProto.FLOAT
            ends.append(helper.make_tensor_value_info(name, kind, shape))
        found = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name, rank in outputs]
        graph = helper.make_graph(self.nodes, "g", ends, found, initializer=self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _foreign_models():
    """Models as torch's exporter and others write them."""
    yield _unidirectional_gemm()
    yield _bidirectional_transposed()
    yield _learned_rows_by_shape()
    yield _lengths_and_states()
    yield _fixed_sizes()
    yield _layout_1()
    yield _old_opset()
    yield _external_weights()
    yield _cast_integers()


def _unidirectional_gemm():
    w = Writer(1)
    y, _ = w.recurrent("GRU", "x", 3, linear_before_reset=1)
    rows = w.node("Reshape", w.node("Squeeze", y, w.constant([1])), w.constant([-1, 4]))
    out = w.node("Gemm", w.node("Dropout", rows), w.constant((2, 4)), w.constant((2,)), transB=1)
    sizes = w.node("Concat", w.node("Shape", "x", start=0, end=2), w.constant([2]), axis=0)
    return w.model(["t", "b", 3], {}, [(w.node("Reshape", out, sizes), 3)])


def _bidirectional_transposed():
    w = Writer(2)
    x, width = w.node("Transpose", "x", perm=[1, 0, 2]), 3
    for _ in range(2):
        y, h = w.recurrent("RNN", x, width, D=2, activations=["Relu"] * 2)
        x = w.node("Reshape", w.node("Transpose", y, perm=[0, 2, 1, 3]), w.constant([0, 0, -1]))
        width = 8
    y = w.node("Transpose", x, perm=[1, 0, 2])
    y = w.node("Add", w.constant((2,)), w.node("MatMul", y, w.constant((8, 2))))
    return w.model(["b", "t", 3], {}, [(w.node("Identity", y), 3), (h, 3)])


def _learned_rows_by_shape():
    w = Writer(3)
    batch = w.node("Gather", w.node("Shape", "x"), w.constant([1]), axis=0)
    shape = w.node("Concat", w.constant([1]), batch, w.constant([4]), axis=0)
    h = w.node("Expand", w.constant((1, 1, 4)), shape)
    c = w.node("ConstantOfShape", shape, value=numpy_helper.from_array(np.array([0.25], np.float32)))
    y, h, c = w.recurrent("LSTM", "x", 3, states=(h, c))
    return w.model(["t", "b", 3], {}, [(w.node("Squeeze", y, w.constant([-3])), 3), (h, 3), (c, 3)])


def _lengths_and_states():
    w = Writer(4)
    sizes = w.constant([1, 1])
    first, second = w.node("Split", "h0", sizes, outputs=2, axis=0)
    y, _ = w.recurrent("RNN", "x", 3, lengths="lengths", states=(first,))
    y, _ = w.recurrent("RNN", w.node("Squeeze", y, w.constant([1])), 4, lengths="lengths", states=(second,))
    y = w.node("Squeeze", y, w.constant([1]))
    return w.model(["t", "b", 3], {"lengths": ["b"], "h0": [2, "b", 4]}, [(y, 3)])


def _fixed_sizes():
    w = Writer(5)
    c0 = w.node("Constant", value=numpy_helper.from_array(np.zeros((2, 2, 4), np.float32)))
    y, *_ = w.recurrent("LSTM", "x", 3, D=2, states=(w.constant(np.ones((2, 2, 4), np.float32)), c0))
    y = w.node("Reshape", w.node("Transpose", y, perm=[0, 2, 1, 3]), w.constant([5, 2, 8]))
    rows = w.node("Gemm", w.node("Reshape", y, w.constant([10, 8])), w.constant((8, 2)))
    return w.model([5, 2, 3], {}, [(w.node("Reshape", rows, w.constant([5, 2, 2])), 3)])


def _layout_1():
    w = Writer(6)
    y, _ = w.recurrent("GRU", "x", 3, layout=1)
    y = w.node("Squeeze", y, w.constant([2]))
    return w.model(["b", "t", 3], {}, [(w.node("MatMul", y, w.constant((4, 2))), 3)])


def _old_opset():
    w = Writer(7)
    first = w.node("Slice", "h0", axes=[0], starts=[0], ends=[1])
    second = w.node("Slice", "h0", axes=[0], starts=[1], ends=[2])
    y, h = w.recurrent("GRU", "x", 3, states=(first,))
    y, last = w.recurrent("GRU", w.node("Squeeze", y, axes=[1]), 4, states=(second,))
    h = w.node("Concat", h, last, axis=0)
    return w.model(["t", "b", 3], {"h0": [2, "b", 4]}, [(w.node("Squeeze", y, axes=[1]), 3), (h, 3)], opset=9)


def _external_weights():
    w = Writer(8)
    y, _ = w.recurrent("RNN", "x", 3)
    model, offset = w.model(["t", "b", 3], {}, [(w.node("Squeeze", y, w.constant([1])), 3)]), 0
    for tensor in model.graph.initializer[:3]:
        length = len(tensor.raw_data)
        onnx.external_data_helper.set_external_data(tensor, EXTERNAL, offset, length)
        tensor.ClearField("raw_data")
        offset += length
    return model


@functools.cache
def _cast_integers():
    w = Writer(9)
    x = w.node("Gather", w.constant((6, 3)), w.node("Cast", w.node("Transpose", "x"), to=TensorProto.INT64))
    y, _ = w.recurrent("GRU", x, 3)
    model = w.model(["b", "t"], {}, [(w.node("Squeeze", y, w.constant([1])), 3)])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    return model


def _external_file():
    w = Writer(8)
    w.recurrent("RNN", "x", 3)
    return b"".join(tensor.raw_data for tensor in w.constants)


# ---- mutations -------------------------------------------------------------------------------------------

NUMBERS = [0, 1, 2, 3, 4, 5, 8, 10, -1, -2, -3, 7, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63)]
NAMES = ["", "x", "y", "h0", "c0", "k0", "lengths", "0_0", "1_0", "é\0"]
OPERATORS = [
    *("RNN", "GRU", "LSTM", "MatMul", "Gemm", "Add", "Mul", "Squeeze", "Unsqueeze", "Transpose", "Reshape", "Identity"),
    *("Dropout", "Relu", "Slice", "Split", "Concat", "Expand", "ConstantOfShape", "Shape", "Gather", "Cast", "Flatten"),
    *("If", "Loop", "Scan", "Constant", "RandomNormal", "Softmax", "SequenceAt", "Where", "Tile", "Nonsense"),
]
ATTRIBUTES = {
    "direction": ["forward", "reverse", "bidirectional", "", 1],
    "activations": [["Tanh"], ["Relu"], ["Relu", "Tanh"], ["Sigmoid", "Tanh", "Tanh"], ["Affine"], [], ["tanh"]],
    "activation_alpha": [[], [0.5], [1.0], [1.0, 1.0], 1.0],
    "activation_beta": [[], [0.5], [0.0], 0],
    **{name: [0, 1, 2, -1] for name in ("layout", "linear_before_reset", "input_forget", "transA", "transB")},
    **{name: [0, 1, 2, 3, -1, -2, -3, 9] for name in ("axis", "keepdims", "allowzero", "start", "end", "to")},
    **{name: [0.0, 1.0, 2.0, 0.5, float("nan"), 1] for name in ("alpha", "beta", "clip", "ratio", "epsilon")},
    "hidden_size": [4, 3, 0, -4, 8, 2**31, 2**62, 4.0],
    "perm": [[0, 1, 2], [1, 0, 2], [0, 2, 1], [2, 1, 0], [0, 2, 1, 3], [0, 1, 2, 3], [1, 0], [-1, 0, 1], [0, 0, 1]],
    "axes": [[0], [1], [2], [-3], [-2], [-1], [1, 1], [9], []],
    **{name: [[1], [0, 0, -1], [2, 2], [], [2**62]] for name in ("shape", "split", "starts", "ends")},
    **{name: ["a", 0, 1.0, [1], [b"\xff"]] for name in ("value", "value_int", "value_floats", "nonsense")},
}
SHAPES = [
    *([0, 0, -1], [0, -1, 4], [-1, 4], [-1, 8], [-1, 2], [2, 2, 4], [4, 2, 8], [5, 2, 2], [2, 5, 2], [10, 4]),
    *([0, 0, 4], [0, 0, 0], [-1, 0, 4], [0, 0, 0, 4], [0, -1, 1, 4], [1, -1, 4], [4, -1], [0, 0, 2], [-1, 5, 4]),
    *([-1], [], [-1, -1]),
]
ADDENDS = [(), (1,), (2,), (4,), (2, 1), (4, 1), (1, 2), (1, 4), (2, 4), (5, 1, 1), (1, 2, 2), (2, 2), (1, 1, 1, 4)]
METADATA = [
    *("", "[]", "{", "1", "[" * 100_000, "null", "NaN", '["dropout"]', '{"dropout": 2}', '{"dropout": "a"}'),
    *('{"dropout": 1e999}', '{"learn_state": 1}', '{"learn_state": true}'),
]
PATHS = ["../weights.bin", "/etc/passwd", "", ".", "weights.bin", "missing", "a\0b", "x" * 5000, "/dev/zero"]


def mutate(data, rng) -> bytes:
    if rng.random() < 0.2:
        return _mutate_bytes(data, rng)
    model = onnx.load_model_from_string(data)
    mutations = rng.choice([MUTATIONS, PLAUSIBLE])
    for _ in range(rng.choice([1, 1, 2, 3])):
        try:
            with np.errstate(all="ignore"):
                rng.choice(mutations)(model, rng)
        except Exception:  # nothing is there to be changed, or it does not fit a protobuf
            continue
    return model.SerializeToString()


def _mutate_bytes(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(data) or 1)
        size = rng.choice([1, 1, 4, 50])
        how = rng.randrange(5)
        if how == 0:
            data[at : at + 1] = rng.randbytes(1)
        elif how == 1:
            data[at : at + size] = rng.randbytes(size)
        elif how == 2:
            del data[at : at + size]
        elif how == 3:
            data[at:at] = data[rng.randrange(len(data) or 1) :][:size]
        elif len(data) > 100:
            del data[max(at, 20) :]
    return bytes(data)


def _names(model):
    made = [name for node in model.graph.node for name in node.output]
    return [*made, *(each.name for each in (*model.graph.input, *model.graph.initializer)), *NAMES]


def _inputs(model, rng):
    _change_names(rng.choice(model.graph.node).input, _names(model), rng)  # makes cycles too


def _outputs(model, rng):
    _change_names(rng.choice(model.graph.node).output, _names(model), rng)


def _change_names(found, names, rng):
    """Swap, delete, leave out, add or replace one."""
    at, other = rng.randrange(len(found)), rng.randrange(len(found))
    how = rng.randrange(6)
    if how == 0:
        found[at], found[other] = found[other], found[at]
    elif how == 1:
        del found[at]
    elif how == 2:
        found[at] = ""
    elif how == 3:
        found.append(rng.choice(names))
    else:
        found[at] = rng.choice(names)


def _ends(model, rng):
    """Other outputs of the graph."""
    outputs = model.graph.output
    how = rng.randrange(3)
    if how == 0:
        del outputs[rng.randrange(len(outputs))]
    elif how == 1:
        rng.choice(outputs).name = rng.choice(_names(model))
    else:
        outputs.append(helper.make_tensor_value_info(rng.choice(_names(model)), TensorProto.FLOAT, [None] * 3))


def _nodes(model, rng):
    nodes = model.graph.node
    how = rng.randrange(4)
    if how == 0:
        del nodes[rng.randrange(len(nodes))]
    elif how == 1:
        nodes.append(rng.choice(nodes))
    elif how == 2:
        changed = list(nodes)
        rng.shuffle(changed)
        del nodes[:]
        nodes.extend(changed)
    else:
        rng.choice(nodes).op_type = rng.choice(OPERATORS)


def _constant(model, rng, array):
    name = f"new{rng.getrandbits(30)}"
    model.graph.initializer.append(numpy_helper.from_array(array, name))
    return name


def _numbers(rng, shape):
    return np.random.default_rng(rng.getrandbits(32)).normal(size=shape).astype(np.float32)


def _insert(model, rng):
    """A node between two others, most often one that is valid there."""
    nodes = model.graph.node
    made = [("x", 0), *((name, at + 1) for at, node in enumerate(nodes) for name in node.output if name)]
    old, at = rng.choice(made)
    at = rng.choice([at, at, at, rng.randrange(at, len(nodes) + 1)])  # at once, or after some of its users
    ends = {output.name for output in model.graph.output}
    new, attributes, inputs = f"new{rng.getrandbits(30)}", {}, [old]
    op = rng.choice(["Identity", "Transpose", "Reshape", "Reshape", "Add", "Add", "Mul", "MatMul", "Gemm", "Squeeze",
                     "Dropout", "Relu", "Cast", "Slice", "Unsqueeze", "Flatten", "Expand", "Gather",
                     "OneHot"])  # fmt: skip
    if op == "Transpose":
        attributes = {"perm": rng.choice(ATTRIBUTES["perm"])}
    elif op in ("Reshape", "Expand"):
        inputs.append(_constant(model, rng, np.array(rng.choice(SHAPES), np.int64)))
        attributes = rng.choice([{}, {}, {"allowzero": 1}]) if op == "Reshape" else {}
    elif op in ("Add", "Mul"):
        inputs.append(_constant(model, rng, _numbers(rng, rng.choice(ADDENDS))))
        rng.shuffle(inputs)
    elif op in ("MatMul", "Gemm"):
        inputs.append(_constant(model, rng, _numbers(rng, (rng.choice([2, 4, 8]), rng.choice([2, 4])))))
        if op == "Gemm":
            inputs.append(_constant(model, rng, _numbers(rng, rng.choice(ADDENDS))))
            attributes = rng.choice([{}, {"transB": 1}, {"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}])
        elif rng.random() < 0.2:
            inputs.reverse()
    elif op in ("Squeeze", "Unsqueeze"):
        inputs.append(_constant(model, rng, np.array(rng.choice(ATTRIBUTES["axes"]), np.int64)))
    elif op == "Dropout":
        training = _constant(model, rng, np.array(rng.random() < 0.5))
        inputs += rng.choice([[], [_constant(model, rng, np.array(0.5, np.float32)), training]])
    elif op == "Gather":
        inputs.insert(0, _constant(model, rng, _numbers(rng, (rng.choice([3, 4, 5]), rng.choice([2, 3, 4])))))
        attributes = {"axis": rng.choice([0, 0, 1])}
    elif op == "OneHot":
        values = rng.choice([[0, 1], [0, 1], [1, 0]])
        inputs += [
            _constant(model, rng, np.array(rng.choice([3, 4]))),
            _constant(model, rng, np.array(values, np.float32)),
        ]
        attributes = {"axis": rng.choice([-1, -1, 0, 1, 2])}
    elif op == "Cast":
        attributes = {"to": rng.choice([1, 11, 7, 10])}
    elif op == "Slice":
        bounds = [rng.choice([0, 1, -1]), rng.choice([1, 3, 2**62]), rng.choice([0, 1, 2]), rng.choice([1, -1, 2])]
        inputs += [_constant(model, rng, np.array([number], np.int64)) for number in bounds]
    node = helper.make_node(op, inputs, [new], **attributes)
    nodes.insert(at, node)
    if old in ends and rng.random() < 0.7:  # the new node takes the place of the graph's output
        for output in model.graph.output:
            output.name = new if output.name == old else output.name
    for later in nodes[at + 1 :]:
        later.input[:] = [new if name == old else name for name in later.input]


def _attributes(model, rng):
    node = rng.choice(model.graph.node)
    how = rng.randrange(5)
    if how < 3:
        usual = {"LSTM": 9, "RNN": 9, "GRU": 9}.get(node.op_type, len(ATTRIBUTES))
        name = rng.choice([*list(ATTRIBUTES)[:usual], *(attribute.name for attribute in node.attribute)])
        kept = [attribute for attribute in node.attribute if attribute.name != name or rng.random() < 0.05]
        del node.attribute[:]
        node.attribute.extend(kept)
        value = rng.choice([*ATTRIBUTES.get(name, [0, 1]), *([rng.choice(NUMBERS)] if rng.random() < 0.1 else [])])
        node.attribute.append(helper.make_attribute(name, value))
    elif how == 3:
        del node.attribute[rng.randrange(len(node.attribute))]
    else:
        attribute = rng.choice(node.attribute)
        change = rng.randrange(3)
        if change == 0:
            attribute.type = rng.choice(list(onnx.AttributeProto.AttributeType.values()))
        elif change == 1:
            attribute.name = rng.choice(list(ATTRIBUTES))
        else:
            attribute.ref_attr_name = "a"


def _subgraph(model, rng):
    """A node with a subgraph that uses a tensor."""
    name, out = rng.choice(_names(model)), f"new{rng.getrandbits(30)}"
    inner = helper.make_graph([helper.make_node("Identity", [name], ["inner"])], "g", [],
                              [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)])  # fmt: skip
    true = _constant(model, rng, np.array(True))
    node = helper.make_node("If", [true], [out], then_branch=inner, else_branch=inner)
    at = rng.randrange(len(model.graph.node) + 1)
    model.graph.node.insert(at, node)
    for later in model.graph.node[at + 1 :]:
        later.input[:] = [out if each == name and rng.random() < 0.5 else each for each in later.input]


def _tensor(model, rng):
    """A stored tensor: its shape, type and bytes."""
    tensors = model.graph.initializer
    tensor = rng.choice(tensors)
    how = rng.randrange(11)
    if how == 0:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif how == 1:
        dims = list(tensor.dims)
        rng.shuffle(dims)
        tensor.dims[:] = rng.choice([dims, [*dims, 1], [1, *dims], dims[1:], []])
    elif how == 2:
        tensor.raw_data = rng.choice([tensor.raw_data[:-1], tensor.raw_data * 2, b"", b"\xff" * len(tensor.raw_data)])
    elif how == 3:
        tensor.data_type = rng.choice(list(TensorProto.DataType.values()))
    elif how == 4:
        tensors.remove(tensor)
    elif how == 5:
        tensors.append(tensor)
    elif how == 6:
        tensor.name = rng.choice(_names(model))
    elif how == 7:
        tensor.ClearField("raw_data")
        rng.choice([tensor.float_data, tensor.int64_data, tensor.int32_data, tensor.double_data]).extend([1] * 4)
    elif how == 8:
        tensor.string_data.append(b"text")
    elif how == 9:
        del tensor.external_data[:]
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": PATHS, "offset": NUMBERS, "length": NUMBERS}
        for key, values in entries.items():
            tensor.external_data.add(key=key, value=str(rng.choice(values)))
    else:
        values = numpy_helper.to_array(tensor).astype(rng.choice([np.float64, np.float16, np.int32]))
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _indices(model, rng):
    """A constant of integers: shapes, axes, splits."""
    tensor = rng.choice([tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT64])
    values = numpy_helper.to_array(tensor).copy()
    if values.size and rng.random() < 0.7:
        values.flat[rng.randrange(values.size)] = rng.choice(NUMBERS[:12] if rng.random() < 0.7 else NUMBERS)
    else:
        values = np.array(rng.choice(SHAPES), np.int64)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _declarations(model, rng):
    """What the graph says of its inputs."""
    inputs = model.graph.input
    info = rng.choice(inputs)
    tensor = info.type.tensor_type
    how = rng.randrange(7)
    if how == 0:
        rng.choice(tensor.shape.dim).dim_value = rng.choice(NUMBERS)
    elif how == 1:
        rng.choice(tensor.shape.dim).dim_param = rng.choice(["t", "b", "n"])
    elif how == 2:
        tensor.elem_type = rng.choice([0, 1, 11, 7, 10, 99])
    elif how == 3:
        tensor.ClearField("shape")
    elif how == 4:
        shape = rng.choice([[1, 2, 4], ["t", "b", 3]])
        inputs.append(helper.make_tensor_value_info(rng.choice(_names(model)), TensorProto.FLOAT, shape))
    elif how == 5:
        inputs.remove(info)
    else:
        info.name = rng.choice(_names(model))


def _state(model, rng):
    """An initial state, constant or computed from the sequence."""
    node = rng.choice([node for node in model.graph.node if node.op_type in RECURRENT])
    index = rng.choice([4, 5, 5, 6])
    while len(node.input) <= index:
        node.input.append("")
    how = rng.randrange(4)
    if how == 0:
        node.input[index] = rng.choice(_names(model))
    elif how == 1:
        batch = rng.choice([1, 2, 3])
        node.input[index] = _constant(model, rng, np.repeat(_numbers(rng, (1, 1, 4)), batch, 1))
    else:
        shape = _constant(model, rng, np.array(rng.choice([[1, 2, 4], [2**31, 2**20, 9], [1, 2**40, 4], [1, 2, -4]])))
        node.input[index] = f"new{rng.getrandbits(30)}"
        made = helper.make_node("ConstantOfShape", [shape], [node.input[index]])
        if how == 3:
            made = helper.make_node("Expand", [_constant(model, rng, _numbers(rng, (1, 1, 4))), shape], made.output)
        model.graph.node.insert(0, made)


def _whole(model, rng):
    """Versions, domains, functions, metadata."""
    how = rng.randrange(8)
    opset = rng.choice(model.opset_import)
    if how == 0:
        opset.version = rng.choice([1, 5, 6, 7, 8, 11, 13, 14, 18, 21, 22, 99, -1, 2**63 - 1])
    elif how == 1:
        rng.choice([opset, rng.choice(model.graph.node)]).domain = rng.choice(["ai.onnx", "com.microsoft", "é"])
    elif how == 2:
        del model.opset_import[:]
    elif how == 3:
        model.opset_import.append(helper.make_opsetid("", rng.choice([7, 17])))
    elif how == 4:
        domain, op = rng.choice(["", "f"]), rng.choice(model.graph.node).op_type
        body = helper.make_node("Identity", ["a"], ["b"])
        model.functions.append(helper.make_function(domain, op, ["a"], ["b"], [body], model.opset_import))
    elif how == 5:
        helper.set_model_props(model, {"bptt": rng.choice(METADATA)})
    elif how == 6:
        values = numpy_helper.from_array(np.ones(1, np.float32), "W_l0")
        sparse = onnx.SparseTensorProto(values=values, dims=[4])
        model.graph.sparse_initializer.append(sparse)
    else:
        model.ir_version = rng.choice([0, 1, 3, 4, 8, 10, 2**40])


PLAUSIBLE = [_insert, _insert, _insert, _indices, _state, _attributes, _ends]  # often valid models still
MUTATIONS = [
    *(_inputs, _inputs, _outputs, _ends, _nodes, _insert, _insert, _insert, _insert, _attributes, _attributes),
    *(_subgraph, _tensor, _tensor, _indices, _indices, _declarations, _state, _state, _whole),
]

# ---- reading ---------------------------------------------------------------------------------------------


def read(path):
    """The network of a file, compared with the model."""
    path = Path(path)
    beside = path.with_name(EXTERNAL)
    beside.write_bytes(_external_file())
    try:
        rnn = bptt.convert.from_onnx(path)
        compare(path, rnn)
    finally:
        beside.unlink()
    return rnn


def compare(path, rnn) -> str:
    """Assert that a model gives the network's outputs; returns how it was run, "" if nothing could run it."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception:  # it is no valid model, or its external data are not there
        return ""
    if not np.abs(rnn.params).max() < 1e3:  # where rounding would decide, and onnxruntime lets no NaN through
        return ""
    runners = [_compare_once(model, rnn, sizes) for sizes in SIZES]
    return max(runners)


def _compare_once(model, rnn, sizes):
    x, feeds = _feeds(model, *sizes, rnn.spec.vocabulary)
    if x not in feeds:
        return ""
    recurrent = [node for node in model.graph.node if node.op_type in RECURRENT]
    received = {name for node in recurrent for name in node.input[4:7] if name}
    made = {name for node in recurrent for name in node.output[1:] if name}
    runner, found = _run(_time_first_nodes(_with_outputs(model, received | made)), feeds)
    if not runner:
        return ""
    stored = [tensor for tensor in model.graph.initializer if tensor.name in received]
    found |= {tensor.name: numpy_helper.to_array(tensor) for tensor in stored}
    if any(found[name].ndim != 3 for node in recurrent for name in node.input[5:7] if name):
        return ""  # the reference implementation takes more axes than the operator has
    lengths = found.get(recurrent[0].input[4]) if len(recurrent[0].input) > 4 else None
    rows = feeds[x].shape[0 if rnn.batch_first else 1]
    states = [_states_first(found[name], node) for node in recurrent for name in node.input[5:7] if name]
    if any(state.shape[1] not in (1, rows) for state in states):
        return ""  # a state for another number of rows, which the reference implementation takes
    y, last = rnn.forward(feeds[x], _received_state(rnn, recurrent, found, rows), lengths=lengths, tape=False)
    y = y.swapaxes(0, 1) if rnn.batch_first else y
    valid = np.ones(y.shape[:2], bool) if lengths is None else np.arange(len(y))[:, None] < lengths
    candidates = [array for output in model.graph.output for array in _time_first(found[output.name], rnn)]
    candidates = [array for array in candidates if array.shape == y.shape]
    assert candidates or any(name for node in recurrent for name in node.output[1:]), "no output has the shape of y"
    assert not candidates or any(_close(array[valid], y[valid]) for array in candidates), "the outputs are others"
    for index, part in enumerate(last if isinstance(last, tuple) else (last,)):
        _compare_final(part, index, rnn, recurrent, found)
    return runner


def _compare_final(part, index, rnn, recurrent, found):
    """Compare final states with the outputs Y_h or Y_c of those nodes that have them."""
    D = 1 + rnn.bidirectional
    for layer, node in enumerate(recurrent[: rnn.num_layers]):
        name = node.output[1 + index] if len(node.output) > 1 + index else ""
        if name:
            assert _close(_states_first(found[name], node), part[layer * D : (layer + 1) * D]), "the states are others"


def _close(a, b):
    return np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True)


def _layout(node):
    return next((attribute.i for attribute in node.attribute if attribute.name == "layout"), 0)


def _states_first(array, node):
    return array.swapaxes(0, 1) if _layout(node) else array


def _time_first(array, rnn):
    """An output as (T,B,features); where it has 4 axes, one before the last is that of the directions."""
    arrays = [np.moveaxis(array, axis, 2) for axis in range(3)] if array.ndim == 4 else [array]
    arrays = [array.reshape(*array.shape[:2], math.prod(array.shape[2:])) for array in arrays if array.ndim > 2]
    return [array.swapaxes(0, 1) if rnn.batch_first else array for array in arrays]


def _received_state(rnn, recurrent, found, rows):
    """The state of forward: what the nodes receive. (The reference implementation takes one row for all.)"""
    parts = []
    for index in (5, 6)[: rnn.states]:
        names = [node.input[index] if len(node.input) > index else "" for node in recurrent]
        if any(names):
            arrays = [_states_first(found[name], node) if name else None
                      for name, node in zip(names, recurrent, strict=True)]  # fmt: skip
            shape = next(array.shape for array in arrays if array is not None)
            shape = (shape[0], rows, shape[2])
            parts.append(np.concatenate([np.zeros(shape) if a is None else np.broadcast_to(a, shape) for a in arrays]))
        else:
            parts.append(None)
    if all(part is None for part in parts):
        return None
    shape = next(part.shape for part in parts if part is not None)
    parts = [np.zeros(shape, rnn.dtype) if part is None else part for part in parts]
    return tuple(parts) if rnn.states == 2 else parts[0]


def _feeds(model, steps, rows, vocabulary):
    """The name of the sequence, and random inputs."""
    producer = {name: node for node in model.graph.node for name in node.output}
    stored = {tensor.name for tensor in model.graph.initializer}
    x = next(node for node in model.graph.node if node.op_type in RECURRENT).input[0]
    while x in producer:
        x = producer[x].input[1 if producer[x].op_type == "Gather" else 0]
    rng, feeds = np.random.default_rng(0), {}
    for info in model.graph.input:
        if info.name in stored:
            continue
        tensor = info.type.tensor_type
        shape = [dim.dim_value or (steps if dim.dim_param in ("t", "time") else rows) for dim in tensor.shape.dim]
        if math.prod(shape) >= 1e5:
            continue
        if info.name == x and vocabulary:
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            feeds[x] = rng.integers(vocabulary, size=shape).astype(dtype)
        elif tensor.elem_type == TensorProto.INT32:
            feeds[info.name] = np.arange(steps, steps - rows, -1, dtype=np.int32).clip(1)
        else:
            dtype = np.float64 if tensor.elem_type == TensorProto.DOUBLE else np.float32
            feeds[info.name] = rng.normal(size=shape).astype(dtype)
    return x, feeds


def _with_outputs(model, names):
    model = onnx.ModelProto.FromString(model.SerializeToString())
    known = {output.name for output in model.graph.output} | {tensor.name for tensor in model.graph.initializer}
    for name in sorted(names - known):
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    return model


def _time_first_nodes(model):
    """With nodes of layout 0 and Transpose in place of nodes of layout 1, which neither runs right."""
    nodes = []
    for node in model.graph.node:
        if node.op_type in RECURRENT and _layout(node):
            before, after = [], []
            for ends, made, order in ((node.input, before, (0, 5, 6)), (node.output, after, (0, 1, 2))):
                for at in [at for at in order if at < len(ends) and ends[at]]:
                    old, new = ends[at], f"{ends[at]} of {node.name or node.output[0]} {at}"
                    perm = [2, 0, 1, 3] if made is after and at == 0 else [1, 0, 2]
                    pair = ([new], [old]) if made is after else ([old], [new])
                    made.append(helper.make_node("Transpose", *pair, perm=perm))
                    ends[at] = new
            kept = [attribute for attribute in node.attribute if attribute.name != "layout"]
            del node.attribute[:]
            node.attribute.extend(kept)
            nodes += [*before, node, *after]
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _run(model, feeds):
    """(what ran it, {name: array}), by the first that can."""
    names = [output.name for output in model.graph.output]
    for runner, run in (("onnxruntime", _by_onnxruntime), ("reference", _by_reference)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return runner, feeds | dict(zip(names, run(model, names, feeds), strict=True))
        except Exception:  # this one cannot run it
            continue
    return "", {}


def _by_onnxruntime(model, names, feeds):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(names, feeds)


def _by_reference(model, names, feeds):
    return ReferenceEvaluator(model).run(names, feeds)
