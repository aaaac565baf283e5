# States as users have them, h (L*D,B,H) or for an LSTM the pair (h, c), and as the core has them: one array, h and then
# c. And the order of the rows: the core wants lengths that never rise.

cdef object new_state(Network network, int64_t B):
    """A state as the core lays it out, (states,L*D,B,H), not filled."""
    return empty((network.states, network.units, B, network.spec.hidden_size), network.dtype)


cdef object state_outward(object state):
    """What users get: h, or (h, c)."""
    return state[0] if state.shape[0] == 1 else (state[0], state[1])


cdef object part_inward(Network network, object obj, str name, int64_t B):
    cdef Array array
    obj = as_input(obj, name, network.dtype, &array)
    expect(&array, name, "(1,B,H)" if network.units == 1 else "(L*D,B,H)", 3, network.units, B,
           network.spec.hidden_size)
    return obj


cdef object state_inward(Network network, object obj, str name, int64_t B):
    """A state in the core's layout, a copy where the user's is not that; None stays None."""
    if obj is None:
        return None
    if network.states == 1:
        if isinstance(obj, (tuple, list)) and len(obj) == 2 and np.ndim(obj[0]) > 1:
            raise TypeError(f"{name} must be an array, only an LSTM has a pair (h, c), got a {type(obj).__name__} of 2")
        return part_inward(network, obj, name, B)[None]
    try:
        h, c = obj
    except (TypeError, ValueError):
        count = f" of {len(obj)}" if isinstance(obj, (tuple, list)) else ""
        raise TypeError(f"{name} must be the pair (h, c) for an LSTM, got {described(obj)}{count}") from None
    return np.stack([part_inward(network, h, f"{name}[0]", B), part_inward(network, c, f"{name}[1]", B)])


cdef object lengths_inward(object obj, int64_t T, int64_t B, str name="lengths"):
    """(B,) of int64, each in 1..T; None stays None."""
    cdef Array array
    if obj is None:
        return None
    obj = as_labels(obj, name, &array).copy()  # it is kept for backward
    expect(&array, name, "(B,)", 1, B)
    if obj.min() < 1 or obj.max() > T:
        raise ValueError(f"{name} must be in 1..{T}, got {obj.min()}..{obj.max()}")
    return obj


def checked_lengths(lengths, T, B, name="lengths"):
    """lengths as an array of their own, (B,) of int64; an error that says what came otherwise."""
    return lengths_inward(lengths, T, B, name)


cdef object falling_order(object lengths):
    """The order of rows in which lengths never rise; None where they do not."""
    if lengths is None or (np.diff(lengths) <= 0).all():
        return None
    return np.argsort(-lengths, kind="stable")


cdef object reordered(object array, object order, int axis):
    """Rows of the batch axis in that order; None for either changes nothing."""
    if array is None or order is None:
        return array
    return np.ascontiguousarray(np.take(array, order, axis))


cdef object back_in_order(object array, object order, int axis):
    """The inverse of reordered()."""
    return array if array is None or order is None else np.take(array, np.argsort(order), axis)
