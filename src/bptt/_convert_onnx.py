"""Networks to ONNX models and back: RNN, GRU and LSTM nodes, one per layer, and a readout.

The shape of a graph is read by following the sequence from the input to the output; what else there is may only make
initial states and carry final ones away.
"""

import json
import os
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ._convert import build, float_dtype, regated, suffixes
from ._core import flag
from ._files import write_whole

OPSET, IR_VERSION = 15, 8
# where blocks of gates lie: GRU r,z,n here and z,r,h there, LSTM i,f,g,o and i,o,f,c, peepholes i,f,o and i,o,f
FROM_ONNX = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1), "P": (0, 2, 1)}
TO_ONNX = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2), "P": (0, 2, 1)}
ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "identity": "Affine"}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
OPTIONS = ("dropout", "recurrent_dropout", "learn_state")  # what ONNX has no place for, kept in the metadata
# beside the way of the sequence: what may make initial states and carry final ones away
PLUMBING = {
    *("Cast", "Concat", "Constant", "ConstantOfShape", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Shape"),
    *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
}


# ---- to ONNX ---------------------------------------------------------------------------------------------


def to_onnx(rnn, path, state_inputs):
    state_inputs = flag(state_inputs, "state_inputs")
    model = helper.make_model(
        _Writer(rnn, state_inputs).graph(), opset_imports=[helper.make_opsetid("", OPSET)], producer_name="bptt"
    )
    model.ir_version = IR_VERSION
    options = {name: getattr(rnn, name) for name in OPTIONS} | {"learn_state": rnn.learn_state and not state_inputs}
    helper.set_model_props(model, {"bptt": json.dumps(options)})
    write_whole(os.fsdecode(path), model.SerializeToString())


class _Writer:
    """Makes the graph of a network."""

    def __init__(self, rnn, state_inputs):
        self.rnn, self.state_inputs = rnn, state_inputs
        self.views = rnn.state_dict()
        self.op = {"lstm": "LSTM", "gru": "GRU"}.get(rnn.cell, "RNN")
        self.directions = 1 + rnn.bidirectional
        self.nodes, self.constants = [], []

    def graph(self):
        rnn, real = self.rnn, helper.np_dtype_to_tensor_dtype(self.rnn.dtype)
        steps = ["batch", "time"] if rnn.batch_first else ["time", "batch"]
        state_shape = [rnn.num_layers * self.directions, "batch", rnn.hidden_size]
        letters = ["h", "c"][: rnn.states]
        inputs = [("x", [*steps, rnn.input_size])]
        if self.state_inputs:
            inputs += [(f"{letter}0", state_shape) for letter in letters]
        initial = [self.initial_states(letter) for letter in letters]
        y, final = self.layers("x", initial)
        width = rnn.output_size or rnn.hidden_size * self.directions
        if rnn.output_size:
            y = self.readout(y)
        if rnn.batch_first:
            y = self.node("Transpose", [y], "y_batch_first", perm=[1, 0, 2])
        self.rename(y, "y")
        for letter, parts in zip(letters, final, strict=True):
            self.node("Concat", parts, letter, axis=0)
        outputs = [("y", [*steps, width]), *((letter, state_shape) for letter in letters)]
        described = [
            [helper.make_tensor_value_info(name, real, shape) for name, shape in end] for end in (inputs, outputs)
        ]
        return helper.make_graph(self.nodes, "bptt", *described, initializer=self.constants)

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def rename(self, old, new):
        for node in self.nodes:
            node.output[:] = [new if name == old else name for name in node.output]

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def indices(self, name, *values):
        return self.constant(name, np.array(values, np.int64))

    def initial_states(self, letter):
        """The name of each layer's entering state, "" where it is zero."""
        rnn, D = self.rnn, self.directions
        names = [f"{letter}0_l{layer}" for layer in range(rnn.num_layers)]
        if self.state_inputs:
            split = self.indices(f"{letter}0_split", *[D] * rnn.num_layers)
            self.nodes.append(helper.make_node("Split", [f"{letter}0", split], names, name=f"{letter}0_split", axis=0))
        elif rnn.learn_state:
            batch = 0 if rnn.batch_first else 1
            rows = self.node("Shape", ["x"], f"{letter}0_rows", start=batch, end=batch + 1)
            one = self.indices(f"{letter}0_one", 1)
            shape = self.node("Concat", [one, rows, one], f"{letter}0_shape", axis=0)
            learned = self.views[f"state_{letter}0"].reshape(rnn.num_layers, D, 1, rnn.hidden_size)
            for name, value in zip(names, learned, strict=True):
                self.node("Expand", [self.constant(f"{name}_row", value), shape], name)
        else:
            names = [""] * rnn.num_layers
        return names

    def layers(self, x, initial):
        """The name of the last layer's outputs (T,B,D*H), and [names of the layers' final states] for h and c."""
        rnn = self.rnn
        if rnn.batch_first:
            x = self.node("Transpose", [x], "x_time_first", perm=[1, 0, 2])
        final = [[] for _ in initial]
        for layer in range(rnn.num_layers):
            outputs = [f"{name}_l{layer}" for name in ("Y", "Y_h", "Y_c")[: 1 + rnn.states]]
            inputs = [x, *self.parameters(layer), "", *(names[layer] for names in initial)]
            if rnn.peepholes:
                inputs.append(self.stacked("P", ["weight_peephole"], layer))
            self.nodes.append(
                helper.make_node(self.op, inputs, outputs, name=f"{self.op}_l{layer}", **self.attributes())
            )
            x = self.sides(outputs[0], layer)
            for names, name in zip(final, outputs[1:], strict=True):
                names.append(name)
        return x, final

    def parameters(self, layer):
        names = [self.stacked("W", ["weight_ih"], layer), self.stacked("R", ["weight_hh"], layer)]
        return [*names, self.stacked("B", ["bias_ih", "bias_hh"], layer) if self.rnn.bias else ""]

    def stacked(self, letter, kinds, layer):
        """A constant of both directions' tensors, those of several kinds one behind the other."""
        D, places = self.directions, TO_ONNX["P" if letter == "P" else self.op]
        sides = [
            np.concatenate([regated(self.views[f"{kind}_{suffix}"], places) for kind in kinds])
            for suffix in suffixes(self.rnn.num_layers, self.rnn.bidirectional)[layer * D : (layer + 1) * D]
        ]
        stacked = np.stack(sides)
        return self.constant(f"{letter}_l{layer}", stacked.reshape(D, -1) if letter == "P" else stacked)

    def attributes(self):
        rnn = self.rnn
        attributes = {"hidden_size": rnn.hidden_size}
        if rnn.bidirectional:
            attributes["direction"] = "bidirectional"
        if self.op == "RNN":
            attributes["activations"] = [ACTIVATIONS[rnn.cell]] * self.directions
        if rnn.cell == "identity":
            attributes["activation_alpha"] = [1.0] * self.directions
            attributes["activation_beta"] = [0.0] * self.directions
        if self.op == "GRU":
            attributes["linear_before_reset"] = int(rnn.reset_after)
        return attributes

    def sides(self, y, layer):
        """(T,D,B,H) to (T,B,D*H)."""
        if self.directions == 1:
            return self.node("Squeeze", [y, self.indices(f"axes_l{layer}", 1)], f"y_l{layer}")
        beside = self.node("Transpose", [y], f"y_l{layer}_beside", perm=[0, 2, 1, 3])
        return self.node("Reshape", [beside, self.indices(f"shape_l{layer}", 0, 0, -1)], f"y_l{layer}")

    def readout(self, y):
        weight = self.constant("weight_ho", self.views["weight_ho"].T)
        y = self.node("MatMul", [y, weight], "y_readout")
        if self.rnn.bias:
            y = self.node("Add", [y, self.constant("bias_o", self.views["bias_o"])], "y_readout_bias")
        return y


# ---- from ONNX -------------------------------------------------------------------------------------------


def from_onnx(cls, path, weights, threads):
    model = path if isinstance(path, onnx.ModelProto) else _load(path)
    if not isinstance(weights, Mapping | None):
        raise TypeError(f"weights must be a mapping of names to arrays, got {type(weights).__name__}")
    reader = _Reader(_Graph(model, weights or {}))
    reader.follow()
    description, state = reader.network(_options(model))
    return build(cls, description, state, threads)


def _load(path):
    with open(path, "rb"):  # a missing or unreadable file is the system's own error
        pass
    try:
        return onnx.load(os.fsdecode(path))
    except Exception as error:
        raise ValueError(f"path must name an ONNX model, got {os.fsdecode(path)}: {error}") from error


def _options(model):
    """What to_onnx wrote into the metadata."""
    kept = next((prop.value for prop in model.metadata_props if prop.key == "bptt"), "{}")
    try:
        options = json.loads(kept)
        return {name: options[name] for name in OPTIONS if name in options}
    except (TypeError, ValueError):
        raise ValueError(f"the model's metadata of bptt must be a JSON object, got {kept!r}") from None


class _Graph:
    """The graph of a model, with the values of what does not depend on its inputs."""

    def __init__(self, model, weights):
        self.model, self.nodes = model, list(model.graph.node)
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self.inputs = [i.name for i in model.graph.input]
        self.outputs = {o.name for o in model.graph.output}
        self.values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        foreign = [name for name in weights if name not in self.inputs]
        if foreign:
            raise ValueError(
                f"weights must name inputs of the graph, {', '.join(self.inputs)}, got {', '.join(foreign)}"
            )
        self.values |= {name: np.asarray(array) for name, array in weights.items()}
        self.used = set()  # ids of the nodes that constants come from

    def value(self, name):
        """The array of that name; None where it depends on an input of the graph."""
        if name not in self.values:
            nodes = self.ancestors(name)
            if nodes is None:
                return None
            self.used |= {id(node) for node in nodes}
            self.values[name] = self.evaluated(nodes, name)
        return self.values[name]

    def ancestors(self, name):
        """The nodes that make a tensor, None if an input's values (not only its shape) enter."""
        needed, names = set(), [name]
        while names:
            name = names.pop()
            if name in self.values or not name:
                continue
            if name not in self.producer:
                return None
            node = self.producer[name]
            if id(node) not in needed:
                needed.add(id(node))
                names += [] if node.op_type == "Shape" else node.input
        return [node for node in self.nodes if id(node) in needed]

    def evaluated(self, nodes, name):
        """A tensor computed for inputs of one row and one step where the graph leaves that open."""
        given = [i for i in self.model.graph.input if i.name not in self.values]
        feeds = {i.name: _blank(i) for i in given if any(i.name in node.input for node in nodes)}
        made = {out for node in nodes for out in node.output}
        needed = {name for node in nodes for name in node.input if name and name not in made and name not in feeds}
        graph = helper.make_graph(
            nodes,
            "constant",
            [i for i in given if i.name in feeds],
            [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)],
            initializer=[numpy_helper.from_array(self.values[name], name) for name in needed],
        )
        model = helper.make_model(graph, opset_imports=self.model.opset_import)
        return ReferenceEvaluator(model).run([name], feeds)[0]


