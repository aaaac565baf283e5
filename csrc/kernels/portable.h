/* Products and sums of the portable set: plain C11 that any compiler takes, the fallback and the oracle of the other
 * sets. Loops have constant bounds so that compilers keep a tile in registers and vectorise it. */
#ifndef BPTT_KERNELS_PORTABLE_H
#define BPTT_KERNELS_PORTABLE_H
#ifndef VECTOR_BYTES
#define VECTOR_BYTES 0
#endif
#include "kernels/epilogue.h"
#include "kernels/kernels.h"
#include "kernels/pack_panel.h"
#include "kernels/vmath.h"

/* A tile of c is TILE_ROWS x PANEL_WIDTH. A panel holds PANEL_WIDTH columns of b, row by row; zeros fill the last. */
enum {
    PANEL_WIDTH = 32 / sizeof(REAL),
    TILE_ROWS = 4,
    DEPTH = 256 /* rows of a and b that `outer` takes at a time */
};

/* ---- products ------------------------------------------------------------------------------------------- */

LOCAL int64_t packed_size(int64_t k, int64_t n) { return (n + PANEL_WIDTH - 1) / PANEL_WIDTH * PANEL_WIDTH * k; }

LOCAL void pack(int64_t k, int64_t n, const REAL *w, int64_t row_stride, int64_t col_stride, REAL *panels) {
    for (int64_t j = 0; j < n; j += PANEL_WIDTH, panels += k * PANEL_WIDTH) {
        const int64_t filled = n - j < PANEL_WIDTH ? n - j : PANEL_WIDTH;
        pack_panel(k, w + j * col_stride, row_stride, col_stride, filled, PANEL_WIDTH, PANEL_WIDTH, panels);
    }
}

/* tile[i][j] += sum over r of a[i*row_stride + r*depth_stride] * panel[r][j], r in order, for i < rows (a constant) */
LOCAL void add_to_rows(const int rows, int64_t k, const REAL *a, int64_t row_stride, int64_t depth_stride,
                       const REAL *panel, REAL tile[TILE_ROWS][PANEL_WIDTH]) {
    REAL sum[TILE_ROWS][PANEL_WIDTH];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < PANEL_WIDTH; j++) sum[i][j] = tile[i][j];
    for (int64_t r = 0; r < k; r++, a += depth_stride, panel += PANEL_WIDTH)
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < PANEL_WIDTH; j++) sum[i][j] += a[i * row_stride] * panel[j];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < PANEL_WIDTH; j++) tile[i][j] = sum[i][j];
}

LOCAL void add_to_tile(int64_t rows, int64_t k, const REAL *a, int64_t row_stride, int64_t depth_stride,
                       const REAL *panel, REAL tile[TILE_ROWS][PANEL_WIDTH]) {
    if (rows == TILE_ROWS) {
        add_to_rows(TILE_ROWS, k, a, row_stride, depth_stride, panel, tile);
    } else {
        for (int64_t i = 0; i < rows; i++)
            add_to_rows(1, k, a + i * row_stride, row_stride, depth_stride, panel, tile + i);
    }
}

LOCAL void multiply(const product *p) {
    REAL tile[TILE_ROWS][PANEL_WIDTH];
    for (int64_t j = 0; j < p->n; j += PANEL_WIDTH) {
        const REAL *panel = p->panels + j * p->k;
        const size_t row_bytes = sizeof(REAL) * (size_t)(p->n - j < PANEL_WIDTH ? p->n - j : PANEL_WIDTH);
        for (int64_t i = 0; i < p->m; i += TILE_ROWS) {
            const int64_t rows = p->m - i < TILE_ROWS ? p->m - i : TILE_ROWS;
            memset(tile, 0, sizeof tile);
            if (p->init)
                for (int64_t row = 0; row < rows; row++) memcpy(tile[row], init_row(p, i + row) + j, row_bytes);
            add_to_tile(rows, p->k, p->a + i * p->lda, p->lda, 1, panel, tile);
            for (int64_t row = 0; row < rows; row++) memcpy(p->c + (i + row) * p->ldc + j, tile[row], row_bytes);
        }
    }
    apply_epilogue(p);
}

LOCAL void multiply_vector(int64_t n, int64_t k, const REAL *a, const REAL *panels, const REAL *init, REAL *c) {
    multiply(&(product){.m = 1, .n = n, .k = k, .a = a, .lda = k, .panels = panels, .init = init, .c = c});
}

/* tile += aT b for `rows` rows of c from i on and the rows r..end-1 of b, packed in panel; skipped rows are not read,
 * as NaN in a times the zeros in place of b would be NaN */
