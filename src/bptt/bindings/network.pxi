# The network: its parameters, their gradients, and what users call on them. A forward and its backward are a Run.

cdef class Network:
    """Parameters, gradients and the calls on them. bptt.RNN is the class to use: it adds what is not hot."""

    cdef object __weakref__
    cdef readonly object spec  # bptt._spec.Spec
    cdef readonly object dtype
    cdef readonly CallLock lock
    cdef readonly int states, units  # arrays of a state: 2 for an LSTM, else 1; layers times directions
    cdef int64_t vocabulary  # V where inputs are integers 0..V-1, else 0
    cdef bptt_spec core_spec
    cdef int bits, threads_
    cdef bint batch_first, busy
    cdef object params_, grads_
    cdef void *params_data
    cdef void *grads_data
    cdef Run last_run  # the last forward with a tape, for backward
    cdef object work  # scratch memory of forward and backward
    # memory of tapes and of scratch that nobody uses now, for the next windows or Run: fresh memory costs page faults
    cdef object tape_pool, work_pool
    cdef bptt_team *team  # threads of forward and backward, kept from call to call
    cdef uint64_t dropout_seed, draws
    cdef int64_t steps_forward
    cdef bptt_sizes kept_sizes  # of call_sizes
    cdef int64_t[3] kept_for  # their T (0: there are none yet), B and segment

    def __init__(self, spec, threads):
        cdef bptt_sizes sizes
        if self.lock is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        check(bptt_team_make(&self.team))
        self.spec = spec
        self.core_spec = spec.struct() | {"struct_size": sizeof(bptt_spec)}
        self.batch_first, self.vocabulary, self.threads = spec.batch_first, spec.vocabulary, threads
        self.dtype = float32 if spec.dtype == "float32" else float64
        self.bits = bits_of(self.dtype)
        self.sizes(1, 1, 0, 0, &sizes)
        self.units = self.core_spec.num_layers * (2 if self.core_spec.bidirectional else 1)
        self.states = sizes.state // (self.units * self.core_spec.hidden_size)
        self.params_, self.grads_ = param_array(self, "params", sizes.params), param_array(self, "grads", sizes.params)
        self.params_data, self.grads_data = address(self.params_), address(self.grads_)
        self.lock = CallLock()
        lock_owners[id(self)] = self

    def __dealloc__(self):
        with nogil:
            bptt_team_free(self.team)

    cdef int begin_call(self) except -1:
        """Locks the network for one call. Other threads wait; the same thread (in a signal handler, or in the __array__
        of an input) may not begin another."""
        if self.lock is None:
            raise RuntimeError("__init__ was never called")
        self.lock.hold()
        if self.busy:
            self.lock.let_go()
            raise RuntimeError("the network is in the middle of a call that this thread began")
        self.busy = True
        return 0

    cdef int end_call(self) except -1:
        self.busy = False
        self.lock.let_go()
        return 0

    # ---- parameters and settings -------------------------------------------------------------------------

    @property
    def params(self):
        """numpy.ndarray: all parameters, one flat array (P,) of dtype.

        Assigning writes into it, so that `rnn.params -= lr * rnn.grads` works.
        """
        return self.params_

    @params.setter
    def params(self, value):
        with self.lock:
            write_into(self.params_, value, "params")

    @property
    def grads(self):
        """numpy.ndarray: the gradients of all parameters, (P,), in the same places. Assigning writes into it."""
        return self.grads_

    @grads.setter
    def grads(self, value):
        with self.lock:
            write_into(self.grads_, value, "grads")

    @property
    def dropout_state(self):
        """tuple of int: (seed, draws), the seed of the dropout masks and of the noise, and how often they were drawn.

        They are drawn once by each forward with a tape, by each pass of windows, and by a learner (bptt.RTRL) at the
        first step of a sequence. Assign it to have the same masks and noise again, to check a gradient or to resume a
        training.
        """
        return self.dropout_seed, self.draws

    @dropout_state.setter
    def dropout_state(self, value):
        try:
            seed, draws = value
        except (TypeError, ValueError):
            raise TypeError(f"dropout_state must be the pair (seed, draws), got {value!r}") from None
        seed, draws = uint64(seed, "dropout_state[0]"), uint64(draws, "dropout_state[1]")
        with self.lock:
            self.dropout_seed, self.draws = seed, draws

    cdef uint64_t draw(self) noexcept:
        """The seed of the next dropout masks and noise: a new one for every sequence that is trained on."""
        self.draws += 1
        return self.dropout_seed + self.draws * <uint64_t>0x9e3779b97f4a7c15

    @property
    def forward_steps(self):
        """int: time steps computed forward since the network was made, those that backward computed again included."""
        return self.steps_forward

    @property
    def threads(self):
        """int or None: most threads that a call uses; None for one per processor. Results do not depend on it."""
        return self.threads_ or None

    @threads.setter
    def threads(self, value):
        self.threads_ = 0 if value is None else min(index(value, "threads"), 1024)

    def tensors(self):
        """List the parameters in the flat buffer.

        Returns
        -------
        list of (name, offset, shape)
            In memory order.
        """
        cdef int64_t index
        return [tensor_at(&self.core_spec, index) for index in range(tensor_count(&self.core_spec))]

    # ---- sizes and memory --------------------------------------------------------------------------------

    cdef int sizes(self, int64_t T, int64_t B, int64_t tape_steps, int64_t segment, bptt_sizes *sizes) except -1:
        cdef bptt_options options
        cdef bptt_status status
        self.default_options(&options)
        options.tape_steps, options.segment = tape_steps, segment
        sizes.struct_size = sizeof(bptt_sizes)
        status = any_sizes(self.bits, &self.core_spec, T, B, &options, sizes)
        return check_call(status, self.bits, &self.core_spec, T, B, &options)

    cdef int call_sizes(self, int64_t T, int64_t B, int64_t segment, bptt_sizes *sizes) except -1:
        """The same within begin_call(), where those of the last call are kept: as a rule the next has its shape."""
        if T != self.kept_for[0] or B != self.kept_for[1] or segment != self.kept_for[2]:
            self.sizes(T, B, 0, segment, &self.kept_sizes)
            self.kept_for[:] = [T, B, segment]
        sizes[0] = self.kept_sizes
        return 0

    cdef void default_options(self, bptt_options *options) noexcept:
        memset(options, 0, sizeof(bptt_options))
        options.struct_size = sizeof(bptt_options)
        options.threads = self.threads_
        options.poll, options.team = poll, self.team

    cdef int64_t segment_for(self, int64_t T, int64_t B, checkpoint, memory_budget) except -1:
        """The steps between two checkpoints, 0 for none; the arguments went through check_checkpoint."""
        if checkpoint is None and memory_budget is None:
            return 0
        return segment_length(T, B, checkpoint, memory_budget, lambda segment: self.tape_bytes(T, B, segment))

    cdef int64_t tape_bytes(self, int64_t T, int64_t B, int64_t segment) except -1:
        """Bytes of the tape; with checkpoints also of the segment that is computed again."""
        cdef bptt_sizes sizes
        cdef int64_t again = 0
        if segment:
            self.sizes(segment, B, 0, 0, &sizes)
            again = sizes.tape
        self.sizes(T, B, 0, segment, &sizes)
        return (sizes.tape + again) * (self.bits // 8)

    cdef object scratch(self, object kept, int64_t needed):
        """`kept` if it is large enough (and not far too large), otherwise a new buffer."""
        if kept is not None and needed <= <int64_t>kept.size <= 4 * needed:
            return kept
        return aligned(needed, self.dtype)

    cdef int64_t width(self) noexcept:
        """Columns of an output: O, or D*H without a readout."""
        return self.core_spec.output_size or self.core_spec.hidden_size * (2 if self.core_spec.bidirectional else 1)

    cdef str width_letters(self):
        return "O" if self.core_spec.output_size else "2*H" if self.core_spec.bidirectional else "H"

    # ---- forward and backward ----------------------------------------------------------------------------

    def forward(self, x, state=None, *, lengths=None, reset=None, checkpoint=None, memory_budget=None, tape=True):
        """Run the network over a sequence.

        Parameters
        ----------
        x : array_like, (T,B,I), with batch_first (B,T,I), or (T,I) for a batch of one
            The inputs. They are not copied where they have the network's dtype: do not change them before backward.
            With one_hot or num_embeddings integers of any type, (T,B), with batch_first (B,T), or (T,), each in 0..V-1
            (beyond a row's length any). These are copied.
        state : array_like, (L*D,B,H), for an LSTM the pair (h, c) of these or (2,L*D,B,H), optional
            The initial state; zeros, or the learned state, by default.
        lengths : array_like of int, (B,), optional
            Row b has steps 0..lengths[b]-1: outputs beyond are zero, the final state is that of its last step, the
            reverse direction starts there. Steps beyond cost next to nothing.
        reset : array_like of bool, (T,B), with batch_first (B,T), optional
            True: this row begins anew at this step, from a zero state.
        checkpoint : int or "auto", optional
            Keep only the state before every k-th step ("auto": k = ceil(sqrt(T))); backward computes the others
            again, k at a time (Chen et al. 2016). Outputs and dx are the same to the bit.
        memory_budget : int, optional
            Bytes that the tape may take: checkpoints are used, as few as possible, if all of it does not fit.
        tape : bool
            False: keep nothing for backward, so that memory does not grow with T; no dropout, no noise.

        Returns
        -------
        y : numpy.ndarray, (T,B,O), or (T,B,D*H) without a readout
            The outputs, laid out as x is.
        state : numpy.ndarray or pair of them, as the argument
            The state after the last step.

        Raises
        ------
        ValueError
            If an argument does not fit, or no number of checkpoints stays within memory_budget. Of an integer out of
            range it names the first place.
        TypeError
            If an argument is of a type that does not fit; where x should be integers, also if it holds whole floats or
            bools.

        Notes
        -----
        Every forward replaces what the one before left for backward, with tape=False by nothing.
        """
        cdef Array a
        cdef bptt_sizes sizes
        cdef Run run = Run.__new__(Run)
        cdef bint keep = tape if tape is True or tape is False else flag(tape, "tape")
        self.begin_call()
        try:
            given, x = x, input_to_core(self, x, "x", &a, &run.unbatched)
            run.T, run.B, run.training = a.shape[0], a.shape[1], keep
            state = state_to_core(self, state, "state", run.B)
            run.state_given = state is not None
            reset = reset_to_core(self, reset, run.T, run.B, run.unbatched)
            lengths = lengths_to_core(lengths, run.T, run.B)
            run.set_sequence(self, x, reset, lengths)
            if checkpoint is not None or memory_budget is not None:
                check_checkpoint(checkpoint, memory_budget, bool(self.core_spec.bidirectional))
                if keep:
                    run.segment = self.segment_for(run.T, run.B, checkpoint, memory_budget)
            self.call_sizes(run.T, run.B, run.segment, &sizes)
            y = empty((run.T, run.B, self.width()), self.dtype)
            last = new_state(self, run.B)
            if keep:
                run.tape = self.scratch(None if self.last_run is None else self.last_run.tape, sizes.tape)
            before = self.last_run, self.work, self.draws
            self.last_run = None  # until this call succeeds there is nothing to go back over
            self.work = self.scratch(self.work, max(sizes.forward_work, sizes.backward_work if keep else 0))
            run.seed = self.draw() if keep else 0
            try:
                run.forward_core(self, state, y, last, self.work)
            except TokenError:  # nothing was written
                self.last_run, self.work, self.draws = before
                raise token_error_in(self, given, "x", lengths, run.unbatched) from None
            if keep:
                self.last_run = run
            return (sequence_from_core(self, back_in_order(y, run.order, 1), run.unbatched),
                    state_from_core(back_in_order(last, run.order, 2)))
        finally:
            self.end_call()

    def backward(self, dy, dstate=None, *, carry=None, step_clip_norm=None, step_clip_value=None, step_norms=None,
                 input_grad=True, state_grad=True):
        """Go back over the sequence of the last forward; gradients of the parameters are added into `grads`.

        Parameters
        ----------
        dy : array_like of y's shape, or None
            Gradient of the loss by y; None for zeros. What lies beyond a row's length counts nothing.
        dstate : array_like, laid out as the state that forward returned, optional
            Gradient with respect to that state; zeros by default.
        carry : array_like, (T,) or (T,B), optional
            Scales the gradient that flows from step t+1 back into step t: 0 cuts it. carry[T-1] scales nothing.
        step_clip_norm, step_clip_value : float, optional
            Within the recursion scale each row of dL/dh_t to at most this norm; clamp its elements to +- this.
        step_norms : numpy.ndarray, (T,), for several layers or directions (L*D,T), optional
            Receives ||dL/dh_t|| over rows and units before any per-step clip; of the network's dtype.
        input_grad, state_grad : bool
            False: do not compute dx; dstate0.

        Returns
        -------
        dx : numpy.ndarray of x's shape, or None without input_grad and where x are integers
            Gradient with respect to x.
        dstate0 : numpy.ndarray or pair of them, laid out as states are, or None without state_grad
            Gradient with respect to the initial state.

        Raises
        ------
        RuntimeError
            If no forward with a tape came before.
        ValueError
            If an argument does not fit.
        TypeError
            If an argument is of a type that does not fit.
        """
        cdef Array a, n
        cdef Run run
        cdef bint unbatched = False
        cdef bint of_input = input_grad if input_grad is True or input_grad is False else flag(input_grad, "input_grad")
        cdef bint of_state = state_grad if state_grad is True or state_grad is False else flag(state_grad, "state_grad")
        self.begin_call()
        try:
            run = self.last_run
            if run is None:
                raise RuntimeError("backward needs a forward (with tape=True) before it; windows and fit run both")
            if dy is not None:
                given = dy
                dy = sequence_to_core(self, dy, "dy", self.width(), self.width_letters(), &a, &unbatched)
                if unbatched != run.unbatched:
                    raise ValueError(f"dy must have the {2 if run.unbatched else 3} axes of forward's y, "
                                     f"got shape {np.shape(given)}")
                if self.batch_first and not unbatched and (a.shape[0] != run.T or a.shape[1] != run.B):
                    raise ValueError(f"dy must have shape (B,T,{self.width_letters()}) = "
                                     f"{(run.B, run.T, self.width())}, got {np.shape(given)}")
                expect(&a, "dy", f"(T,B,{self.width_letters()})", 3, run.T, run.B, self.width())
            dstate = state_to_core(self, dstate, "dstate", run.B)
            carry = carry_to_core(carry, run.T, run.B, self.batch_first and not run.unbatched, self.dtype)
            if step_norms is not None:
                step_norms = as_output(step_norms, "step_norms", self.dtype, &n)
                if self.units == 1 and n.ndim == 1:
                    expect(&n, "step_norms", "(T,)", 1, run.T)
                else:
                    expect(&n, "step_norms", "(T,)" if self.units == 1 else "(L*D,T)", 2, self.units, run.T)
                for flat, of in ((self.params_, "params"), (self.grads_, "grads")):
                    if apart_from(flat, step_norms) is not step_norms:
                        raise ValueError(f"step_norms must have memory of its own, got memory of the network's {of}")
            clip_norm = 0 if step_clip_norm is None else threshold(step_clip_norm, "step_clip_norm")
            clip_value = 0 if step_clip_value is None else threshold(step_clip_value, "step_clip_value")
            of_input = of_input and not self.vocabulary
            dx = empty((run.T, run.B, self.core_spec.input_size), self.dtype) if of_input else None
            dstate0 = new_state(self, run.B) if of_state else None
            run.backward_core(self, dy, dstate, dx, dstate0, self.grads_, self.work, carry, step_norms, clip_norm,
                              clip_value)
            return (None if dx is None else sequence_from_core(self, back_in_order(dx, run.order, 1), run.unbatched),
                    None if dstate0 is None else state_from_core(back_in_order(dstate0, run.order, 2)))
        finally:
            self.end_call()

    def zero_grad(self):
        """Set all gradients to zero."""
        self.begin_call()
        self.clear_grads()
        self.end_call()

    cdef int clear_grads(self) except -1:
        memset(self.grads_data, 0, <size_t>self.grads_.nbytes)
        return 0
