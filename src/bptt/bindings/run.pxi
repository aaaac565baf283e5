# One run over a sequence, apart from the one that the network itself remembers: for graphs that hold several of them.

@cython.final
@cython.no_gc_clear
cdef class Lease:
    """Memory for one tape, as a buffer. Nobody holds it any more: it is there for the network's next tape."""

    cdef Network network
    cdef object memory
    cdef Py_ssize_t length

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, address(self.memory), self.length, False, flags)

    def __dealloc__(self):
        if self.network is not None and self.network.lock.acquire(False):
            self.network.spare_tape = self.memory
            self.network.lock.release()


cdef object leased(Network network, int64_t size):
    """An array of that many elements for a tape, in the memory of one that is over where there is one."""
    cdef Lease lease = Lease.__new__(Lease)
    lease.network = network
    lease.memory, network.spare_tape = network.scratch(network.spare_tape, size), None
    lease.length = size * (network.bits // 8)
    return ndarray((size,), network.dtype, lease)


@cython.final
cdef class Run:
    """One forward call whose backward may come at any time, and again.

    The caller keeps the large arrays, the inputs and the tape; this object keeps the rest. The network's own last
    forward stays what it is. Backward takes the network's parameters as they are then.
    """

    cdef Network network
    cdef object lengths
    cdef int64_t T, B
    cdef uint64_t seed
    cdef bint training, unbatched, state_given
    cdef readonly int states  # parts of a state: 2 for an LSTM, else 1

    def __init__(self, Network network, lengths, seed):
        # lengths: None or (B,) of int64 that never rise; seed: of the dropout masks, None to drop nothing
        if self.network is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        self.network, self.lengths, self.states = network, lengths, network.states
        self.training, self.seed = seed is not None, 0 if seed is None else seed

    def forward(self, x, state, keep):
        """(y, [state], tape) for x in the user's layout; state is a list like the one returned.

        Such a list holds h, for an LSTM h and c; None for zeros. Without keep no backward may follow, and tape is None.
        """
        cdef Network network = self.network
        cdef Array a
        cdef bptt_sizes sizes
        network.enter()
        try:
            x = network.sequence(x, "input", network.spec.input_size, "I", &a, &self.unbatched)
            self.T, self.B = a.shape[0], a.shape[1]
            lengths_inward(self.lengths, self.T, self.B)
            state = self.inward(state, "hx")
            self.state_given = state is not None
            network.sizes(self.T, self.B, 0, 0, &sizes)
            tape = leased(network, sizes.tape) if keep else None
            y = empty((self.T, self.B, network.width()), network.dtype)
            last = new_state(network, self.B)
            network.run_forward(self.T, self.B, x, state, y, last, tape, self.work(sizes.forward_work), self.call())
            return network.outward(y, self.unbatched), self.outward(last), tape
        finally:
            network.leave()

    def backward(self, x, tape, dy, dstate, input_grad, state_grad, param_grads):
        """(dx, [dstate0], grads): gradients of the call of forward that had this x and left this tape.

        dy and the parts of dstate may be None, for zeros. grads is flat, as params are, and belongs to the caller.
        Without input_grad dx is None, without state_grad every dstate0, without param_grads grads is.
        """
        cdef Network network = self.network
        cdef Array a
        cdef bptt_sizes sizes
        cdef bint unbatched
        network.enter()
        try:
            x = network.sequence(x, "input", network.spec.input_size, "I", &a, &unbatched)
            expect(&a, "input", "(T,B,I)", 3, self.T, self.B, network.spec.input_size)
            if dy is not None:
                dy = network.sequence(dy, "dy", network.width(), network.width_letters(), &a, &unbatched)
                expect(&a, "dy", f"(T,B,{network.width_letters()})", 3, self.T, self.B, network.width())
            network.sizes(self.T, self.B, 0, 0, &sizes)
            expect_tape(tape, network.dtype, sizes.tape)
            dx = empty((self.T, self.B, network.spec.input_size), network.dtype) if input_grad else None
            grads = np.zeros(network.params_.size, network.dtype) if param_grads else None
            dstate0 = new_state(network, self.B) if state_grad else None
            network.run_backward(self.T, self.B, x, tape, dy, self.inward(dstate, "dstate"), dx, dstate0, grads,
                                 self.work(sizes.backward_work), self.call())
            return (None if dx is None else network.outward(dx, self.unbatched),
                    [None] * self.states if dstate0 is None else self.outward(dstate0), grads)
        finally:
            network.leave()

    cdef Call call(self):
        cdef Call call = Call.__new__(Call)
        call.lengths, call.training, call.seed = self.lengths, self.training, self.seed
        call.state_given = self.state_given
        return call

    cdef object work(self, int64_t needed):
        """Scratch memory that all runs of the network share, one after another."""
        self.network.spare_work = self.network.scratch(self.network.spare_work, needed)
        return self.network.spare_work

    cdef object inward(self, object parts, str name):
        """The parts of a state, None for zeros, as one array of the core; None where all are."""
        cdef Network network = self.network
        state = None
        for i, part in enumerate(parts):
            if part is None:
                continue
            if state is None:
                state = np.zeros((network.states, network.units, self.B, network.spec.hidden_size), network.dtype)
            of = f"{name}[{i}]" if network.states == 2 else name
            state[i] = part_inward(network, part[:, None] if self.unbatched else part, of, self.B)
        return state

    cdef object outward(self, object state):
        """The parts of a state of the core, laid out as the sequence is."""
        return [part[:, 0] for part in state] if self.unbatched else list(state)


cdef int expect_tape(object tape, object dtype, int64_t size) except -1:
    cdef Array array
    if not look(tape, dtype, False, &array):
        raise TypeError(f"tape must be what forward returned, got {described(tape)}")
    return expect(&array, "tape", "(tape,)", 1, size)
