# A run: one forward pass and what its backward needs, and the memory of its tape.

@cython.final
cdef class Run:
    """A forward pass over T steps and B rows whose backward may follow.

    Arrays lie as the core has them: time-major, rows sorted longest first. Methods named _core take the network, which
    holds its own last run: if that run held the network too, neither would be freed before the garbage collector ran.

    Made by Python, it is a run that a graph of another library holds: the graph keeps the large arrays, inputs,
    parameters and tape, and this object the rest. Backward may then come at any time, and again. The network's own
    parameters and its last forward stay what they are.
    """

    cdef readonly Network network  # None in runs of the network's own and of windows
    cdef object params  # (P,), None for the network's own
    cdef object x, reset  # (T,B,I), of integers (T,B); (T,B), None for no resets
    cdef object lengths  # (B,) sorted longest first, None for T
    cdef object given  # (lengths, reset) of a run that a graph holds, as RNN.forward takes them
    cdef object order  # the order of the user's rows that sorts their lengths, None if they are sorted
    cdef object tape
    cdef int64_t T, B
    cdef int64_t start  # the steps before it are on the tape already, from runs before; their outputs get no gradient
    cdef int64_t segment  # steps between checkpoints, 0 for none
    cdef int64_t tape_steps, tape_first  # steps that the tape was sized for, 0 for T; where step 0 lies on it
    cdef int64_t first_step  # index of step 0 within the whole sequence
    cdef uint64_t seed  # of the dropout masks and the noise
    cdef readonly bint training
    cdef bint state_given, unbatched

    cdef int set_sequence(self, Network network, x, reset, lengths) except -1:
        """Takes arrays in the core's layout but the user's order of rows. x is read again by backward, which writes
        the gradients, and before which they are set to zero."""
        self.order = falling_order(lengths)
        x = apart_from(network.grads_, x)
        self.x, self.reset = reordered(x, self.order, 1), reordered(reset, self.order, 1)
        self.lengths = reordered(lengths, self.order, 0)
        return 0

    cdef int set_options(self, Network network, bptt_options *options, int64_t first) except -1:
        """The options of a call over the steps first..T-1."""
        network.default_options(options)
        options.lengths = <const int64_t *>address(self.lengths)
        if self.reset is not None:
            options.reset = <const uint8_t *>address(self.reset) + first * self.B
        options.segment = self.segment
        options.tape_steps, options.tape_first = self.tape_steps, self.tape_first + first
        options.training, options.dropout_seed, options.first_step = self.training, self.seed, self.first_step + first
        options.forward_steps = &network.steps_forward
        return 0

    cdef int forward_core(self, Network network, state, y, last, work, states=None) except -1:
        """Computes the steps start..T-1: one call of the core on checked arrays, None for NULL.

        state has the user's order of rows; y, last and states, those after all steps, receive theirs sorted.
        """
        cdef bptt_options options
        state = reordered(state, self.order, 2)
        cdef void *pp = self.params_data(network)
        cdef void *xp = address(self.x if self.start == 0 else self.x[self.start:])
        cdef void *sp = address(state)
        cdef void *yp = address(y)
        cdef void *lp = address(last)
        cdef void *tp = address(self.tape)
        cdef void *wp = address(work)
        cdef double began = bptt_seconds()
        cdef bptt_status status
        self.set_options(network, &options, self.start)
        if network.vocabulary:
            options.tokens, xp = <const int64_t *>xp, NULL
        options.states = address(states)
        options.poll_context = &began
        with nogil:
            status = any_forward(network.bits, &network.core_spec, self.T - self.start, self.B, pp, xp, sp,
                                 yp, lp, tp, wp, &options)
        return check_call(status, network.bits, &network.core_spec, self.T - self.start, self.B, &options)

    cdef int backward_core(self, Network network, dy, dstate, dx, dstate0, grads, work, carry=None, norms=None,
                           double clip_norm=0, double clip_value=0, dstates=None) except -1:
        """Goes back over all T steps: one call of the core on checked arrays, None for NULL.

        dy is that of the steps start..T-1. dy, dstate, dstates and carry have the user's order of rows; dx and dstate0
        receive theirs sorted. A threshold of 0 clips nothing.
        """
        cdef bptt_options options
        dy, dstate = reordered(dy, self.order, 1), reordered(dstate, self.order, 2)
        dstates = reordered(dstates, self.order, 3)
        if carry is not None and carry.ndim == 2:
            carry = reordered(carry, self.order, 1)
        dy, dstate, carry = apart_from(grads, dy), apart_from(grads, dstate), apart_from(grads, carry)
        x, dy, dstate, carry = (apart_from(norms, self.x), apart_from(norms, dy), apart_from(norms, dstate),
                                apart_from(norms, carry))
        cdef void *pp = self.params_data(network)
        cdef void *xp = address(x)
        cdef void *tp = address(self.tape)
        cdef void *dyp = address(dy)
        cdef void *sp = address(dstate)
        cdef void *dxp = address(dx)
        cdef void *s0p = address(dstate0)
        cdef void *gp = address(grads)
        cdef void *wp = address(work)
        cdef double began = bptt_seconds()
        cdef bptt_status status
        self.set_options(network, &options, 0)
        if network.vocabulary:
            options.tokens, xp = <const int64_t *>xp, NULL
        options.carry, options.dstates = address(carry), address(dstates)
        options.carry_per_row = carry is not None and carry.ndim == 2
        options.step_norms = address(norms)
        options.step_clip_norm, options.step_clip_value = clip_norm, clip_value
        options.state_given, options.dy_start = self.state_given, self.start
        options.poll_context = &began
        with nogil:
            status = any_backward(network.bits, &network.core_spec, self.T, self.B, pp, xp, tp, dyp, sp, dxp,
                                  s0p, gp, wp, &options)
        return check_call(status, network.bits, &network.core_spec, self.T, self.B, &options)

    cdef void *params_data(self, Network network) except NULL:
        return network.params_data if self.params is None else address(self.params)

    # ---- runs that a graph holds -------------------------------------------------------------------------

    def __init__(self, Network network, lengths, seed, reset=None):
        # lengths, reset: as RNN.forward takes them, checked by forward. seed: of the dropout masks, None: drop nothing
        if self.network is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        self.network, self.given = network, (lengths, reset)
        self.training, self.seed = seed is not None, 0 if seed is None else seed

    def forward(self, x, params, state, keep, every_state=False):
        """(y, [state], tape) for x in the user's layout and flat parameters; state is a list like the one returned.

        Such a list holds h, for an LSTM h and c; None for zeros. With every_state those after all steps, (T,L*D,B,H),
        lie behind them in the list returned. Without keep no backward may follow, and tape is None.
        """
        cdef Network network = self.network
        cdef Array a
        cdef bptt_sizes sizes
        network.begin_call()
        try:
            sequence, (lengths, reset) = input_to_core(network, x, "input", &a, &self.unbatched), self.given
            self.T, self.B = a.shape[0], a.shape[1]
            lengths = lengths_to_core(lengths, self.T, self.B)
            reset = reset_to_core(network, reset, self.T, self.B, self.unbatched)
            self.set_sequence(network, sequence, reset, lengths)
            state = self.parts_to_core(state, "hx")
            self.params = params_to_core(network, params)
            self.state_given = state is not None
            network.call_sizes(self.T, self.B, 0, &sizes)
            tape = self.tape = pooled_tape(network, sizes.tape) if keep else None
            y = empty((self.T, self.B, network.width()), network.dtype)
            last = new_state(network, self.B)
            states = new_states(network, self.T, self.B) if every_state else None
            try:
                self.forward_core(network, state, y, last, self.work(sizes.forward_work), states)
            except TokenError:
                raise token_error_in(network, x, "input", lengths, self.unbatched) from None
            y = sequence_from_core(network, back_in_order(y, self.order, 1), self.unbatched)
            parts = self.parts_from_core(back_in_order(last, self.order, 2))
            if every_state:
                parts += self.parts_from_core(back_in_order(states, self.order, 3))
            return y, parts, tape
        finally:
            self.x = self.tape = self.params = None
            network.end_call()

    def backward(self, x, params, tape, dy, dstate, input_grad, state_grad, param_grads):
        """(dx, [dstate0], grads): gradients of the call of forward that had this x and params and left this tape.

        dy and the parts of dstate, which is a list like the one that forward returned, may be None, for zeros. grads is
        flat, as params are, and belongs to the caller. Without input_grad dx is None, without state_grad every dstate0,
        without param_grads grads is.
        """
        cdef Network network = self.network
        cdef Array a
        cdef bptt_sizes sizes
        cdef bint unbatched
        network.begin_call()
        try:
            self.x = reordered(input_to_core(network, x, "input", &a, &unbatched), self.order, 1)
            if network.vocabulary:
                expect(&a, "input", "(T,B)", 2, self.T, self.B)
            else:
                expect(&a, "input", "(T,B,I)", 3, self.T, self.B, network.core_spec.input_size)
            if dy is not None:
                dy = sequence_to_core(network, dy, "dy", network.width(), network.width_letters(), &a, &unbatched)
                expect(&a, "dy", f"(T,B,{network.width_letters()})", 3, self.T, self.B, network.width())
            dstates = self.states_to_core(dstate[network.states:])
            dstate = self.parts_to_core(dstate[:network.states], "dstate")
            network.call_sizes(self.T, self.B, 0, &sizes)
            self.tape = flat_to_core(tape, "tape", "(tape,)", network.dtype, sizes.tape)
            self.params = params_to_core(network, params)
            dx = empty((self.T, self.B, network.core_spec.input_size), network.dtype) if input_grad else None
            grads = np.zeros(network.params_.size, network.dtype) if param_grads else None
            dstate0 = new_state(network, self.B) if state_grad else None
            work = self.work(sizes.backward_work)
            self.backward_core(network, dy, dstate, dx, dstate0, grads, work, None, None, 0, 0, dstates)
            if dx is not None:
                dx = sequence_from_core(network, back_in_order(dx, self.order, 1), self.unbatched)
            if dstate0 is None:
                return dx, [None] * network.states, grads
            return dx, self.parts_from_core(back_in_order(dstate0, self.order, 2)), grads
        finally:
            self.x = self.tape = self.params = None
            network.end_call()

    cdef object work(self, int64_t needed):
        """Scratch memory that all runs of the network share, one after another."""
        self.network.work_pool = self.network.scratch(self.network.work_pool, needed)
        return self.network.work_pool

    cdef object parts_to_core(self, object parts, str name):
        """The parts of a state, None for zeros, as one array of the core; None where all are."""
        cdef Network network = self.network
        state = None
        for i, part in enumerate(parts):
            if part is None:
                continue
            if state is None:
                state = new_state(network, self.B)
                state.fill(0)
            of = f"{name}[{i}]" if network.states == 2 else name
            state[i] = part_to_core(network, part[:, None] if self.unbatched else part, of, self.B)
        return state

    cdef object states_to_core(self, list parts):
        """Gradients by the states after all steps, None for zeros, as one array of the core; None where all are. They
        have the shapes of what forward returned: the graph sees to it."""
        cdef Network network = self.network
        if all(part is None for part in parts):
            return None
        states = new_states(network, self.T, self.B)
        for i, part in enumerate(parts):
            states[i] = 0 if part is None else part[:, :, None] if self.unbatched else part
        return states

    cdef list parts_from_core(self, object state):
        """The parts of a state of the core, or of those after all steps, laid out as the sequence is."""
        return [part[..., 0, :] for part in state] if self.unbatched else list(state)