LOCAL void add_kept_rows(const outer_product *p, const outer_operand *operand, int64_t i, int64_t rows, int64_t r,
                         int64_t end, const REAL *panel, REAL tile[TILE_ROWS][PANEL_WIDTH]) {
    while (r < end) {
        const int64_t together = outer_rows_together(p, r, end);
        const uint8_t *skip = operand->skip ? operand->skip + outer_row(p, r) : NULL;
        int64_t kept = 0;
        while (kept < together && !(skip && skip[kept])) kept++;
        add_to_tile(rows, kept, p->a + r * p->lda + i, 1, p->lda, panel, tile);
        const int64_t passed = kept < together ? kept + 1 : kept; /* the row that ended them */
        r += passed;
        panel += passed * PANEL_WIDTH;
    }
}

/* c += aT b for PANEL_WIDTH columns from j on and `depth` rows of b from r on, packed in panel */
LOCAL void outer_panel(const outer_product *p, const outer_operand *operand, int64_t r, int64_t depth, int64_t j,
                       const REAL *panel) {
    REAL tile[TILE_ROWS][PANEL_WIDTH];
    const int64_t cols = operand->n - j < PANEL_WIDTH ? operand->n - j : PANEL_WIDTH;
    for (int64_t i = 0; i < operand->m; i += TILE_ROWS) {
        const int64_t rows = operand->m - i < TILE_ROWS ? operand->m - i : TILE_ROWS;
        memset(tile, 0, sizeof tile);
        add_kept_rows(p, operand, i, rows, r, r + depth, panel, tile);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t col = 0; col < cols; col++) operand->c[(i + row) * operand->ldc + j + col] += tile[row][col];
    }
}

LOCAL void outer_with(const outer_product *p, const outer_operand *operand) {
    REAL panel[DEPTH * PANEL_WIDTH];
    for (int64_t begin = 0; begin < p->k; begin += DEPTH) {
        const int64_t depth = p->k - begin < DEPTH ? p->k - begin : DEPTH;
        for (int64_t j = 0; j < operand->n; j += PANEL_WIDTH) {
            const int64_t cols = operand->n - j < PANEL_WIDTH ? operand->n - j : PANEL_WIDTH;
            memset(panel, 0, (size_t)(depth * PANEL_WIDTH) * sizeof(REAL));
            for (int64_t r = 0; r < depth; r++) {
                const int64_t at = outer_row(p, begin + r);
                if (operand->skip && operand->skip[at]) continue;
                memcpy(panel + r * PANEL_WIDTH, operand->b + at * operand->ldb + j, (size_t)cols * sizeof(REAL));
            }
            outer_panel(p, operand, begin, depth, j, panel);
        }
    }
}

LOCAL void outer(const outer_product *p) {
    for (int i = 0; i < OUTER_OPERANDS; i++)
        if (p->operands[i].m) outer_with(p, p->operands + i);
}

/* none: it packs no rows of a */
LOCAL int64_t outer_scratch(int64_t m) { return 0 * m; }

/* ---- sums ------------------------------------------------------------------------------------------------- */

LOCAL void add_column_sums(int64_t rows, int64_t n, const REAL *a, int64_t lda, REAL *sums) {
    REAL sum[PANEL_WIDTH];
    for (int64_t begin = 0; begin < n; begin += PANEL_WIDTH) {
        const int64_t cols = n - begin < PANEL_WIDTH ? n - begin : PANEL_WIDTH;
        memset(sum, 0, sizeof sum);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t j = 0; j < cols; j++) sum[j] += a[row * lda + begin + j];
        for (int64_t j = 0; j < cols; j++) sums[begin + j] += sum[j];
    }
}

LOCAL double sum_of_eight(const double sum[8]) {
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

LOCAL double sum_squares(int64_t n, const REAL *x) {
    double sum[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) sum[j] += (double)x[i + j] * (double)x[i + j];
    for (; i < n; i++) sum[i % 8] += (double)x[i] * (double)x[i];
    return sum_of_eight(sum);
}

LOCAL double squared_error(int64_t n, REAL scale, const REAL *a, const REAL *b, REAL *y) {
    double sum[8] = {0};
    for (int64_t i = 0; i < n; i++) {
        const REAL error = a[i] - b[i];
        sum[i % 8] += (double)error * (double)error;
        if (y) y[i] = scale * error;
    }
    return sum_of_eight(sum);
}

LOCAL REAL exp_shifted(int64_t n, const REAL *x, REAL shift, REAL *y) {
    for (int64_t i = 0; i < n; i++) y[i] = vec_exp(x[i] - shift);
    REAL sum = 0;
    for (int64_t i = 0; i < n; i++) sum += y[i];
    return sum;
}
#endif
