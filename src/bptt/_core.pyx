# cython: language_level=3, embedsignature=False, binding=True, freethreading_compatible=True
# cython: initializedcheck=False, nonecheck=True, auto_pickle=False
"""Thin bindings over the C core: every array is checked once here, then one call runs without the GIL.

All algorithms are in csrc/; this module turns Python arguments into pointers and status codes into exceptions.
"""
import math
import os
import threading
import weakref
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import pairwise

import numpy as np

from ._checkpoint import check_checkpoint, segment_length
from ._checks import (
    flag, index, input_hint, labels_hint, number, target_hint, threshold, token_error, token_hint, token_shape,
    uint64,
)
from ._memory import memory_for

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_FillInfo, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_Occurred
from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint64_t, uintptr_t
from libc.string cimport memset

cdef extern from "bptt.h" nogil:
    ctypedef int bptt_status
    bptt_status BPTT_OK
    bptt_status BPTT_ERROR_OVERFLOW
    bptt_status BPTT_ERROR_MEMORY
    bptt_status BPTT_ERROR_OPTION
    bptt_status BPTT_ERROR_THRESHOLD
    bptt_status BPTT_ERROR_LABEL
    bptt_status BPTT_ERROR_INTERRUPTED
    bptt_status BPTT_ERROR_ISA
    bptt_status BPTT_ERROR_TOKEN
    const char *bptt_status_string(bptt_status)
    const char *bptt_version()
    const char *bptt_isa()
    const char *bptt_isa_choices()
    const char *bptt_cell_name(int)
    ctypedef struct bptt_spec:
        size_t struct_size
        int64_t input_size, hidden_size, output_size
        int32_t cell, bias, num_layers, bidirectional, reset_before, peepholes, learn_state, one_hot
        double dropout, recurrent_dropout
        int64_t num_embeddings, padding_row
        double leak, noise
        int64_t learn_leak
    ctypedef struct bptt_tensor:
        char name[32]
        int64_t offset, rows, cols
    ctypedef struct bptt_team
    bptt_status bptt_team_make(bptt_team **)
    void bptt_team_free(bptt_team *)
    ctypedef struct bptt_options:
        size_t struct_size
        int32_t threads, carry_per_row
        const uint8_t *reset
        const void *carry
        double step_clip_norm, step_clip_value
        void *step_norms
        int64_t dy_start, tape_steps, tape_first
        int (*poll)(void *) noexcept nogil
        void *poll_context
        const int64_t *lengths
        int64_t segment
        int64_t *forward_steps
        int32_t training, state_given
        uint64_t dropout_seed
        int64_t first_step
        bptt_team *team
        const int64_t *tokens
        void *states
        const void *dstates
    ctypedef struct bptt_sizes:
        size_t struct_size
        int64_t params, state, output, tape, forward_work, backward_work, packed, step_work
    ctypedef struct bptt_window:
        int64_t start, stop, back
    ctypedef enum bptt_rule:
        BPTT_RULE_ZERO
        BPTT_RULE_AT_LEAST_ZERO
        BPTT_RULE_AT_MOST_ZERO
        BPTT_RULE_FREE
    ctypedef enum bptt_reduction:
        BPTT_REDUCTION_MEAN
        BPTT_REDUCTION_SUM
    ctypedef enum bptt_method:
        BPTT_METHOD_RTRL
        BPTT_METHOD_SNAP1
    ctypedef struct bptt_learner_sizes:
        size_t struct_size
        int64_t memory, work, influence, span
    bptt_status bptt_tensor_count(const bptt_spec *, int64_t *)
    bptt_status bptt_tensor_at(const bptt_spec *, int64_t, bptt_tensor *)
    bptt_status bptt_window_count(int64_t T, int64_t k1, int64_t k2, int64_t *)
    bptt_status bptt_window_at(int64_t T, int64_t k1, int64_t k2, int64_t index, bptt_window *)

