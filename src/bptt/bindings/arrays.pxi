# Arrays that come in: every check, and the errors that name what did not fit.

cdef struct Array:
    void *data
    int ndim
    Py_ssize_t shape[3]


cdef object dtype_of(int bits):
    return float32 if bits == 32 else float64


cdef int bits_of(object dtype) except -1:
    return 8 * <int>dtype.itemsize


cdef object aligned(int64_t size, object dtype):
    """A new array of that many elements, not filled, aligned to a cache line or, if it is large, to a large page.

    A vector of the core that lies in two cache lines costs twice. np.empty asks the system for large pages where an
    array is large, np.zeros never.
    """
    cdef int64_t item = dtype.itemsize, to = 64 if size * item < 1 << 24 else 1 << 21
    memory = empty(size + to // item, dtype)
    cdef int64_t first = <int64_t>(-<uintptr_t>address(memory) % <uintptr_t>to) // item
    return memory[first : first + size]


cdef bint has_format(const char *format, object dtype) noexcept:
    """Whether a NumPy buffer's format is this type in native byte order."""
    if format == NULL or format[0] == 0 or format[1] != 0:
        return False
    if dtype is float32:
        return format[0] == b"f"
    if dtype is float64:
        return format[0] == b"d"
    if dtype is int64:
        return format[0] == b"q" or (format[0] == b"l" and sizeof(long) == 8)
    return format[0] == b"?"


cdef bint view_as(object obj, object dtype, bint writable, Array *array) except -1:
    """Whether obj is an ndarray, C-contiguous, aligned, of this dtype (and writable); its view is in *array then.

    The buffer is given back at once: callers hold a reference to the ndarray, which keeps its memory.
    """
    cdef Py_buffer view
    cdef bint fits
    cdef int i
    if type(obj) is not ndarray:
        return False
    try:
        PyObject_GetBuffer(obj, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    except (BufferError, ValueError):
        return False
    fits = (has_format(view.format, dtype) and not (writable and view.readonly)
            and <uintptr_t>view.buf % <uintptr_t>view.itemsize == 0)
    array.data = view.buf
    array.ndim = view.ndim
    for i in range(3):
        array.shape[i] = view.shape[i] if i < view.ndim else 1
    PyBuffer_Release(&view)
    return fits


cdef str described(object obj):
    if not isinstance(obj, ndarray):
        return type(obj).__name__
    layout = "" if obj.flags.c_contiguous else "non-contiguous "
    frozen = "" if obj.flags.writeable else "read-only "
    aligned = "" if obj.flags.aligned else "unaligned "
    masked = "masked " if isinstance(obj, MaskedArray) else ""
    words = f"{frozen}{layout}{aligned}{masked}{obj.dtype} array of shape {obj.shape}"
    return f"{'an' if words.startswith(('int', 'object', 'unaligned')) else 'a'} {words}"


cdef bint has_mask(object obj, int axes=64) except -1:
    """Whether obj is a masked array, or lists with one in them: NumPy would take what the mask hides. Lists may hold
    themselves; those of more axes than NumPy's most are not looked into, as NumPy refuses them."""
    if isinstance(obj, (list, tuple)):
        for item in obj if axes else ():
            if has_mask(item, axes - 1):
                return True
        return False
    return isinstance(obj, MaskedArray)


def checked_array(obj, name, kinds, what):
    """obj as an ndarray without a copy where that is possible, a memmap too; its kind must be one of `kinds`."""
    return as_ndarray(obj, name, kinds, what)


cdef object as_ndarray(object obj, str name, str kinds, str what):
    """obj as an ndarray without a copy where it is one or offers a buffer; its kind must be one of `kinds`."""
    array = obj
    if has_mask(obj):
        raise TypeError(f"{name} must be an array without a mask of its own (losses take mask=), got a masked array")
    if type(obj) is not ndarray:
        try:
            array = np.asarray(obj)
        except (ValueError, TypeError, RuntimeError) as error:
            if isinstance(obj, tuple):
                error = "forward returns (y, state), a loss (value, dy)"
            raise ValueError(f"{name} must be an array of {what}, got {described(obj)}: {error}") from None
    if array.dtype.kind not in kinds:
        came = described(obj) if array is obj else f"{described(obj)} ({array.dtype})"
        raise TypeError(f"{name} must be an array of {what}, got {came}")
    return array


cdef object as_input(object obj, str name, object dtype, Array *array):
    """obj itself if the core can read it as it is, otherwise a converted copy."""
    if view_as(obj, dtype, False, array):
        return obj
    obj = as_ndarray(obj, name, "fiub", "real numbers")
    obj = np.require(np.asarray(obj), dtype, "CA")
    view_as(obj, dtype, False, array)
    return obj


def token_array(obj, name, vocabulary):
    """obj, an input of integers, as an ndarray of them; a memmap is not read, and their range is not looked at."""
    try:
        return as_ndarray(obj, name, "iu", f"integers in 0..{vocabulary - 1}")
    except TypeError as error:
        if not has_mask(obj) and beyond_int64(obj):
            raise token_error(np.asarray(obj, object), name, vocabulary) from None
        raise TypeError(f"{error}{token_hint(obj, vocabulary)}") from None


cdef bint beyond_int64(object obj) except -1:
    """Whether these are integers of Python that NumPy has no type for, which it takes as objects or as floats."""
    if not isinstance(obj, (int, list, tuple)):
        return False
    array = np.asarray(obj, object)
    return array.size > 0 and all(type(value) is int for value in array.flat)


cdef object as_tokens(object obj, str name, int64_t vocabulary, Array *array):
    """obj itself if the core can read it as it is, otherwise as int64; what is beyond that in uint64 becomes negative,
    and so stays out of range."""
    if view_as(obj, int64, False, array):
        return obj
    obj = np.require(np.asarray(token_array(obj, name, vocabulary)), int64, "CA")
    view_as(obj, int64, False, array)
    return obj


cdef object as_flags(object obj, str name, Array *array):
    if view_as(obj, bool_, False, array):
        return obj
    obj = np.array(as_ndarray(obj, name, "biu", "booleans"), bool_, order="C", copy=True, subok=False)
    view_as(obj, bool_, False, array)
    return obj


cdef object as_labels(object obj, str name, Array *array):
    """obj as int64, a copy: what the core has checked and reads again, no other thread may change."""
    if not view_as(obj, int64, False, array):
        obj = as_ndarray(obj, name, "iu", "integers")
        if obj.dtype.kind == "u" and obj.dtype.itemsize == 8 and obj.size and obj.max() > 2**63 - 1:
            raise ValueError(f"{name} must fit into int64, got {obj.max()}")
    obj = np.array(obj, int64, order="C", copy=True, subok=False)
    view_as(obj, int64, False, array)
    return obj


cdef object as_output(object obj, str name, object dtype, Array *array):
    """obj, which the core writes in place: never converted."""
    if view_as(obj, dtype, True, array):
        return obj
    if type(obj) is not ndarray and PyObject_CheckBuffer(obj) and not has_mask(obj):
        view = np.asarray(memoryview(obj))
        if view_as(view, dtype, True, array):
            return view
    raise TypeError(f"{name} is written in place and must be a writable C-contiguous {dtype} array, "
                    f"got {described(obj)}")


cdef object float_dtype(object obj, str name):
    """The dtype of an array that is worked on in place, float32 or float64."""
    dtype = None
    if isinstance(obj, ndarray):
        dtype = obj.dtype
    elif PyObject_CheckBuffer(obj):
        dtype = np.asarray(memoryview(obj)).dtype
    for known in (float32, float64):
        if dtype is not None and dtype == known:
            return known
    raise TypeError(f"{name} is changed in place and must be a float32 or float64 array, got {described(obj)}")


cdef int expect(const Array *array, str name, str letters, int ndim, int64_t s0, int64_t s1=1,
                int64_t s2=1) except -1:
    if (array.ndim == ndim and array.shape[0] == s0 and (ndim < 2 or array.shape[1] == s1)
            and (ndim < 3 or array.shape[2] == s2)):
        return 0
    cdef object sizes = (s0, s1, s2)
    want = sizes[:ndim]
    raise ValueError(f"{name} must have shape {letters} = {want}, got {shape_of(array)}")


cdef object shape_of(const Array *array):
    if array.ndim > 3:
        return f"{array.ndim} dimensions"
    return tuple(array.shape[i] for i in range(array.ndim))


cdef void *address(object array) except? NULL:
    """The data of an array that was checked before; NULL for None."""
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
    PyBuffer_Release(&view)
    return view.buf


cdef bint overlap(const void *a, int64_t a_bytes, const void *b, int64_t b_bytes) noexcept:
    """Whether two pieces of memory have bytes in common; NULL has none."""
    return (a != NULL and b != NULL and <uintptr_t>a < <uintptr_t>b + <uintptr_t>b_bytes
            and <uintptr_t>b < <uintptr_t>a + <uintptr_t>a_bytes)


cdef object apart_from(object written, object array):
    """An input that was checked before, or None; a copy if the array that the call writes (None: none) shares its
    memory."""
    cdef Py_buffer read, to
    if written is None or array is None:
        return array
    PyObject_GetBuffer(array, &read, PyBUF_C_CONTIGUOUS)
    PyBuffer_Release(&read)
    PyObject_GetBuffer(written, &to, PyBUF_C_CONTIGUOUS)
    PyBuffer_Release(&to)
    return array.copy() if overlap(read.buf, read.len, to.buf, to.len) else array


cdef int write_into(object flat, object value, str name) except -1:
    """flat[...] = value, for one of the two flat arrays."""
    if value is flat:
        return 0  # the second half of an in-place operator
    flat[...] = real_copy(value, name, flat.dtype, flat.shape)
    return 0
