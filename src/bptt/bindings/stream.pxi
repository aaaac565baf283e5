# A network one step at a time.

cdef int64_t rows_of(Network network, object state) except -1:
    """B of a state as users give it; 1 of what is none: what is wrong with it is said where it is set."""
    if network.states == 2:
        state = state[0] if isinstance(state, (tuple, list)) and state else None
    shape = state.shape if isinstance(state, np.ndarray) else ()
    return shape[1] if len(shape) == 3 and shape[1] else 1


cdef class Stream:
    """A network one step at a time, made by rnn.stream(): `y = stream(x)`, or `stream(x, out=y)`.

    x : (B,I), or (I,) for a batch of one: the input of the next step
    out : array (B,O) or (O,) of the network's dtype to write to and return, optional; a new one by default

    Without a readout outputs are (B,H) or (H,). The weights are packed when the stream is made: call refresh() after
    they change.
    """

    cdef Network network
    cdef object packed, work, held, first, lock
    cdef void *packed_data
    cdef void *work_data
    cdef void *state_data
    cdef readonly int64_t batch

    def __init__(self, Network network, batch, state):
        cdef bptt_sizes sizes
        if self.network is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        if network.spec.bidirectional:
            raise ValueError("stream goes with bidirectional=False, got bidirectional=True: the reverse direction "
                             "begins at the last step")
        self.network, self.batch = network, rows_of(network, state) if batch is None else index(batch, "batch")
        network.sizes(1, self.batch, 0, 0, &sizes)
        self.lock = threading.RLock()
        self.packed, self.work = empty(sizes.packed, network.dtype), empty(sizes.step_work, network.dtype)
        self.held = new_state(network, self.batch)
        self.packed_data, self.work_data = address(self.packed), address(self.work)
        self.state_data = address(self.held)
        self.refresh()
        self.reset()
        if state is not None:
            self.state = state

    def refresh(self):
        """Take the network's parameters as they are now."""
        self.network.enter()
        try:
            with self.lock:
                check(any_pack(self.network.bits, &self.network.spec, self.network.params_data, self.packed_data))
                self.first = self.network.first_state()
        finally:
            self.network.leave()

    @property
    def state(self):
        """(L,B,H) of the network's dtype, for an LSTM the pair (h, c): a copy of the state; assign to set it."""
        with self.lock:
            return state_outward(self.held.copy())

    @state.setter
    def state(self, value):
        value = state_inward(self.network, value, "state", self.batch)
        if value is None:
            raise TypeError("state must be an array, got None")
        with self.lock:
            self.held[...] = value

    def reset(self, rows=None):
        """Begin anew with all rows or with those that `rows` (any index of the batch axis) names: their state becomes
        zero, with learn_state the learned one."""
        rows = slice(None) if rows is None else rows
        with self.lock:
            # indexed as the state is: the number of a row takes the batch axis away
            self.held[:, :, rows] = np.broadcast_to(self.first, self.held.shape)[:, :, rows]

    def __call__(self, x, *, out=None):
        cdef Array a, o
        cdef Network network = self.network
        cdef int64_t width = network.width()
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