def _blank(value_info):
    tensor = value_info.type.tensor_type
    return np.zeros([dim.dim_value or 1 for dim in tensor.shape.dim], helper.tensor_dtype_to_np_dtype(tensor.elem_type))


class _Reader:
    """Follows the sequence through the graph and notes the layers and the readout.

    axes are those of the sequence where it is now: "0" and "1" are the first two of the graph's input, "d" the
    directions, "f" the features; a pair of them is both in one.
    """

    def __init__(self, graph):
        self.graph = graph
        self.kind = None  # what all layers must have in common
        self.state, self.initial = {}, []
        self.num_layers, self.input_size, self.width = 0, None, None
        self.readout = None  # the name of its output
        self.axes = ["0", "1", "f"]
        self.time = None
        self.seen = set()

    def follow(self):
        self.current = self.start()
        while self.current:
            users = [node for node in self.graph.nodes if self.current in node.input and node.op_type != "Shape"]
            if not users:
                break
            if len(users) > 1:
                raise ValueError(f"{self.current} must go to one node, goes to {', '.join(map(_called, users))}")
            (node,) = users
            read = getattr(self, f"read_{node.op_type.lower()}", None)
            if read is None or (self.current != node.input[0] and node.op_type != "Add"):
                raise _unsupported(node, "it may not stand where the sequence passes")
            self.seen.add(id(node))
            read(node)
            self.current = node.output[0]
        self.check_end()

    def start(self):
        """The input that the first recurrent node reads."""
        recurrent = [node for node in self.graph.nodes if node.op_type in DEFAULTS]
        if not recurrent:
            raise ValueError("the graph must have a node RNN, GRU or LSTM, got none")
        name = recurrent[0].input[0]
        while name in self.graph.producer:
            name = self.graph.producer[name].input[0]
        return name

    def check_end(self):
        if self.current and self.current not in self.graph.outputs:
            raise ValueError(f"the sequence must end in an output of the graph, ends in {self.current}")
        if self.current and [axis for axis in self.axes if axis != "d"] != ["0", "1", "f"]:
            raise ValueError("the output must have time and batch in the order of the input")
        for node in self.graph.nodes:
            if id(node) not in self.seen | self.graph.used and node.op_type not in PLUMBING:
                raise _unsupported(node, "it stands beside the way of the sequence")

    def network(self, options):
        """The description and the parameters of the network that was read."""
        kind, state = dict(self.kind), self.state
        H, D = kind["hidden_size"], 1 + kind["bidirectional"]
        learned = options.get("learn_state") or any(part is not None and part.any() for part in self.initial)
        if learned:
            parts = [np.zeros((D, H), self.dtype()) if part is None else part for part in self.initial]
            for i, name in enumerate(["state_h0", "state_c0"][: 1 + (kind["cell"] == "lstm")]):
                state[name] = np.concatenate(parts[i :: 1 + (kind["cell"] == "lstm")])
        peepholes = any("peephole" in name for name in state)
        for suffix in suffixes(self.num_layers, kind["bidirectional"]) if peepholes else ():
            state.setdefault(f"weight_peephole_{suffix}", np.zeros((3, H), self.dtype()))
        description = options | kind | {
            "input_size": self.input_size,
            "output_size": len(state["weight_ho"]) if "weight_ho" in state else None,
            "num_layers": self.num_layers,
            "bias": any("bias" in name for name in state),
            "peepholes": peepholes,
            "learn_state": bool(learned),
            "batch_first": self.time == "1",
            "dtype": self.dtype(),
        }  # fmt: skip
        return description, state

    def dtype(self):
        return float_dtype(self.state.values(), "the model's weights")

    def constant(self, node, place, what):
        value = self.graph.value(node.input[place])
        if value is None:
            raise _unsupported(node, f"{what} must be constant: for inputs of the graph give weights={{name: array}}")
        return value

    # the nodes on the way of the sequence

    def read_identity(self, node):
        pass

    read_dropout = read_identity  # at inference it is one

    def read_transpose(self, node):
        perm = _attributes(node).get("perm", range(len(self.axes))[::-1])
        self.axes = [self.axes[place] for place in perm]

    def read_squeeze(self, node):
        axes = self.constant(node, 1, "axes") if len(node.input) > 1 else _attributes(node).get("axes", ())
        if [self.axes[axis] for axis in axes] != ["d"] or self.kind["bidirectional"]:
            raise _unsupported(node, "it may only take away the axis of a single direction")
        self.axes = [axis for axis in self.axes if axis != "d"]

    def read_reshape(self, node):
        shape = self.constant(node, 1, "shape").tolist()
        if "d" in self.axes and (self.axes[2:] == ["d", "f"] or not self.kind["bidirectional"]):
            axes = [axis for axis in self.axes if axis != "d"]
        elif len(self.axes) == 3 and len(shape) == 2:
            axes = [(self.axes[0], self.axes[1]), "f"]
        elif len(self.axes) == 2 and len(shape) == 3:
            axes = [*self.axes[0], "f"]
        else:
            axes = self.axes
        if self.width is None or "d" in axes or len(axes) != len(shape) or shape[-1] not in (-1, self.width):
            raise _unsupported(node, f"it may only put directions, or steps and rows, together, got shape {shape}")
        self.axes = axes

    def read_rnn(self, node):
        attributes, layer = _attributes(node), self.num_layers
        kind, layout = _kind(node, attributes)
        if self.kind not in (None, kind):
            raise _unsupported(node, f"layers must be alike: {self.kind} and {kind}")
        time = self.time or self.axes[layout]
        if self.readout or len(self.axes) != 3 or self.axes[2] != "f" or self.axes[layout] != time:
            raise _unsupported(node, "its input must be (time, batch, features) of the input or of the layer below")
        self.kind, self.time, self.num_layers = kind, time, layer + 1
        self.take_parameters(node, layer)
        self.initial += [self.initial_state(node, place, layout) for place in (5, 6)[: 1 + (node.op_type == "LSTM")]]
        if _input(node, 4) and self.graph.value(node.input[4]) is not None:
            raise _unsupported(node, "sequence_lens must be an input of the graph: forward takes lengths")
        self.axes.insert(1 if layout == 0 else 2, "d")

    read_gru = read_lstm = read_rnn

    def take_parameters(self, node, layer):
        H, D, G = self.kind["hidden_size"], 1 + self.kind["bidirectional"], len(FROM_ONNX[node.op_type])
        W = self.constant(node, 1, "W")
        if self.width is None:
            self.input_size = self.width = W.shape[-1]
        tensors = {"W": W, "R": self.constant(node, 2, "R")}
        shapes = {"W": (D, G * H, self.width), "R": (D, G * H, H), "B": (D, 2 * G * H), "P": (D, 3 * H)}
        for place, name in ((3, "B"), (7, "P")):
            if _input(node, place):
                tensors[name] = self.constant(node, place, name)
        for name, tensor in tensors.items():
            if tensor.shape != shapes[name]:
                raise _unsupported(node, f"{name} must have shape {shapes[name]}, got {tensor.shape}")
        for side, suffix in enumerate(suffixes(layer + 1, D == 2)[-D:]):
            for name, tensor in tensors.items():
                self.take_tensor(node.op_type, name, tensor[side], suffix)
        self.width = D * H

    def take_tensor(self, op, name, tensor, suffix):
        if name == "B":
            for kind, half in zip(("ih", "hh"), np.split(tensor, 2), strict=True):
                self.state[f"bias_{kind}_{suffix}"] = regated(half, FROM_ONNX[op])
        elif name == "P":
            self.state[f"weight_peephole_{suffix}"] = regated(tensor, FROM_ONNX["P"]).reshape(3, -1)
        else:
            self.state[f"weight_{'ih' if name == 'W' else 'hh'}_{suffix}"] = regated(tensor, FROM_ONNX[op])

    def initial_state(self, node, place, layout):
        """(D,H) of a constant state that is the same for all rows; None for none and for an input of the graph."""
        value = self.graph.value(_input(node, place)) if _input(node, place) else None
        if value is None:
            return None
        value = value if layout else value.swapaxes(0, 1)
        if (value != value[0]).any():
            raise _unsupported(node, f"{INPUTS[place]} must be the same for all rows or an input of the graph")
        return value[0]

    def read_matmul(self, node):
        self.take_readout(node, self.constant(node, 1, "the weight").T)

    def read_add(self, node):
        if self.current != self.readout or "bias_o" in self.state:
            raise _unsupported(node, "only the bias of a readout may be added")
        self.take_bias(node, 1 - list(node.input).index(self.current))

    def read_gemm(self, node):
        attributes = _attributes(node)
        for name, expected in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
            if attributes.get(name, expected) != expected:
                raise _unsupported(node, f"{name} must be {expected}, got {attributes[name]}")
        weight = self.constant(node, 1, "the weight")
        self.take_readout(node, weight if attributes.get("transB") else weight.T)
        if _input(node, 2):
            self.take_bias(node, 2)

    def take_readout(self, node, weight):
        if self.width is None or self.readout or "d" in self.axes or self.axes[-1] != "f":
            raise _unsupported(node, "only a readout of the last layer's outputs may multiply")
        if weight.ndim != 2 or weight.shape[1] != self.width:
            raise _unsupported(node, f"its weight must take {self.width} features, got shape {weight.T.shape}")
        self.state["weight_ho"], self.readout, self.width = weight, node.output[0], len(weight)

    def take_bias(self, node, place):
        bias = self.constant(node, place, "the bias")
        if bias.size != self.width:
            raise _unsupported(node, f"the bias must have {self.width} elements, got shape {bias.shape}")
        self.state["bias_o"] = bias.reshape(-1)


