# Windows of truncated BPTT: index arithmetic, and a tape of bounded length that moves along.

def window_at(T, k1, k2, index):
    """(start, stop, back) of one window of TBPTT(k1, k2) over T steps."""
    cdef bptt_window window
    check(bptt_window_at(T, k1, k2, index, &window))
    return window.start, window.stop, window.back


def window_count(T, k1, k2):
    """The number of windows of TBPTT(k1, k2) over T steps."""
    cdef int64_t count
    check(bptt_window_count(T, k1, k2, &count))
    return count


cdef tuple silenced(object x, object reset, int64_t outside):
    """(x, reset) in which steps below `outside` that a later reset, up to that step, cuts off their row are zeros from
    a state of zeros.

    Nothing of them reaches the steps from `outside` on. Backward goes over them with a gradient of zero, which times
    their NaN would be NaN.
    """
    if reset is None:
        return x, reset
    cut = np.logical_or.accumulate(reset[outside:0:-1])[::-1]
    if cut.any():
        x, reset = x.copy(), reset.copy()
        x[:outside][cut], reset[:outside][cut] = 0, True
    return x, reset


@cython.final
cdef class RollingTape:
    """The last steps of a network that moves on window by window: a tape of bounded length, with a Run for each window.

    Between windows the stored states of the overlap are kept, not computed again, also if the weights changed. A window
    without overlap may be longer than the tape, which then is made anew.

    With checkpoints every window has a tape of its own. The only overlap then is that of a last window that is shorter
    than the others: backward goes on over the run of the window before, which is kept for it.
    """

    cdef Network network
    cdef Run run, run_before  # of this window; of the one before, where this one overlaps it and has checkpoints
    cdef object tape, work
    cdef object state  # before the next step; (states,L*D,B,H) or None
    cdef object lengths, checkpoint, memory_budget
    cdef int64_t B
    cdef int64_t capacity, used  # steps of the tape, and how many of them hold something
    cdef int64_t done  # steps since the first one
    cdef int64_t segment
    cdef int64_t overlap  # steps of run_before that backward goes over
    cdef uint64_t seed
    cdef bint state_given, closed

    def __init__(self, Network network, B, steps, capacity, state, lengths, checkpoint, memory_budget):
        # for backward over `steps` steps and a tape of `capacity`; the initial state is (states,L*D,B,H) or None;
        # lengths (B,) goes with a single window over all steps
        if self.network is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        check_checkpoint(checkpoint, memory_budget, bool(network.core_spec.bidirectional))
        self.network, self.B, self.lengths = network, B, lengths
        self.state, self.state_given = state, state is not None
        self.checkpoint, self.memory_budget = checkpoint, memory_budget
        with network.lock:
            self.seed = network.draw()
            self.tape, self.work = network.tape_pool, network.work_pool
            network.tape_pool = network.work_pool = None
            if not self.checkpointed:
                self.new_tape(steps, capacity)

    @property
    def checkpointed(self):
        return self.checkpoint is not None or self.memory_budget is not None

    cdef int new_tape(self, int64_t steps, int64_t capacity) except -1:
        """A tape of that capacity with nothing on it, in the memory of the old one where that fits."""
        cdef bptt_sizes sizes
        self.segment = self.network.segment_for(steps, self.B, self.checkpoint, self.memory_budget)
        self.network.sizes(steps, self.B, 0 if self.segment else capacity, self.segment, &sizes)
        self.tape = self.network.scratch(self.tape, sizes.tape)
        self.work = self.network.scratch(self.work, max(sizes.forward_work, sizes.backward_work))
        self.used, self.capacity = 0, capacity
        return 0

    cdef int make_space(self, int64_t T, int64_t keep) except -1:
        """Makes space on the tape for T more steps behind the last `keep`."""
        cdef void *tape
        cdef bptt_status status = BPTT_OK
        cdef Network network = self.network
        self.run_before = None
        if self.checkpointed:
            if keep:
                self.run_before, self.tape = self.run, None
            self.new_tape(T, T)
        elif keep == 0 and T > self.capacity:
            self.new_tape(T, T)
        elif self.used + T > self.capacity:
            tape = address(self.tape)
            with nogil:
                status = any_tape_shift(network.bits, &network.core_spec, self.B, self.capacity, self.used, keep, tape)
            self.used = keep
        return check(status)

    def close(self):
        """Returns the memory to the network's pool, for its next windows."""
        with self.network.lock:
            if self.tape is not None:
                self.network.tape_pool, self.network.work_pool = self.tape, self.work
            self.tape = self.work = self.run = self.run_before = None
            self.closed = True

    def skip(self, x, reset):
        """Moves the state on over the steps of x (core layout), before the first forward, and keeps none of them."""
        cdef Network network = self.network
        cdef bptt_sizes sizes
        cdef Run run = Run.__new__(Run)
        network.begin_call()
        try:
            run.T, run.B = x.shape[0], self.B
            run.set_sequence(network, x, reset, None)
            network.sizes(run.T, self.B, 0, 0, &sizes)
            last = new_state(network, self.B)
            run.forward_core(network, self.state, None, last, network.scratch(self.work, sizes.forward_work))
            self.state, self.state_given = last, True
        finally:
            network.end_call()

    def forward(self, x, reset, before, keep):
        """Outputs and final state of a window: the steps of x (core layout) but the first `before`.

        The last `keep` of those stay on the tape for backward. With checkpoints and an overlap, x begins where the
        window before began; otherwise before and keep are the same.
        """
        cdef Network network = self.network
        cdef Run run = Run.__new__(Run)
        cdef int64_t own = x.shape[0] - before
        network.begin_call()
        try:
            if self.closed:
                raise RuntimeError("these windows are closed")
            self.make_space(own, keep)
            self.overlap = keep
            if self.run_before is not None:
                x_before, reset_before = silenced(x[:before], None if reset is None else reset[:before], before - keep)
                self.run_before.set_sequence(network, x_before, reset_before, None)
                x, reset = x[before:], None if reset is None else reset[before:]
            run.T, run.B, run.start = x.shape[0], self.B, x.shape[0] - own
            run.set_sequence(network, x, reset, self.lengths)
            run.tape, run.segment = self.tape, self.segment
            run.tape_steps, run.tape_first = 0 if self.segment else self.capacity, self.used - run.start
            run.first_step = self.done - run.start
            run.training, run.seed = True, self.seed
            run.state_given = self.state_given or run.first_step > 0
            y = empty((own, self.B, network.width()), network.dtype)
            last = new_state(network, self.B)
            run.forward_core(network, self.state if self.used == 0 else None, y, last, self.work)
            self.run, self.used, self.done = run, self.used + own, self.done + own
            self.state = back_in_order(last, run.order, 2)
            return back_in_order(y, run.order, 1), state_from_core(self.state.copy())
        finally:
            network.end_call()

    def backward(self, dy, carry, clip_norm, clip_value):
        """Sets the gradients to those of the last window, by dy (core layout) of its own steps; returns the norms of
        dL/dh_t.

        carry is (T,) or (T,B) over the steps that backward goes over, or None; a threshold of 0 clips nothing.
        """
        cdef Network network = self.network
        cdef Run run = self.run
        network.begin_call()
        try:
            if self.closed:
                raise RuntimeError("these windows are closed")
            dy = apart_from(network.grads_, dy)  # a loss may give what it computed there
            network.clear_grads()
            if self.run_before is not None:
                norms = self.backward_over_both(dy, clip_norm, clip_value)
            else:
                carry = carry_to_core(carry, run.T, self.B, False, network.dtype)
                norms = empty((network.units, run.T), network.dtype)
                run.backward_core(network, dy, None, None, None, network.grads_, self.work, carry, norms, clip_norm,
                                  clip_value)
            run.x = run.reset = None
        finally:
            network.end_call()
        return norms[0] if network.units == 1 else norms

    cdef object backward_over_both(self, dy, clip_norm, clip_value):
        """Backward over two tapes: this window's own steps, then the overlap, the last steps of the window before. A
        carry of 0 keeps the gradient out of the other steps of that window."""
        cdef Network network = self.network
        cdef bptt_sizes sizes
        cdef Run run = self.run, before = self.run_before
        cdef int64_t outside = before.T - self.overlap  # at least 1: this window is shorter than the one before
        through = new_state(network, self.B)
        norms = empty((network.units, run.T), network.dtype)
        norms_before = empty((network.units, before.T), network.dtype)
        run.backward_core(network, dy, None, None, through, network.grads_, self.work, None, norms, clip_norm,
                          clip_value)
        carry = np.ones(before.T, network.dtype)
        carry[outside - 1] = 0
        network.sizes(before.T, self.B, 0, before.segment, &sizes)
        self.work = network.scratch(self.work, sizes.backward_work)
        before.state_given = True  # the cut keeps the gradient out of the initial state
        before.backward_core(network, None, through, None, None, network.grads_, self.work, carry, norms_before,
                             clip_norm, clip_value)
        before.x = before.reset = None
        return np.concatenate([norms_before[:, outside:], norms], axis=1)
