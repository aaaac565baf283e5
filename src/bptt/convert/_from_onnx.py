"""Networks from ONNX models: RNN, GRU or LSTM nodes, one per layer, and a readout.

The reader follows the sequence from the graph's input to its output. Other nodes are allowed only where they prepare
initial states or pass on final states.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import onnx
from onnx import helper

from .._rnn import RNN
from .._spec import Spec
from ._common import build, float_dtype, reorder_gates, suffixes
from ._onnx_graph import Graph
from ._onnx_layout import ACTIVATIONS, FROM_ONNX, METADATA_KEY

DEFAULT_ACTIVATIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
# Operators allowed off the path of the sequence: they prepare initial states or pass on final states.
STATE_OPERATORS = {
    *("Cast", "Concat", "Constant", "ConstantOfShape", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Shape"),
    *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
}


def from_onnx(path, *, weights: Mapping[str, np.ndarray] | None = None, threads: int | None = None) -> RNN:
    """The network of an ONNX model: RNN, GRU or LSTM nodes one above another, then a readout.

    Parameters
    ----------
    path : str, os.PathLike or onnx.ModelProto
        The file, or the model itself.
    weights : mapping of names to arrays, optional
        Parameters that are inputs of the graph instead of constants in the model.
    threads : int, optional
        As in `bptt.RNN`.

    Returns
    -------
    bptt.RNN
        The network. Its outputs have the same order of axes as the model's.

    Raises
    ------
    ValueError
        If the model has something else; the message names the node.
    TypeError
        If weights is not a mapping, or if not all weights are float32 or all float64.
    OSError
        If the file cannot be read.

    Notes
    -----
    A readout is MatMul and Add, or Gemm. The activations of the gates must be ONNX's defaults. Initial states that are
    constant and not zero become a learned state. Initial states that are inputs of the graph become the `state` of
    `bptt.RNN.forward`, and sequence_lens becomes its `lengths`.
    """
    model = path if isinstance(path, onnx.ModelProto) else _load(path)
    if not isinstance(weights, Mapping | None):
        raise TypeError(f"weights must be a mapping of names to arrays, got {type(weights).__name__}")
    reader = _Reader(Graph(model, weights or {}))
    reader.follow()
    description, state = reader.network(_options(model))
    return build(description, state, threads)


def _load(path):
    with open(path, "rb"):  # a missing or unreadable file is the system's own error
        pass
    try:
        return onnx.load(os.fsdecode(path))
    except Exception as error:
        raise ValueError(f"path must name an ONNX model, got {os.fsdecode(path)}: {error}") from error


def _options(model):
    """The description that to_onnx wrote into the metadata; what the graph says goes before it."""
    text = next((prop.value for prop in model.metadata_props if prop.key == METADATA_KEY), "{}")
    try:
        options = json.loads(text)
        return {field.name: options[field.name] for field in fields(Spec) if field.name in options}
    except (TypeError, ValueError):
        raise ValueError(f"the model's metadata of bptt must be a JSON object, got {text!r}") from None


class _Reader:
    """Follows the sequence through the graph and collects the layers and the readout.

    `current` names the tensor that holds the sequence, `width` is its number of features, `axes` are its axes: "0" and
    "1" are the first two of the graph's input, "d" is the directions, "f" the features. A pair stands for two axes that
    were reshaped into one.
    """

    def __init__(self, graph):
        self.graph = graph
        self.kind = None  # the options that all layers share
        self.state, self.initial = {}, []
        self.num_layers, self.input_size, self.width = 0, None, None
        self.readout = None  # the name of the readout's output
        self.axes = ["0", "1", "f"]
        self.time = None  # which of "0" and "1" is time
        self.seen = set()  # ids of the nodes on the path of the sequence

    def follow(self):
        self.current = self.start()
        while self.current:
            users = [node for node in self.graph.nodes if self.current in node.input and node.op_type != "Shape"]
            if not users:
                break
            if len(users) > 1:
                raise ValueError(f"{self.current} must go to one node, goes to {', '.join(map(_label, users))}")
            (node,) = users
            read = getattr(self, f"read_{node.op_type.lower()}", None)
            if read is None or (self.current != node.input[0] and node.op_type != "Add"):
                raise _unsupported(node, "this operator is not supported on the path of the sequence")
            self.seen.add(id(node))
            read(node)
            self.current = node.output[0]
        self.check_end()

    def start(self):
        """The input that the first recurrent node reads."""
        recurrent = [node for node in self.graph.nodes if node.op_type in DEFAULT_ACTIVATIONS]
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
            if id(node) not in self.seen | self.graph.used and node.op_type not in STATE_OPERATORS:
                raise _unsupported(node, "this operator is not supported off the path of the sequence")

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

    def constant(self, node, index, what):
        value = self.graph.value(node.input[index])
        if value is None:
            raise _unsupported(node, f"{what} must be constant: for inputs of the graph give weights={{name: array}}")
        return value

    # ---- one method for each operator on the path of the sequence

    def read_identity(self, node):
        pass

    read_dropout = read_identity  # inference drops nothing

    def read_transpose(self, node):
        perm = _attributes(node).get("perm", range(len(self.axes))[::-1])
        self.axes = [self.axes[axis] for axis in perm]

    def read_squeeze(self, node):
        axes = self.constant(node, 1, "axes") if len(node.input) > 1 else _attributes(node).get("axes", ())
        if [self.axes[axis] for axis in axes] != ["d"] or self.kind["bidirectional"]:
            raise _unsupported(node, "it may only remove the axis of a single direction")
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
            raise _unsupported(node, f"it may only merge directions, or steps and rows, got shape {shape}")
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
        self.initial += [self.initial_state(node, index, layout) for index in (5, 6)[: 1 + (node.op_type == "LSTM")]]
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
        for index, name in ((3, "B"), (7, "P")):
            if _input(node, index):
                tensors[name] = self.constant(node, index, name)
        for name, tensor in tensors.items():
            if tensor.shape != shapes[name]:
                raise _unsupported(node, f"{name} must have shape {shapes[name]}, got {tensor.shape}")
        for direction, suffix in enumerate(suffixes(layer + 1, D == 2)[-D:]):
            for name, tensor in tensors.items():
                self.take_tensor(node.op_type, name, tensor[direction], suffix)
        self.width = D * H

    def take_tensor(self, op, name, tensor, suffix):
        if name == "B":
            for to, half in zip(("ih", "hh"), np.split(tensor, 2), strict=True):
                self.state[f"bias_{to}_{suffix}"] = reorder_gates(half, FROM_ONNX[op])
        elif name == "P":
            self.state[f"weight_peephole_{suffix}"] = reorder_gates(tensor, FROM_ONNX["P"]).reshape(3, -1)
        else:
            self.state[f"weight_{'ih' if name == 'W' else 'hh'}_{suffix}"] = reorder_gates(tensor, FROM_ONNX[op])

    def initial_state(self, node, index, layout):
        """The initial state (D,H) if it is a constant; None if it is an input of the graph or left out."""
        value = self.graph.value(_input(node, index)) if _input(node, index) else None
        if value is None:
            return None
        value = value if layout else value.swapaxes(0, 1)
        if (value != value[0]).any():
            raise _unsupported(node, f"{INPUTS[index]} must be the same for all rows or an input of the graph")
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

    def take_bias(self, node, index):
        bias = self.constant(node, index, "the bias")
        if bias.size != self.width:
            raise _unsupported(node, f"the bias must have {self.width} elements, got shape {bias.shape}")
        self.state["bias_o"] = bias.reshape(-1)


def _kind(node, attributes):
    """The options of bptt.RNN that a recurrent node stands for, and its layout (1: batch first)."""
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
    attributes.pop("output_sequence", None)  # of the operators' first versions, without effect
    if attributes:
        raise _unsupported(node, f"bptt has no {', '.join(attributes)}")
    return kind, layout


def _cell(node, attributes, directions):
    """The cell whose activations a recurrent node has."""
    activations = {node.op_type.lower(): DEFAULT_ACTIVATIONS[node.op_type]}
    if node.op_type == "RNN":
        activations = {cell: [name] for cell, name in ACTIVATIONS.items()}
    given = attributes.pop("activations", DEFAULT_ACTIVATIONS[node.op_type] * directions)
    scales = attributes.pop("activation_alpha", []), attributes.pop("activation_beta", [])
    for cell, names in activations.items():
        needed = ([1.0] * directions, [0.0] * directions) if cell == "identity" else ([], [])
        if given == names * directions and scales == needed:
            return cell
    supported = ", ".join(name for names in activations.values() for name in names)
    extra = f" with alpha {scales[0]} and beta {scales[1]}" if scales != ([], []) else ""
    raise _unsupported(
        node, f"activations must be {supported} (Affine: alpha 1, beta 0), got {', '.join(given)}{extra}"
    )


def _attributes(node):
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    decode = {bytes: bytes.decode, list: lambda many: [m.decode() if isinstance(m, bytes) else m for m in many]}
    return {name: decode.get(type(value), lambda v: v)(value) for name, value in values.items()}


def _input(node, index):
    """The name of an input, "" if it is left out."""
    return node.input[index] if index < len(node.input) else ""


def _label(node):
    return f"node {node.name or node.output[0]} ({node.op_type})"


def _unsupported(node, why):
    return ValueError(f"{_label(node)}: {why}")
