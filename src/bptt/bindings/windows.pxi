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
    window without overlap may be longer than the tape, which then is made anew.
    """

    cdef Network network
    cdef object tape, work, last
    cdef int64_t B, capacity, used

    def __init__(self, Network network, B, steps, capacity, state):
        """For backward over `steps` steps and a tape of `capacity`; state enters the first step."""
        if self.network is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        self.network, self.B, self.used, self.last = network, B, 0, state
        with network.lock:
            self.tape, self.work = network.spare_tape, network.spare_work
            network.spare_tape = network.spare_work = None
            self.make_room(steps, capacity)

    cdef int make_room(self, int64_t steps, int64_t capacity) except -1:
        """A tape of that capacity, with nothing on it."""
        cdef bptt_sizes sizes
        self.network.sizes(steps, self.B, capacity, &sizes)
        self.tape = self.network.scratch(self.tape, sizes.tape)
        self.work = self.network.scratch(self.work, max(sizes.forward_work, sizes.backward_work))
        self.used, self.capacity = 0, capacity
        return 0

    def close(self):
        """Leaves the memory to the next windows of this network."""
        with self.network.lock:
            if self.tape is not None:
                self.network.spare_tape, self.network.spare_work = self.tape, self.work
            self.tape = self.work = None

    def skip(self, x, reset):
        """Moves the state on over the steps of x (core layout), before the first forward, and keeps none of them."""
        cdef Network network = self.network
        cdef bptt_sizes sizes
        cdef int64_t T = x.shape[0]
        network.enter()
        try:
            network.sizes(T, self.B, 0, &sizes)
            work = network.scratch(self.work, sizes.forward_work)
            last = empty((1, self.B, network.spec.hidden_size), network.dtype)
            network.run_forward(T, self.B, x, self.last, None, last, None, work, reset, 0, 0)
            self.last = last
        finally:
            network.leave()

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
            if stay == 0 and T > self.capacity:
                self.make_room(T, T)
            elif self.used + T > self.capacity:
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

    def backward(self, x, dy, reset, carry, dy_start, clip_norm, clip_value):
        """Adds the gradients of the last steps, x in core layout; returns the norms of dL/dh_t.

        carry: (T,) or (T,B), as Network.backward takes it.
        """
        cdef Network network = self.network
        cdef Array factors
        if self.tape is None:
            raise RuntimeError("these windows are closed")
        cdef int64_t T = x.shape[0]
        norms = empty(T, network.dtype)
        carry = carry_input(carry, T, self.B, False, network.dtype, &factors)
        network.enter()
        try:
            network.run_backward(T, self.B, x, self.tape, dy, None, None, None, self.work, reset, carry,
                                 clip_norm, clip_value, norms, dy_start, self.capacity, self.used - T)
        finally:
            network.leave()
        return norms
