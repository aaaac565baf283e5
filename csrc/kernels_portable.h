/* The portable kernels: plain C11 that any compiler takes, and the oracle of the other sets. The loops have
 * fixed bounds so that compilers keep a tile in registers and vectorise it. Included once per type. */
#include "real.h"

#include "kernels.h"

/* A tile of c is ROWS x WIDTH. A panel holds WIDTH columns of b, row by row, the last panel padded with zeros. */
#undef WIDTH
#undef ROWS
#undef DEPTH
#define WIDTH ((int)(32 / sizeof(REAL)))
#define ROWS 4
#define DEPTH 256 /* rows of a and b that `outer` takes at a time */

#undef V
#undef VU
#undef BITS
#undef REALS
#undef SPLAT
#undef CHOOSE
#undef SMALLER
#undef LARGER
#undef SCALE
#undef ROOT
#undef MATH
#define V REAL
#define VU UINT
#define BITS(v) TYPED(bits)(v)
#define REALS(u) TYPED(reals)(u)
#define SPLAT(x) ((REAL)(x))
#define CHOOSE(a, b, x, y) ((a) < (b) ? (x) : (y))
#define ROOT(x) SQRT(x)
#define SMALLER(a, b) CHOOSE(a, b, a, b)
#define LARGER(a, b) CHOOSE(b, a, a, b)
#define MATH(name) TYPED(scalar_##name)

static inline UINT TYPED(bits)(REAL v) {
    UINT u;
    memcpy(&u, &v, sizeof u);
    return u;
}

static inline REAL TYPED(reals)(UINT u) {
    REAL v;
    memcpy(&v, &u, sizeof v);
    return v;
}

#include "vmath.h"

/* vectors of one element */
#undef LANES
#undef INLINE
#define LANES 1
#define INLINE static inline
static inline V TYPED(load)(const REAL *p) { return *p; }
static inline void TYPED(store)(REAL *p, V v) { *p = v; }
static inline V TYPED(load_part)(const REAL *p, int64_t n) { return n ? *p : 0; }
static inline void TYPED(store_part)(REAL *p, V v, int64_t n) {
    if (n) *p = v;
}

#include "elementwise.h"

#include "update.h"

static int64_t TYPED(packed_size)(int64_t k, int64_t n) { return (n + WIDTH - 1) / WIDTH * WIDTH * k; }

static void TYPED(pack)(int64_t k, int64_t n, const REAL *w, int64_t row_stride, int64_t col_stride, REAL *panels) {
    for (int64_t j0 = 0; j0 < n; j0 += WIDTH)
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = j0; j < j0 + WIDTH; j++) *panels++ = j < n ? w[i * row_stride + j * col_stride] : 0;
}

/* tile[i][j] += sum_r a[i*a_unit + r*a_step] * panel[r][j], the r in order, i < rows (a constant where inlined) */
static inline void TYPED(tile)(const int rows, int64_t k, const REAL *a, int64_t a_unit, int64_t a_step,
                               const REAL *panel, REAL tile[ROWS][WIDTH]) {
    REAL sum[ROWS][WIDTH];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < WIDTH; j++) sum[i][j] = tile[i][j];
    for (int64_t r = 0; r < k; r++, a += a_step, panel += WIDTH)
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < WIDTH; j++) sum[i][j] += a[i * a_unit] * panel[j];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < WIDTH; j++) tile[i][j] = sum[i][j];
}

static void TYPED(any_tile)(int64_t rows, int64_t k, const REAL *a, int64_t a_unit, int64_t a_step, const REAL *panel,
                            REAL tile[ROWS][WIDTH]) {
    if (rows == ROWS) {
        TYPED(tile)(ROWS, k, a, a_unit, a_step, panel, tile);
    } else {
        for (int64_t i = 0; i < rows; i++) TYPED(tile)(1, k, a + i * a_unit, a_unit, a_step, panel, tile + i);
    }
}

