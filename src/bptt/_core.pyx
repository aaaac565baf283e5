# cython: language_level=3, embedsignature=False, binding=True, freethreading_compatible=True
# cython: boundscheck=False, wraparound=False, initializedcheck=False, nonecheck=True, auto_pickle=False
"""Thin bindings over the C core: every array is checked once here, then one call runs without the GIL.

All algorithms are in csrc/; this module turns Python arguments into pointers and status codes into exceptions.
"""
import threading
from operator import index as operator_index

import numpy as np

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_Occurred
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.string cimport memset

cdef extern from "bptt.h" nogil:
    ctypedef int bptt_status
    bptt_status BPTT_OK
    bptt_status BPTT_ERROR_OVERFLOW
    bptt_status BPTT_ERROR_LABEL
    bptt_status BPTT_ERROR_INTERRUPTED
    bptt_status BPTT_ERROR_ISA
    const char *bptt_status_string(bptt_status)
    const char *bptt_version()
    const char *bptt_isa()
    const char *bptt_isa_choices()
    ctypedef struct bptt_spec:
        size_t struct_size
        int64_t input_size, hidden_size, output_size
        int32_t cell, bias
    ctypedef struct bptt_tensor:
        char name[32]
        int64_t offset, rows, cols
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
    ctypedef struct bptt_sizes:
        size_t struct_size
        int64_t params, state, output, tape, forward_work, backward_work, packed, step_work
    ctypedef struct bptt_window:
        int64_t start, stop, back
    ctypedef enum bptt_reduction:
        BPTT_REDUCTION_MEAN
        BPTT_REDUCTION_SUM
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
    #define any_forward(bits, ...) BPTT_TYPED(bptt_forward, bits, __VA_ARGS__)
    #define any_backward(bits, ...) BPTT_TYPED(bptt_backward, bits, __VA_ARGS__)
    #define any_tape_shift(bits, ...) BPTT_TYPED(bptt_tape_shift, bits, __VA_ARGS__)
    #define any_pack(bits, ...) BPTT_TYPED(bptt_pack, bits, __VA_ARGS__)
    #define any_step(bits, ...) BPTT_TYPED(bptt_step, bits, __VA_ARGS__)
    #define any_clip_norm(bits, ...) BPTT_TYPED(bptt_clip_norm, bits, __VA_ARGS__)
    #define any_clip_value(bits, ...) BPTT_TYPED(bptt_clip_value, bits, __VA_ARGS__)
    #define any_mse(bits, ...) BPTT_TYPED(bptt_mse, bits, __VA_ARGS__)
    #define any_cross_entropy(bits, ...) BPTT_TYPED(bptt_cross_entropy, bits, __VA_ARGS__)
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
    bptt_status any_forward(int, const bptt_spec *, int64_t, int64_t, void *params, void *x, void *state0, void *y,
                            void *state1, void *tape, void *work, const bptt_options *) nogil
    bptt_status any_backward(int, const bptt_spec *, int64_t, int64_t, void *params, void *x, void *tape, void *dy,
                             void *dstate1, void *dx, void *dstate0, void *grads, void *work,
                             const bptt_options *) nogil
    bptt_status any_tape_shift(int, const bptt_spec *, int64_t, int64_t, int64_t, void *) nogil
    bptt_status any_pack(int, const bptt_spec *, void *, void *) nogil
    bptt_status any_step(int, const bptt_spec *, int64_t, void *packed, void *x, void *state, void *y,
                         void *work) nogil
    bptt_status any_clip_norm(int, int64_t, void *, double, double *) nogil
    bptt_status any_clip_value(int, int64_t, void *, double, double *) nogil
    bptt_status any_mse(int, int64_t, int64_t, void *, void *, const uint8_t *, bptt_reduction, void *,
                        double *) nogil
    bptt_status any_cross_entropy(int, int64_t, int64_t, void *, const int64_t *, int64_t, const uint8_t *,
                                  bptt_reduction, void *, double *) nogil
    bptt_status any_binary_cross_entropy(int, int64_t, int64_t, void *, void *, const uint8_t *, bptt_reduction,
                                         void *, double *) nogil
    bptt_status any_sgd(int, int64_t, void *, void *, void *, double, double, int, double) nogil
    bptt_status any_rmsprop(int, int64_t, void *, void *, void *, double, double, double, double) nogil
    bptt_status any_adagrad(int, int64_t, void *, void *, void *, double, double, double) nogil
    bptt_status any_adam(int, int64_t, void *, void *, void *, void *, int64_t, double, double, double, double,
                         double, int) nogil

cdef extern from "Python.h":
    # declared without an exception value: what the handler raised stays set until check() finds it
    int signal_arrived "PyErr_CheckSignals"()

cdef object ndarray = np.ndarray
cdef object empty = np.empty
cdef object float32 = np.dtype(np.float32)
cdef object float64 = np.dtype(np.float64)
cdef object int64 = np.dtype(np.int64)
cdef object bool_ = np.dtype(np.bool_)

CELLS = ("tanh", "relu", "sigmoid", "identity")


# ---- status codes -------------------------------------------------------------------------------------

cdef int check(bptt_status status) except -1:
    """The one place that turns a status of the core into an exception."""
    if status == BPTT_OK:
        return 0
    if status == BPTT_ERROR_INTERRUPTED and PyErr_Occurred() != NULL:
        return -1  # what the signal handler raised, KeyboardInterrupt as a rule
    text = bptt_status_string(status).decode()
    if status == BPTT_ERROR_OVERFLOW:
        raise MemoryError(text)
    if status == BPTT_ERROR_ISA:
        raise RuntimeError(f"{text}; the choices are {bptt_isa_choices().decode()}")
    raise ValueError(text)


