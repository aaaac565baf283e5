# The network: parameters, gradients, and the calls of forward and backward on them.

MOST_LAYERS = 10_000  # of the core


@cython.final
cdef class Call:
    """What a call of the core is told beside its arrays; the fields of bptt_options."""

    cdef object lengths, reset, carry, norms, clip_norm, clip_value
    cdef int64_t segment, tape_steps, tape_first, dy_start, first_step
    cdef uint64_t seed
    cdef bint training, state_given

    def __init__(self, *, lengths=None, reset=None, carry=None, norms=None, clip_norm=None, clip_value=None, segment=0,
                 tape_steps=0, tape_first=0, dy_start=0, first_step=0, seed=0, training=False, state_given=False):
        self.lengths, self.reset, self.carry, self.norms = lengths, reset, carry, norms
        self.clip_norm, self.clip_value, self.segment = clip_norm, clip_value, segment
        self.tape_steps, self.tape_first, self.dy_start, self.first_step = tape_steps, tape_first, dy_start, first_step
        self.seed, self.training, self.state_given = seed, training, state_given


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
    cdef object x, reset, lengths, order, tape, work
    cdef object spare_tape, spare_work  # of windows that are over, for the next ones: fresh memory costs page faults
    cdef int64_t T, B, segment
    cdef uint64_t drawn
    cdef bint unbatched, state_given
    cdef uint64_t dropout_seed, draws
    cdef readonly int states, units  # 2 for an LSTM, else 1; layers times directions
    cdef int64_t steps_forward

    def __init__(self, *, input_size, hidden_size, output_size, cell, num_layers, bidirectional, bias, reset_after,
                 peepholes, dropout, recurrent_dropout, learn_state, batch_first, dtype, threads):
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
        if index(num_layers, "num_layers") > MOST_LAYERS:
            raise ValueError(f"num_layers must be at most {MOST_LAYERS}, got {num_layers!r}")
        self.spec.num_layers = num_layers
        self.spec.bidirectional = flag(bidirectional, "bidirectional")
        self.spec.reset_before = not flag(reset_after, "reset_after")
        if self.spec.reset_before and cell != "gru":
            raise ValueError(f"reset_after=False goes with cell='gru', got cell={cell!r}")
        self.spec.peepholes = flag(peepholes, "peepholes")
        if self.spec.peepholes and cell != "lstm":
            raise ValueError(f"peepholes=True goes with cell='lstm', got cell={cell!r}")
        self.spec.learn_state = flag(learn_state, "learn_state")
        self.spec.dropout = rate(dropout, "dropout")
        self.spec.recurrent_dropout = rate(recurrent_dropout, "recurrent_dropout")
        self.states = 2 if cell == "lstm" else 1
        self.units = self.spec.num_layers * (2 if self.spec.bidirectional else 1)
        self.batch_first = flag(batch_first, "batch_first")
        self.threads = threads
        try:
            self.dtype = np.dtype(str(dtype) if dtype is None else dtype)  # NumPy takes None as float64
        except TypeError:
            raise TypeError(f"dtype must be float32 or float64, got {dtype!r}") from None
        if self.dtype != float32 and self.dtype != float64 or not self.dtype.isnative:
            raise TypeError(f"dtype must be float32 or float64, got {dtype!r}")
        self.dtype = float32 if self.dtype == float32 else float64
        self.bits = bits_of(self.dtype)
        self.sizes(1, 1, 0, 0, &sizes)
        # views: an array that owns its memory could be resized, and the addresses kept here would be stale
        self.params_, self.grads_ = aligned(sizes.params, self.dtype), aligned(sizes.params, self.dtype)
        self.params_.fill(0)
        self.grads_.fill(0)
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
        """(P,): all parameters, one flat array of dtype. Assigning writes into it, so that
        `rnn.params -= lr * rnn.grads` works."""
        return self.params_

    @params.setter
    def params(self, value):
        with self.lock:
            write_into(self.params_, value, "params")

    @property
    def grads(self):
        """(P,): their gradients, in the same places. Assigning writes into it."""
        return self.grads_

    @grads.setter
    def grads(self, value):
        with self.lock:
            write_into(self.grads_, value, "grads")

    @property
    def input_size(self):
        """I."""
        return self.spec.input_size

    @property
    def hidden_size(self):
        """H."""
        return self.spec.hidden_size

    @property
    def output_size(self):
        """O, None without a readout."""
        return self.spec.output_size or None

    @property
    def cell(self):
        """The name of the cell."""
        return CELLS[self.spec.cell]

    @property
    def bias(self):
        """Whether there are b_ih, b_hh and b_o."""
        return bool(self.spec.bias)

    @property
    def num_layers(self):
        """L."""
        return self.spec.num_layers

    @property
    def bidirectional(self):
        """Whether D is 2."""
        return bool(self.spec.bidirectional)

    @property
    def reset_after(self):
        """GRU: whether the reset gate acts after the product with W_hn."""
        return not self.spec.reset_before

    @property
    def peepholes(self):
        """LSTM: whether the gates see the cell state."""
        return bool(self.spec.peepholes)

    @property
    def learn_state(self):
        """Whether the state that enters where none is given is a parameter."""
        return bool(self.spec.learn_state)

    @property
    def dropout(self):
        """Share of the inputs of the layers above the first that training drops."""
        return self.spec.dropout

    @property
    def recurrent_dropout(self):
        """Share of h_{t-1} that training drops before the product with W_hh."""
        return self.spec.recurrent_dropout

    @property
    def dropout_state(self):
        """(seed, draws): the seed of what dropout drops, and how often it was drawn: once by each forward with a tape
        and each pass of windows. Assign it to have the same masks again, to check a gradient or resume a training."""
        return self.dropout_seed, self.draws

    @dropout_state.setter
    def dropout_state(self, value):
        try:
            seed, draws = value
        except (TypeError, ValueError):
            raise TypeError(f"dropout_state must be the pair (seed, draws), got {value!r}") from None
        seed, draws = uint64_number(seed, "dropout_state[0]"), uint64_number(draws, "dropout_state[1]")
        with self.lock:
            self.dropout_seed, self.draws = seed, draws

    @property
    def forward_steps(self):
        """Time steps computed forward since the network was made, those of checkpointed backward calls among them."""
        return self.steps_forward

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

    cdef int sizes(self, int64_t T, int64_t B, int64_t tape_steps, int64_t segment, bptt_sizes *sizes) except -1:
        cdef bptt_options options
        self.default_options(&options)
        options.tape_steps, options.segment = tape_steps, segment
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
        return aligned(needed, self.dtype)

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

    cdef int64_t width(self) noexcept:
        """Columns of an output: O, or D*H without a readout."""
        return self.spec.output_size or self.spec.hidden_size * (2 if self.spec.bidirectional else 1)

    cdef str width_letters(self):
        return "O" if self.spec.output_size else "2*H" if self.spec.bidirectional else "H"

    cdef uint64_t draw(self) noexcept:
        """The seed of the next dropout masks: a new one for every sequence that is trained on."""
        self.draws += 1
        return self.dropout_seed + self.draws * <uint64_t>0x9e3779b97f4a7c15

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

    def forward(self, x, state=None, *, lengths=None, reset=None, checkpoint=None, memory_budget=None, tape=True):
        """Run the network over a sequence.

        Parameters
        ----------
        x : (T,B,I), with batch_first (B,T,I), or (T,I) for a batch of one
        state : (L*D,B,H), for an LSTM the pair (h, c) of these, optional
            The state that enters; zeros, or the learned state, by default.
        lengths : (B,) of int, optional
            Row b has steps 0..lengths[b]-1: outputs beyond are zero, the final state is that of its last step, the
            reverse direction starts there. Steps beyond cost next to nothing.
        reset : (T,B) of bool, with batch_first (B,T), optional
            True: the state that enters this step is zero for this row.
        checkpoint : int or "auto", optional
            Keep only the state that enters every k-th step ("auto": k = ceil(sqrt(T))); backward computes the others
            again, k at a time (Chen et al. 2016). Outputs and dx are the same to the bit.
        memory_budget : int, optional
            Bytes that the tape may take: checkpoints are used, as few as possible, if all of it does not fit.
            ValueError if no number of checkpoints does.
        tape : bool
            False: keep nothing for backward, so that memory does not grow with T, and drop nothing.

        Returns
        -------
        y : (T,B,O), or (T,B,D*H) without a readout; laid out as x is
        state : as above, after the last step

        x is not copied where it has the network's dtype: do not change it before backward. Every forward replaces
        what the one before left for backward, with tape=False by nothing.
        """
        cdef Array a, r
        cdef bptt_sizes sizes
        cdef bint unbatched, keep = flag(tape, "tape")
        cdef int64_t segment = 0
        self.enter()
        try:
            x = self.sequence(x, "x", self.spec.input_size, "I", &a, &unbatched)
            T, B = a.shape[0], a.shape[1]
            state = state_inward(self, state, "state", B)
            reset = self.reset_input(reset, T, B, unbatched, &r)
            lengths = lengths_inward(lengths, T, B)
            order = falling_order(lengths)
            x, state, reset = reordered(x, order, 1), reordered(state, order, 2), reordered(reset, order, 1)
            lengths = reordered(lengths, order, 0)
            self.check_checkpoint(checkpoint, memory_budget)
            if keep:
                segment = self.segment_of(T, B, checkpoint, memory_budget)
            self.sizes(T, B, 0, segment, &sizes)
            y = empty((T, B, self.width()), self.dtype)
            last = new_state(self, B)
            self.T = 0  # until this call succeeds there is nothing to go back over
            self.x = self.reset = self.lengths = self.order = None
            self.tape = self.scratch(self.tape, sizes.tape) if keep else None
            self.work = self.scratch(self.work, max(sizes.forward_work, sizes.backward_work if keep else 0))
            call = Call(lengths=lengths, reset=reset, segment=segment, training=keep, seed=self.draw() if keep else 0)
            self.run_forward(T, B, x, state, y, last, self.tape, self.work, call)
            if keep:
                self.x, self.reset, self.lengths, self.order, self.T, self.B = x, reset, lengths, order, T, B
                self.segment, self.unbatched, self.drawn = segment, unbatched, call.seed
                self.state_given = state is not None
            return (self.outward(back_in_order(y, order, 1), unbatched),
                    state_outward(back_in_order(last, order, 2)))
        finally:
            self.leave()

    def backward(self, dy, dstate=None, *, carry=None, step_clip_norm=None, step_clip_value=None, step_norms=None,
                 input_grad=True, state_grad=True):
        """Go back over the sequence of the last forward; gradients of the parameters are added into `grads`.

        Parameters
        ----------
        dy : gradient of the loss by y, in y's shape; None for zeros. What lies beyond a row's length counts nothing
        dstate : gradient by the state that forward returned, laid out as that is; zeros by default
        carry : (T,) or (T,B), optional
            Scales the gradient that flows from step t+1 back into step t: 0 cuts it. carry[T-1] scales nothing.
        step_clip_norm, step_clip_value : float, optional
            Within the recursion scale each row of dL/dh_t to at most this norm; clamp its elements to +- this.
        step_norms : (T,) array of the network's dtype, (L*D,T) for several layers or directions, optional
            Receives ||dL/dh_t|| over rows and units before any per-step clip.
        input_grad, state_grad : bool
            False: do not compute dx; dstate0.

        Returns
        -------
        dx : gradient by x, in x's shape (None without input_grad)
        dstate0 : gradient by the state that entered step 0, laid out as states are (None without state_grad)

        Raises RuntimeError if no forward with a tape came before.
        """
        cdef Array a, m, n
        cdef bint unbatched = False
        cdef bint of_input = flag(input_grad, "input_grad"), of_state = flag(state_grad, "state_grad")
        self.enter()
        try:
            if self.T == 0:
                raise RuntimeError("backward needs a forward (with tape=True) before it; windows and fit run both")
            T, B = self.T, self.B
            if dy is not None:
                shape = np.shape(dy)
                dy = self.sequence(dy, "dy", self.width(), self.width_letters(), &a, &unbatched)
                if unbatched != self.unbatched:
                    raise ValueError(f"dy must have the {2 if self.unbatched else 3} axes of forward's y, "
                                     f"got shape {shape}")
                expect(&a, "dy", f"(T,B,{self.width_letters()})", 3, T, B, self.width())
            dstate = state_inward(self, dstate, "dstate", B)
            carry = carry_input(carry, T, B, self.batch_first and not self.unbatched, self.dtype, &m)
            if step_norms is not None:
                as_output(step_norms, "step_norms", self.dtype, &n)
                if self.units == 1 and n.ndim == 1:
                    expect(&n, "step_norms", "(T,)", 1, T)
                else:
                    expect(&n, "step_norms", "(T,)" if self.units == 1 else "(L*D,T)", 2, self.units, T)
            dx = empty((T, B, self.spec.input_size), self.dtype) if of_input else None
            dstate0 = new_state(self, B) if of_state else None
            call = Call(lengths=self.lengths, reset=self.reset, segment=self.segment, training=True, seed=self.drawn,
                        state_given=self.state_given, clip_norm=step_clip_norm, clip_value=step_clip_value,
                        norms=step_norms,
                        carry=reordered(carry, self.order, 1) if carry is not None and carry.ndim == 2 else carry)
            self.run_backward(T, B, self.x, self.tape, reordered(dy, self.order, 1), reordered(dstate, self.order, 2),
                              dx, dstate0, self.grads_, self.work, call)
            return (None if dx is None else self.outward(back_in_order(dx, self.order, 1), self.unbatched),
                    None if dstate0 is None else state_outward(back_in_order(dstate0, self.order, 2)))
        finally:
            self.leave()

    cdef int check_checkpoint(self, checkpoint, memory_budget) except -1:
        """What can be wrong with them whatever the sequence is."""
        if checkpoint is None and memory_budget is None:
            return 0
        name = "memory_budget" if checkpoint is None else "checkpoint"
        if checkpoint is not None and memory_budget is not None:
            raise ValueError("checkpoint and memory_budget say the same thing: give one of them, "
                             f"got {checkpoint!r} and {memory_budget!r}")
        if isinstance(checkpoint, str):
            if checkpoint != "auto":
                raise ValueError(f"checkpoint must be an integer or 'auto', got {checkpoint!r}")
        else:
            index(memory_budget if checkpoint is None else checkpoint, name)
        if self.spec.bidirectional:
            raise ValueError(f"{name} goes with bidirectional=False, got bidirectional=True: the reverse direction "
                             "needs all later steps")
        return 0

    cdef int64_t segment_of(self, int64_t T, int64_t B, checkpoint, memory_budget) except -1:
        """The steps between two checkpoints, 0 for none; the arguments went through check_checkpoint."""
        if memory_budget is not None:
            return self.segment_within(T, B, index(memory_budget, "memory_budget"))
        if checkpoint is None:
            return 0
        if isinstance(checkpoint, str):
            return isqrt(T - 1) + 1  # "auto": ceil(sqrt(T))
        return min(index(checkpoint, "checkpoint"), T)

    cdef int64_t tape_bytes(self, int64_t T, int64_t B, int64_t segment) except -1:
        """What the tape takes; with checkpoints also the segment that is computed again."""
        cdef bptt_sizes sizes
        cdef int64_t again = 0
        if segment:
            self.sizes(segment, B, 0, 0, &sizes)
            again = sizes.tape
        self.sizes(T, B, 0, segment, &sizes)
        return (sizes.tape + again) * (self.bits // 8)

    cdef int64_t segment_within(self, int64_t T, int64_t B, int64_t budget) except -1:
        """The longest segment whose tape stays within the budget, 0 if all of the tape does."""
        cdef int64_t low, high, middle
        if self.tape_bytes(T, B, 0) <= budget:
            return 0
        # checkpoints take state*T/k, the segment about (tape/T)*k: the sum is least where they are equal
        low = 1
        for middle in range(1, isqrt(T - 1) + 2):
            if self.tape_bytes(T, B, middle) <= self.tape_bytes(T, B, low):
                low = middle
        if self.tape_bytes(T, B, low) > budget:
            raise ValueError(f"memory_budget must be at least {self.tape_bytes(T, B, low)} bytes for T = {T} and "
                             f"B = {B}, got {budget}")
        high = T  # beyond `low` the sum rises but for rounding: the longest segment that fits lies before `high`
        while high - low > 1:
            middle = (low + high) // 2
            if self.tape_bytes(T, B, middle) <= budget:
                low = middle
            else:
                high = middle
        return low

    cdef void set_options(self, bptt_options *options, Call call):
        """The options of a call on checked arrays."""
        self.default_options(options)
        options.lengths = <const int64_t *>address(call.lengths)
        options.reset = <const uint8_t *>address(call.reset)
        options.segment = call.segment
        options.tape_steps, options.tape_first = call.tape_steps, call.tape_first
        options.training, options.dropout_seed, options.first_step = call.training, call.seed, call.first_step
        options.forward_steps = &self.steps_forward

    cdef int run_forward(self, int64_t T, int64_t B, x, state, y, last, tape, work, Call call) except -1:
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
        self.set_options(&options, call)
        options.poll_context = &began
        with nogil:
            status = any_forward(self.bits, &self.spec, T, B, self.params_data, xp, sp, yp, lp, tp, wp, &options)
        return check(status)

    cdef int run_backward(self, int64_t T, int64_t B, x, tape, dy, dstate, dx, dstate0, grads, work,
                          Call call) except -1:
        cdef bptt_options options
        cdef void *xp = address(x)
        cdef void *tp = address(tape)
        cdef void *dyp = address(dy)
        cdef void *sp = address(dstate)
        cdef void *dxp = address(dx)
        cdef void *s0p = address(dstate0)
        cdef void *gp = address(grads)
        cdef void *wp = address(work)
        cdef double began = bptt_seconds()
        cdef bptt_status status
        self.set_options(&options, call)
        options.carry = address(call.carry)
        options.carry_per_row = call.carry is not None and call.carry.ndim == 2
        options.step_norms = address(call.norms)
        options.state_given = call.state_given
        options.dy_start = call.dy_start
        if call.clip_norm is not None:
            options.step_clip_norm = threshold(call.clip_norm, "step_clip_norm")
        if call.clip_value is not None:
            options.step_clip_value = threshold(call.clip_value, "step_clip_value")
        options.poll_context = &began
        with nogil:
            status = any_backward(self.bits, &self.spec, T, B, self.params_data, xp, tp, dyp, sp, dxp, s0p, gp, wp,
                                  &options)
        return check(status)

    cdef object first_state(self):
        """The state that enters where none is given, for any row: zeros, or the learned one; (states,L*D,1,H)."""
        first = np.zeros((self.states, self.units, 1, self.spec.hidden_size), self.dtype)
        for name, offset, shape in self.tensors():
            if name in ("state_h0", "state_c0"):
                part = first[int(name == "state_c0")]
                part[...] = self.params_[offset:offset + part.size].reshape(part.shape)
        return first

    def checked_state(self, state, B):
        """A copy of a user's state in the core's layout; an error that says what came otherwise."""
        return state_inward(self, state, "state", B).copy()

    def zero_grad(self):
        """Set all gradients to zero."""
        self.enter()
        memset(self.grads_data, 0, <size_t>self.grads_.nbytes)
        self.leave()

    def clip_grad_norm(self, max_norm):
        """Scale all gradients to a Euclidean norm of at most max_norm (above 0); returns the norm before. If that is
        NaN or Inf, nothing is scaled."""
        with self.lock:
            return clip_grad_norm(self.grads_, max_norm)

    def clip_grad_value(self, limit):
        """Clamp every gradient to [-limit, limit] (limit above 0); returns the largest absolute value before, NaN if
        there was any."""
        with self.lock:
            return clip_grad_value(self.grads_, limit)

    def stream(self, batch=None, *, state=None):
        """A bptt.Stream: the network one step at a time, weights packed once.

        batch : B; that of the state, or 1, by default
        state : (L,B,H), for an LSTM the pair (h, c): the state that enters; zeros, or the learned state, by default

        Raises ValueError for a bidirectional network.
        """
        return Stream(self, batch, state)


cdef double rate(object value, str name) except -1:
    """A share that dropout drops, in [0,1)."""
    cdef double share = real(value, name)
    if not 0 <= share < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")
    return share


cdef object uint64_number(object value, str name):
    try:
        number = operator_index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if not 0 <= number < 2**64:
        raise ValueError(f"{name} must be an integer in [0, 2**64), got {value!r}")
    return number


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
