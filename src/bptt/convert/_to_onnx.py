"""Networks to ONNX models: RNN, GRU or LSTM nodes, one per layer, and a readout."""

from __future__ import annotations

import json
import os

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from .._checks import flag
from .._files import file_name, write_whole
from .._rnn import RNN, check_network
from ._common import leak, refuse, reorder_gates, suffixes
from ._onnx_layout import ACTIVATIONS, METADATA_KEY, OPERATORS, TO_ONNX

OPSET, IR_VERSION = 15, 8
MOST_BYTES = 2**31 - 2**24  # of protobuf, and room for the graph


def to_onnx(rnn: RNN, path: str | os.PathLike[str], *, state_inputs: bool = False) -> None:
    """Write an ONNX model (opset 15) in the network's dtype.

    Its input is x, its outputs are y, h and, for an LSTM, c: the final states (L*D,B,H). It takes any number of steps
    and rows, without dropout and noise. Of a network that takes integers x is int64 and goes through a node Gather
    (num_embeddings) or OneHot.

    Parameters
    ----------
    rnn : bptt.RNN
        The network.
    path : str or os.PathLike
        The file. An interrupted export leaves an existing file whole.
    state_inputs : bool
        Whether the initial states are inputs h0 and c0 (L*D,B,H) of the model. Otherwise they are zero or the learned
        state.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        For a leak, which ONNX does not have, and if the parameters do not fit into one file, 2 GiB.
    OSError
        If the file cannot be written.
    """
    check_network(rnn)
    path, state_inputs = file_name(path), flag(state_inputs, "state_inputs")
    if rnn.params.nbytes >= MOST_BYTES:
        raise ValueError(f"an ONNX file holds less than 2 GiB, the network's parameters are {rnn.params.nbytes} bytes")
    model = helper.make_model(
        _Writer(rnn, state_inputs).graph(), opset_imports=[helper.make_opsetid("", OPSET)], producer_name="bptt"
    )
    model.ir_version = IR_VERSION
    description = rnn.description() | {"learn_state": rnn.learn_state and not state_inputs}
    helper.set_model_props(model, {METADATA_KEY: json.dumps(description)})
    write_whole(path, model.SerializeToString())


class _Writer:
    """Collects the nodes and constants of a network's graph."""

    def __init__(self, rnn, state_inputs):
        self.rnn, self.state_inputs = rnn, state_inputs
        self.params = rnn.state_dict()
        refuse("ONNX", [(f"cell={rnn.cell!r}", rnn.cell not in OPERATORS), leak(rnn)])
        self.op = OPERATORS[rnn.cell]
        self.directions = 1 + rnn.bidirectional
        self.nodes, self.constants = [], []

    def graph(self):
        rnn, real = self.rnn, helper.np_dtype_to_tensor_dtype(self.rnn.dtype)
        steps = ["batch", "time"] if rnn.batch_first else ["time", "batch"]
        state_shape = [rnn.num_layers * self.directions, "batch", rnn.hidden_size]
        letters = ["h", "c"][: rnn.states]
        inputs = [("x", TensorProto.INT64, steps) if rnn.spec.vocabulary else ("x", real, [*steps, rnn.input_size])]
        if self.state_inputs:
            inputs += [(f"{letter}0", real, state_shape) for letter in letters]
        initial = [self.initial_states(letter) for letter in letters]
        y, final = self.layers(self.vectors("x"), initial)
        width = rnn.output_size or rnn.hidden_size * self.directions
        if rnn.output_size:
            y = self.readout(y)
        if rnn.batch_first:
            y = self.node("Transpose", [y], "y_batch_first", perm=[1, 0, 2])
        self.rename(y, "y")
        for letter, parts in zip(letters, final, strict=True):
            self.node("Concat", parts, letter, axis=0)
        outputs = [("y", real, [*steps, width]), *((letter, real, state_shape) for letter in letters)]
        infos = [[helper.make_tensor_value_info(*end) for end in ends] for ends in (inputs, outputs)]
        return helper.make_graph(self.nodes, "bptt", *infos, initializer=self.constants)

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def rename(self, old, new):
        for node in self.nodes:
            node.output[:] = [new if name == old else name for name in node.output]

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def indices(self, name, *values):
        return self.constant(name, np.array(values, np.int64))

    def vectors(self, x):
        """The name of the vectors that integers stand for; of other inputs their own."""
        rnn = self.rnn
        if rnn.num_embeddings is not None:
            return self.node("Gather", [self.constant("embedding", self.params["embedding"]), x], "x_embedded", axis=0)
        if rnn.one_hot:
            depth = self.constant("x_depth", np.array(rnn.input_size, np.int64))
            off_on = self.constant("x_off_on", np.array([0, 1], rnn.dtype))
            return self.node("OneHot", [x, depth, off_on], "x_one_hot", axis=-1)
        return x

    def initial_states(self, letter):
        """The name of each layer's initial state, "" if it is zero."""
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
            learned = self.params[f"state_{letter}0"].reshape(rnn.num_layers, D, 1, rnn.hidden_size)
            for name, value in zip(names, learned, strict=True):
                self.node("Expand", [self.constant(f"{name}_row", value), shape], name)
        else:
            names = [""] * rnn.num_layers
        return names

    def layers(self, x, initial):
        """The name of the last layer's outputs (T,B,D*H), and for h and c the names of the layers' final states."""
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
            x = self.join_directions(outputs[0], layer)
            for names, name in zip(final, outputs[1:], strict=True):
                names.append(name)
        return x, final

    def parameters(self, layer):
        names = [self.stacked("W", ["weight_ih"], layer), self.stacked("R", ["weight_hh"], layer)]
        return [*names, self.stacked("B", ["bias_ih", "bias_hh"], layer) if self.rnn.bias else ""]

    def stacked(self, letter, kinds, layer):
        """A constant (D,...) with the tensors of a layer's directions; several kinds are joined along the gates."""
        D, order = self.directions, TO_ONNX["P" if letter == "P" else self.op]
        directions = [
            np.concatenate([reorder_gates(self.params[f"{kind}_{suffix}"], order) for kind in kinds])
            for suffix in suffixes(self.rnn.num_layers, self.rnn.bidirectional)[layer * D : (layer + 1) * D]
        ]
        stacked = np.stack(directions)
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

    def join_directions(self, y, layer):
        """Outputs (T,D,B,H) of a node as (T,B,D*H)."""
        if self.directions == 1:
            return self.node("Squeeze", [y, self.indices(f"axes_l{layer}", 1)], f"y_l{layer}")
        transposed = self.node("Transpose", [y], f"y_l{layer}_transposed", perm=[0, 2, 1, 3])
        return self.node("Reshape", [transposed, self.indices(f"shape_l{layer}", 0, 0, -1)], f"y_l{layer}")

    def readout(self, y):
        weight = self.constant("weight_ho", self.params["weight_ho"].T)
        y = self.node("MatMul", [y, weight], "y_readout")
        if self.rnn.bias:
            y = self.node("Add", [y, self.constant("bias_o", self.params["bias_o"])], "y_readout_bias")
        return y