cdef int poll(void *context) noexcept nogil:
    """Lets Ctrl-C stop a long call: asks the interpreter for signals ten times a second."""
    cdef double *last = <double *>context
    cdef double now = bptt_seconds()
    if 0 <= now - last[0] < 0.1:
        return 0
    last[0] = now
    with gil:
        return signal_arrived()


# ---- arrays -------------------------------------------------------------------------------------------

cdef struct Array:
    void *data
    int ndim
    Py_ssize_t shape[3]


cdef object dtype_of(int bits):
    return float32 if bits == 32 else float64


cdef int bits_of(object dtype) except -1:
    return 8 * <int>dtype.itemsize


cdef bint has_format(const char *format, object dtype) noexcept:
    """Whether a NumPy buffer's format is this type in native byte order."""
    if format == NULL or format[0] == 0 or format[1] != 0:
        return False
    if dtype is float32:
        return format[0] == b"f"
    if dtype is float64:
        return format[0] == b"d"
    if dtype is int64:
        return format[0] == b"q" or (format[0] == b"l" and sizeof(long) == 8)
    return format[0] == b"?"


cdef bint look(object obj, object dtype, bint writable, Array *array) except -1:
    """Fills *array if obj is an ndarray, C-contiguous, aligned, of this dtype (and writable).

    The buffer is given back at once: callers hold a reference to the ndarray, which keeps its memory.
    """
    cdef Py_buffer view
    cdef bint fits
    cdef int i
    if type(obj) is not ndarray:
        return False
    try:
        PyObject_GetBuffer(obj, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    except (BufferError, ValueError):
        return False
    fits = (has_format(view.format, dtype) and not (writable and view.readonly)
            and <uintptr_t>view.buf % <uintptr_t>view.itemsize == 0)
    array.data = view.buf
    array.ndim = view.ndim
    for i in range(3):
        array.shape[i] = view.shape[i] if i < view.ndim else 1
    PyBuffer_Release(&view)
    return fits


cdef str described(object obj):
    if not isinstance(obj, ndarray):
        return type(obj).__name__
    layout = "" if obj.flags.c_contiguous else "non-contiguous "
    frozen = "" if obj.flags.writeable else "read-only "
    aligned = "" if obj.flags.aligned else "unaligned "
    return f"a {frozen}{layout}{aligned}{obj.dtype} array of shape {obj.shape}"


cdef object as_ndarray(object obj, str name, str kinds, str what):
    """obj as an ndarray without a copy where it is one or offers a buffer; its kind must be one of `kinds`."""
    array = obj
    if type(obj) is not ndarray:
        try:
            array = np.asarray(obj)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name} must be an array of {what}, got {described(obj)}: {error}") from None
    if array.dtype.kind not in kinds:
        raise TypeError(f"{name} must be an array of {what}, got {described(obj)}")
    return array


cdef object as_input(object obj, str name, object dtype, Array *array):
    """obj itself if the core can read it as it is, otherwise a converted copy."""
    if look(obj, dtype, False, array):
        return obj
    obj = as_ndarray(obj, name, "fiub", "real numbers")
    obj = np.require(np.asarray(obj), dtype, "CA")
    look(obj, dtype, False, array)
    return obj


cdef object as_flags(object obj, str name, Array *array):
    if look(obj, bool_, False, array):
        return obj
    obj = np.array(as_ndarray(obj, name, "biu", "booleans"), bool_, order="C", copy=True, subok=False)
    look(obj, bool_, False, array)
    return obj


cdef object as_labels(object obj, str name, Array *array):
    if look(obj, int64, False, array):
        return obj
    obj = as_ndarray(obj, name, "iu", "integers")
    if obj.dtype.kind == "u" and obj.dtype.itemsize == 8 and obj.size and obj.max() > 2**63 - 1:
        raise ValueError(f"{name} must fit into int64, got {obj.max()}")
    obj = np.array(obj, int64, order="C", copy=True, subok=False)
    look(obj, int64, False, array)
    return obj


cdef object as_output(object obj, str name, object dtype, Array *array):
    """obj, which the core writes in place: never converted."""
    if look(obj, dtype, True, array):
        return obj
    if type(obj) is not ndarray and PyObject_CheckBuffer(obj):
        view = np.asarray(memoryview(obj))
        if look(view, dtype, True, array):
            return view
    raise TypeError(f"{name} is written in place and must be a writable C-contiguous {dtype} array, "
                    f"got {described(obj)}")


cdef object float_dtype(object obj, str name):
    """The dtype of an array that is worked on in place, float32 or float64."""
    dtype = None
    if isinstance(obj, ndarray):
        dtype = obj.dtype
    elif PyObject_CheckBuffer(obj):
        dtype = np.asarray(memoryview(obj)).dtype
    for known in (float32, float64):
        if dtype is not None and dtype == known:
            return known
    raise TypeError(f"{name} is changed in place and must be a float32 or float64 array, got {described(obj)}")


cdef int expect(const Array *array, str name, str letters, int ndim, int64_t s0, int64_t s1=1,
                int64_t s2=1) except -1:
    if (array.ndim == ndim and array.shape[0] == s0 and (ndim < 2 or array.shape[1] == s1)
            and (ndim < 3 or array.shape[2] == s2)):
        return 0
    cdef object sizes = (s0, s1, s2)
    want = sizes[:ndim]
    raise ValueError(f"{name} must have shape {letters} = {want}, got {shape_of(array)}")


