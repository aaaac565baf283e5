/* One panel of packed weights: some columns of a matrix with any strides, copied row by row. */
#ifndef BPTT_KERNELS_PACK_PANEL_H
#define BPTT_KERNELS_PACK_PANEL_H
#include "kernels/vec.h"

#if VECTOR_BYTES
/* Four unaligned elements; SHUFFLE picks any four of the eight elements of two such. QUAD_AT is a macro because a
 * function cannot return 32 bytes in a register without AVX. */
typedef REAL quad __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
#define QUAD_AT(address) (*(quad *)(address))
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef UINT quad_bits __attribute__((vector_size(4 * sizeof(UINT))));
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (quad_bits){__VA_ARGS__})
#endif

/* Four rows of a panel, ld apart, from a matrix stored by columns: 4 x 4 blocks are transposed in registers. Returns
 * how many columns it did. */
INLINE int64_t pack_four_rows(const REAL *w, int64_t col_stride, int64_t filled, int64_t ld, REAL *panel) {
    int64_t j = 0;
    for (; j + 4 <= filled; j += 4, w += 4 * col_stride) {
        const quad a = QUAD_AT(w), b = QUAD_AT(w + col_stride);
        const quad c = QUAD_AT(w + 2 * col_stride), d = QUAD_AT(w + 3 * col_stride);
        const quad ab = SHUFFLE(a, b, 0, 4, 1, 5), cd = SHUFFLE(c, d, 0, 4, 1, 5);
        const quad ab_high = SHUFFLE(a, b, 2, 6, 3, 7), cd_high = SHUFFLE(c, d, 2, 6, 3, 7);
        QUAD_AT(panel + j) = SHUFFLE(ab, cd, 0, 1, 4, 5);
        QUAD_AT(panel + ld + j) = SHUFFLE(ab, cd, 2, 3, 6, 7);
        QUAD_AT(panel + 2 * ld + j) = SHUFFLE(ab_high, cd_high, 0, 1, 4, 5);
        QUAD_AT(panel + 3 * ld + j) = SHUFFLE(ab_high, cd_high, 2, 3, 6, 7);
    }
    return j;
}
#endif

/* A row of a panel whose elements lie side by side in the matrix. */
INLINE void pack_row(const REAL *w, int64_t filled, int64_t width, REAL *panel) {
    for (int64_t j = 0; j < width; j += LANES) {
        const int64_t left = filled - j;
        store(panel + j, left >= LANES ? load(w + j) : left > 0 ? load_part(w + j, left) : splat(0));
    }
}

/* Columns of a panel from `begin` on, one element after another. */
OUT_OF_LINE void pack_elements(int64_t begin, int64_t k, const REAL *w, int64_t row_stride, int64_t col_stride,
                               int64_t filled, int64_t width, int64_t ld, REAL *panel) {
    for (int64_t i = 0; i < k; i++, w += row_stride, panel += ld)
        for (int64_t j = begin; j < width; j++) panel[j] = j < filled ? w[j * col_stride] : 0;
}

/* k rows of a panel, ld apart: element (i,j) is w[i*row_stride + j*col_stride] for j < filled, zero up to width. */
OUT_OF_LINE void pack_panel(int64_t k, const REAL *w, int64_t row_stride, int64_t col_stride, int64_t filled,
                            int64_t width, int64_t ld, REAL *panel) {
    int64_t i = 0;
    for (; col_stride == 1 && i < k; i++) pack_row(w + i * row_stride, filled, width, panel + i * ld);
#if VECTOR_BYTES
    for (; row_stride == 1 && i + 4 <= k; i += 4) {
        const int64_t done = pack_four_rows(w + i, col_stride, filled, ld, panel + i * ld);
        if (done < width) pack_elements(done, 4, w + i, 1, col_stride, filled, width, ld, panel + i * ld);
    }
#endif
    if (i < k) pack_elements(0, k - i, w + i * row_stride, row_stride, col_stride, filled, width, ld, panel + i * ld);
}
#endif
