# Gradient clipping in place.

def clip_grad_norm(array, max_norm):
    """Scale an array in place to a Euclidean norm of at most max_norm (Pascanu, Mikolov, Bengio 2013).

    Parameters
    ----------
    array : numpy.ndarray or buffer of float32 or float64, C-contiguous and writable
        Changed in place, never copied.
    max_norm : float
        Above 0; inf only measures.

    Returns
    -------
    float
        The norm before. If that is NaN or Inf, the array is left as it is.

    Raises
    ------
    TypeError
        If array is not such an array.
    """
    cdef Array a
    cdef double norm = 0, most = threshold(max_norm, "max_norm")
    cdef bptt_status status
    dtype = float_dtype(array, "array")
    array = as_output(array, "array", dtype, &a)
    cdef int bits = bits_of(dtype)
    cdef int64_t n = array.size
    if n == 0:
        return 0.0
    with nogil:
        status = any_clip_norm(bits, n, a.data, most, &norm)
    check(status)
    return norm


def clip_grad_value(array, limit):
    """Clamp the elements of an array in place to [-limit, limit]; NaN stays NaN.

    Parameters
    ----------
    array : numpy.ndarray or buffer of float32 or float64, C-contiguous and writable
        Changed in place, never copied.
    limit : float
        Above 0.

    Returns
    -------
    float
        The largest absolute value before, NaN if there was any NaN.

    Raises
    ------
    TypeError
        If array is not such an array.
    """
    cdef Array a
    cdef double largest = 0, most = threshold(limit, "limit")
    cdef bptt_status status
    dtype = float_dtype(array, "array")
    array = as_output(array, "array", dtype, &a)
    cdef int bits = bits_of(dtype)
    cdef int64_t n = array.size
    if n == 0:
        return 0.0
    with nogil:
        status = any_clip_value(bits, n, a.data, most, &largest)
    check(status)
    return largest
