# The network: parameters, gradients, and the calls of forward and backward on them.

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