cdef object flat_to_core(object obj, str name, str letters, object dtype, int64_t size):
    """A flat array that the core reads where it is."""
    cdef Array array
    if not view_as(obj, dtype, False, &array):
        raise TypeError(f"{name} must be a contiguous {dtype} array, got {described(obj)}")
    expect(&array, name, letters, 1, size)
    return obj


cdef object params_to_core(Network network, object params):
    return flat_to_core(params, "params", "(P,)", network.dtype, network.params_.size)


@cython.final
@cython.no_gc_clear
cdef class PooledTape:
    """Memory for one tape, as a buffer. When nobody holds it any more, it is there for the network's next tape."""

    cdef Network network
    cdef object memory
    cdef Py_ssize_t length

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, address(self.memory), self.length, False, flags)

    def __dealloc__(self):
        if self.network is not None and self.network.lock.acquire(False):
            self.network.tape_pool = self.memory
            self.network.lock.release()


cdef object pooled_tape(Network network, int64_t size):
    """An array of that many elements for a tape, in pooled memory if there is any."""
    cdef PooledTape pooled = PooledTape.__new__(PooledTape)
    pooled.network = network
    pooled.memory, network.tape_pool = network.scratch(network.tape_pool, size), None
    pooled.length = size * (network.bits // 8)
    return ndarray((size,), network.dtype, pooled)
