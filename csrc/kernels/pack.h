/* Panels: the layout of a packed (k,n) matrix b.
 *
 * A panel is PANEL_WIDTH columns of b (two vectors), row by row: (k,PANEL_WIDTH). Panels follow one another; the last
 * is a single vector wide where that is enough, and zeros fill its columns beyond b. One or two columns beyond whole
 * vectors (65 = 64 + 1), or few columns at all, would leave most of a vector empty: such tail columns lie behind the
 * panels, each (k,). */
#ifndef BPTT_KERNELS_PACK_H
#define BPTT_KERNELS_PACK_H
#include "kernels/vec.h"

enum { PANEL_WIDTH = 2 * LANES };

/* columns that lie in panels; the others, if any, are tail columns */
LOCAL int64_t panel_columns(int64_t n) {
    const int64_t beyond = n & (LANES - 1);
    return beyond <= (n > LANES ? LANES / 8 : LANES / 4) ? n - beyond : n;
}

LOCAL int64_t packed_size(int64_t k, int64_t n) {
    return panel_columns(n) < n ? n * k : (n + LANES - 1) / LANES * LANES * k;
}

/* columns of the panel that begins at column j, of n in all panels */
LOCAL int panel_width(int64_t j, int64_t n) { return n - j > LANES ? PANEL_WIDTH : LANES; }

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

/* Four rows of a panel, ld apart, from a matrix stored by columns, `filled` of `width`: 4 x 4 blocks are transposed in
 * registers, the remaining columns copied one by one. */
INLINE void pack_four_rows(const REAL *w, int64_t col_stride, int64_t filled, int width, int64_t ld, REAL *panel) {
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
    for (; j < filled; j++, w += col_stride)
        for (int row = 0; row < 4; row++) panel[row * ld + j] = w[row];
    for (; j < width; j++)
        for (int row = 0; row < 4; row++) panel[row * ld + j] = 0;
}

LOCAL void pack(int64_t k, int64_t n, const REAL *w, int64_t row_stride, int64_t col_stride, REAL *panels) {
    const int64_t in_panels = panel_columns(n);
    for (int64_t panel_begin = 0; panel_begin < in_panels; panel_begin += PANEL_WIDTH) {
        const int width = panel_width(panel_begin, in_panels);
        const int64_t filled = in_panels - panel_begin < width ? in_panels - panel_begin : width;
        const REAL *row = w + panel_begin * col_stride;
        int64_t i = 0;
        for (; row_stride == 1 && i + 4 <= k; i += 4, row += 4, panels += 4 * width)
            pack_four_rows(row, col_stride, filled, width, width, panels);
        for (; i < k; i++, row += row_stride, panels += width) {
            for (int64_t j = 0; j < filled; j++) panels[j] = row[j * col_stride];
            for (int64_t j = filled; j < width; j++) panels[j] = 0;
        }
    }
    for (int64_t j = in_panels; j < n; j++)
        for (int64_t i = 0; i < k; i++) *panels++ = w[i * row_stride + j * col_stride];
}
#endif
