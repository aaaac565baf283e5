"""The text of the C files that to_c writes, put together from _c_pieces.py."""

from __future__ import annotations

import dataclasses
import re
import textwrap
import zlib

import numpy as np

from .. import __version__
from . import _c_pieces as pieces
from ._c_constants import Constants

WIDTH = 116  # columns of comments and numbers
POINTER_BYTES = 4  # of the 32-bit processors for which flash is counted
TYPES = {"float32": "float", "int8": "int8_t"}

FORMULAS = {
    "tanh": ["h = tanh(W_ih x + W_hh h + b)"],
    "relu": ["h = max(0, W_ih x + W_hh h + b)"],
    "sigmoid": ["h = s(W_ih x + W_hh h + b)"],
    "identity": ["h = W_ih x + W_hh h + b"],
    "lstm": [
        "i, f, o = s(W_ih x + W_hh h + b), g = tanh(W_ih x + W_hh h + b), each with its own rows",
        "c = f*c + i*g,  h = o*tanh(c)",
    ],
    "gru": [
        "r, z = s(W_ih x + W_hh h + b), each with its own rows",
        "n = tanh(W_in x + b_in + r*(W_hn h + b_hn)),  h = (1-z)*n + z*h",
    ],
    "gru, reset before": [
        "r, z = s(W_ih x + W_hh h + b), each with its own rows",
        "n = tanh(W_in x + W_hn (r*h) + b),  h = (1-z)*n + z*h",
    ],
}
PEEPHOLES = "i and f also see p*c of the last step, o sees p*c of this one"

ACTIVATIONS = {  # of the vanilla cells: f(sums[j])
    "tanh": "model_tanh(sums[j])",
    "relu": "sums[j] < 0.0f ? 0.0f : sums[j]",
    "sigmoid": "model_logistic(sums[j])",
    "identity": "sums[j]",
}