static void TYPED(multiply)(const TYPED(product) * p) {
    REAL tile[ROWS][WIDTH];
    for (int64_t j = 0; j < p->n; j += WIDTH) {
        const REAL *panel = p->panels + j * p->k;
        const size_t width = sizeof(REAL) * (size_t)(p->n - j < WIDTH ? p->n - j : WIDTH);
        for (int64_t i = 0; i < p->m; i += ROWS) {
            const int64_t rows = p->m - i < ROWS ? p->m - i : ROWS;
            memset(tile, 0, sizeof tile);
            if (p->init)
                for (int64_t r = 0; r < rows; r++) memcpy(tile[r], p->init + (i + r) * p->ldinit + j, width);
            TYPED(any_tile)(rows, p->k, p->a + i * p->lda, p->lda, 1, panel, tile);
            for (int64_t r = 0; r < rows; r++) memcpy(p->c + (i + r) * p->ldc + j, tile[r], width);
        }
    }
    for (int64_t i = 0; i < p->m && p->finish; i++) {
        REAL *c = p->c + i * p->ldc;
        if (p->finish == FINISH_ACTIVATE) TYPED(activate)(p->cell, p->n, c);
        else TYPED(slope)(p->cell, p->n, p->h + i * p->ldh, c, c);
    }
}

static void TYPED(outer)(const TYPED(outer_product) * p) {
    REAL tile[ROWS][WIDTH], panel[DEPTH * WIDTH];
    for (int64_t r0 = 0; r0 < p->k; r0 += DEPTH) {
        const int64_t depth = p->k - r0 < DEPTH ? p->k - r0 : DEPTH;
        for (int64_t j = 0; j < p->n; j += WIDTH) {
            const int64_t width = p->n - j < WIDTH ? p->n - j : WIDTH;
            memset(panel, 0, (size_t)(depth * WIDTH) * sizeof(REAL));
            for (int64_t r = 0; r < depth; r++)
                if (!(p->skip && p->skip[r0 + r]))
                    memcpy(panel + r * WIDTH, p->b + (r0 + r) * p->ldb + j, (size_t)width * sizeof(REAL));
            for (int64_t i = 0; i < p->m; i += ROWS) {
                const int64_t rows = p->m - i < ROWS ? p->m - i : ROWS;
                memset(tile, 0, sizeof tile);
                TYPED(any_tile)(rows, depth, p->a + r0 * p->lda + i, 1, p->lda, panel, tile);
                for (int64_t row = 0; row < rows; row++)
                    for (int64_t col = 0; col < width; col++) p->c[(i + row) * p->ldc + j + col] += tile[row][col];
            }
        }
    }
}

static void TYPED(add_column_sums)(int64_t rows, int64_t n, const REAL *a, int64_t lda, REAL *sums) {
    REAL sum[WIDTH];
    for (int64_t j0 = 0; j0 < n; j0 += WIDTH) {
        const int64_t width = n - j0 < WIDTH ? n - j0 : WIDTH;
        memset(sum, 0, sizeof sum);
        for (int64_t row = 0; row < rows; row++)
            for (int64_t j = 0; j < width; j++) sum[j] += a[row * lda + j0 + j];
        for (int64_t j = 0; j < width; j++) sums[j0 + j] += sum[j];
    }
}

static double TYPED(sum_squares)(int64_t n, const REAL *x) {
    double sum[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) sum[j] += (double)x[i + j] * (double)x[i + j];
    for (; i < n; i++) sum[i % 8] += (double)x[i] * (double)x[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

static REAL TYPED(exp_shifted)(int64_t n, const REAL *x, REAL shift, REAL *y) {
    for (int64_t i = 0; i < n; i++) y[i] = MATH(exp)(x[i] - shift);
    REAL sum = 0;
    for (int64_t i = 0; i < n; i++) sum += y[i];
    return sum;
}

const TYPED(kernels) TYPED(bptt_internal_portable) = {
    .name = "portable",
    .packed_size = TYPED(packed_size),
    .pack = TYPED(pack),
    .multiply = TYPED(multiply),
    .outer = TYPED(outer),
    .slope = TYPED(slope),
    .add_column_sums = TYPED(add_column_sums),
    .sum_squares = TYPED(sum_squares),
    .exp_shifted = TYPED(exp_shifted),
    .logistic = TYPED(logistic),
    .add_scaled = TYPED(add_scaled),
    .difference = TYPED(difference),
    .clamp = TYPED(clamp),
    .lstm_forward = TYPED(lstm_forward),
    .lstm_backward = TYPED(lstm_backward),
    .gru_forward = TYPED(gru_forward),
    .gru_backward = TYPED(gru_backward),
    .gru_before_gates = TYPED(gru_before_gates),
    .gru_before_forward = TYPED(gru_before_forward),
    .gru_before_backward = TYPED(gru_before_backward),
    .gru_before_reset = TYPED(gru_before_reset),
    .sgd = TYPED(sgd),
    .rmsprop = TYPED(rmsprop),
    .adam = TYPED(adam),
};
