# A network one step at a time.

cdef int64_t rows_of(Network network, object state) except -1:
    """B of a state as users give it; 1 of what is none: what is wrong with it is said where it is set."""
    if network.states == 2:
        state = state[0] if isinstance(state, (tuple, list)) and state else None
    shape = state.shape if isinstance(state, np.ndarray) else ()
    return shape[1] if len(shape) == 3 and shape[1] else 1


cdef object first_state(Network network):
    """The initial state of a row where none is given: zeros, or the learned one; (states,L*D,1,H)."""
    first = new_state(network, 1)
    first.fill(0)
    for name, offset, shape in network.tensors():
        if name in ("state_h0", "state_c0"):
            part = first[int(name == "state_c0")]
            part[...] = network.params_[offset:offset + part.size].reshape(part.shape)
    return first


cdef class Stream:
    """A network one step at a time, made by rnn.stream(): `y = stream(x)`, or `stream(x, out=y)`.

    The weights are packed when the stream is made: call refresh() after they change.

    Parameters
    ----------
    x : array_like, (B,I), or (I,) for a batch of one
        The input of the step.
    out : numpy.ndarray, (B,O) or (O,), without a readout (B,H) or (H,), of the network's dtype, optional
        Receives the output; a new array by default.

    Returns
    -------
    numpy.ndarray
        out.
    """

    cdef Network network
    cdef object packed, work, current, first, lock  # current: the state, (states,L*D,B,H)
    cdef void *packed_data
    cdef void *work_data
    cdef void *state_data
    cdef readonly int64_t batch

    def __init__(self, Network network, batch, state):
        cdef bptt_sizes sizes
        if self.network is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        if network.core_spec.bidirectional:
            raise ValueError("stream goes with bidirectional=False, got bidirectional=True: the reverse direction "
                             "begins at the last step")
        self.network, self.batch = network, rows_of(network, state) if batch is None else index(batch, "batch")
        network.sizes(1, self.batch, 0, 0, &sizes)
        self.lock = threading.RLock()
        self.packed, self.work = empty(sizes.packed, network.dtype), empty(sizes.step_work, network.dtype)
        self.current = new_state(network, self.batch)
        self.packed_data, self.work_data = address(self.packed), address(self.work)
        self.state_data = address(self.current)
        self.refresh()
        self.reset()
        if state is not None:
            self.state = state

    def refresh(self):
        """Take the network's parameters as they are now."""
        self.network.begin_call()
        try:
            with self.lock:
                check(any_pack(self.network.bits, &self.network.core_spec, self.network.params_data, self.packed_data))
                self.first = first_state(self.network)
        finally:
            self.network.end_call()

    @property
    def state(self):
        """numpy.ndarray or pair of them: a copy of the state, (L,B,H), for an LSTM (h, c); assign to set it."""
        with self.lock:
            return state_from_core(self.current.copy())

    @state.setter
    def state(self, value):
        value = state_to_core(self.network, value, "state", self.batch)
        if value is None:
            raise TypeError("state must be an array, got None")
        with self.lock:
            self.current[...] = value

    def reset(self, rows=None):
        """Begin anew: the state becomes zero, with learn_state the learned one.

        Parameters
        ----------
        rows : any index of the batch axis, optional
            The rows that begin anew; all by default.
        """
        rows = slice(None) if rows is None else rows
        with self.lock:
            # indexed as the state is: the number of a row takes the batch axis away
            self.current[:, :, rows] = np.broadcast_to(self.first, self.current.shape)[:, :, rows]

    def __call__(self, x, *, out=None):
        cdef Array a, o
        cdef Network network = self.network
        cdef int64_t width = network.width()
        cdef bptt_status status
        x = as_input(x, "x", network.dtype, &a)
        if a.ndim == 1 and self.batch == 1:
            expect(&a, "x", "(I,)", 1, network.core_spec.input_size)
        else:
            expect(&a, "x", "(B,I)", 2, self.batch, network.core_spec.input_size)
        if out is None:
            out = empty(width, network.dtype) if a.ndim == 1 else empty((self.batch, width), network.dtype)
        as_output(out, "out", network.dtype, &o)
        if a.ndim == 1:
            expect(&o, "out", "(O,)", 1, width)
        else:
            expect(&o, "out", "(B,O)", 2, self.batch, width)
        with self.lock:
            with nogil:
                status = any_step(network.bits, &network.core_spec, self.batch, self.packed_data, a.data,
                                  self.state_data, o.data, self.work_data)
            check(status)
        return out
