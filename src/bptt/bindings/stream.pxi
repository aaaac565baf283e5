# A network one step at a time.

cdef int64_t rows_of(tuple parts) except -1:
    """B of a state; 1 of one that has another shape: what is wrong with it is said where it is set."""
    shape = as_ndarray(parts[0], "state" if len(parts) == 1 else "state[0]", "fiub", "real numbers").shape
    return shape[1] if len(shape) == 3 and shape[1] else 1


cdef object rows_to_core(object rows, int64_t batch):
    """Rows of a batch as an index of its axis: all for None, a mask, or the numbers of some."""
    if rows is None:
        return slice(None)
    rows = as_ndarray(rows, "rows", "biuf", "booleans or integers")
    if rows.dtype == bool_:
        if rows.shape != (batch,):
            raise ValueError(f"rows must be a mask of shape (B,) = ({batch},), or row numbers, got {described(rows)}")
        return rows
    if rows.ndim != 1 or (rows.dtype.kind == "f" and rows.size):  # an empty list has the dtype float64
        raise TypeError(f"rows must be None, a mask of booleans (B,) or an array of row numbers, got {described(rows)}")
    numbers = rows.tolist()
    if numbers and not (0 <= min(numbers) and max(numbers) < batch):
        raise ValueError(f"rows must be in 0..{batch - 1}, got {min(numbers)}..{max(numbers)}")
    if len(set(numbers)) < len(numbers):
        meant = ""
        if len(numbers) == batch and set(numbers) <= {0, 1}:
            meant = "; a mask must have the dtype bool, as rows.astype(bool) has"
        raise ValueError(f"rows must be numbers of distinct rows, got {numbers}{meant}")
    return rows.astype(np.intp)


cdef object first_state(Network network):
    """The initial state of a row where none is given: zeros, or the learned one; (states,L*D,1,H)."""
    first = new_state(network, 1)
    first.fill(0)
    for name, offset, shape in network.tensors():
        if name in ("state_h0", "state_c0"):
            part = first[int(name == "state_c0")]
            part[...] = network.params_[offset:offset + part.size].reshape(part.shape)
    return first


cdef object step_input(Network network, int64_t batch, object x, Array *array, int64_t *token, bint *one_row):
    """The input of one step as the core reads it: (B,I), or (I,) for a batch of one; integers (B,) or ()."""
    cdef int64_t inputs = network.core_spec.input_size
    if network.vocabulary:
        x = step_tokens(network, batch, x, array, token)
        one_row[0] = array.ndim == 0
        return x
    given, x = x, as_input(x, "x", network.dtype, array)
    one_row[0] = batch == 1 and array.ndim == 1
    if array.shape[0 if one_row[0] else 1] == inputs and (
            one_row[0] or (array.ndim == 2 and array.shape[0] == batch)):
        return x
    try:
        if one_row[0]:
            expect(array, "x", "(I,)", 1, inputs)
        else:
            expect(array, "x", "(B,I)", 2, batch, inputs)
    except ValueError as error:
        raise ValueError(f"{error}{input_hint(given, inputs)}") from None
    return x


cdef object step_tokens(Network network, int64_t batch, object x, Array *array, int64_t *token):
    """Integers () or (B,) as the core reads them; one that is no array goes into *token. An array is copied: what the
    core has checked no other thread may change."""
    cdef int overflow = 0
    if batch == 1 and (type(x) is int or type(x) is int64_scalar):
        array.ndim, array.data = 0, token
        token[0] = PyLong_AsLongLongAndOverflow(x, &overflow)
        if overflow:
            token[0] = -1  # out of range as well
        return x
    x = np.array(as_tokens(x, "x", network.vocabulary, array), int64)
    view_as(x, int64, False, array)
    if array.ndim or batch != 1:
        expect(array, "x", "(B,)", 1, batch)
    return x


cdef object step_output(Network network, int64_t batch, object out, bint one_row, Array *array):
    """The array that receives the output of one step, a new one for None."""
    cdef int64_t width = network.width()
    if out is None:
        out = empty(width, network.dtype) if one_row else empty((batch, width), network.dtype)
    as_output(out, "out", network.dtype, array)
    if one_row:
        expect(array, "out", "(O,)", 1, width)
    else:
        expect(array, "out", "(B,O)", 2, batch, width)
    return out


cdef class Stream:
    """A network one step at a time, made by rnn.stream(): `y = stream(x)`, or `stream(x, out=y)`.

    The weights are packed when the stream is made: call refresh() after they change.

    Parameters
    ----------
    x : array_like, (B,I), or (I,) for a batch of one
        The input of the step. With one_hot or num_embeddings integers, (B,), or one integer for a batch of one.
    out : numpy.ndarray, (B,O) or (O,), without a readout (B,H) or (H,), of the network's dtype, optional
        Receives the output; a new array by default.

    Returns
    -------
    numpy.ndarray
        out.
    """

    cdef object __weakref__
    cdef Network network
    cdef object packed, work, current, first  # current: the state, (states,L*D,B,H)
    cdef object lock, acquire, release  # and its methods: to look them up would take longer than a small step
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
        parts = None if state is None else parts_of(network, state, "state")  # once: it may be an iterator
        if batch is None:
            batch = 1 if parts is None else rows_of(parts)
        self.network, self.batch = network, index(batch, "batch")
        network.sizes(1, self.batch, 0, 0, &sizes)
        self.use_lock(new_lock(self))
        self.packed, self.work = aligned(sizes.packed, network.dtype), empty(sizes.step_work, network.dtype)
        self.current = new_state(network, self.batch)
        self.packed_data, self.work_data = address(self.packed), address(self.work)
        self.state_data = address(self.current)
        self.refresh()
        self.reset()
        if parts is not None:
            self.state = parts if network.states == 2 else parts[0]

    cdef int use_lock(self, object lock) except -1:
        self.lock, self.acquire, self.release = lock, lock.acquire, lock.release
        return 0

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
        rows : array_like of bool, (B,), or of int, optional
            The rows that begin anew: a mask, or the numbers of distinct rows in 0..B-1; all by default. Integers are
            always row numbers: make a mask of 0 and 1 one of bool, ``rows.astype(bool)``.

        Raises
        ------
        ValueError, TypeError
            If rows are neither; the state is not changed then.
        """
        rows = rows_to_core(rows, self.batch)
        with self.lock:
            self.current[:, :, rows] = self.first

    def __call__(self, x, *, out=None):
        cdef Array a, o
        cdef Network network = self.network
        cdef int64_t token
        cdef bptt_status status
        cdef const int64_t *tokens = NULL
        cdef bint one_row
        given, x = x, step_input(network, self.batch, x, &a, &token, &one_row)
        if network.vocabulary:
            tokens = <const int64_t *>a.data
        out = step_output(network, self.batch, out, one_row, &o)
        release = self.release
        self.acquire()
        with nogil:  # nothing here raises
            if tokens != NULL:
                status = any_step_tokens(network.bits, &network.core_spec, self.batch, self.packed_data, tokens,
                                         self.state_data, o.data, self.work_data)
            else:
                status = any_step(network.bits, &network.core_spec, self.batch, self.packed_data, a.data,
                                  self.state_data, o.data, self.work_data)
        release()
        if status == BPTT_ERROR_TOKEN:
            raise token_error(given, "x", network.vocabulary)
        check(status)
        return out