@dataclasses.dataclass(frozen=True)
class Program:
    """The two files of a network.

    Parameters
    ----------
    name : str
        The prefix of all names in C.
    title : str
        The network in one line.
    constants : Constants
        Its parameters.
    about : str
        What the weights are and how exact.
    """

    name: str
    title: str
    constants: Constants
    about: str

    @property
    def spec(self):
        return self.constants.spec

    # ---- sizes -----------------------------------------------------------------------------------------------

    @property
    def flash(self) -> int:
        """Bytes of constants: the arrays, and the table of layers as 32-bit processors have it."""
        table = len(self.constants.layers) * (self._has_inputs + len(self.constants.layers[0])) * POINTER_BYTES
        return sum(array.values.nbytes for array in self.constants.arrays) + table

    @property
    def ram(self) -> int:
        """Bytes of the state."""
        return 4 * sum(size for _, size, _, _ in self._members())

    def _members(self):
        """(name, how many numbers, shape in C, what it is) of the members of the state."""
        spec, layers = self.spec, "[MODEL_NUM_LAYERS][MODEL_HIDDEN_SIZE]"
        blocks = 4 if spec.cell in ("lstm", "gru") else 1
        members = [("h", spec.num_layers * spec.hidden_size, layers, "the outputs of the layers")]
        if spec.cell == "lstm":
            members.append(("c", spec.num_layers * spec.hidden_size, layers, "the cell states of the layers"))
        shape = "[4 * MODEL_HIDDEN_SIZE]" if blocks == 4 else "[MODEL_HIDDEN_SIZE]"
        members.append(("sums", blocks * spec.hidden_size, shape, "scratch of a step"))
        if spec.num_embeddings and self.constants.int8:
            members.append(("x", spec.input_size, "[MODEL_EMBEDDING_SIZE]", "scratch: a row of the embedding"))
        return members

    # ---- the header ------------------------------------------------------------------------------------------

    def header(self) -> str:
        """The text of model.h."""
        tokens = self.spec.vocabulary
        return self._filled(
            pieces.HEADER,
            FLASH=f"{self.flash:,} bytes",
            RAM=f"{self.ram:,} bytes",
            ABOUT=_comment(self.about),
            EXAMPLE=pieces.TOKEN_EXAMPLE if tokens else pieces.EXAMPLE,
            SIZES="\n".join(f"#define MODEL_{name} {size}" for name, size in self._sizes()),
            MEMBERS="\n".join(f"    float {name}{shape}; /* {text} */" for name, _, shape, text in self._members()),
            START=", as it was learned" if self.spec.learn_state else ": zeros",
            STEP=pieces.TOKEN_STEP_DECLARATION if tokens else pieces.STEP_DECLARATION,
        )

    def _sizes(self):
        spec = self.spec
        yield ("VOCABULARY", spec.vocabulary) if spec.vocabulary else ("INPUT_SIZE", spec.input_size)
        if spec.num_embeddings:
            yield "EMBEDDING_SIZE", spec.input_size
        yield "HIDDEN_SIZE", spec.hidden_size
        yield "NUM_LAYERS", spec.num_layers
        yield "OUTPUT_SIZE", spec.output_size or spec.hidden_size

    # ---- the source ------------------------------------------------------------------------------------------

    def source(self) -> str:
        """The text of model.c."""
        learned = [array.name for array in self.constants.arrays if array.name.startswith("state")]
        return self._filled(
            pieces.SOURCE,
            FORMULAS="\n".join(f" *   {line}" for line in self._formulas()),
            CONSTANTS="\n\n".join(map(_definition, self.constants.arrays)),
            FIELDS="\n".join(f"    {field};" for field in self._fields()),
            LAYERS="\n".join(map(_initializer, self._layer_rows())),
            FUNCTIONS="\n\n".join(self._functions()),
            LEARNED="\n".join(f"    memcpy(state->{name[6]}, model_{name}, sizeof model_{name});" for name in learned),
            STEP=self._step(),
        )

    def _formulas(self):
        spec = self.spec
        cell = "gru, reset before" if spec.cell == "gru" and not spec.reset_after else spec.cell
        yield from FORMULAS[cell] if spec.bias else [re.sub(r" \+ b\w*", "", line) for line in FORMULAS[cell]]
        if spec.peepholes:
            yield PEEPHOLES
        if spec.num_layers > 1:
            yield "x of a layer above the first: h of the layer below"
        if spec.one_hot:
            yield "x of the first layer: 1 in the place of the integer, 0 elsewhere; so W_ih x is a row of weight_ih_l0"
        if spec.num_embeddings:
            yield "x of the first layer: the row of the embedding for the integer"
        if spec.output_size:
            yield "y = W_ho h + b_o of the last layer" if spec.bias else "y = W_ho h of the last layer"
        else:
            yield "y = h of the last layer"

    @property
    def _has_inputs(self) -> bool:
        """Whether some layer has a product with its inputs."""
        return not self.spec.one_hot or self.spec.num_layers > 1

    def _fields(self):
        if self._has_inputs:
            yield "size_t inputs"
        types = {array.name: TYPES[array.values.dtype.name] for array in self.constants.arrays}
        for field, name in self.constants.layers[0].items():
            yield f"const {types[name]} *{field}"

    def _layer_rows(self):
        first = "EMBEDDING_SIZE" if self.spec.num_embeddings else next(self._sizes())[0]
        for layer, fields in enumerate(self.constants.layers):
            inputs = [f"MODEL_{'HIDDEN_SIZE' if layer else first}"] * self._has_inputs
            yield inputs + [f"model_{name}" for name in fields.values()]

    def _functions(self):
        cell = self._cell()
        if "model_tanh" in cell or "model_logistic" in cell:
            yield pieces.EXPONENTIAL
        if "model_tanh" in cell:
            yield pieces.TANH
        if "model_logistic" in cell:
            yield pieces.LOGISTIC
        yield pieces.INT8_PRODUCT if self.constants.int8 else pieces.PRODUCT
        yield cell

    def _cell(self):
        spec = self.spec
        if spec.cell == "gru":
            return pieces.GRU if spec.reset_after else pieces.GRU_RESET_BEFORE
        if spec.cell != "lstm":
            return _fill(pieces.VANILLA, ACTIVATION=ACTIVATIONS[spec.cell])
        rows = {"I": "", "F": "H + ", "O": "2 * H + "}
        terms = {gate: f" + layer->peephole[{row}j] * c[j]" * spec.peepholes for gate, row in rows.items()}
        return _fill(pieces.LSTM, **{f"PEEPHOLE_{gate}": term for gate, term in terms.items()})

    def _step(self):
        spec, int8 = self.spec, self.constants.int8
        rows = {"lstm": "4 * H", "gru": "3 * H"}.get(spec.cell, "H")
        numbers = "4 * H" if spec.cell == "gru" and spec.reset_after else rows
        begin, end = [], []
        if spec.vocabulary:
            begin, end = [pieces.CHECK_TOKEN], ["return 0;"]
        if spec.num_embeddings:
            begin.append(pieces.INT8_EMBEDDED if int8 else pieces.EMBEDDED)
        elif spec.one_hot:
            begin.append(pieces.NO_INPUTS)
        if spec.output_size:
            outputs = [pieces.READOUT_BIAS if spec.bias else pieces.NO_READOUT_BIAS, pieces.READOUT]
        else:
            outputs = [pieces.OUTPUTS]
        sums = [_fill(pieces.BIAS if spec.bias else pieces.NO_BIAS, NUMBERS=numbers), *self._input_product(rows)]
        states = "state->h[k], state->c[k]" if spec.cell == "lstm" else "state->h[k]"
        return _fill(
            pieces.STEP,
            ARGUMENTS=f"layer, {states}, state->sums",
            SIGNATURE=self._signature(),
            BEGIN=_indented(1, begin),
            SUMS=_indented(2, sums),
            OUTPUTS=_indented(1, outputs + end),
        )

    def _signature(self):
        if self.spec.vocabulary:
            return "int model_step(model_state *state, int32_t token, float *y)"
        return "void model_step(model_state *state, const float *x, float *y)"

    def _input_product(self, rows):
        """What adds W_ih x to the sums."""
        product = _fill(pieces.ADD_INPUTS, ROWS=rows)
        if not self.spec.one_hot:
            return [product]
        add_token = _fill(pieces.INT8_ADD_TOKEN if self.constants.int8 else pieces.ADD_TOKEN, ROWS=rows)
        if self.spec.num_layers == 1:
            return [add_token]
        return ["if (k > 0) {", _indented(1, [product]), "} else {", _indented(1, [add_token]), "}"]

    # ---- both ------------------------------------------------------------------------------------------------

    def _filled(self, text, **values):
        """The text with all its values, under the network's name."""
        text = _fill(
            text,
            TITLE=_comment(self.title).removeprefix(" * "),
            VERSION=__version__,
            ID=f"0x{self._checksum():08x}u",
            **values,
        )
        if not self.constants.int8:
            text = re.sub(r"(layer->|model_)scale_\w+, ", "", text)
        prefixes = {"model": self.name, "MODEL": self.name.upper()}
        return re.sub(r"\b(model|MODEL)(?=_\w|\.[ch]\b)", lambda match: prefixes[match[1]], text)

    def _checksum(self):
        checksum = zlib.crc32(self.title.encode())
        for array in self.constants.arrays:
            checksum = zlib.crc32(np.ascontiguousarray(array.values).tobytes(), checksum)
        return checksum


