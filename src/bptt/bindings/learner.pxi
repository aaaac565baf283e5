# Learning at every step, forward in time: what bptt.RTRL and bptt.SnAp1 share.

METHODS = {"RTRL": BPTT_METHOD_RTRL, "SnAp1": BPTT_METHOD_SNAP1}
"""The core's numbers."""

cdef enum:
    BRIEF = 1 << 15  # numbers of influences and readouts that SnAp-1 goes over in a few microseconds
    ROW = 1 << 11  # so many of them take as long as all else of a row


cdef class Learner:
    """A network one step at a time, with the gradients of each step's loss. bptt.RTRL and bptt.SnAp1 are the classes
    to use: they check what a network must be."""

    cdef object __weakref__
    cdef Network network
    cdef object memory, work, current  # current: the state, (states,1,B,H)
    cdef void *memory_data
    cdef void *work_data
    cdef void *state_data
    cdef bptt_method method
    cdef bint stepped  # whether there is a step to go back over
    cdef bint brief  # whether calls keep the GIL, without a lock that nobody holds: both take a tenth of a call
    cdef uint64_t seed  # of the noise
    cdef int64_t steps  # since all rows began anew: the index of the next step, which selects its noise
    cdef int64_t grads_bytes, output_bytes
    cdef readonly int64_t batch

    def __init__(self, Network network, int method, batch):
        cdef bptt_learner_sizes sizes
        if self.network is not None:
            raise RuntimeError("__init__ was called before: make a new object")
        batch = index(batch, "batch")
        sizes.struct_size = sizeof(bptt_learner_sizes)
        check_call(any_learner_sizes(network.bits, &network.core_spec, <bptt_method>method, batch, &sizes),
                   network.bits, &network.core_spec, 1, batch, NULL)
        self.method, self.batch = <bptt_method>method, batch
        readout = network.core_spec.output_size * network.core_spec.hidden_size
        self.brief = (self.method == BPTT_METHOD_SNAP1 and not network.spec.num_embeddings
                      and sizes.influence + batch * (readout + ROW) <= BRIEF)
        exact = self.method == BPTT_METHOD_RTRL
        with memory_for(self, exact, network.spec, (sizes.memory + sizes.work) * (network.bits // 8), sizes.influence):
            self.memory, self.work = aligned(sizes.memory, network.dtype), aligned(sizes.work, network.dtype)
        self.current = new_state(network, batch)
        self.memory_data, self.work_data = address(self.memory), address(self.work)
        self.state_data, self.grads_bytes = address(self.current), network.grads_.nbytes
        self.output_bytes = batch * network.width() * (network.bits // 8)
        self.network = network
        self.begin_anew(None, None)

    cdef Network own_network(self):
        if self.network is None:
            raise RuntimeError("__init__ was never called")
        return self.network

    cdef int begin_anew(self, object mask, object state) except -1:
        """mask: (B,) of uint8, None for all rows; state: as the core has it, None for the first of a sequence."""
        cdef Network network = self.own_network()
        network.begin_call()
        try:
            check(any_learner_reset(network.bits, &network.core_spec, self.method, self.batch, network.params_data,
                                    <const uint8_t *>address(mask), address(state), self.state_data, self.memory_data))
            if mask is None:
                self.stepped, self.steps = False, 0
        finally:
            network.end_call()
        return 0

    @property
    def state(self):
        """numpy.ndarray or pair of them: a copy of the state, (1,B,H), for an LSTM (h, c); assign to set it.

        A state that is assigned does not depend on the parameters: the influence becomes zero.
        """
        with self.own_network().lock:
            return state_from_core(self.current.copy())

    @state.setter
    def state(self, value):
        value = state_to_core(self.own_network(), value, "state", self.batch)
        if value is None:
            raise TypeError("state must be an array, got None")
        self.begin_anew(None, value)

    def reset(self, rows=None):
        """Begin anew: the state becomes zero, with learn_state the learned one, and the influence zero.

        Parameters
        ----------
        rows : array_like of bool, (B,), or of int, optional
            The rows that begin anew: a mask, or the numbers of distinct rows in 0..B-1; by default all, and with them
            the noise.

        Raises
        ------
        ValueError, TypeError
            If rows are neither; nothing is changed then.
        """
        if rows is not None:
            chosen = rows_to_core(rows, self.batch)
            rows = np.zeros(self.batch, np.uint8)
            rows[chosen] = 1
        self.begin_anew(rows, None)

    cdef void options(self, bptt_options *options) noexcept:
        """Those of a step or its backward, which nothing interrupts."""
        self.network.default_options(options)
        options.poll = NULL
        options.training, options.dropout_seed, options.first_step = True, self.seed, self.steps

    cdef bptt_status step_core(self, Network network, void *x, void *y, const bptt_options *options) noexcept nogil:
        return any_learner_step(network.bits, &network.core_spec, self.method, self.batch, network.params_data, x,
                                self.state_data, y, self.memory_data, self.work_data, options)

    cdef bptt_status backward_core(self, Network network, void *dy, const bptt_options *options) noexcept nogil:
        return any_learner_backward(network.bits, &network.core_spec, self.method, self.batch, network.params_data, dy,
                                    network.grads_data, self.memory_data, self.work_data, options)

    def __call__(self, x, *, out=None):
        cdef Array a, o
        cdef Network network = self.own_network()
        cdef bptt_options options
        cdef int64_t token
        cdef uint64_t drawn
        cdef bint one_row
        cdef bptt_status status
        cdef bint at_once
        cdef void *xp = NULL
        given, x = x, step_input(network, self.batch, x, &a, &token, &one_row)
        out = step_output(network, self.batch, out, one_row, &o)
        at_once = self.brief and network.lock.is_free()
        if not at_once:
            network.begin_call()  # nothing from here to end_call() raises: try would take as long as a small product
        drawn = network.draws
        if self.steps == 0:
            self.seed = network.draw()
        self.options(&options)
        if network.vocabulary:
            options.tokens = <const int64_t *>a.data
        else:
            xp = a.data
        if at_once:
            status = self.step_core(network, xp, o.data, &options)
        else:
            with nogil:
                status = self.step_core(network, xp, o.data, &options)
        if status == BPTT_OK:
            self.stepped = True
            self.steps += 1
        else:  # nothing was written
            network.draws = drawn
        if not at_once:
            network.end_call()
        if status == BPTT_ERROR_TOKEN:
            raise token_error(given, "x", network.vocabulary)
        check(status)
        return out

    cdef int expect_output_grad(self, const Array *dy) except -1:
        """(B,O), or (O,) for a batch of one. What the error says is put together only for what does not fit."""
        cdef int64_t width = self.network.width()
        cdef bint one_row = self.batch == 1 and dy.ndim == 1
        if dy.shape[0 if one_row else 1] == width and (one_row or (dy.ndim == 2 and dy.shape[0] == self.batch)):
            return 0
        letters = self.network.width_letters()
        if one_row:
            return expect(dy, "dy", f"({letters},)", 1, width)
        return expect(dy, "dy", f"(B,{letters})", 2, self.batch, width)

    def backward(self, dy):
        """Add the gradients of the loss of the last step to the network's grads.

        Parameters
        ----------
        dy : array_like, (B,O), or (O,) for a batch of one; without a readout (B,H) or (H,)
            Gradient of the step's loss by its output.

        Raises
        ------
        RuntimeError
            If no step came before, or reset() since then.
        ValueError, TypeError
            If dy does not fit.

        Notes
        -----
        Rows that were reset since the step add nothing. A step that has several losses may have several backwards.
        The parameters of the readout are taken as they are now: change parameters after backward, before the next
        step.
        """
        cdef Array a
        cdef Network network = self.own_network()
        cdef bptt_options options
        cdef bptt_status status = BPTT_OK
        cdef bint stepped, at_once
        dy = as_input(dy, "dy", network.dtype, &a)
        self.expect_output_grad(&a)
        if overlap(a.data, self.output_bytes, network.grads_data, self.grads_bytes):
            dy = dy.copy()
            a.data = address(dy)
        at_once = self.brief and network.lock.is_free()
        if not at_once:
            network.begin_call()  # nothing from here to end_call() raises, as in a step
        stepped = self.stepped
        if stepped:
            self.options(&options)
            if at_once:
                status = self.backward_core(network, a.data, &options)
            else:
                with nogil:
                    status = self.backward_core(network, a.data, &options)
        if not at_once:
            network.end_call()
        if not stepped:
            raise RuntimeError("backward needs a step before it: y = learner(x)")
        check(status)

    def __reduce__(self):
        name = type(self).__name__
        raise TypeError(f"a {name} cannot be pickled or copied: make a new one of the copied network, "
                        f"{name}(rnn, batch), and assign its state")
