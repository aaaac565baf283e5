"""Networks from ONNX models: RNN, GRU or LSTM nodes, one per layer, a readout, and in front what integers go through.

The reader follows the sequence from the graph's input to its output. Other nodes are allowed only where they prepare
initial states or pass on final states.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

import numpy as np
import onnx

from .._checks import flag, integer, number, optional, rate
from .._description import object_from_json
from .._files import file_name, naming, open_at_once
from .._rnn import RNN
from .._spec import Spec
from ._common import build, reorder_gates, suffixes
from ._onnx_axes import FEATURES, Axes, reshape_target
from ._onnx_graph import MOVING, PROBES, Graph
from ._onnx_layout import ACTIVATIONS, FROM_ONNX, METADATA_KEY
from ._onnx_tensor import MOST_AXES

DEFAULT_ACTIVATIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
OPTIONS = {  # what only the metadata tell
    **{"dropout": rate, "recurrent_dropout": rate, "learn_state": flag},
    "padding_idx": lambda value, name: optional(integer, value, name),
    "noise": lambda value, name: number(value, name, 0),
}
REAL_TYPES = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.DOUBLE: "float64"}
INTEGER_TYPES = {onnx.TensorProto.INT32, onnx.TensorProto.INT64}


def from_onnx(path, *, weights: Mapping[str, np.ndarray] | None = None, threads: int | None = None) -> RNN:
    """The network of an ONNX model: RNN, GRU or LSTM nodes one above another, then a readout.

    Parameters
    ----------
    path : str, os.PathLike or onnx.ModelProto
        The file, or the model itself. External data are read from files in the model's folder.
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
        If the file is no ONNX model, or if the model has something else; the message names the file and the node.
    TypeError
        If path is none of these types, or if weights is not a mapping to arrays of float32 or float64.
    OSError
        If the file cannot be read.

    Notes
    -----
    Integers as the input go through Gather with a constant table, which becomes `embedding`, or through OneHot with the
    values 0 and 1. A readout is MatMul and Add, or Gemm. The activations of the gates must be ONNX's defaults. Initial
    states that are constant and not zero become a learned state. Initial states that are inputs of the graph become the
    `state` of `bptt.RNN.forward`, of each layer what its node receives, and sequence_lens becomes its `lengths`. The
    model's opset must be 7 or later.
    """
    weights = _weights(weights)
    if isinstance(path, onnx.ModelProto):
        return _network("the model", path, weights, None, threads)
    path = file_name(path)
    with naming(path), open(path, "rb", opener=open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"path must name a regular file, got {path}")
        if status.st_size >= 2**31:  # protobuf's bound
            raise ValueError(f"an ONNX file holds less than 2 GiB, {path} has {status.st_size} bytes")
        data = file.read()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own
        raise ValueError(f"path must name an ONNX model, got {path}: {error}") from error
    return _network(path, model, weights, os.path.dirname(os.path.abspath(path)), threads)


def _weights(weights):
    """{name: array}, checked."""
    if not isinstance(weights, Mapping | None):
        raise TypeError(f"weights must be a mapping of names to arrays, got {type(weights).__name__}")
    for name, array in (weights or {}).items():
        if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
            raise TypeError(f"weights[{name!r}] must be an array, got {type(array).__name__}")
        if array.dtype.name not in REAL_TYPES.values():
            raise TypeError(f"weights must all be float32 or all float64, got {array.dtype.name} of {name!r}")
    return dict(weights or {})


def _network(source, model, weights, folder, threads):
    """The network of a model. Errors name its source: the file, or "the model"."""
    try:
        reader = _Reader(Graph(model, weights, folder))
        reader.follow()
        description, state = reader.network(_options(model))
        Spec(**description)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return build(description, state, threads)


def _options(model):
    """The options that to_onnx wrote into the metadata and that the graph does not tell."""
    text = next((prop.value for prop in model.metadata_props if prop.key == METADATA_KEY), "{}")
    try:
        options = object_from_json(text)
        return {name: check(options[name], name) for name, check in OPTIONS.items() if name in options}
    except (TypeError, ValueError) as error:
        why = f"metadata of bptt must be a JSON object of a network's options, got {text[:200]!r}"
        raise ValueError(f"{why}: {error}") from None


class _Reader:
    """Follows the sequence through the graph and collects the layers and the readout.

    `current` names the tensor that holds the sequence, `axes` says how it lies there, `width` is its number of
    features.
    """

    def __init__(self, graph):
        self.graph = graph
        self.kind = None  # the options that all layers share
        self.state, self.initial = {}, []
        self.given = False  # whether initial states are inputs of the graph
        self.lengths = None  # the name of the layers' sequence_lens, "" for none
        self.num_layers, self.input_size, self.width = 0, None, None
        self.one_hot = False
        self.readout = None  # the name of the readout's output
        self.time = None  # which of the parts "0" and "1" of the axes is time
        self.seen = set()  # the nodes on the path of the sequence

    def follow(self):
        graph = self.graph
        self.current = self.start()
        self.axes = Axes(*self.input_axes())
        self.derived = graph.derived(self.current)
        while users := graph.users.get(self.current):
            if len(users) > 1:
                labels = ", ".join(node.label for node in users)
                raise ValueError(f"{self.current} must go to one node, goes to {labels}")
            (node,) = users
            read = getattr(self, f"read_{node.op.lower()}", None)
            place = 1 if node.op == "Gather" else 0
            if read is None or (self.current != node.input(place) and node.op != "Add"):
                raise node.error("this operator is not supported on the path of the sequence")
            self.seen.add(node)
            read(node)
            self.current = node.outputs[0]
            if self.current:
                graph.shapes[self.current] = self.axes.shapes()
        self.check_end()

    def start(self):
        """The input that the first recurrent node reads."""
        recurrent = [node for node in self.graph.nodes if node.op in DEFAULT_ACTIVATIONS]
        if not recurrent:
            raise ValueError("the graph must have a node RNN, GRU or LSTM, got none")
        name = recurrent[0].inputs[0]
        while self.graph.producer[name] is not None:
            node = self.graph.producer[name]
            if not node.inputs:
                break
            name = node.inputs[1 if node.op == "Gather" else 0]
        if name not in self.graph.varying or name not in self.graph.inputs:
            raise recurrent[0].error(f"its X must come from an input of the graph, it comes from the constant {name}")
        return name

    def input_axes(self):
        """The axes of the graph's input and the sizes of their parts: without features where it is integers."""
        kind = self.graph.inputs[self.current].type
        parts = "01" if kind.tensor_type.elem_type in INTEGER_TYPES else "01f"
        known = kind.tensor_type.elem_type in (*INTEGER_TYPES, *REAL_TYPES, onnx.TensorProto.UNDEFINED)
        shapes = self.graph.shapes.get(self.current, [(3, 4, 5)[: len(parts)], (7, 8, 9)[: len(parts)]])
        if not known or not kind.HasField("tensor_type") or len(shapes[0]) != len(parts):
            raise ValueError(
                f"the graph's input {self.current} must be a tensor of float or double with 3 axes, or of int32 or "
                "int64 with 2"
            )
        self.graph.shapes[self.current] = shapes
        return [(part,) for part in parts], dict(zip(parts, zip(*shapes, strict=True), strict=True))

    def check_end(self):
        if self.current and self.current not in self.graph.outputs:
            raise ValueError(f"the sequence must end in an output of the graph, ends in {self.current}")
        *rows, features = self.axes.axes
        if self.current and ([axis for axis in rows if axis != ("d",)] != [("0",), ("1",)] or features not in FEATURES):
            raise ValueError("the output must have time and batch in the order of the input, and the features last")
        for node in self.graph.nodes:
            moves = node.op in MOVING or not self.graph.varying.intersection(node.outputs)
            if node not in self.seen and not moves:
                raise node.error("this operator is not supported off the path of the sequence")

    def network(self, options):
        """The description and the parameters of the network that was read."""
        kind, state = dict(self.kind), self.state
        H, D, states = kind["hidden_size"], 1 + kind["bidirectional"], 1 + (kind["cell"] == "lstm")
        constant = any(part is not None and part.any() for part in self.initial)
        if constant and self.given:
            raise ValueError("initial states must all be inputs of the graph, or all be constant")
        learned = constant or options.get("learn_state", False)
        if learned:
            parts = [np.zeros((D, H), self.dtype()) if part is None else part for part in self.initial]
            for i, name in enumerate(["state_h0", "state_c0"][:states]):
                state[name] = np.concatenate(parts[i::states])
        peepholes = any("peephole" in name for name in state)
        for suffix in suffixes(self.num_layers, kind["bidirectional"]) if peepholes else ():
            state.setdefault(f"weight_peephole_{suffix}", np.zeros((3, H), self.dtype()))
        padding_idx = options.pop("padding_idx", None)
        description = options | kind | {
            "input_size": self.input_size,
            "output_size": len(state["weight_ho"]) if "weight_ho" in state else None,
            "num_layers": self.num_layers,
            "bias": any("bias" in name for name in state),
            "peepholes": peepholes,
            "learn_state": learned,
            "one_hot": self.one_hot,
            "num_embeddings": len(state["embedding"]) if "embedding" in state else None,
            "padding_idx": padding_idx if "embedding" in state else None,
            "batch_first": self.time == "1",
            "dtype": self.dtype(),
        }  # fmt: skip
        return description, state

    def dtype(self):
        """The one dtype of the weights, "float32" or "float64"."""
        dtypes = sorted({array.dtype.name for array in self.state.values()})
        if dtypes not in (["float32"], ["float64"]):
            raise ValueError(f"the weights must all be float32 or all float64, got {', '.join(dtypes)}")
        return dtypes[0]

    def constant(self, node, index, what):
        """The value of a node's input, which depends neither on values nor on sizes of the graph's inputs."""
        name = node.inputs[index]
        if name in self.graph.varying or name in self.graph.sized:
            raise node.error(f"{what} must be constant: for inputs of the graph give weights={{name: array}}")
        return self.graph.value(name)

    # ---- one method for each operator on the path of the sequence

    def read_identity(self, node):
        pass

    def read_dropout(self, node):
        """Inference drops nothing."""
        if node.input(2) and self.constant(node, 2, "training_mode").any():
            raise node.error("training_mode must be false")

    def read_cast(self, node):
        """Of integers to integers; of unit vectors to real numbers."""
        vectors = self.one_hot and self.num_layers == 0
        if node.attributes.get("to") not in (REAL_TYPES if vectors else INTEGER_TYPES if self.are_integers() else ()):
            raise node.error("it may only cast integers, or what OneHot makes of them")

    def read_gather(self, node):
        table = self.constant(node, 0, "the table")
        if not self.are_integers() or node.attributes.get("axis", 0) != 0 or table.ndim != 2 or not table.size:
            raise node.error("it may only pick rows of a table for the integers of the input")
        self.state["embedding"] = table
        self.add_features(table.shape[1])

    def read_onehot(self, node):
        depth, values = self.constant(node, 1, "depth"), self.constant(node, 2, "values")
        axis = node.attributes.get("axis", -1)
        number = depth.size == 1 and depth.dtype.kind in "iu"
        if not self.are_integers() or axis not in (-1, 2) or not number or values.tolist() != [0, 1]:
            raise node.error("it may only make unit vectors, along the last axis, of the integers of the input")
        self.one_hot = True
        self.add_features(int(depth.reshape(())))

    def are_integers(self):
        """Whether the sequence is still the integers of the graph's input."""
        return "f" not in self.axes.sizes

    def add_features(self, width):
        self.axes = Axes([*self.axes.axes, ("f",)], self.axes.sizes | {"f": (width,) * 2})

    def read_transpose(self, node):
        axes = self.axes.transposed(node.attributes.get("perm", range(len(self.axes.axes))[::-1]))
        if axes is None:
            raise node.error(f"perm must be an order of {len(self.axes.axes)} axes, got {node.attributes['perm']}")
        self.axes = axes

    def read_squeeze(self, node):
        axes = node.attributes.get("axes", [])
        if node.input(1):
            axes = self.integers(node, 1, "axes")
        squeezed = self.axes.squeezed(axes[0]) if len(axes) == 1 else None
        if squeezed is None:
            raise node.error("it may only remove the axis of a single direction")
        self.axes = squeezed

    def read_reshape(self, node):
        allowzero = node.attributes.get("allowzero", 0)
        targets = [self.integers(node, 1, "shape", probe) for probe in PROBES]
        if len(targets[0]) > MOST_AXES:
            raise node.error(f"shape must have at most {MOST_AXES} sizes, got {len(targets[0])}")
        shapes = [reshape_target(self.axes.shape(probe), targets[probe], allowzero) for probe in PROBES]
        axes = None if None in shapes else self.axes.reshaped(shapes)
        if axes is None:
            raise node.error(f"it may only merge directions, or steps and rows, got shape {targets[0]}")
        self.axes = axes

    def integers(self, node, index, what, probe=0):
        """The value of an input that is a list of integers; it may depend on sizes."""
        value = self.graph.value(node.inputs[index], probe)
        if value is None or value.ndim != 1 or value.dtype != np.int64:
            raise node.error(f"{what} must be a list of integers that does not depend on values of the graph's inputs")
        return value.tolist()

    def read_rnn(self, node):
        attributes, layer = dict(node.attributes), self.num_layers
        kind, layout = _kind(node, attributes)
        if self.kind not in (None, kind):
            raise node.error(f"layers must be alike: {self.kind} and {kind}")
        time = self.axes.axes[layout][0]
        if self.readout or not self.axes.is_sequence() or self.time not in (None, time):
            raise node.error("its input must be (time, batch, features) of the input or of the layer below")
        if self.lengths not in (None, node.input(4)):
            raise node.error("sequence_lens must be the same for all layers")
        self.check_lengths(node)
        self.kind, self.time, self.num_layers, self.lengths = kind, time, layer + 1, node.input(4)
        self.take_parameters(node, layer)
        self.initial += [self.initial_state(node, index, layout) for index in (5, 6)[: 1 + (node.op == "LSTM")]]
        axes = [*self.axes.axes[:2], ("f",)]
        axes.insert(1 + layout, ("d",))
        directions = 1 + kind["bidirectional"]
        sizes = self.axes.sizes | {"d": (directions,) * 2, "f": (kind["hidden_size"],) * 2}
        self.axes = Axes(axes, sizes)

    read_gru = read_lstm = read_rnn

    def check_lengths(self, node):
        name = node.input(4)
        if name and (name not in self.graph.varying or name in self.derived):
            raise node.error("sequence_lens must be an input of the graph: forward takes lengths")

    def take_parameters(self, node, layer):
        H, D, G = self.kind["hidden_size"], 1 + self.kind["bidirectional"], len(FROM_ONNX[node.op])
        W = self.constant(node, 1, "W")
        if self.width is None:
            self.input_size = self.width = self.features(node, W)
        tensors = {"W": W, "R": self.constant(node, 2, "R")}
        shapes = {"W": (D, G * H, self.width), "R": (D, G * H, H), "B": (D, 2 * G * H), "P": (D, 3 * H)}
        for index, name in ((3, "B"), (7, "P")):
            if node.input(index):
                tensors[name] = self.constant(node, index, name)
        for name, tensor in tensors.items():
            if tensor.shape != shapes[name]:
                raise node.error(f"{name} must have shape {shapes[name]}, got {tensor.shape}")
        for direction, suffix in enumerate(suffixes(layer + 1, D == 2)[-D:]):
            for name, tensor in tensors.items():
                self.take_tensor(node.op, name, tensor[direction], suffix)
        self.width = D * H

    def features(self, node, W):
        """The features of the graph's input: as W takes them, and as the graph says, if it does."""
        found, declared = W.shape[-1] if W.ndim else 0, self.axes.sizes["f"]
        if declared[0] == declared[1] != found:
            raise node.error(f"W must take the {declared[0]} features of the input, got shape {W.shape}")
        return found

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
        name = node.input(index)
        if name in self.derived:
            raise node.error(f"{INPUTS[index]} must not depend on the sequence")
        if name in self.graph.varying:
            self.given = True
        if not name or name in self.graph.varying:
            return None
        found = [self.state_row(node, index, layout, probe) for probe in PROBES]
        if not np.array_equal(*found, equal_nan=True):
            raise node.error(f"{INPUTS[index]} must not depend on sizes of the graph's inputs")
        return found[0]

    def state_row(self, node, index, layout, probe):
        """A constant initial state (D,H), with one of the sets of sizes."""
        name = node.inputs[index]
        value = self.graph.value(name, probe)
        H, D = self.kind["hidden_size"], 1 + self.kind["bidirectional"]
        rows = self.axes.sizes["0" if self.time == "1" else "1"]
        if value.ndim != 3 or value.dtype.name not in REAL_TYPES.values():
            raise node.error(f"{INPUTS[index]} must be float or double with 3 axes, got shape {value.shape}")
        open_rows = rows[0] != rows[1] and name not in self.graph.sized  # the graph does not say how many there are
        B = value.shape[1 - layout]
        expected = (B, D, H) if layout else (D, B, H)
        if value.shape != expected or not (B in (1, rows[probe]) or (open_rows and B)):
            letters = f"(B,{D},{H})" if layout else f"({D},B,{H})"
            known = "" if rows[0] != rows[1] else f" with B = {rows[0]}"
            raise node.error(f"{INPUTS[index]} must have shape {letters}{known}, got {value.shape}")
        value = value if layout else value.swapaxes(0, 1)
        if not np.array_equal(value, np.broadcast_to(value[:1], value.shape), equal_nan=True):
            raise node.error(f"{INPUTS[index]} must be the same for all rows or an input of the graph")
        return value[0]

    def read_matmul(self, node):
        self.take_readout(node, self.constant(node, 1, "the weight").T)

    def read_add(self, node):
        if self.current != self.readout or "bias_o" in self.state:
            raise node.error("only the bias of a readout may be added")
        self.take_bias(node, 1 - node.inputs.index(self.current))

    def read_gemm(self, node):
        for name, expected in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
            if node.attributes.get(name, expected) != expected:
                raise node.error(f"{name} must be {expected}, got {node.attributes[name]}")
        if len(self.axes.axes) != 2:
            raise node.error("its input must have 2 axes")
        weight = self.constant(node, 1, "the weight")
        self.take_readout(node, weight if node.attributes.get("transB") else weight.T)
        if node.input(2):
            self.take_bias(node, 2)

    def take_readout(self, node, weight):
        if self.kind is None or self.readout or not self.axes.is_rows():
            raise node.error("only a readout of the last layer's outputs may multiply")
        if weight.ndim != 2 or weight.shape[1] != self.width:
            raise node.error(f"its weight must take {self.width} features, got shape {weight.T.shape}")
        self.state["weight_ho"], self.readout, self.width = weight, node.outputs[0], len(weight)
        axes = [*self.axes.axes[:-1], ("f",)]
        self.axes = Axes(axes, self.axes.sizes | {"f": (self.width,) * 2})

    def take_bias(self, node, index):
        """The bias of the readout: the same for all steps and rows."""
        bias = self.constant(node, index, "the bias")
        features = bias.shape[-1:] or (1,)
        if bias.size != features[0] or features[0] not in (1, self.width) or bias.ndim > len(self.axes.axes):
            raise node.error(f"the bias must have {self.width} elements along its last axis, got shape {bias.shape}")
        self.state["bias_o"] = np.broadcast_to(bias.reshape(-1), self.width)