cdef object shape_of(const Array *array):
    if array.ndim > 3:
        return f"{array.ndim} dimensions"
    return tuple(array.shape[i] for i in range(array.ndim))


def threshold(value, name):
    """A clipping threshold as a float: above zero, not NaN; inf clips nothing."""
    cdef double number = real(value, name)
    if not number > 0:
        raise ValueError(f"{name} must be above 0, got {value!r}")
    return number


cdef double real(object value, str name) except? -1.5:
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    except OverflowError:
        raise ValueError(f"{name} is beyond the range of a float") from None


def index(value, name, int64_t least=1):
    """value as an int of at least `least`; an error that names it otherwise."""
    try:
        number = operator_index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not least <= number < 2**63:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    return number


# ---- the network --------------------------------------------------------------------------------------

cdef class Network:
    """Parameters, gradients and the calls on them. bptt.RNN is the class to use: it adds what is not hot."""

    cdef bptt_spec spec
    cdef int bits, threads_
    cdef bint busy
    cdef readonly object lock
    cdef readonly object dtype
    cdef object params_, grads_
    cdef readonly bint batch_first
    cdef void *params_data
    cdef void *grads_data
    # what forward keeps for backward
    cdef object x, reset, tape, work
    cdef object spare_tape, spare_work  # of windows that are over, for the next ones: fresh memory costs page faults
    cdef int64_t T, B
    cdef bint unbatched

    def __init__(self, *, input_size, hidden_size, output_size, cell, bias, batch_first, dtype, threads):
        cdef bptt_sizes sizes
        cdef Array array
        if self.lock is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        self.spec.struct_size = sizeof(bptt_spec)
        self.spec.input_size = index(input_size, "input_size")
        self.spec.hidden_size = index(hidden_size, "hidden_size")
        self.spec.output_size = 0 if output_size is None else index(output_size, "output_size")
        if not isinstance(cell, str) or cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        self.spec.cell = CELLS.index(cell)
        self.spec.bias = flag(bias, "bias")
        self.batch_first = flag(batch_first, "batch_first")
        self.threads = threads
        try:
            self.dtype = np.dtype(dtype)
        except TypeError:
            raise TypeError(f"dtype must be float32 or float64, got {dtype!r}") from None
        if self.dtype != float32 and self.dtype != float64 or not self.dtype.isnative:
            raise TypeError(f"dtype must be float32 or float64, got {dtype!r}")
        self.dtype = float32 if self.dtype == float32 else float64
        self.bits = bits_of(self.dtype)
        self.sizes(1, 1, 0, &sizes)
        # views: an array that owns its memory could be resized, and the addresses kept here would be stale
        self.params_ = np.zeros(sizes.params, self.dtype)[:]
        self.grads_ = np.zeros(sizes.params, self.dtype)[:]
        as_output(self.params_, "params", self.dtype, &array)
        self.params_data = array.data
        as_output(self.grads_, "grads", self.dtype, &array)
        self.grads_data = array.data
        self.lock = threading.RLock()

    cdef int enter(self) except -1:
        """Begins a call that works on the network; other threads wait, the same thread (a signal handler, an input's
        __array__) may not begin another."""
        if self.lock is None:
            raise RuntimeError("__init__ was never called")
        self.lock.acquire()
        if self.busy:
            self.lock.release()
            raise RuntimeError("the network is in the middle of a call that this thread began")
        self.busy = True
        return 0

    cdef int leave(self) except -1:
        self.busy = False
        self.lock.release()
        return 0

    @property
    def params(self):
        """All parameters, one flat array. Assigning writes into it, so that `rnn.params -= lr * rnn.grads` works."""
        return self.params_

    @params.setter
    def params(self, value):
        with self.lock:
            write_into(self.params_, value, "params")

    @property
    def grads(self):
        """Their gradients, in the same places. Assigning writes into it."""
        return self.grads_

    @grads.setter
    def grads(self, value):
        with self.lock:
            write_into(self.grads_, value, "grads")

    @property
    def input_size(self):
        return self.spec.input_size

    @property
    def hidden_size(self):
        return self.spec.hidden_size

    @property
    def output_size(self):
        return self.spec.output_size or None

    @property
    def cell(self):
        return CELLS[self.spec.cell]

    @property
    def bias(self):
        return bool(self.spec.bias)

    @property
    def threads(self):
        """Most threads a call uses; None: one per processor. Results do not depend on it."""
        return self.threads_ or None

    @threads.setter
    def threads(self, value):
        self.threads_ = 0 if value is None else min(index(value, "threads"), 1024)

    def tensors(self):
        """[(name, offset, shape)] of the parameters in the flat buffer, in memory order."""
        cdef int64_t count, i
        cdef bptt_tensor tensor
        check(bptt_tensor_count(&self.spec, &count))
        found = []
        for i in range(count):
            check(bptt_tensor_at(&self.spec, i, &tensor))
            shape = [tensor.rows, tensor.cols] if tensor.cols else [tensor.rows]
            found.append((tensor.name.decode(), tensor.offset, tuple(shape)))
        return found

    cdef int sizes(self, int64_t T, int64_t B, int64_t tape_steps, bptt_sizes *sizes) except -1:
        cdef bptt_options options
        self.default_options(&options)
        options.tape_steps = tape_steps
        sizes.struct_size = sizeof(bptt_sizes)
        return check(any_sizes(self.bits, &self.spec, T, B, &options, sizes))

    cdef void default_options(self, bptt_options *options) noexcept:
        memset(options, 0, sizeof(bptt_options))
        options.struct_size = sizeof(bptt_options)
        options.threads = self.threads_
        options.poll = poll

    cdef object scratch(self, object kept, int64_t needed):
        """`kept` if it is large enough (and not far too large), otherwise a new buffer."""
        if kept is not None and needed <= <int64_t>kept.size <= 4 * needed:
            return kept
        return empty(needed, self.dtype)

    cdef object sequence(self, object obj, str name, int64_t width, str letters, Array *array, bint *unbatched):
        """A (T,B,width) input in the core's layout from what the user's layout is."""
        obj = as_input(obj, name, self.dtype, array)
        unbatched[0] = array.ndim == 2
        if unbatched[0]:
            obj = obj[:, None]
        elif self.batch_first and array.ndim == 3:
            obj = np.ascontiguousarray(obj.swapaxes(0, 1))
        if array.ndim not in (2, 3) or array.shape[array.ndim - 1] != width or obj.size == 0:
            order = "B,T" if self.batch_first else "T,B"
            raise ValueError(f"{name} must have shape ({order},{letters}) or (T,{letters}) with "
                             f"{letters} = {width} and no empty axis, got {shape_of(array)}")
        look(obj, self.dtype, False, array)
        return obj

    cdef object outward(self, object array, bint unbatched):
        """A (T,B,...) array of the core in the user's layout."""
        if unbatched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self.batch_first else array

    cdef object state_input(self, object obj, str name, int64_t B, Array *array):
        array.data = NULL
        if obj is None:
            return None
        obj = as_input(obj, name, self.dtype, array)
        expect(array, name, "(1,B,H)", 3, 1, B, self.spec.hidden_size)
        return obj

    cdef object reset_input(self, object obj, int64_t T, int64_t B, bint unbatched, Array *array):
        array.data = NULL
        if obj is None:
            return None
        obj = as_flags(obj, "reset", array).copy()  # it is kept for backward
        if unbatched:
            if array.ndim == 1:
                obj = obj[:, None]
        elif self.batch_first and array.ndim == 2:
            expect(array, "reset", "(B,T)", 2, B, T)
            obj = np.ascontiguousarray(obj.swapaxes(0, 1))
        look(obj, bool_, False, array)
        expect(array, "reset", "(T,B)", 2, T, B)
        return obj

    def forward(self, x, state=None, *, reset=None, tape=True):
        """Run the network over a sequence.

        Parameters
        ----------
        x : (T,B,I), with batch_first (B,T,I), or (T,I) for a batch of one
        state : (1,B,H), optional
            The state that enters step 0; zeros by default.
        reset : (T,B) of bool, with batch_first (B,T), optional
            True: the state that enters this step is zero for this row.
        tape : bool
            False: keep nothing for backward, so that memory does not grow with T.

        Returns
        -------
        y : (T,B,O), or (T,B,H) without a readout; laid out as x is
        state : (1,B,H), the state after the last step

        x is not copied where it has the network's dtype: do not change it before backward. Every forward replaces
        what the one before left for backward, with tape=False by nothing.
        """
        cdef Array a, s, r
        cdef bptt_sizes sizes
        cdef bint unbatched, keep = flag(tape, "tape")
        self.enter()
        try:
            x = self.sequence(x, "x", self.spec.input_size, "I", &a, &unbatched)
            T, B = a.shape[0], a.shape[1]
            state = self.state_input(state, "state", B, &s)
            reset = self.reset_input(reset, T, B, unbatched, &r)
            self.sizes(T, B, 0, &sizes)
            y = empty((T, B, self.spec.output_size or self.spec.hidden_size), self.dtype)
            last = empty((1, B, self.spec.hidden_size), self.dtype)
            self.T = 0  # until this call succeeds there is nothing to go back over
            self.x = self.reset = None
            self.tape = self.scratch(self.tape, sizes.tape) if keep else None
            self.work = self.scratch(self.work, max(sizes.forward_work, sizes.backward_work if keep else 0))
            self.run_forward(T, B, x, state, y, last, self.tape, self.work, reset, 0, 0)
            if keep:
                self.x, self.reset, self.T, self.B, self.unbatched = x, reset, T, B, unbatched
            return self.outward(y, unbatched), last
        finally:
            self.leave()

    def backward(self, dy, dstate=None, *, carry=None, step_clip_norm=None, step_clip_value=None, step_norms=None,
                 input_grad=True):
        """Go back over the sequence of the last forward; gradients of the parameters are added into `grads`.

        Parameters
        ----------
        dy : gradient of the loss by y, in y's shape; None for zeros
        dstate : (1,B,H), gradient by the state that forward returned; zeros by default
        carry : (T,) or (T,B), optional
            Scales the gradient that flows from step t+1 back into step t: 0 cuts it. carry[T-1] scales nothing.
        step_clip_norm, step_clip_value : float, optional
            Within the recursion scale each row of dL/dh_t to at most this norm; clamp its elements to +- this.
        step_norms : (T,) array of the network's dtype, optional
            Receives ||dL/dh_t|| over rows and units before any per-step clip.
        input_grad : bool
            False: do not compute dx.

        Returns
        -------
        dx : gradient by x, in x's shape (None without input_grad)
        dstate0 : (1,B,H), gradient by the state that entered step 0

        Raises RuntimeError if no forward with a tape came before.
        """
        cdef Array a, s, m, n
        cdef bint unbatched = False, wanted = flag(input_grad, "input_grad")
        self.enter()
        try:
            if self.T == 0:
                raise RuntimeError("backward needs a forward (with tape=True) before it")
            T, B = self.T, self.B
            if dy is not None:
                width = self.spec.output_size or self.spec.hidden_size
                dy = self.sequence(dy, "dy", width, "O" if self.spec.output_size else "H", &a, &unbatched)
                if unbatched != self.unbatched:
                    raise ValueError("dy must have as many axes as x had in forward")
                expect(&a, "dy", "(T,B,O)" if self.spec.output_size else "(T,B,H)", 3, T, B, width)
            dstate = self.state_input(dstate, "dstate", B, &s)
            carry = carry_input(carry, T, B, self.batch_first and not self.unbatched, self.dtype, &m)
            if step_norms is not None:
                as_output(step_norms, "step_norms", self.dtype, &n)
                expect(&n, "step_norms", "(T,)", 1, T)
            dx = empty((T, B, self.spec.input_size), self.dtype) if wanted else None
            dstate0 = empty((1, B, self.spec.hidden_size), self.dtype)
            self.run_backward(T, B, self.x, self.tape, dy, dstate, dx, dstate0, self.work, self.reset, carry,
                              step_clip_norm, step_clip_value, step_norms, 0, 0, 0)
            return None if dx is None else self.outward(dx, self.unbatched), dstate0
        finally:
            self.leave()

    cdef int run_forward(self, int64_t T, int64_t B, x, state, y, last, tape, work, reset, int64_t tape_steps,
                         int64_t tape_first) except -1:
        """One call of the core on checked arrays, None for NULL."""
        cdef bptt_options options
        cdef void *xp = address(x)
        cdef void *sp = address(state)
        cdef void *yp = address(y)
        cdef void *lp = address(last)
        cdef void *tp = address(tape)
        cdef void *wp = address(work)
        cdef double began = bptt_seconds()
        cdef bptt_status status
        self.default_options(&options)
        options.reset = <const uint8_t *>address(reset)
        options.tape_steps, options.tape_first = tape_steps, tape_first
        options.poll_context = &began
        with nogil:
            status = any_forward(self.bits, &self.spec, T, B, self.params_data, xp, sp, yp, lp, tp, wp, &options)
        return check(status)

    cdef int run_backward(self, int64_t T, int64_t B, x, tape, dy, dstate, dx, dstate0, work, reset, carry, clip_norm,
                          clip_value, norms, int64_t dy_start, int64_t tape_steps, int64_t tape_first) except -1:
        cdef bptt_options options
        cdef void *xp = address(x)
        cdef void *tp = address(tape)
        cdef void *dyp = address(dy)
        cdef void *sp = address(dstate)
        cdef void *dxp = address(dx)
        cdef void *s0p = address(dstate0)
        cdef void *wp = address(work)
        cdef double began = bptt_seconds()
        cdef bptt_status status
        self.default_options(&options)
        options.reset = <const uint8_t *>address(reset)
        options.carry = address(carry)
        options.carry_per_row = carry is not None and carry.ndim == 2
        options.step_norms = address(norms)
        if clip_norm is not None:
            options.step_clip_norm = threshold(clip_norm, "step_clip_norm")
        if clip_value is not None:
            options.step_clip_value = threshold(clip_value, "step_clip_value")
        options.dy_start, options.tape_steps, options.tape_first = dy_start, tape_steps, tape_first
        options.poll_context = &began
        with nogil:
            status = any_backward(self.bits, &self.spec, T, B, self.params_data, xp, tp, dyp, sp, dxp, s0p,
                                  self.grads_data, wp, &options)
        return check(status)

    def zero_grad(self):
        """Set all gradients to zero."""
        self.enter()
        memset(self.grads_data, 0, <size_t>self.grads_.nbytes)
        self.leave()

    def clip_grad_norm(self, max_norm):
        """Scale all gradients to a norm of at most max_norm; returns the norm before. NaN or Inf scale nothing."""
        with self.lock:
            return clip_grad_norm(self.grads_, max_norm)

    def clip_grad_value(self, limit):
        """Clamp every gradient to [-limit, limit]; returns the largest size before (NaN if there was any)."""
        with self.lock:
            return clip_grad_value(self.grads_, limit)

    def stream(self, batch=1, *, state=None):
        """A bptt.Stream: the network one step at a time, weights packed once."""
        return Stream(self, batch, state)