# One spelling for both types: the core's functions with untyped pointers, chosen by the number of bits.
cdef extern from *:
    """
    #include <time.h>
    #define BPTT_TYPED(name, bits, ...) ((bits) == 32 ? name##_f32(__VA_ARGS__) : name##_f64(__VA_ARGS__))
    #define any_sizes(bits, ...) BPTT_TYPED(bptt_sizes, bits, __VA_ARGS__)
    #define any_explain(bits, ...) BPTT_TYPED(bptt_explain, bits, __VA_ARGS__)
    #define any_forward(bits, ...) BPTT_TYPED(bptt_forward, bits, __VA_ARGS__)
    #define any_backward(bits, ...) BPTT_TYPED(bptt_backward, bits, __VA_ARGS__)
    #define any_tape_shift(bits, ...) BPTT_TYPED(bptt_tape_shift, bits, __VA_ARGS__)
    #define any_pack(bits, ...) BPTT_TYPED(bptt_pack, bits, __VA_ARGS__)
    #define any_step(bits, ...) BPTT_TYPED(bptt_step, bits, __VA_ARGS__)
    #define any_step_tokens(bits, ...) BPTT_TYPED(bptt_step_tokens, bits, __VA_ARGS__)
    #define any_learner_sizes(bits, ...) BPTT_TYPED(bptt_learner_sizes, bits, __VA_ARGS__)
    #define any_learner_reset(bits, ...) BPTT_TYPED(bptt_learner_reset, bits, __VA_ARGS__)
    #define any_learner_step(bits, ...) BPTT_TYPED(bptt_learner_step, bits, __VA_ARGS__)
    #define any_learner_backward(bits, ...) BPTT_TYPED(bptt_learner_backward, bits, __VA_ARGS__)
    #define any_clip_norm(bits, ...) BPTT_TYPED(bptt_clip_norm, bits, __VA_ARGS__)
    #define any_scale(bits, ...) BPTT_TYPED(bptt_scale, bits, __VA_ARGS__)
    #define any_clip_value(bits, ...) BPTT_TYPED(bptt_clip_value, bits, __VA_ARGS__)
    #define any_constrain(bits, ...) BPTT_TYPED(bptt_constrain, bits, __VA_ARGS__)
    #define any_mse(bits, ...) BPTT_TYPED(bptt_mse, bits, __VA_ARGS__)
    #define any_huber(bits, ...) BPTT_TYPED(bptt_huber, bits, __VA_ARGS__)
    #define any_cross_entropy(bits, ...) BPTT_TYPED(bptt_weighted_cross_entropy, bits, __VA_ARGS__)
    #define any_binary_cross_entropy(bits, ...) BPTT_TYPED(bptt_binary_cross_entropy, bits, __VA_ARGS__)
    #define any_sgd(bits, ...) BPTT_TYPED(bptt_sgd, bits, __VA_ARGS__)
    #define any_rmsprop(bits, ...) BPTT_TYPED(bptt_rmsprop, bits, __VA_ARGS__)
    #define any_adagrad(bits, ...) BPTT_TYPED(bptt_adagrad, bits, __VA_ARGS__)
    #define any_adam(bits, ...) BPTT_TYPED(bptt_adam, bits, __VA_ARGS__)
    static double bptt_seconds(void) {
        struct timespec now;
        timespec_get(&now, TIME_UTC);
        return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    }
    """
    double bptt_seconds() nogil
    bptt_status any_sizes(int, const bptt_spec *, int64_t, int64_t, const bptt_options *, bptt_sizes *) nogil
    int any_explain(int, const bptt_spec *, int64_t, int64_t, const bptt_options *, char *text, size_t size) nogil
    bptt_status any_forward(int, const bptt_spec *, int64_t, int64_t, void *params, void *x, void *state0, void *y,
                            void *state1, void *tape, void *work, const bptt_options *) nogil
    bptt_status any_backward(int, const bptt_spec *, int64_t, int64_t, void *params, void *x, void *tape, void *dy,
                             void *dstate1, void *dx, void *dstate0, void *grads, void *work,
                             const bptt_options *) nogil
    bptt_status any_tape_shift(int, const bptt_spec *, int64_t, int64_t, int64_t, int64_t, void *) nogil
    bptt_status any_pack(int, const bptt_spec *, void *, void *) nogil
    bptt_status any_step(int, const bptt_spec *, int64_t, void *packed, void *x, void *state, void *y,
                         void *work) nogil
    bptt_status any_step_tokens(int, const bptt_spec *, int64_t, void *packed, const int64_t *, void *state, void *y,
                                void *work) nogil
    bptt_status any_learner_sizes(int, const bptt_spec *, bptt_method, int64_t, bptt_learner_sizes *) nogil
    bptt_status any_learner_reset(int, const bptt_spec *, bptt_method, int64_t, void *params, const uint8_t *rows,
                                  void *state0, void *state, void *memory) nogil
    bptt_status any_learner_step(int, const bptt_spec *, bptt_method, int64_t, void *params, void *x, void *state,
                                 void *y, void *memory, void *work, const bptt_options *) nogil
    bptt_status any_learner_backward(int, const bptt_spec *, bptt_method, int64_t, void *params, void *dy, void *grads,
                                     void *memory, void *work, const bptt_options *) nogil
    bptt_status any_clip_norm(int, int64_t, void *, double, double *) nogil
    bptt_status any_scale(int, int64_t, void *, double) nogil
    bptt_status any_clip_value(int, int64_t, void *, double, double *) nogil
    bptt_status any_constrain(int, int64_t, const int8_t *, int, void *) nogil
    bptt_status any_mse(int, int64_t, int64_t, void *, void *, const uint8_t *, bptt_reduction, void *,
                        double *) nogil
    bptt_status any_huber(int, int64_t, int64_t, void *, void *, double, const uint8_t *, bptt_reduction, void *,
                          double *) nogil
    bptt_status any_cross_entropy(int, int64_t, int64_t, void *, const int64_t *, int64_t, void *, double,
                                  const uint8_t *, bptt_reduction, void *, double *) nogil
    bptt_status any_binary_cross_entropy(int, int64_t, int64_t, void *, void *, const uint8_t *, bptt_reduction,
                                         void *, double *) nogil
    bptt_status any_sgd(int, int64_t, void *, void *, void *, double, double, int, double) nogil
    bptt_status any_rmsprop(int, int64_t, void *, void *, void *, double, double, double, double) nogil
    bptt_status any_adagrad(int, int64_t, void *, void *, void *, double, double, double) nogil
    bptt_status any_adam(int, int64_t, void *, void *, void *, void *, int64_t, double, double, double, double,
                         double, int) nogil