def _fill(text, **values):
    """The text with values for its `$NAME`s. A line of nothing but an empty value goes."""
    text = re.sub(r"^ *\$(\w+)\n", lambda match: match[0] if values.get(match[1], "-") else "", text, flags=re.M)
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], text)


def _indented(depth, blocks):
    return textwrap.indent("\n".join(blocks), "    " * depth)


def _comment(paragraph):
    """Its lines within a comment."""
    return textwrap.fill(paragraph, WIDTH, initial_indent=" * ", subsequent_indent=" * ", break_long_words=False)


def _initializer(values):
    text = f"{{{', '.join(values)}}},"
    return textwrap.fill(text, WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 5, break_long_words=False)


def _definition(array):
    """The C text of an array. Each of its rows begins a line."""
    kind = TYPES[array.values.dtype.name]
    lines = [f"/* {array.comment} */", f"static const {kind} model_{array.name}[{array.values.size}] = {{"]
    numbers = array.values.astype(str)  # of float32 the fewest digits that give the same bits when they are read
    width = np.char.str_len(numbers).max() + len(", ") + (kind == "float")
    many = (WIDTH - len("    ")) // width
    suffix = "f, " if kind == "float" else ", "
    for row in numbers.tolist():
        lines += [f"    {suffix.join([*row[i : i + many], '']).rstrip()}" for i in range(0, len(row), many)]
    return "\n".join([*lines, "};"])
