# States: users have h (L*D,B,H) or for an LSTM the pair (h, c); the core has one array, h and behind it c.

cdef object new_state(Network network, int64_t B):
    """A state as the core lays it out, (states,L*D,B,H), not filled."""
    return empty((network.states, network.units, B, network.core_spec.hidden_size), network.dtype)


cdef object new_states(Network network, int64_t T, int64_t B):
    """The states after all steps as the core lays them out, (states,T,L*D,B,H), not filled."""
    return empty((network.states, T, network.units, B, network.core_spec.hidden_size), network.dtype)


cdef object state_from_core(object state):
    """What users get: h, or (h, c)."""
    return state[0] if state.shape[0] == 1 else (state[0], state[1])


cdef object part_to_core(Network network, object obj, str name, int64_t B):
    """One array of a state, (L*D,B,H)."""
    cdef Array array
    given, obj = obj, as_input(obj, name, network.dtype, &array)
    if network.states == 1 and array.ndim == 4 and isinstance(given, (tuple, list)) and len(given) == 2:
        raise TypeError(f"{name} must be an array, only an LSTM has a pair (h, c), got a {type(given).__name__} of 2")
    expect(&array, name, "(1,B,H)" if network.units == 1 else "(L*D,B,H)", 3, network.units, B,
           network.core_spec.hidden_size)
    return obj


cdef tuple parts_of(Network network, object obj, str name):
    """The arrays of a user's state, not checked yet: (h,) or (h, c)."""
    if network.states == 1:
        return (obj,)
    try:
        h, c = obj
    except (TypeError, ValueError):
        count = f" of {len(obj)}" if isinstance(obj, (tuple, list)) else ""
        raise TypeError(f"{name} must be the pair (h, c) for an LSTM, got {described(obj)}{count}") from None
    return h, c


cdef object state_to_core(Network network, object obj, str name, int64_t B):
    """A state in the core's layout, a copy where the user's is not that; None stays None."""
    if obj is None:
        return None
    parts = parts_of(network, obj, name)
    if network.states == 1:
        return part_to_core(network, parts[0], name, B)[None]
    return np.stack([part_to_core(network, part, f"{name}[{i}]", B) for i, part in enumerate(parts)])


def checked_state(Network network, state, B):
    """A copy of a user's state in the core's layout; an error that says what came otherwise."""
    return state_to_core(network, state, "state", B).copy()
