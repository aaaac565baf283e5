# A training by nothing but bptt.h, in Cython; tests/link/train.h is the same in C.

from libc.stdint cimport int64_t
from libc.string cimport memset

from bptt cimport (
    BPTT_CELL_TANH, BPTT_OK, BPTT_REDUCTION_MEAN, bptt_adam_f32, bptt_backward_f32, bptt_clip_norm_f32,
    bptt_forward_f32, bptt_import, bptt_mse_f32, bptt_sizes, bptt_sizes_f32, bptt_spec, bptt_status,
    bptt_status_string,
)

bptt_import()

cdef enum:
    STEPS = 20
    ROWS = 4
    INPUTS = 2
    HIDDEN = 16
    UPDATES = 40


cdef int check(bptt_status status) except -1 nogil:
    if status != BPTT_OK:
        with gil:
            raise ValueError(f"bptt: {bptt_status_string(status).decode()}")
    return 0


cdef float number(int64_t i) noexcept:
    return <float>(i * 37 % 101 - 50) / 128


cdef float *floats(int64_t n, list owner):
    """n zeroed floats that live as long as `owner`."""
    owner.append(bytearray(n * sizeof(float)))
    return <float *><char *><bytearray>owner[-1]


def train():
    """The loss of the last update."""
    cdef bptt_spec spec
    memset(&spec, 0, sizeof(bptt_spec))
    spec.struct_size = sizeof(bptt_spec)
    spec.input_size = spec.output_size = INPUTS
    spec.hidden_size = HIDDEN
    spec.cell = BPTT_CELL_TANH
    spec.bias = 1
    cdef bptt_sizes sizes
    sizes.struct_size = sizeof(bptt_sizes)
    check(bptt_sizes_f32(&spec, STEPS, ROWS, NULL, &sizes))

    owner = []
    cdef float *x = floats(STEPS * ROWS * INPUTS, owner)
    cdef float *target = floats(sizes.output, owner)
    cdef float *y = floats(sizes.output, owner)
    cdef float *dy = floats(sizes.output, owner)
    cdef float *params = floats(sizes.params, owner)
    cdef float *grads = floats(sizes.params, owner)
    cdef float *mean = floats(sizes.params, owner)
    cdef float *square = floats(sizes.params, owner)
    cdef float *tape = floats(sizes.tape, owner)
    cdef float *work = floats(max(sizes.forward_work, sizes.backward_work), owner)
    cdef int64_t i, step
    for i in range(STEPS * ROWS * INPUTS):
        x[i] = number(i * i)
        target[i] = x[i - ROWS * INPUTS] if i >= ROWS * INPUTS else 0
    for i in range(sizes.params):
        params[i] = number(i)

    cdef double loss, norm
    with nogil:
        for step in range(1, UPDATES + 1):
            check(bptt_forward_f32(&spec, STEPS, ROWS, params, x, NULL, y, NULL, tape, work, NULL))
            check(bptt_mse_f32(STEPS * ROWS, INPUTS, y, target, NULL, BPTT_REDUCTION_MEAN, dy, &loss))
            memset(grads, 0, sizes.params * sizeof(float))
            check(bptt_backward_f32(&spec, STEPS, ROWS, params, x, tape, dy, NULL, NULL, NULL, grads, work, NULL))
            check(bptt_clip_norm_f32(sizes.params, grads, 1.0, &norm))
            check(bptt_adam_f32(sizes.params, params, grads, mean, square, step, 1e-2, 0.9, 0.999, 1e-8, 0.0, 0))
    return loss