def _kind(node, attributes):
    """The options of bptt.RNN that a recurrent node stands for, and its layout (1: batch first)."""
    layout = attributes.pop("layout", 0)
    direction = attributes.pop("direction", "forward")
    if layout not in (0, 1):
        raise node.error(f"layout must be 0 or 1, got {layout}")
    if direction not in ("forward", "bidirectional"):
        raise node.error(f"direction must be forward or bidirectional, got {direction}")
    if attributes.pop("input_forget", 0):
        raise node.error("input_forget must be 0, bptt does not couple the gates")
    if attributes.get("hidden_size", 0) < 1:
        raise node.error("hidden_size must be given and positive")
    kind = {"cell": _cell(node, attributes, 1 + (direction == "bidirectional"))}
    kind["hidden_size"] = attributes.pop("hidden_size")
    kind["bidirectional"] = direction == "bidirectional"
    kind["reset_after"] = bool(attributes.pop("linear_before_reset", 0)) or node.op != "GRU"
    if attributes:
        raise node.error(f"bptt has no {', '.join(attributes)}")
    return kind, layout


def _cell(node, attributes, directions):
    """The cell whose activations a recurrent node has."""
    activations = {node.op.lower(): DEFAULT_ACTIVATIONS[node.op]}
    if node.op == "RNN":
        activations = {cell: [name] for cell, name in ACTIVATIONS.items()}
    given = attributes.pop("activations", DEFAULT_ACTIVATIONS[node.op] * directions)
    scales = attributes.pop("activation_alpha", []), attributes.pop("activation_beta", [])
    for cell, names in activations.items():
        needed = ([1.0] * directions, [0.0] * directions) if cell == "identity" else ([], [])
        if given == names * directions and scales == needed:
            return cell
    supported = ", ".join(name for names in activations.values() for name in names)
    extra = f" with alpha {scales[0]} and beta {scales[1]}" if scales != ([], []) else ""
    raise node.error(f"activations must be {supported} (Affine: alpha 1, beta 0), got {', '.join(given)}{extra}")
