"""Networks to C: a header and a source file that need nothing else, for firmware and plug-ins."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import numpy as np

from .._checks import brief, choice
from .._files import file_name, write_together
from .._rnn import RNN, check_network
from ._c_constants import Constants, Matrix, is_weight, quantized
from ._c_source import Program
from ._common import build, check_finite

WEIGHTS = ("float32", "int8")
STEPS, SEED = 1000, 0  # of the random sequence on which the error of int8 weights is measured
# of C and C++
KEYWORDS = """alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t class compl
complex const const_cast constexpr continue decltype default delete do double dynamic_cast else enum explicit export
extern false float for friend goto if imaginary inline int long mutable namespace new noexcept not not_eq nullptr
operator or or_eq private protected public register reinterpret_cast restrict return short signed sizeof static
static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename typeof
typeof_unqual union unsigned using virtual void volatile wchar_t while xor xor_eq"""
# of the standard library, each of which a file of the same name would hide
HEADERS = """assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg
stdatomic stdbit stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar
wctype"""
RESERVED = {*KEYWORDS.split(), *HEADERS.split()}


class CFiles(NamedTuple):
    """What to_c wrote."""

    header: str
    source: str
    flash: int
    ram: int
    error: float | None

    def __str__(self) -> str:
        error = "" if self.error is None else f"; int8 weights change outputs by {self.error:.2g} at most"
        return (
            f"{self.header}, {self.source}: {self.flash:,} bytes of flash and below 3 kB for the code, "
            f"{self.ram:,} bytes of RAM{error}"
        )


def to_c(
    rnn: RNN,
    directory: str | os.PathLike[str],
    name: str = "model",
    *,
    weights: str = "float32",
    x=None,
) -> CFiles:
    """Write the network as two C files, name.h and name.c, that run it one step at a time.

    They are C99 and C++17 and need no library but memcpy and memset: the weights are constants, the state is a struct
    of the caller's, nothing is allocated. The header says how to call them. Their outputs are those of rnn.stream() to
    rounding. The same network gives the same files.

    Parameters
    ----------
    rnn : bptt.RNN
        The network, of one direction. It drops nothing, as a stream. Parameters in float64 are rounded to float32.
    directory : str or os.PathLike
        Where the files go; it must exist. Existing ones are replaced when both new ones are written: an error leaves
        both as they were.
    name : str
        Of the files, and the prefix of all names in them: an identifier of C that begins with a letter, no keyword of C
        or C++ and no header of the standard library. Names of networks in one program differ in more than case.
    weights : {"float32", "int8"}
        "int8" stores matrices as int8 with a float32 factor for each row (each output unit; each integer of an
        embedding): a quarter of the flash. Biases, peepholes, states and all arithmetic stay float32. The files say how
        far the outputs are from those of float32 weights.
    x : array_like, (T,B,I), with batch_first (B,T,I), or (T,I), optional
        With "int8": inputs on which that error is measured, as forward takes them. By default 1000 steps of standard
        normal numbers, or of random integers where the network takes these.

    Returns
    -------
    header, source : str
        The paths.
    flash : int
        Bytes of constants on a 32-bit processor. The code comes on top, below 3 kB on a Cortex-M4 with -O2.
    ram : int
        Bytes of the state struct, scratch memory included. A step takes less than 256 bytes of stack.
    error : float or None
        The largest difference of an output through int8 weights; None for float32.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If the network is bidirectional or a parameter is not finite in float32, if name or weights is none of those
        above, or if x is given with float32 weights or does not fit.
    OSError
        If a file cannot be written.
    """
    check_network(rnn)
    directory, name = file_name(directory, "directory"), _identifier(name)
    weights = choice(weights, "weights", WEIGHTS)
    if rnn.bidirectional:
        reason = "the reverse direction begins at the last step"
        raise ValueError(f"to_c goes with bidirectional=False, got bidirectional=True: {reason}")
    if x is not None and weights != "int8":
        raise ValueError(f"x goes with weights='int8', got weights={weights!r}")
    state = rnn.state_dict()
    check_finite(state)
    with np.errstate(under="ignore"):
        exact = {tensor: values.astype(np.float32) for tensor, values in state.items()}
    matrix = quantized if weights == "int8" else Matrix
    tensors = {tensor: matrix(values) if is_weight(tensor) else values for tensor, values in exact.items()}
    about, error = f"Weights are float32{', rounded from float64' * (rnn.dtype == np.float64)}.", None
    if weights == "int8":
        restored = {tensor: v.restored() if isinstance(v, Matrix) else v for tensor, v in tensors.items()}
        error, about = _int8_error(rnn, exact, restored, x)
    constants = Constants(rnn.spec, tensors)
    check_finite({array.name: array.values for array in constants.arrays})
    program = Program(name, repr(rnn), constants, about)
    header, source = (os.path.join(directory, f"{name}.{end}") for end in "hc")
    write_together({header: program.header().encode(), source: program.source().encode()})
    return CFiles(header, source, program.flash, program.ram, error)


def _identifier(name):
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, got {brief(name)}")
    if not re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9])*", name) or name.lower() in RESERVED:
        raise ValueError(
            "name must be an identifier of C: letters and digits, single underscores between them, a letter first; no "
            f"keyword and no header of the standard library; got {brief(name)}"
        )
    return name


def _int8_error(rnn, exact, restored, x):
    """(the largest difference of an output, the same in words) between the networks with these parameters."""
    description = rnn.description() | {"dtype": "float32", "dropout": 0.0, "recurrent_dropout": 0.0}
    inputs = _random_inputs(rnn) if x is None else x
    y, y_int8 = (
        build(description, tensors, rnn.threads).forward(inputs, tape=False)[0].astype(float)
        for tensors in (exact, restored)
    )
    if not (np.isfinite(y).all() and np.isfinite(y_int8).all()):
        raise ValueError("x must be inputs that give finite outputs, got outputs with NaN or Inf")
    difference = np.abs(y_int8 - y)
    error, rms, size = difference.max(), np.sqrt(np.mean(difference**2)), np.sqrt(np.mean(y**2))
    steps = y.shape[1 if rnn.batch_first and y.ndim > 2 else 0]
    sequence = f"{'random' if x is None else 'given'} sequence of {steps} steps"
    return float(error), (
        f"Weights are int8. Over a {sequence} outputs differ from those of float32 weights by at most {error:.3g} "
        f"(root mean square: {rms:.3g}; that of the outputs: {size:.3g})."
    )


def _random_inputs(rnn):
    rng = np.random.default_rng(SEED)
    if rnn.spec.vocabulary:
        return rng.integers(rnn.spec.vocabulary, size=STEPS)
    return rng.normal(size=(STEPS, rnn.input_size)).astype(np.float32)
