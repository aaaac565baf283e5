# Parameters: the tensors of a spec, the memory of a network's two flat arrays, and values for them.

cdef tuple tensor_at(const bptt_spec *spec, int64_t index):
    """(name, offset, shape)"""
    cdef bptt_tensor tensor
    check(bptt_tensor_at(spec, index, &tensor))
    cdef list shape = [tensor.rows, tensor.cols] if tensor.cols else [tensor.rows]
    return tensor.name.decode(), tensor.offset, tuple(shape)


cdef int64_t tensor_count(const bptt_spec *spec) except -1:
    cdef int64_t count
    check(bptt_tensor_count(spec, &count))
    return count


def tensors_of(spec):
    """Yields (name, offset, shape) of the parameters that a network of this Spec would have, in memory order."""
    cdef bptt_spec core_spec = spec.struct() | {"struct_size": sizeof(bptt_spec)}
    cdef int64_t index
    for index in range(tensor_count(&core_spec)):
        yield tensor_at(&core_spec, index)


def check_spec(spec):
    """An error that names the field unless the core takes a network of this Spec. Whether memory can hold it is asked
    where one is made."""
    cdef bptt_spec core_spec = spec.struct() | {"struct_size": sizeof(bptt_spec)}
    cdef bptt_sizes sizes
    cdef int bits = 32 if spec.dtype == "float32" else 64
    cdef bptt_status status
    sizes.struct_size = sizeof(bptt_sizes)
    status = any_sizes(bits, &core_spec, 1, 1, NULL, &sizes)
    if status != BPTT_ERROR_OVERFLOW and status != BPTT_ERROR_ISA:
        check_call(status, bits, &core_spec, 1, 1, NULL)


@cython.final
@cython.no_gc
cdef class ParamMemory:
    """Memory of a network's params or grads, as a buffer. It knows its network, which may be gone."""

    cdef object memory, network  # an array; a weak reference
    cdef str name

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, address(self.memory), self.memory.nbytes, False, flags)


cdef object param_array(Network network, str name, int64_t size):
    """A network's array of that many zeros. It does not own its memory: an array that does could be resized, and
    addresses that are kept would be stale."""
    cdef ParamMemory memory = ParamMemory.__new__(ParamMemory)
    memory.memory, memory.network, memory.name = aligned(size, network.dtype), weakref.ref(network), name
    memory.memory.fill(0)
    return ndarray((size,), network.dtype, memory)


def place_of(array, name):
    """(network, "params" or "grads", start, stop) of a flat array that is part of one of a network's two."""
    cdef ParamMemory memory
    owner = array
    while owner is not None and not isinstance(owner, ParamMemory):
        owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
    if owner is not None:
        memory = owner
        network = memory.network()
        if network is not None and array.dtype == network.dtype:
            start = (<char *>address(array) - <char *>address(memory.memory)) // array.itemsize
            return network, memory.name, start, start + array.size
    raise TypeError(f"{name} are not those of a bptt.RNN that is still there: copies would not find them again, "
                    "use state_dict() and load_state_dict()")


def real_copy(value, name, dtype, shape):
    """A new array of that dtype and shape from an array_like of real numbers; finite values stay finite."""
    value = as_ndarray(value, name, "fiu", "real numbers")
    if value.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {value.shape}")
    if value.dtype == dtype:
        return np.array(value, dtype, order="C", copy=True, subok=False)
    try:
        with np.errstate(over="raise", under="ignore", invalid="ignore"):
            return np.array(value, dtype, order="C", copy=True, subok=False)
    except FloatingPointError:
        raise ValueError(f"{name} must have values within the range of {dtype}") from None
