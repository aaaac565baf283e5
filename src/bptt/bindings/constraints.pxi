# Constraints on parameters: the projection onto their rules, and the norms of rows.

RULES = {"zero": BPTT_RULE_ZERO, 1: BPTT_RULE_AT_LEAST_ZERO, -1: BPTT_RULE_AT_MOST_ZERO, 0: BPTT_RULE_FREE}
"""The core's numbers: of a masked element, and of one with that sign."""


def constrain(array, rules, bint masks_only):
    """An array of the network's dtype, in place; rules are of its shape, int8."""
    cdef int bits = bits_of(array.dtype)
    cdef int64_t n = array.size
    cdef const int8_t *r = <const int8_t *>address(rules)
    cdef void *x = address(array)
    cdef bptt_status status
    with nogil:
        status = any_constrain(bits, n, r, masks_only, x)
    check(status)


def clip_row_norms(array, double max_norm):
    """Each row of a matrix, in place, to a norm of at most max_norm."""
    cdef int bits = bits_of(array.dtype)
    cdef int64_t row, rows = array.shape[0], columns = array.shape[1]
    cdef char *data = <char *>address(array)
    cdef double norm
    cdef bptt_status status = BPTT_OK
    with nogil:
        for row in range(rows):
            status = any_clip_norm(bits, columns, <void *>(data + row * columns * (bits >> 3)), max_norm, &norm)
            if status != BPTT_OK:
                break
    check(status)
