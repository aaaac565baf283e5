# Sequences and what comes along with them: the user's layout, (T,B,...), (B,T,...) or (T,...), and the core's, which is
# (T,B,...) with the rows sorted longest first.

cdef object sequence_to_core(Network network, object obj, str name, int64_t width, str letters, Array *array,
                             bint *unbatched):
    """A (T,B,width) sequence from what the user's layout is."""
    given, obj = obj, as_input(obj, name, network.dtype, array)
    unbatched[0] = array.ndim == 2
    if unbatched[0]:
        obj = obj[:, None]
    elif network.batch_first and array.ndim == 3:
        obj = np.ascontiguousarray(obj.swapaxes(0, 1))
    if array.ndim not in (2, 3) or array.shape[array.ndim - 1] != width or obj.size == 0:
        order = "B,T" if network.batch_first else "T,B"
        hint = input_hint(given, width) if letters == "I" else ""
        raise ValueError(f"{name} must have shape ({order},{letters}) or (T,{letters}) with "
                         f"{letters} = {width} and no empty axis, got {shape_of(array)}{hint}")
    view_as(obj, network.dtype, False, array)
    return obj


cdef object input_to_core(Network network, object obj, str name, Array *array, bint *unbatched):
    """The network's input as the core has it: (T,B,I) of its dtype, or (T,B) of int64."""
    if network.vocabulary:
        return tokens_to_core(network, obj, name, array, unbatched)
    return sequence_to_core(network, obj, name, network.core_spec.input_size, "I", array, unbatched)


cdef object tokens_to_core(Network network, object obj, str name, Array *array, bint *unbatched):
    """(T,B) of int64 from what the user's layout is, a copy: what the core has checked and reads again, no other thread
    may change. The core looks at the range."""
    obj = as_tokens(obj, name, network.vocabulary, array)
    unbatched[0] = array.ndim == 1
    if array.ndim not in (1, 2) or obj.size == 0:
        expected = token_shape(network.batch_first, network.vocabulary)
        raise ValueError(f"{name} must have shape {expected}, got {shape_of(array)}")
    if unbatched[0]:
        obj = obj[:, None]
    elif network.batch_first:
        obj = obj.swapaxes(0, 1)
    obj = obj.copy("C")
    view_as(obj, int64, False, array)
    return obj


cdef object token_error_in(Network network, object obj, str name, object lengths, bint unbatched):
    """The error for the first integer out of range, of an input obj in the user's layout."""
    axis = int(network.batch_first and not unbatched)
    tokens = np.asarray(obj)
    inside = None
    if lengths is not None:
        inside = sequence_from_core(network, np.arange(tokens.shape[axis])[:, None] < lengths, unbatched)
    return token_error(tokens, name, network.vocabulary, inside, axis)


cdef object sequence_from_core(Network network, object array, bint unbatched):
    """A (T,B,...) array of the core in the user's layout."""
    if unbatched:
        return array[:, 0]
    return array.swapaxes(0, 1) if network.batch_first else array


cdef object reset_to_core(Network network, object obj, int64_t T, int64_t B, bint unbatched):
    """(T,B) of bool, a copy that is kept for backward; None stays None."""
    cdef Array array
    if obj is None:
        return None
    obj = as_flags(obj, "reset", &array).copy()
    if unbatched:
        if array.ndim == 1:
            obj = obj[:, None]
    elif network.batch_first and array.ndim == 2:
        expect(&array, "reset", "(B,T)", 2, B, T)
        obj = np.ascontiguousarray(obj.swapaxes(0, 1))
    view_as(obj, bool_, False, &array)
    expect(&array, "reset", "(T,B)", 2, T, B)
    return obj


cdef object carry_to_core(object obj, int64_t T, int64_t B, bint batch_first, object dtype):
    """(T,) or (T,B); None stays None."""
    cdef Array array
    if obj is None:
        return None
    obj = as_input(obj, "carry", dtype, &array)
    if array.ndim == 1:
        expect(&array, "carry", "(T,)", 1, T)
        return obj
    if batch_first and array.ndim == 2:
        expect(&array, "carry", "(B,T)", 2, B, T)
        obj = np.ascontiguousarray(obj.swapaxes(0, 1))
        view_as(obj, dtype, False, &array)
    expect(&array, "carry", "(T,) or (T,B)", 2, T, B)
    return obj


cdef object lengths_to_core(object obj, int64_t T, int64_t B, str name="lengths"):
    """(B,) of int64, each in 1..T, a copy that is kept for backward; None stays None."""
    cdef Array array
    if obj is None:
        return None
    obj = as_labels(obj, name, &array)
    expect(&array, name, "(B,)", 1, B)
    if obj.min() < 1 or obj.max() > T:
        raise ValueError(f"{name} must be in 1..{T}, got {obj.min()}..{obj.max()}")
    return obj


def checked_lengths(lengths, T, B, name="lengths"):
    """lengths as an array of their own, (B,) of int64; an error that says what came otherwise."""
    return lengths_to_core(lengths, T, B, name)


# ---- the order of rows -----------------------------------------------------------------------------------

cdef object falling_order(object lengths):
    """The order of rows in which lengths never rise; None if that is theirs, or if they are None."""
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
