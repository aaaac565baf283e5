# Windows of truncated BPTT: index arithmetic, and a tape of bounded length that moves along.

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

    Between windows the stored states of the overlap are kept, not computed again, also if the weights changed. A
    window without overlap may be longer than the tape, which then is made anew. With checkpoints every window has a
    tape of its own; of overlaps there is only that of a last window that is shorter than the others, and the tape of
    the window before is kept for it.
    """

    cdef Network network
    cdef object tape, work, last, checkpoint, memory_budget
    cdef object tape_before, lengths, order
    cdef int64_t B, capacity, used, done, segment, used_before, segment_before
    cdef bint state_given, closed
    cdef uint64_t seed

    def __init__(self, Network network, B, steps, capacity, state, lengths, checkpoint, memory_budget):
        # for backward over `steps` steps and a tape of `capacity`; state (core layout) enters the first step;
        # lengths (B,) goes with a single window over all steps
        if self.network is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        network.check_checkpoint(checkpoint, memory_budget)
        self.network, self.B, self.used = network, B, 0
        self.order = falling_order(lengths)
        self.lengths, self.last = reordered(lengths, self.order, 0), reordered(state, self.order, 2)
        self.checkpoint, self.memory_budget = checkpoint, memory_budget
        self.state_given = state is not None
        self.seed = network.draw()
        with network.lock:
            self.tape, self.work = network.spare_tape, network.spare_work
            network.spare_tape = network.spare_work = None
            if checkpoint is None and memory_budget is None:
                self.make_room(steps, capacity)

    cdef int make_room(self, int64_t steps, int64_t capacity) except -1:
        """A tape of that capacity, with nothing on it."""
        cdef bptt_sizes sizes
        self.segment = self.network.segment_of(steps, self.B, self.checkpoint, self.memory_budget)
        self.network.sizes(steps, self.B, 0 if self.segment else capacity, self.segment, &sizes)
        self.tape = self.network.scratch(self.tape, sizes.tape)
        self.work = self.network.scratch(self.work, max(sizes.forward_work, sizes.backward_work))
        self.used, self.capacity = 0, capacity
        return 0

    cdef int open_for(self, int64_t T, int64_t stay) except -1:
        """Room for T more steps behind the last `stay`."""
        cdef void *tape
        cdef bptt_status status = BPTT_OK
        cdef Network network = self.network
        if self.checkpointed:
            if stay:
                self.tape_before, self.used_before, self.segment_before = self.tape, self.used, self.segment
                self.tape = None
            self.make_room(T, T)
        elif stay == 0 and T > self.capacity:
            self.make_room(T, T)
        elif self.used + T > self.capacity:
            tape = address(self.tape)
            with nogil:
                status = any_tape_shift(network.bits, &network.spec, self.B, self.capacity, self.used, stay, tape)
            self.used = stay
        return check(status)

    @property
    def checkpointed(self):
        return self.checkpoint is not None or self.memory_budget is not None

    def close(self):
        """Leaves the memory to the next windows of this network."""
        with self.network.lock:
            if self.tape is not None:
                self.network.spare_tape, self.network.spare_work = self.tape, self.work
            self.tape = self.tape_before = self.work = None
            self.closed = True

    def skip(self, x, reset):
        """Moves the state on over the steps of x (core layout), before the first forward, and keeps none of them."""
        cdef Network network = self.network
        cdef bptt_sizes sizes
        cdef int64_t T = x.shape[0]
        network.enter()
        try:
            network.sizes(T, self.B, 0, 0, &sizes)
            work = network.scratch(self.work, sizes.forward_work)
            last = new_state(network, self.B)
            network.run_forward(T, self.B, x, self.last, None, last, None, work, Call(reset=reset))
            self.last, self.state_given = last, True
        finally:
            network.leave()

    def forward(self, x, reset, back, keep):
        """Outputs and final state of the steps x[back:] (core layout), of which `back` went before.

        keep: how many of the steps before must stay on the tape for backward.
        """
        cdef Network network = self.network
        cdef int64_t T = x.shape[0] - back
        network.enter()
        try:
            if self.closed:
                raise RuntimeError("these windows are closed")
            self.open_for(T, keep)
            y = empty((T, self.B, network.width()), network.dtype)
            last = new_state(network, self.B)
            x = reordered(x[back:], self.order, 1)
            reset = None if reset is None else reordered(reset[back:], self.order, 1)
            network.run_forward(T, self.B, x, self.last if self.used == 0 else None, y, last, self.tape, self.work,
                                Call(lengths=self.lengths, reset=reset, segment=self.segment,
                                     tape_steps=0 if self.segment else self.capacity, tape_first=self.used,
                                     training=True, seed=self.seed, first_step=self.done))
            self.used, self.done, self.last = self.used + T, self.done + T, last
            return back_in_order(y, self.order, 1), state_outward(back_in_order(last, self.order, 2).copy())
        finally:
            network.leave()

    def backward(self, x, dy, reset, carry, dy_start, clip_norm, clip_value):
        """Adds the gradients of the last steps, x in core layout; returns the norms of dL/dh_t.

        carry: (T,) or (T,B), as Network.backward takes it. With checkpoints and an overlap, x begins where the window
        before began.
        """
        cdef Network network = self.network
        cdef Array factors
        cdef int64_t T = x.shape[0]
        carry = carry_input(carry, T, self.B, False, network.dtype, &factors)
        network.enter()
        try:
            if self.closed:
                raise RuntimeError("these windows are closed")
            if self.checkpointed and T > self.used:
                norms = self.backward_apart(x, dy, reset, dy_start, clip_norm, clip_value)
            else:
                norms = empty((network.units, T), network.dtype)
                x, dy, reset = (reordered(array, self.order, 1) for array in (x, dy, reset))
                network.run_backward(T, self.B, x, self.tape, dy, None, None, None, network.grads_, self.work,
                                     Call(lengths=self.lengths, reset=reset, carry=carry, clip_norm=clip_norm,
                                          clip_value=clip_value, norms=norms, dy_start=dy_start, segment=self.segment,
                                          tape_steps=0 if self.segment else self.capacity, tape_first=self.used - T,
                                          training=True, seed=self.seed, first_step=self.done - T,
                                          state_given=self.state_given or self.done > T))
        finally:
            network.leave()
        return norms[0] if network.units == 1 else norms

    cdef object backward_apart(self, x, dy, reset, int64_t overlap, clip_norm, clip_value):
        """The same over two tapes: the window's own steps, then the `overlap` last ones of the window before; a carry
        of 0 keeps the gradient out of the others."""
        cdef Network network = self.network
        cdef bptt_sizes sizes
        cdef int64_t own = self.used, before = self.used_before
        through = new_state(network, self.B)
        norms, norms_before = empty((network.units, own), network.dtype), empty((network.units, before), network.dtype)
        network.run_backward(own, self.B, x[before:], self.tape, dy, None, None, through, network.grads_, self.work,
                             Call(reset=None if reset is None else reset[before:], clip_norm=clip_norm,
                                  clip_value=clip_value, norms=norms, segment=self.segment, training=True,
                                  seed=self.seed, first_step=self.done - own, state_given=True))
        carry = np.ones(before, network.dtype)
        if before > overlap:
            carry[before - overlap - 1] = 0
        network.sizes(before, self.B, 0, self.segment_before, &sizes)
        self.work = network.scratch(self.work, sizes.backward_work)
        network.run_backward(before, self.B, x[:before], self.tape_before, None, through, None, None, network.grads_,
                             self.work,
                             Call(reset=None if reset is None else reset[:before], carry=carry, clip_norm=clip_norm,
                                  clip_value=clip_value, norms=norms_before, segment=self.segment_before, training=True,
                                  seed=self.seed, first_step=self.done - own - before, state_given=True))
        return np.concatenate([norms_before[:, before - overlap:], norms], axis=1)
