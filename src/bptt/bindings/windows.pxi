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
        network.sizes(min(k2, T), B, self.capacity, 0, &sizes)
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
                    status = any_tape_shift(network.bits, &network.spec, self.B, self.capacity, self.used, stay, tape)
                check(status)
                self.used = stay
            y = empty((T, self.B, network.width()), network.dtype)
            last = new_state(network, self.B)
            network.run_forward(T, self.B, x[back:], self.last if self.used == 0 else None, y, last, self.tape, self.work,
                                Call(reset=None if reset is None else reset[back:], tape_steps=self.capacity,
                                     tape_first=self.used))
            self.used, self.last = self.used + T, last
            return y, state_outward(last.copy())
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
            network.run_backward(T, self.B, x, self.tape, dy, None, None, None, self.work,
                                 Call(reset=reset, clip_norm=clip_norm, clip_value=clip_value, norms=norms,
                                      dy_start=dy_start, tape_steps=self.capacity, tape_first=self.used - T))
        finally:
            network.leave()
        return norms