cdef int write_into(object flat, object value, str name) except -1:
    if value is flat:
        return 0  # the second half of an in-place operator
    value = as_ndarray(value, name, "fiu", "real numbers")
    if value.shape != flat.shape:
        raise ValueError(f"{name} must have shape {flat.shape}, got {value.shape}")
    flat[...] = value
    return 0


def flag(value, name):
    if value is not True and value is not False and not isinstance(value, np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


cdef object carry_input(object obj, int64_t T, int64_t B, bint batch_first, object dtype, Array *array):
    array.data = NULL
    if obj is None:
        return None
    obj = as_input(obj, "carry", dtype, array)
    if array.ndim == 1:
        expect(array, "carry", "(T,)", 1, T)
        return obj
    if batch_first and array.ndim == 2:
        expect(array, "carry", "(B,T)", 2, B, T)
        obj = np.ascontiguousarray(obj.swapaxes(0, 1))
        look(obj, dtype, False, array)
    expect(array, "carry", "(T,) or (T,B)", 2, T, B)
    return obj


cdef void *address(object array) except? NULL:
    """The data of an array that was checked before; NULL for None."""
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
    PyBuffer_Release(&view)
    return view.buf


# ---- windows ------------------------------------------------------------------------------------------

def window_at(T, k1, k2, index):
    """(start, stop, back) of one window of TBPTT(k1, k2) over T steps."""
    cdef bptt_window window
    check(bptt_window_at(T, k1, k2, index, &window))
    return window.start, window.stop, window.back


def window_count(T, k1, k2):
    cdef int64_t count
    check(bptt_window_count(T, k1, k2, &count))
    return count


cdef class WindowTape:
    """The last steps of a network that moves on window by window: a tape of bounded length and its scratch memory.

    Between windows the stored states of the overlap are kept, not computed again, also if the weights changed.
    """

    cdef Network network
    cdef object tape, work, last
    cdef int64_t B, capacity, used

    def __init__(self, Network network, B, k1, k2, T, state):
        cdef bptt_sizes sizes
        if self.network is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        self.network, self.B, self.used, self.last = network, B, 0, state
        self.capacity = min(T, max(2 * k2, k1 + k2))  # twice: each step is moved to the front about once
        network.sizes(min(k2, T), B, self.capacity, &sizes)
        with network.lock:
            self.tape = network.scratch(network.spare_tape, sizes.tape)
            self.work = network.scratch(network.spare_work, max(sizes.forward_work, sizes.backward_work))
            network.spare_tape = network.spare_work = None

    def close(self):
        """Leaves the memory to the next windows of this network."""
        with self.network.lock:
            if self.tape is not None:
                self.network.spare_tape, self.network.spare_work = self.tape, self.work
            self.tape = self.work = None

    def forward(self, x, reset, back, keep):
        """Outputs and final state of the steps x[back:] (core layout), of which `back` went before.

        keep: how many of the steps before must stay on the tape for backward.
        """
        cdef Network network = self.network
        if self.tape is None:
            raise RuntimeError("these windows are closed")
        cdef int64_t T = x.shape[0] - back, stay = keep
        cdef void *tape = address(self.tape)
        cdef bptt_status status
        network.enter()
        try:
            if self.used + T > self.capacity:
                with nogil:
                    status = any_tape_shift(network.bits, &network.spec, self.B, self.used, stay, tape)
                check(status)
                self.used = stay
            y = empty((T, self.B, network.spec.output_size or network.spec.hidden_size), network.dtype)
            last = empty((1, self.B, network.spec.hidden_size), network.dtype)
            network.run_forward(T, self.B, x[back:], self.last if self.used == 0 else None, y, last, self.tape,
                                self.work, None if reset is None else reset[back:], self.capacity, self.used)
            self.used, self.last = self.used + T, last
            return y, last.copy()
        finally:
            network.leave()

    def backward(self, x, dy, reset, dy_start, clip_norm, clip_value):
        """Adds the gradients of the last steps, x in core layout; returns the norms of dL/dh_t."""
        cdef Network network = self.network
        if self.tape is None:
            raise RuntimeError("these windows are closed")
        cdef int64_t T = x.shape[0]
        norms = empty(T, network.dtype)
        network.enter()
        try:
            network.run_backward(T, self.B, x, self.tape, dy, None, None, None, self.work, reset, None,
                                 clip_norm, clip_value, norms, dy_start, self.capacity, self.used - T)
        finally:
            network.leave()
        return norms


# ---- one step at a time ---------------------------------------------------------------------------------

cdef class Stream:
    """A network one step at a time: `y = stream(x)`. Made by rnn.stream().

    The weights are packed when the stream is made: call refresh() after they change.
    """

    cdef Network network
    cdef object packed, work, held, lock
    cdef void *packed_data
    cdef void *work_data
    cdef void *state_data
    cdef readonly int64_t batch

    def __init__(self, Network network, batch, state):
        cdef bptt_sizes sizes
        if self.network is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        self.network, self.batch = network, index(batch, "batch")
        network.sizes(1, self.batch, 0, &sizes)
        self.lock = threading.RLock()
        self.packed, self.work = empty(sizes.packed, network.dtype), empty(sizes.step_work, network.dtype)
        self.held = np.zeros((1, self.batch, network.spec.hidden_size), network.dtype)
        self.packed_data, self.work_data = address(self.packed), address(self.work)
        self.state_data = address(self.held)
        self.refresh()
        if state is not None:
            self.state = state

    def refresh(self):
        """Take the network's parameters as they are now."""
        self.network.enter()
        try:
            with self.lock:
                check(any_pack(self.network.bits, &self.network.spec, self.network.params_data, self.packed_data))
        finally:
            self.network.leave()

    @property
    def state(self):
        """(1,B,H): a copy of the state; assign to set it."""
        with self.lock:
            return self.held.copy()

    @state.setter
    def state(self, value):
        cdef Array array
        value = as_input(value, "state", self.network.dtype, &array)
        expect(&array, "state", "(1,B,H)", 3, 1, self.batch, self.network.spec.hidden_size)
        with self.lock:
            self.held[...] = value

    def reset(self, rows=None):
        """Set the state to zero, of all rows or of those that `rows` (any index of the batch axis) names."""
        with self.lock:
            self.held[:, slice(None) if rows is None else rows] = 0

    def __call__(self, x, *, out=None):
        """The output of the next step: x (B,I), or (I,) for a batch of one, gives (B,O) or (O,).

        out: array of the network's dtype and of that shape to write to and return.
        """
        cdef Array a, o
        cdef Network network = self.network
        cdef int64_t width = network.spec.output_size or network.spec.hidden_size
        cdef bptt_status status
        x = as_input(x, "x", network.dtype, &a)
        if a.ndim == 1 and self.batch == 1:
            expect(&a, "x", "(I,)", 1, network.spec.input_size)
        else:
            expect(&a, "x", "(B,I)", 2, self.batch, network.spec.input_size)
        if out is None:
            out = empty(width, network.dtype) if a.ndim == 1 else empty((self.batch, width), network.dtype)
        as_output(out, "out", network.dtype, &o)
        if a.ndim == 1:
            expect(&o, "out", "(O,)", 1, width)
        else:
            expect(&o, "out", "(B,O)", 2, self.batch, width)
        with self.lock:
            with nogil:
                status = any_step(network.bits, &network.spec, self.batch, self.packed_data, a.data, self.state_data,
                                  o.data, self.work_data)
            check(status)
        return out


# ---- clipping -------------------------------------------------------------------------------------------

def clip_grad_norm(array, max_norm):
    """Scale an array in place to a Euclidean norm of at most max_norm (Pascanu, Mikolov, Bengio 2013).

    array: any C-contiguous writable float32 or float64 array. max_norm: above 0, inf only measures.
    Returns the norm before. If that is NaN or Inf, the array is left as it is.
    """
    cdef Array a
    cdef double norm = 0, most = threshold(max_norm, "max_norm")
    cdef bptt_status status
    dtype = float_dtype(array, "array")
    array = as_output(array, "array", dtype, &a)
    cdef int bits = bits_of(dtype)
    cdef int64_t n = array.size
    if n == 0:
        return 0.0
    with nogil:
        status = any_clip_norm(bits, n, a.data, most, &norm)
    check(status)
    return norm


def clip_grad_value(array, limit):
    """Clamp the elements of an array in place to [-limit, limit]; NaN stays NaN.

    array: any C-contiguous writable float32 or float64 array. limit: above 0.
    Returns the largest absolute value before, NaN if there was any NaN.
    """
    cdef Array a
    cdef double largest = 0, most = threshold(limit, "limit")
    cdef bptt_status status
    dtype = float_dtype(array, "array")
    array = as_output(array, "array", dtype, &a)
    cdef int bits = bits_of(dtype)
    cdef int64_t n = array.size
    if n == 0:
        return 0.0
    with nogil:
        status = any_clip_value(bits, n, a.data, most, &largest)
    check(status)
    return largest


# ---- losses ---------------------------------------------------------------------------------------------

cdef bptt_reduction reduction_of(object name) except *:
    if name == "mean":
        return BPTT_REDUCTION_MEAN
    if name == "sum":
        return BPTT_REDUCTION_SUM
    raise ValueError(f"reduction must be 'mean' or 'sum', got {name!r}")


cdef object loss_array(object y, str name, Array *array, int64_t *rows, int64_t *cols):
    """The first array of a loss: float32 stays, everything else is taken as float64."""
    y = as_ndarray(y, name, "fiub", "real numbers")
    y = as_input(y, name, float32 if y.dtype == float32 else float64, array)
    if y.ndim < 2 or y.size == 0:
        raise ValueError(f"{name} must have shape (..., C) with at least 2 axes, none of them empty, got {y.shape}")
    cols[0] = y.shape[y.ndim - 1]
    rows[0] = y.size // cols[0]
    return y


cdef object same_shape(object obj, object shape, str name, str like):
    if obj.shape != shape:
        raise ValueError(f"{name} must have shape {like} = {shape}, got {obj.shape}")
    return obj


cdef object loss_mask(object mask, object y, str name, Array *array):
    array.data = NULL
    if mask is None:
        return None
    return same_shape(as_flags(mask, "mask", array), y.shape[:y.ndim - 1], "mask", f"{name}.shape[:-1]")


def mse(y, target, *, mask=None, reduction="mean"):
    """Mean (or sum) of squared errors, and its gradient by y.

    y, target : (..., C), such as (T,B,O)
    mask : bool of shape y.shape[:-1], optional; False leaves a row out
    reduction : "mean" over the elements that count, or "sum"

    Returns (loss, dy).
    """
    cdef Array a, t, m
    cdef int64_t rows, cols
    cdef double loss = 0
    cdef bptt_status status
    cdef bptt_reduction how = reduction_of(reduction)
    y = loss_array(y, "y", &a, &rows, &cols)
    cdef int bits = bits_of(y.dtype)
    target = same_shape(as_input(target, "target", dtype_of(bits), &t), y.shape, "target", "y.shape")
    mask = loss_mask(mask, y, "y", &m)
    dy = empty(y.shape, dtype_of(bits))
    cdef void *out = address(dy)
    with nogil:
        status = any_mse(bits, rows, cols, a.data, t.data, <const uint8_t *>m.data, how, out, &loss)
    check(status)
    return loss, dy


def cross_entropy(logits, labels, *, mask=None, reduction="mean", ignore_index=-100):
    """Softmax cross-entropy on integer labels, and its gradient by the logits.

    logits : (..., C)
    labels : integers of shape logits.shape[:-1], each in 0..C-1, or ignore_index for a row that does not count
    mask : bool of the labels' shape, optional; False leaves a row out
    reduction : "mean" over the rows that count, or "sum"

    Returns (loss in nats, dlogits).
    """
    cdef Array a, t, m
    cdef int64_t rows, cols, ignored = index(ignore_index, "ignore_index", -2**63)
    cdef double loss = 0
    cdef bptt_status status
    cdef bptt_reduction how = reduction_of(reduction)
    logits = loss_array(logits, "logits", &a, &rows, &cols)
    cdef int bits = bits_of(logits.dtype)
    labels = same_shape(as_labels(labels, "labels", &t), logits.shape[:logits.ndim - 1], "labels", "logits.shape[:-1]")
    mask = loss_mask(mask, logits, "logits", &m)
    dy = empty(logits.shape, dtype_of(bits))
    cdef void *out = address(dy)
    with nogil:
        status = any_cross_entropy(bits, rows, cols, a.data, <const int64_t *>t.data, ignored,
                                   <const uint8_t *>m.data, how, out, &loss)
    if status == BPTT_ERROR_LABEL:
        counted = labels[labels != ignored] if mask is None else labels[(labels != ignored) & mask]
        wrong = counted[(counted < 0) | (counted >= cols)][0]
        raise ValueError(f"labels must be in 0..{cols - 1} or {ignored} (ignored), got {wrong}")
    check(status)
    return loss, dy


def binary_cross_entropy(logits, target, *, mask=None, reduction="mean"):
    """Binary cross-entropy on logits, and its gradient by them.

    logits, target : (..., C), targets from 0 to 1
    mask : bool of shape logits.shape[:-1], optional; False leaves a row out
    reduction : "mean" over the elements that count, or "sum"

    Returns (loss in nats, dlogits).
    """
    cdef Array a, t, m
    cdef int64_t rows, cols
    cdef double loss = 0
    cdef bptt_status status
    cdef bptt_reduction how = reduction_of(reduction)
    logits = loss_array(logits, "logits", &a, &rows, &cols)
    cdef int bits = bits_of(logits.dtype)
    target = same_shape(as_input(target, "target", dtype_of(bits), &t), logits.shape, "target", "logits.shape")
    mask = loss_mask(mask, logits, "logits", &m)
    dy = empty(logits.shape, dtype_of(bits))
    cdef void *out = address(dy)
    with nogil:
        status = any_binary_cross_entropy(bits, rows, cols, a.data, t.data, <const uint8_t *>m.data, how, out, &loss)
    check(status)
    return loss, dy


# ---- optimisers -----------------------------------------------------------------------------------------

def optimizer_arrays(params, grads):
    """(params, grads) as flat arrays that share memory with what was given; errors name what does not fit."""
    cdef Array p, g
    dtype = float_dtype(params, "params")
    params = as_output(params, "params", dtype, &p)
    if isinstance(grads, ndarray):
        grads = np.asarray(grads)  # of a subclass such as memmap, the array itself
    if not look(grads, dtype, False, &g):
        raise TypeError(f"grads must be a C-contiguous {dtype} array as params is, got {described(grads)}")
    if params.shape != grads.shape:
        raise ValueError(f"grads must have the shape of params = {params.shape}, got {grads.shape}")
    if params.size == 0:
        raise ValueError("params must not be empty")
    return params.reshape(-1), grads.reshape(-1)


def sgd_step(params, grads, velocity, double lr, double momentum, bint nesterov, double weight_decay):
    cdef int bits = bits_of(params.dtype)
    cdef int64_t n = params.size
    cdef void *p = address(params)
    cdef void *g = address(grads)
    cdef void *v = address(velocity)
    cdef bptt_status status
    with nogil:
        status = any_sgd(bits, n, p, g, v, lr, momentum, nesterov, weight_decay)
    check(status)


def rmsprop_step(params, grads, square, double lr, double alpha, double eps, double weight_decay):
    cdef int bits = bits_of(params.dtype)
    cdef int64_t n = params.size
    cdef void *p = address(params)
    cdef void *g = address(grads)
    cdef void *s = address(square)
    cdef bptt_status status
    with nogil:
        status = any_rmsprop(bits, n, p, g, s, lr, alpha, eps, weight_decay)
    check(status)


def adagrad_step(params, grads, square, double lr, double eps, double weight_decay):
    cdef int bits = bits_of(params.dtype)
    cdef int64_t n = params.size
    cdef void *p = address(params)
    cdef void *g = address(grads)
    cdef void *s = address(square)
    cdef bptt_status status
    with nogil:
        status = any_adagrad(bits, n, p, g, s, lr, eps, weight_decay)
    check(status)


def adam_step(params, grads, mean, square, int64_t step, double lr, double beta1, double beta2, double eps,
              double weight_decay, bint decoupled):
    cdef int bits = bits_of(params.dtype)
    cdef int64_t n = params.size
    cdef void *p = address(params)
    cdef void *g = address(grads)
    cdef void *m = address(mean)
    cdef void *s = address(square)
    cdef bptt_status status
    with nogil:
        status = any_adam(bits, n, p, g, m, s, step, lr, beta1, beta2, eps, weight_decay, decoupled)
    check(status)


# ---- the library ----------------------------------------------------------------------------------------

def version():
    """The version of the C core."""
    return bptt_version().decode()


def isa_choices():
    """The kernel sets that run here, slowest first."""
    return bptt_isa_choices().decode().split(", ")


def isa():
    """The kernel set in use. RuntimeError if BPTT_ISA names none that runs here."""
    cdef const char *name = bptt_isa()
    if name == NULL:
        check(BPTT_ERROR_ISA)
    return name.decode()


def state_array(value, shape, dtype):
    """`value` as a state of that shape and dtype; an error that says what came otherwise."""
    cdef Array array
    value = as_input(value, "state", dtype, &array)
    expect(&array, "state", "(1,B,H)", 3, shape[0], shape[1], shape[2])
    return value


def number(value, name, low=None, high=None):
    """value as a finite float in [low, high]; an error that names it otherwise."""
    cdef double x = real(value, name)
    if x != x or x in (INFINITY, -INFINITY) or (low is not None and x < low) or (high is not None and x > high):
        bounds = f" in [{low}, {'...' if high is None else high}]" if low is not None else ""
        raise ValueError(f"{name} must be a finite number{bounds}, got {value!r}")
    return x
