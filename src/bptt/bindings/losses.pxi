# Losses: the value and its gradient in one pass.

cdef bptt_reduction reduction_of(object name) except *:
    if name == "mean":
        return BPTT_REDUCTION_MEAN
    if name == "sum":
        return BPTT_REDUCTION_SUM
    raise ValueError(f"reduction must be 'mean' or 'sum', got {name!r}")


cdef object loss_array(object y, str name, Array *array, int64_t *rows, int64_t *cols):
    """The first array of a loss: float32 stays, everything else is taken as float64."""
    y = as_ndarray(y, name, "fiub", "real numbers")
    y = as_input(y, name, float32 if y.dtype == float32 else float64, array)
    if y.ndim < 2 or y.size == 0:
        raise ValueError(f"{name} must have shape (..., C) with at least 2 axes, none of them empty, got {y.shape}")
    cols[0] = y.shape[y.ndim - 1]
    rows[0] = y.size // cols[0]
    return y


cdef object same_shape(object obj, object shape, str name, str like):
    if obj.shape != shape:
        raise ValueError(f"{name} must have shape {like} = {shape}, got {obj.shape}")
    return obj


cdef object target_array(object given, object y, str like, Array *array):
    """The target of a loss by elements, in the type and the shape of y."""
    target = as_input(given, "target", dtype_of(bits_of(y.dtype)), array)
    try:
        return same_shape(target, y.shape, "target", like)
    except ValueError as error:
        raise ValueError(f"{error}{target_hint(given, y.shape)}") from None


cdef object label_array(object given, object logits, Array *array):
    """Labels of the rows of logits."""
    try:
        labels = as_labels(given, "labels", array)
        return same_shape(labels, logits.shape[:logits.ndim - 1], "labels", "logits.shape[:-1]")
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}{labels_hint(given, logits.shape)}") from None


cdef object class_weights(object weight, object logits, Array *array):
    """Weights of the classes of logits, in their type; the core checks the values."""
    array.data = NULL
    if weight is None:
        return None
    with np.errstate(over="ignore"):  # what is Inf in that type is an error of its own
        weight = as_input(weight, "weight", logits.dtype, array)
    return same_shape(weight, logits.shape[-1:], "weight", "(C,)")


cdef object weights_error(object weight, object dtype):
    """Says which weight is not finite in the type, or below 0."""
    label = int(np.argmin((weight >= 0) & np.isfinite(weight)))
    return ValueError(f"weight must be finite numbers of at least 0 in {dtype}, got {weight[label]} for class {label}")


cdef double smoothing_of(object value) except -1:
    if type(value) is float and 0 <= value <= 1:
        return value
    return number(value, "label_smoothing", 0, 1)


cdef object loss_mask(object mask, object y, str name, Array *array):
    array.data = NULL
    if mask is None:
        return None
    return same_shape(as_flags(mask, "mask", array), y.shape[:y.ndim - 1], "mask", f"{name}.shape[:-1]")


def mse(y, target, *, mask=None, reduction="mean"):
    """Mean (or sum) of squared errors, and its gradient with respect to y.

    Parameters
    ----------
    y, target : array_like, (..., C), such as (T,B,O)
        Taken as float32 where y is, otherwise as float64.
    mask : array_like of bool, y.shape[:-1], optional
        False leaves a row out.
    reduction : {"mean", "sum"}
        The mean is over the elements that count.

    Returns
    -------
    loss : float
    dy : numpy.ndarray of y's shape
    """
    cdef Array a, t, m
    cdef int64_t rows, cols
    cdef double loss = 0
    cdef bptt_status status
    cdef bptt_reduction how = reduction_of(reduction)
    y = loss_array(y, "y", &a, &rows, &cols)
    cdef int bits = bits_of(y.dtype)
    target = target_array(target, y, "y.shape", &t)
    mask = loss_mask(mask, y, "y", &m)
    dy = empty(y.shape, dtype_of(bits))
    cdef void *out = address(dy)
    with nogil:
        status = any_mse(bits, rows, cols, a.data, t.data, <const uint8_t *>m.data, how, out, &loss)
    check(status)
    return loss, dy


