"""The constants of a network in C: its parameters in the order in which the generated code reads them."""

from __future__ import annotations

import dataclasses

import numpy as np

from ._common import reorder_gates

LARGEST = 127  # of an int8 weight; -128 is not used, so that the range is symmetric
# GRU with the reset after the product: its four sums are the inputs' part of n, r, z, the recurrent part of n. So each
# product adds to three neighbours: that of the inputs to the first three, the recurrent one to the last three.
RESET_AFTER_INPUTS = (2, 0, 1)


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A weight matrix, a row for each output unit: float32, or int8 of which row r stands for values[r] * scale[r]."""

    values: np.ndarray
    scale: np.ndarray | None = None

    def restored(self) -> np.ndarray:
        """The weights as real numbers."""
        return self.values if self.scale is None else self.values * self.scale[:, None]


@dataclasses.dataclass(frozen=True)
class Constant:
    """One array in C. Its values have two axes and lie row by row; the comment says what they are."""

    name: str
    values: np.ndarray
    comment: str


def quantized(weights) -> Matrix:
    """int8 weights: the largest of each row becomes 127 or -127."""
    scale = np.abs(weights).max(axis=1) / np.float32(LARGEST)
    rounded = np.rint(np.divide(weights, scale[:, None], where=scale[:, None] > 0, out=np.zeros_like(weights)))
    return Matrix(np.clip(rounded, -LARGEST, LARGEST).astype(np.int8), scale)  # a subnormal scale is inexact


def is_weight(name) -> bool:
    """Whether a tensor is a matrix of products or of the embedding, which may be int8. Biases, peepholes and initial
    states stay float32: they are few."""
    return name.startswith(("weight_ih", "weight_hh", "weight_ho", "embedding"))


class Constants:
    """The constants of a network, and how the layers use them.

    Attributes
    ----------
    arrays : list of Constant
        In memory order.
    layers : list of {field: name of an array}
        For each layer, in the same order of fields.
    """

    def __init__(self, spec, tensors):
        """tensors: {name: Matrix for weights, otherwise array}, float32, of a network with one direction."""
        self.spec, self.tensors = spec, tensors
        self.arrays, self.layers = [], []
        if spec.num_embeddings is not None:
            self._matrix("embedding", tensors["embedding"], "(V,E): a row for each integer", transposed=False)
        for layer in range(spec.num_layers):
            self.layers.append(self._layer(layer))
        if spec.output_size is not None:
            self._matrix("weight_ho", tensors["weight_ho"], "(H,O)")
            if spec.bias:
                self._vector("bias_o", tensors["bias_o"], "(O)")
        for name in ("state_h0", "state_c0"):
            if name in tensors:
                self._add(name, tensors[name], "(L,H): the learned initial state")

    @property
    def int8(self) -> bool:
        """Whether the weights are int8."""
        return any(isinstance(tensor, Matrix) and tensor.scale is not None for tensor in self.tensors.values())

    def _add(self, name, values, comment):
        self.arrays.append(Constant(name, values, comment))
        return name

    def _vector(self, name, values, comment):
        return self._add(name, values[None], comment)

    def _matrix(self, name, matrix, comment, *, transposed=True):
        """The names of the array and, of int8, of its scales. Transposed: a row for each input of the product."""
        self._add(name, matrix.values.T if transposed else matrix.values, comment)
        if matrix.scale is None:
            return [name]
        scale = "scale_" + name.removeprefix("weight_")
        return [name, self._vector(scale, matrix.scale, f"factors of the {'columns' if transposed else 'rows'} above")]

    def _layer(self, layer):
        """{field: name of an array} of a layer."""
        cell, fields = self.spec.cell, {}

        def add(field, matrix, comment):
            names = self._matrix(f"{field}_l{layer}", matrix, comment)
            fields.update((name.removesuffix(f"_l{layer}"), name) for name in names)

        inputs = "V" if self.spec.one_hot and layer == 0 else "H" if layer else "E" if self.spec.num_embeddings else "I"
        w_ih, w_hh = (self.tensors[f"{name}_l{layer}"] for name in ("weight_ih", "weight_hh"))
        if cell == "gru" and self.spec.reset_after:
            add("weight_ih", _reordered(w_ih, RESET_AFTER_INPUTS), f"({inputs},3H): n, r, z")
            add("weight_hh", w_hh, "(H,3H): r, z, n")
        elif cell == "gru":
            add("weight_ih", w_ih, f"({inputs},3H): r, z, n")
            add("weight_hh", _reordered(w_hh, (0, 1), 3), "(H,2H): r, z")
            add("weight_hn", _reordered(w_hh, (2,), 3), "(H,H)")
        else:
            blocks = {"lstm": ("4H", ": i, f, g, o")}.get(cell, ("H", ""))
            add("weight_ih", w_ih, f"({inputs},{blocks[0]}){blocks[1]}")
            add("weight_hh", w_hh, f"(H,{blocks[0]}){blocks[1]}")
        if self.spec.bias:
            values, comment = self._bias(layer)
            fields["bias"] = self._vector(f"bias_l{layer}", values, comment)
        if self.spec.peepholes:
            peephole = self.tensors[f"weight_peephole_l{layer}"]
            fields["peephole"] = self._add(f"peephole_l{layer}", peephole, "(3,H): i, f, o")
        if self.spec.leak < 1:
            leaks = self.spec.unit_leaks(self.tensors.get(f"leak_l{layer}")).astype(np.float32)
            fields["leak"] = self._vector(f"leak_l{layer}", leaks, "(H): a")
        return fields

    def _bias(self, layer):
        """(the biases that the sums begin with, what they are): b_ih + b_hh wherever only their sum matters."""
        b_ih, b_hh = (self.tensors[f"{name}_l{layer}"].astype(float) for name in ("bias_ih", "bias_hh"))
        both = b_ih + b_hh
        if self.spec.cell == "gru" and self.spec.reset_after:
            H = self.spec.hidden_size
            both = np.concatenate([b_ih[2 * H :], both[: 2 * H], b_hh[2 * H :]])
            comment = "(4H): n of the inputs, r, z, n of the state; of r and z the sum of both biases"
        else:
            comment = "(H)" if self.spec.cell not in ("lstm", "gru") else "(3H)" if self.spec.cell == "gru" else "(4H)"
            comment += ": the sum of both biases"
        return both.astype(np.float32), comment


def _reordered(matrix, order, blocks=None):
    """The blocks of rows in another order, or some of them."""
    scale = None if matrix.scale is None else reorder_gates(matrix.scale, order, blocks)
    return Matrix(reorder_gates(matrix.values, order, blocks), scale)
