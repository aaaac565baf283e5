# One step of each optimiser; the classes around them are in _optim.py.

def optimizer_arrays(params, grads):
    """(params, grads) as flat arrays that share memory with what was given; errors name what does not fit."""
    cdef Array p, g
    dtype = float_dtype(params, "params")
    params = as_output(params, "params", dtype, &p)
    if isinstance(grads, ndarray) and not has_mask(grads):
        grads = np.asarray(grads)  # of a subclass such as memmap, the array itself
    if not view_as(grads, dtype, False, &g):
        raise TypeError(f"grads must be a C-contiguous {dtype} array as params is, got {described(grads)}")
    if params.shape != grads.shape:
        raise ValueError(f"grads must have the shape of params = {params.shape}, got {grads.shape}")
    if params.size == 0:
        raise ValueError("params must not be empty")
    if np.may_share_memory(params, grads):  # exact for arrays without gaps
        raise ValueError("grads must have memory of its own, got one that overlaps with params")
    return params.reshape(-1), grads.reshape(-1)


def sgd_step(params, grads, velocity, double lr, double momentum, bint nesterov, double weight_decay):
    cdef int bits = bits_of(params.dtype)
    cdef int64_t n = params.size
    cdef void *p = address(params)
    cdef void *g = address(grads)
    cdef void *v = address(velocity)
    cdef bptt_status status
    with nogil:
        status = any_sgd(bits, n, p, g, v, lr, momentum, nesterov, weight_decay)
    check(status)


def rmsprop_step(params, grads, square, double lr, double alpha, double eps, double weight_decay):
    cdef int bits = bits_of(params.dtype)
    cdef int64_t n = params.size
    cdef void *p = address(params)
    cdef void *g = address(grads)
    cdef void *s = address(square)
    cdef bptt_status status
    with nogil:
        status = any_rmsprop(bits, n, p, g, s, lr, alpha, eps, weight_decay)
    check(status)


def adagrad_step(params, grads, square, double lr, double eps, double weight_decay):
    cdef int bits = bits_of(params.dtype)
    cdef int64_t n = params.size
    cdef void *p = address(params)
    cdef void *g = address(grads)
    cdef void *s = address(square)
    cdef bptt_status status
    with nogil:
        status = any_adagrad(bits, n, p, g, s, lr, eps, weight_decay)
    check(status)


def adam_step(params, grads, mean, square, steps, double lr, double beta1, double beta2, double eps,
              double weight_decay, bint decoupled):
    # steps: an array () of int64, counted here, where no signal handler comes between
    cdef int bits = bits_of(params.dtype)
    cdef int64_t n = params.size
    cdef void *p = address(params)
    cdef void *g = address(grads)
    cdef void *m = address(mean)
    cdef void *s = address(square)
    cdef int64_t *count = <int64_t *>address(steps)
    cdef bptt_status status
    with nogil:
        status = any_adam(bits, n, p, g, m, s, count[0] + 1, lr, beta1, beta2, eps, weight_decay, decoupled)
        if status == BPTT_OK:
            count[0] += 1
    check(status)