def huber(y, target, *, delta=1.0, mask=None, reduction="mean"):
    """Huber's loss (1964; torch.nn.HuberLoss), and its gradient with respect to y.

    Of an error e up to delta e*e/2, beyond delta*(abs(e) - delta/2): an outlier pulls with a slope of delta, no more.

    Parameters
    ----------
    y, target : array_like, (..., C), such as (T,B,O)
        Taken as float32 where y is, otherwise as float64.
    delta : float
        Above 0; inf is half the squared error everywhere.
    mask : array_like of bool, y.shape[:-1], optional
        False leaves a row out.
    reduction : {"mean", "sum"}
        The mean is over the elements that count.

    Returns
    -------
    loss : float
    dy : numpy.ndarray of y's shape

    Raises
    ------
    ValueError, TypeError
        If a shape, a type, delta or reduction does not fit.
    """
    cdef Array a, t, m
    cdef int64_t rows, cols
    cdef double loss = 0, limit = threshold(delta, "delta")
    cdef bptt_status status
    cdef bptt_reduction how = reduction_of(reduction)
    y = loss_array(y, "y", &a, &rows, &cols)
    cdef int bits = bits_of(y.dtype)
    target = target_array(target, y, "y.shape", &t)
    mask = loss_mask(mask, y, "y", &m)
    dy = empty(y.shape, dtype_of(bits))
    cdef void *out = address(dy)
    with nogil:
        status = any_huber(bits, rows, cols, a.data, t.data, limit, <const uint8_t *>m.data, how, out, &loss)
    if status == BPTT_ERROR_OPTION:
        raise ValueError(f"delta must be above 0 in {y.dtype}, got {delta!r}")
    check(status)
    return loss, dy


def cross_entropy(logits, labels, *, weight=None, label_smoothing=0.0, mask=None, reduction="mean", ignore_index=-100):
    """Softmax cross-entropy on integer labels, and its gradient with respect to the logits.

    Parameters
    ----------
    logits : array_like, (..., C), such as (T,B,C)
        Taken as float64 unless it is float32.
    labels : array_like of int, logits.shape[:-1]
        Each in 0..C-1, or ignore_index.
    weight : array_like, (C,), optional
        What a label of each class weighs, finite and at least 0: rare classes more, to count as much as others.
    label_smoothing : float
        e, in [0, 1]: the share of the target that goes evenly to all C classes, their terms weighed too:
        (1-e)*w[label]*(-log p[label]) + e/C * sum_c w[c]*(-log p[c]), as in torch.
    mask : array_like of bool, of the labels' shape, optional
        False leaves a row out.
    reduction : {"mean", "sum"}
        The mean is over the rows that count; with `weight` the sum is divided by the sum of their labels' weights.
        Where that is 0, loss and gradient are 0.
    ignore_index : int
        The label of a row that does not count.

    Returns
    -------
    loss : float
        In nats.
    dlogits : numpy.ndarray of the logits' shape

    Raises
    ------
    ValueError, TypeError
        If a shape, a type, a label, a weight, label_smoothing or reduction does not fit.
    """
    cdef Array a, t, w, m
    cdef int64_t rows, cols, ignored = index(ignore_index, "ignore_index", -2**63)
    cdef double loss = 0, smoothing = smoothing_of(label_smoothing)
    cdef bptt_status status
    cdef bptt_reduction how = reduction_of(reduction)
    logits = loss_array(logits, "logits", &a, &rows, &cols)
    cdef int bits = bits_of(logits.dtype)
    labels = label_array(labels, logits, &t)
    weight = class_weights(weight, logits, &w)
    mask = loss_mask(mask, logits, "logits", &m)
    dy = empty(logits.shape, dtype_of(bits))
    cdef void *out = address(dy)
    with nogil:
        status = any_cross_entropy(bits, rows, cols, a.data, <const int64_t *>t.data, ignored, w.data, smoothing,
                                   <const uint8_t *>m.data, how, out, &loss)
    if status == BPTT_ERROR_LABEL:
        counted = labels[labels != ignored] if mask is None else labels[(labels != ignored) & mask]
        wrong = counted[(counted < 0) | (counted >= cols)][0]
        raise ValueError(f"labels must be in 0..{cols - 1} or {ignored} (ignored), got {wrong}")
    if status == BPTT_ERROR_OPTION:
        raise weights_error(weight, logits.dtype)
    check(status)
    return loss, dy


def binary_cross_entropy(logits, target, *, mask=None, reduction="mean"):
    """Binary cross-entropy on logits, and its gradient with respect to them.

    Parameters
    ----------
    logits, target : array_like, (..., C)
        Targets are from 0 to 1. Taken as float32 where the logits are, otherwise as float64.
    mask : array_like of bool, logits.shape[:-1], optional
        False leaves a row out.
    reduction : {"mean", "sum"}
        The mean is over the elements that count.

    Returns
    -------
    loss : float
        In nats.
    dlogits : numpy.ndarray of the logits' shape
    """
    cdef Array a, t, m
    cdef int64_t rows, cols
    cdef double loss = 0
    cdef bptt_status status
    cdef bptt_reduction how = reduction_of(reduction)
    logits = loss_array(logits, "logits", &a, &rows, &cols)
    cdef int bits = bits_of(logits.dtype)
    target = target_array(target, logits, "logits.shape", &t)
    mask = loss_mask(mask, logits, "logits", &m)
    dy = empty(logits.shape, dtype_of(bits))
    cdef void *out = address(dy)
    with nogil:
        status = any_binary_cross_entropy(bits, rows, cols, a.data, t.data, <const uint8_t *>m.data, how, out, &loss)
    check(status)
    return loss, dy
