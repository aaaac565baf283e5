/* bptt_step for one row: compiled per instruction set, as a step of a small network takes hardly longer than its
 * checks and the addresses of its weights would elsewhere. */
#ifndef BPTT_KERNELS_STEP_ROW_H
#define BPTT_KERNELS_STEP_ROW_H
#include "base/arena.h"
#include "kernels/vec.h"
#include "network/packed.h"
#if VECTOR_BYTES == 0
#include "kernels/portable.h"
#else
#include "kernels/gemm.h"
#endif

extern const kernels TABLE;

/* memcmp for bytes that are at least a vector, but for the sign: vectors from both ends, the last may overlap. Not
 * INLINE: it is passed by a pointer, which GCC at -O1 does not inline. */
#if VECTOR_BYTES
INLINE vec_bits differing_bits(const void *a, const void *b) {
    return to_bits(load((const REAL *)a)) ^ to_bits(load((const REAL *)b));
}

LOCAL int compare_bytes(const void *a, const void *b, size_t size) {
    const char *from = a, *other = b;
    const size_t last = size - VECTOR_BYTES;
    vec_bits differ = differing_bits(from + last, other + last);
    UNROLL
    for (size_t i = 0; i < last; i += VECTOR_BYTES) differ |= differing_bits(from + i, other + i);
    return any_bit(differ);
}
#else
#define compare_bytes memcmp
#endif

/* y = W_ho h + b_o, or h where the network has no readout */
INLINE void write_row(const REAL *packed, const REAL *h, REAL *y) {
    const int64_t H = HEADER_AT(packed, spec.hidden_size), O = HEADER_AT(packed, spec.output_size);
    const REAL *ho = packed + HEADER_AT(packed, forms[ONE_ROW].ho),
               *bias = packed + HEADER_AT(packed, forms[ONE_ROW].bias_o);
    if (O) multiply_vector(O, H, h, ho, bias, y);
    else memcpy(y, h, (size_t)H * sizeof(REAL));
}

/* All layers and the output. Members of `row` that forward does not read are not set: clearing them would take as long
 * as a small layer. */
OUT_OF_LINE bptt_status step_row(const void *sample, const REAL *z, const REAL *packed, const REAL *x, REAL *state,
                                 REAL *y, REAL *work) {
    const int64_t H = HEADER_AT(packed, spec.hidden_size), L = HEADER_AT(packed, layers);
    const int64_t gates = HEADER_AT(packed, gates);
    REAL *h = state;
    row_step row;
    row.I = HEADER_AT(packed, spec.input_size);
    row.step.H = row.step.ld = row.step.ld_prev = H;
    row.scratch = first_line(work);
    row.step.gates = gates ? row.scratch + gates : NULL;
    row.activation = (int)HEADER_AT(packed, activation);
    /* steps on consecutive samples alternate, so that each finds in the cache what the one before used last */
    row.reverse_panels = ((uintptr_t)sample & (uintptr_t)HEADER_AT(packed, odd_bit)) != 0;
    row.x = x;
    row.z = z;
    for (int64_t layer = 0; layer < L; layer++) {
        const layer_pieces pieces = layer_at(packed, ONE_ROW, layer);
        row.inputs = PIECE(pieces, inputs);
        row.input_bias = PIECE(pieces, input_bias);
        row.hh_bias = PIECE(pieces, hh_bias);
        row.recurrent[0] = PIECE(pieces, recurrent[0]);
        row.recurrent[1] = PIECE(pieces, recurrent[1]);
        row.step.peepholes = PIECE_OR_NULL(pieces, peepholes);
        row.step.leak = PIECE(pieces, leak);
        row.step.h_prev = row.operand = row.step.h = h;
        row.step.c_prev = row.step.c = h + L * H;
        TABLE.rows[HEADER_AT(packed, row_number)](&row);
        row.x = h;
        row.I = H;
        h += H;
    }
    if (y) write_row(packed, h - H, y);
    return BPTT_OK;
}

LOCAL bptt_status step(const bptt_spec *spec, int64_t B, const REAL *packed, const REAL *x, REAL *state, REAL *y,
                       REAL *work) {
    const single_step single = {
        .kernels = &TABLE, .spec = spec, .packed = packed, .x = x, .state = state, .work = work, .B = B};
    if (B != 1 || !opens_at_once(&single, 0, compare_bytes))
        return TYPED(bptt_internal_step)(spec, B, packed, x, state, y, work);
    return step_row(x, NULL, packed, x, state, y, work);
}
#endif
