# Gradient clipping in place, of one array or of several jointly.

cdef list clipped_arrays(object given, list networks):
    """What is clipped, as checked arrays without the empty ones; the networks among it go into `networks`."""
    if isinstance(given, (ndarray, Network)) or PyObject_CheckBuffer(given) or not isinstance(given, Iterable):
        array = clipped_array(given, "array", networks)
        return [array] if array.size else []
    named = {f"array[{i}]": item for i, item in enumerate(given)}
    arrays = {name: clipped_array(item, name, networks) for name, item in named.items()}
    check_apart({name: array for name, array in arrays.items() if array.size})
    return [array for array in arrays.values() if array.size]


cdef object clipped_array(object given, str name, list networks):
    cdef Array found
    if isinstance(given, Network):
        networks.append(given)
        given = (<Network>given).grads_
    return as_output(given, name, float_dtype(given, name), &found)


cdef int check_apart(dict arrays) except -1:
    """An error if arrays that are not empty share memory: it would count, and be scaled, twice."""
    places = sorted((<uintptr_t>address(array), array.nbytes, name) for name, array in arrays.items())
    for (place, size, name), (next_place, _, next_name) in pairwise(places):
        if next_place < place + size:
            raise ValueError(f"{next_name} must have memory of its own, got an array that overlaps with {name}")
    return 0


cdef object held(list networks):
    """A context in which the networks' locks are held, taken in the same order by all."""
    locks = ExitStack()
    for network in sorted(networks, key=id):
        locks.enter_context(network.lock)
    return locks


cdef int check_threshold(list arrays, double limit, str name) except -1:
    """An error before anything is changed if the limit is 0 in the type of an array."""
    for array in arrays:
        if array.dtype == float32 and not <float>limit > 0:
            raise ValueError(f"{name} must be above 0 in float32, got {limit!r}")
    return 0


cdef double norm_clipped(object array, double most) except? -1:
    """The norm of an array, which is scaled if that is above `most`."""
    cdef int bits = bits_of(array.dtype)
    cdef int64_t n = array.size
    cdef void *data = address(array)
    cdef double norm = 0
    cdef bptt_status status
    with nogil:
        status = any_clip_norm(bits, n, data, most, &norm)
    check(status)
    return norm


cdef double largest_clamped(object array, double most) except? -1:
    """The largest absolute value of an array, which is clamped to +-most."""
    cdef int bits = bits_of(array.dtype)
    cdef int64_t n = array.size
    cdef void *data = address(array)
    cdef double largest = 0
    cdef bptt_status status
    with nogil:
        status = any_clip_value(bits, n, data, most, &largest)
    check(status)
    return largest


cdef int scale_in_place(object array, double factor) except -1:
    cdef int bits = bits_of(array.dtype)
    cdef int64_t n = array.size
    cdef void *data = address(array)
    cdef bptt_status status
    with nogil:
        status = any_scale(bits, n, data, factor)
    return check(status)


cdef double joint_norm(list arrays, double most) except? -1:
    """The norm of all arrays together, which are scaled by one factor if that is above `most`."""
    if len(arrays) == 1:
        return norm_clipped(arrays[0], most)
    norms = [norm_clipped(array, math.inf) for array in arrays]
    cdef double norm = math.nan if any(map(math.isnan, norms)) else math.hypot(*norms)
    if most < norm < math.inf:
        for array in arrays:
            scale_in_place(array, most / norm)
    return norm


def clip_grad_norm(array, max_norm):
    """Scale arrays in place to a Euclidean norm, over all of them, of at most max_norm (Pascanu, Mikolov, Bengio 2013).

    Parameters
    ----------
    array : numpy.ndarray or buffer, bptt.RNN, or iterable of them
        Arrays of float32 or float64, C-contiguous and writable, changed in place, never copied; of a network its
        `grads`. Several are clipped jointly, as torch clips parameters: one norm and one factor.
    max_norm : float
        Above 0; inf only measures.

    Returns
    -------
    float
        The norm before. If that is NaN or Inf, the arrays are left as they are.

    Raises
    ------
    TypeError
        If one is not such an array; all are left as they are.
    ValueError
        If max_norm is not above 0 in the arrays' dtype, or arrays share memory: it would count twice.
    """
    cdef double most = threshold(max_norm, "max_norm")
    networks = []
    arrays = clipped_arrays(array, networks)
    check_threshold(arrays, most, "max_norm")
    if len(arrays) == 1 and not networks:
        return norm_clipped(arrays[0], most)
    with held(networks):
        return joint_norm(arrays, most)


def clip_grad_value(array, limit):
    """Clamp the elements of arrays in place to [-limit, limit]; NaN stays NaN.

    Parameters
    ----------
    array : numpy.ndarray or buffer, bptt.RNN, or iterable of them
        Arrays of float32 or float64, C-contiguous and writable, changed in place, never copied; of a network its
        `grads`.
    limit : float
        Above 0.

    Returns
    -------
    float
        The largest absolute value before, NaN if there was any NaN.

    Raises
    ------
    TypeError
        If one is not such an array; all are left as they are.
    ValueError
        If limit is not above 0 in the arrays' dtype, or arrays share memory.
    """
    cdef double most = threshold(limit, "limit")
    networks = []
    arrays = clipped_arrays(array, networks)
    check_threshold(arrays, most, "limit")
    if len(arrays) == 1 and not networks:
        return largest_clamped(arrays[0], most)
    with held(networks):
        largest = [largest_clamped(one, most) for one in arrays]
    return math.nan if any(map(math.isnan, largest)) else max(largest, default=0.0)