def _kind(node, attributes):
    """What a recurrent node is, in the words of RNN, and its layout."""
    layout = attributes.pop("layout", 0)
    direction = attributes.pop("direction", "forward")
    if direction not in ("forward", "bidirectional"):
        raise _unsupported(node, f"direction must be forward or bidirectional, got {direction}")
    if attributes.pop("input_forget", 0):
        raise _unsupported(node, "input_forget must be 0, bptt does not couple the gates")
    if "hidden_size" not in attributes:
        raise _unsupported(node, "hidden_size must be given")
    kind = {"cell": _cell(node, attributes, 1 + (direction == "bidirectional"))}
    kind["hidden_size"] = attributes.pop("hidden_size")
    kind["bidirectional"] = direction == "bidirectional"
    kind["reset_after"] = bool(attributes.pop("linear_before_reset", 0)) or node.op_type != "GRU"
    attributes.pop("output_sequence", None)  # of the first versions of the operators; says nothing
    if attributes:
        raise _unsupported(node, f"bptt has no {', '.join(attributes)}")
    return kind, layout


def _cell(node, attributes, directions):
    names = attributes.pop("activations", DEFAULTS[node.op_type] * directions)
    scales = attributes.pop("activation_alpha", []), attributes.pop("activation_beta", [])
    if node.op_type != "RNN" and names == DEFAULTS[node.op_type] * directions and scales == ([], []):
        return node.op_type.lower()
    for cell, name in ACTIVATIONS.items() if node.op_type == "RNN" else ():
        plain = ([1.0] * directions, [0.0] * directions) if name == "Affine" else ([], [])
        if names == [name] * directions and scales == plain:
            return cell
    supported = ", ".join(ACTIVATIONS.values()) if node.op_type == "RNN" else ", ".join(DEFAULTS[node.op_type])
    of = f" with alpha {scales[0]} and beta {scales[1]}" if scales != ([], []) else ""
    raise _unsupported(node, f"activations must be {supported} (Affine: alpha 1, beta 0), got {', '.join(names)}{of}")


def _attributes(node):
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    decode = {bytes: bytes.decode, list: lambda many: [m.decode() if isinstance(m, bytes) else m for m in many]}
    return {name: decode.get(type(value), lambda v: v)(value) for name, value in values.items()}


def _input(node, place):
    """The name of an input, "" where it is left out."""
    return node.input[place] if place < len(node.input) else ""


def _called(node):
    return f"node {node.name or node.output[0]} ({node.op_type})"


def _unsupported(node, why):
    return ValueError(f"{_called(node)}: {why}")