cdef extern from "Python.h":
    # declared without an exception value: an exception of the handler stays set until check() finds it
    int signal_arrived "PyErr_CheckSignals"()

cdef object ndarray = np.ndarray
cdef object MaskedArray = np.ma.MaskedArray
cdef object empty = np.empty
cdef object float32 = np.dtype(np.float32)
cdef object float64 = np.dtype(np.float64)
cdef object int64 = np.dtype(np.int64)
cdef object int64_scalar = np.int64
cdef object bool_ = np.dtype(np.bool_)


cdef tuple cell_names():
    cdef const char *name = bptt_cell_name(0)
    names = []
    while name != NULL:
        names.append(name.decode())
        name = bptt_cell_name(len(names))
    return tuple(names)


CELLS = cell_names()  # by their numbers


# ---- status codes ----------------------------------------------------------------------------------------

class TokenError(ValueError):
    """An integer of the input is out of range; callers say where it is in what the user gave."""


cdef int fail(bptt_status status, str text) except -1:
    """The one place that turns a status of the core into an exception."""
    if status == BPTT_ERROR_INTERRUPTED:
        raise RuntimeError("a signal handler forked during this call, and the child does not have its other threads")
    if status == BPTT_ERROR_OVERFLOW or status == BPTT_ERROR_MEMORY:
        raise MemoryError(text)
    if status == BPTT_ERROR_ISA:
        raise RuntimeError(f"{text}; the choices are {bptt_isa_choices().decode()}")
    if status == BPTT_ERROR_TOKEN:
        raise TokenError(text)
    raise ValueError(text)


cdef int check(bptt_status status) except -1:
    """An exception unless the status is BPTT_OK."""
    if status == BPTT_OK:
        return 0
    if status == BPTT_ERROR_INTERRUPTED and PyErr_Occurred() != NULL:
        return -1  # the exception of the signal handler is set, KeyboardInterrupt as a rule
    return fail(status, bptt_status_string(status).decode())


cdef int check_call(bptt_status status, int bits, const bptt_spec *spec, int64_t T, int64_t B,
                    const bptt_options *options) except -1:
    """The same for a call on a network: the core says which argument it refused, if it was one of these."""
    cdef char text[500]
    if status == BPTT_OK:
        return 0
    if status != BPTT_ERROR_ISA and any_explain(bits, spec, T, B, options, text, sizeof(text)) > 0:
        return fail(status, text.decode())
    return check(status)


cdef int poll(void *context) noexcept nogil:
    """Lets Ctrl-C stop a long call: runs the interpreter's signal handlers ten times a second."""
    cdef double *last = <double *>context
    cdef double now = bptt_seconds()
    if 0 <= now - last[0] < 0.1:
        return 0
    last[0] = now
    with gil:
        return signal_arrived()


cdef class Network
cdef class Run

include "bindings/arrays.pxi"
include "bindings/lock.pxi"
include "bindings/params.pxi"
include "bindings/network.pxi"
include "bindings/sequences.pxi"
include "bindings/states.pxi"
include "bindings/run.pxi"
include "bindings/windows.pxi"
include "bindings/stream.pxi"
include "bindings/learner.pxi"
include "bindings/fork.pxi"
include "bindings/clip.pxi"
include "bindings/constraints.pxi"
include "bindings/losses.pxi"
include "bindings/optimizers.pxi"
include "bindings/capsule.pxi"


# ---- the library -----------------------------------------------------------------------------------------

def version():
    """The version of the C core: the BPTT_VERSION macros of bptt.h."""
    return bptt_version().decode()


def isa_choices():
    """The kernel sets that run here, slowest first."""
    return bptt_isa_choices().decode().split(", ")


def isa():
    """The kernel set in use. RuntimeError if BPTT_ISA names none that runs here."""
    cdef const char *name = bptt_isa()
    if name == NULL:
        fail(BPTT_ERROR_ISA, f"{bptt_status_string(BPTT_ERROR_ISA).decode()}: {os.environ.get('BPTT_ISA')!r}")
    return name.decode()
