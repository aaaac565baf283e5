/* The vector kernels, one body for every instruction set: a set's file defines NAME, TABLE(TYPED) (the table's
 * name for the type), VECTOR_BYTES and ROWS (rows of the register tile: 2 * ROWS sums, two vectors of b and one
 * broadcast must fit the registers), and includes this once per type.
 *
 * A tile of c is up to ROWS rows by two vectors. A panel holds two vectors' columns of b, row by row; the last panel
 * is one vector wide where that is enough. Sums start at zero and run over k in order, in blocks of DEPTH. */
#include "real.h"

#include "kernels.h"

#include "vectors.h"

#undef MATH
#undef WIDTH
#undef DEPTH
#undef NEARBY
#undef STAYS
#undef FAR
#undef APART
#undef LONG_SUM
#undef TILE
#undef TILE_OF
#undef FETCHING
#define MATH(name) TYPED(vector_##name)
#define WIDTH (2 * LANES)
#define DEPTH (16384 / VECTOR_BYTES) /* rows of a panel that stay in the nearest cache: 32 kB */
#define NEARBY (1 << 16)             /* bytes of which most stay in the nearest cache from one product to the next */
#define STAYS (1 << 19)              /* bytes that stay in the second */
#define FAR (1 << 21)                /* bytes of which most come from beyond it */
#define APART 256                    /* bytes between rows that no processor guesses in time */
#define LONG_SUM 64                  /* terms of a sum that takes as long as memory does */

#include "vmath.h"

#include "elementwise.h"

#include "update.h"

/* ---- panels ---------------------------------------------------------------------------------------- */

/* One or two columns beyond whole vectors (65 = 64 + 1) would waste most of a vector: such thin columns lie one after
 * another behind the panels and are taken one by one. The columns that the panels hold: */
static int64_t TYPED(panel_columns)(int64_t n) {
    const int64_t beyond = n % LANES;
    return n > LANES && beyond <= LANES / 8 ? n - beyond : n;
}

static int64_t TYPED(packed_size)(int64_t k, int64_t n) {
    return TYPED(panel_columns)(n) < n ? n * k : (n + LANES - 1) / LANES * LANES * k;
}

/* columns of the panel that begins at column j, of n in all */
static int TYPED(panel_width)(int64_t j, int64_t n) { return n - j > LANES ? WIDTH : LANES; }

/* four rows of a panel from a matrix by columns: squares of four by four elements are transposed, the columns that are
 * left taken one by one */
INLINE void TYPED(pack_four_rows)(const REAL *w, int64_t col_stride, int64_t filled, int width, REAL *panel) {
    int64_t j = 0;
    for (; j + 4 <= filled; j += 4, w += 4 * col_stride) {
        const QUAD a = QUAD_AT(w), b = QUAD_AT(w + col_stride);
        const QUAD c = QUAD_AT(w + 2 * col_stride), d = QUAD_AT(w + 3 * col_stride);
        const QUAD ab = SHUFFLE(a, b, 0, 4, 1, 5), cd = SHUFFLE(c, d, 0, 4, 1, 5);
        const QUAD ab_high = SHUFFLE(a, b, 2, 6, 3, 7), cd_high = SHUFFLE(c, d, 2, 6, 3, 7);
        QUAD_AT(panel + j) = SHUFFLE(ab, cd, 0, 1, 4, 5);
        QUAD_AT(panel + width + j) = SHUFFLE(ab, cd, 2, 3, 6, 7);
        QUAD_AT(panel + 2 * width + j) = SHUFFLE(ab_high, cd_high, 0, 1, 4, 5);
        QUAD_AT(panel + 3 * width + j) = SHUFFLE(ab_high, cd_high, 2, 3, 6, 7);
    }
    for (; j < filled; j++, w += col_stride)
        for (int row = 0; row < 4; row++) panel[row * width + j] = w[row];
    for (; j < width; j++)
        for (int row = 0; row < 4; row++) panel[row * width + j] = 0;
}

static void TYPED(pack)(int64_t k, int64_t n, const REAL *w, int64_t row_stride, int64_t col_stride, REAL *panels) {
    const int64_t in_panels = TYPED(panel_columns)(n);
    for (int64_t j0 = 0; j0 < in_panels; j0 += WIDTH) {
        const int width = TYPED(panel_width)(j0, in_panels);
        const int64_t filled = in_panels - j0 < width ? in_panels - j0 : width;
        const REAL *row = w + j0 * col_stride;
        int64_t i = 0;
        for (; row_stride == 1 && i + 4 <= k; i += 4, row += 4, panels += 4 * width)
            TYPED(pack_four_rows)(row, col_stride, filled, width, panels);
        for (; i < k; i++, row += row_stride, panels += width) {
            for (int64_t j = 0; j < filled; j++) panels[j] = row[j * col_stride];
            for (int64_t j = filled; j < width; j++) panels[j] = 0;
        }
    }
    for (int64_t j = in_panels; j < n; j++)
        for (int64_t i = 0; i < k; i++) *panels++ = w[i * row_stride + j * col_stride];
}

/* ---- one tile ---------------------------------------------------------------------------------------- */

/* c = init + sum_r a[row*unit + r*step] * panel[r], for rows and vecs constant where inlined */
typedef struct {
    int64_t k;
    const REAL *a;
    int64_t unit, step;
    const REAL *panel;
    const REAL *init;
    int64_t ldinit;
    REAL *c;
    int64_t ldc;
    int64_t cols;      /* columns of c from this panel on */
    const REAL *ahead; /* what a tile that fetches does, a vector for each term */
} TYPED(tile_task);

/* for sums that begin with nothing: as many columns as any task takes */
static const REAL TYPED(no_init)[2 * WIDTH];

/* row i, one vector of columns from `col` on */
INLINE void TYPED(put)(const TYPED(tile_task) * t, int64_t i, int64_t col, V sum) {
    const int64_t cols = t->cols - col;
    const REAL *init = t->init + i * t->ldinit + col;
    REAL *c = t->c + i * t->ldc + col;
    if (cols >= LANES) TYPED(store)(c, sum + TYPED(load)(init));
    else if (cols > 0) TYPED(store_part)(c, sum + TYPED(load_part)(init, cols), cols);
}

/* a tile that has more columns than c */
static void TYPED(put_part)(const TYPED(tile_task) * t, int rows, int vecs, const V *sums) {
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vecs; v++) TYPED(put)(t, i, v * LANES, *sums++);
}

INLINE void TYPED(tile)(const int rows, const int vecs, const TYPED(tile_task) * t, const int64_t unit,
                        const int64_t step, const int fetches) {
    V sum[ROWS][2];
    const REAL *panel = t->panel, *a[ROWS / 3]; /* three rows by one address and two that it reaches */
    UNROLL
    for (int i = 0; i < rows; i++) {
        if (i % 3 == 0) a[i / 3] = t->a + i * unit;
        for (int v = 0; v < vecs; v++) sum[i][v] = SPLAT(0);
    }
    for (int64_t r = t->k; r > 0; r--, panel += vecs * LANES) {
        V b[2];
        for (int v = 0; v < vecs; v++) b[v] = TYPED(load)(panel + v * LANES);
        if (fetches) __builtin_prefetch(t->ahead + (t->k - r) * LANES, 0, 2);
        UNROLL
        for (int i = 0; i < rows; i++) {
            const V x = SPLAT(a[i / 3][i % 3 * unit]);
            if (i % 3 == 2 || i == rows - 1) a[i / 3] += step;
            for (int v = 0; v < vecs; v++) sum[i][v] += x * b[v];
        }
    }
    if (t->cols < vecs * LANES) {
        V sums[ROWS * 2];
        UNROLL
        for (int i = 0; i < rows; i++)
            for (int v = 0; v < vecs; v++) sums[i * vecs + v] = sum[i][v];
        TYPED(put_part)(t, rows, vecs, sums);
        return;
    }
    REAL *c = t->c;
    const REAL *init = t->init;
    const int64_t ldc = t->ldc, ldinit = t->ldinit; /* c could be anything: *t would be read again after every store */
    UNROLL
    for (int i = 0; i < rows; i++, c += ldc, init += ldinit)
        for (int v = 0; v < vecs; v++) TYPED(store)(c + v * LANES, sum[i][v] + TYPED(load)(init + v * LANES));
}

/* unit = 1 (columns of a stand side by side) and step = 1 (rows of a do) as constants, every height on its own */
#define TILE(rows, vecs)                                                                                               \
    static void TYPED(tile_by_rows_##rows##_##vecs)(const TYPED(tile_task) * t) {                                      \
        TYPED(tile)(rows, vecs, t, t->unit, 1, 0);                                                                     \
    }                                                                                                                  \
    static void TYPED(tile_by_cols_##rows##_##vecs)(const TYPED(tile_task) * t) {                                      \
        TYPED(tile)(rows, vecs, t, 1, t->step, 0);                                                                     \
    }
#define FETCHING(rows)                                                                                                 \
    static void TYPED(tile_fetching_##rows)(const TYPED(tile_task) * t) { TYPED(tile)(rows, 2, t, t->unit, 1, 1); }
#define TILE_OF(by, rows) {TYPED(tile_by_##by##_##rows##_1), TYPED(tile_by_##by##_##rows##_2)}

/* clang-format off */
TILE(1, 1) TILE(1, 2) TILE(2, 1) TILE(2, 2) TILE(3, 1) TILE(3, 2)
TILE(4, 1) TILE(4, 2) TILE(5, 1) TILE(5, 2) TILE(6, 1) TILE(6, 2)
#if ROWS == 12
TILE(7, 1) TILE(7, 2) TILE(8, 1) TILE(8, 2) TILE(9, 1) TILE(9, 2)
TILE(10, 1) TILE(10, 2) TILE(11, 1) TILE(11, 2) TILE(12, 1) TILE(12, 2)
FETCHING(9) FETCHING(10) FETCHING(11) FETCHING(12)
#else
FETCHING(5) FETCHING(6)
#endif

typedef void TYPED(tile_function)(const TYPED(tile_task) *);

#undef TILES
#undef TALL
#if ROWS == 12
#define TALL 9
#define TILES(by)                                                                                               \
    {TILE_OF(by, 1), TILE_OF(by, 2), TILE_OF(by, 3), TILE_OF(by, 4),  TILE_OF(by, 5),  TILE_OF(by, 6),          \
     TILE_OF(by, 7), TILE_OF(by, 8), TILE_OF(by, 9), TILE_OF(by, 10), TILE_OF(by, 11), TILE_OF(by, 12)}
#else
#define TALL 5
#define TILES(by) {TILE_OF(by, 1), TILE_OF(by, 2), TILE_OF(by, 3), TILE_OF(by, 4), TILE_OF(by, 5), TILE_OF(by, 6)}
#endif
/* clang-format on */

static TYPED(tile_function) *const TYPED(tiles_by_rows)[ROWS][2] = TILES(rows);
static TYPED(tile_function) *const TYPED(tiles_by_cols)[ROWS][2] = TILES(cols);
static TYPED(tile_function) *const TYPED(tiles_fetching)[] = {
#if ROWS == 12
    TYPED(tile_fetching_9), TYPED(tile_fetching_10), TYPED(tile_fetching_11), TYPED(tile_fetching_12)
#else
    TYPED(tile_fetching_5), TYPED(tile_fetching_6)
#endif
};

/* Rows of c that lie apart: they are there when the sums are. */
INLINE void TYPED(fetch_rows)(const TYPED(tile_task) * t, int64_t rows) {
    if (t->ldc * (int64_t)sizeof(REAL) < APART || t->k < LONG_SUM) return;
    for (int64_t i = 0; i < rows; i++)
        for (int v = 0; v < 2; v++) __builtin_prefetch(t->c + i * t->ldc + v * LANES, 1);
}

/* where the next vectors to fetch begin, as many as a tile has terms; NULL: all are under way */
INLINE const REAL *TYPED(take_ahead)(TYPED(stretch) * ahead, int64_t terms) {
    TYPED(stretch) *s = ahead[0].size > 0 ? ahead : ahead + 1;
    if (s->size <= 0) return NULL;
    const REAL *at = s->at;
    s->at += terms * LANES;
    s->size -= terms * LANES;
    return at;
}

/* m rows in as few tiles as possible, all of nearly the same height; tall ones fetch what is `ahead` (NULL: nothing) */
INLINE void TYPED(column_of_tiles)(TYPED(tile_function) *const tiles[ROWS][2], int64_t m, int64_t unit,
                                   TYPED(tile_task) t, TYPED(stretch) * ahead) {
    const int wide = t.cols > LANES;
    for (int64_t left = (m + ROWS - 1) / ROWS; left > 0; left--) {
        const int64_t rows = (m + left - 1) / left;
        TYPED(fetch_rows)(&t, rows);
        t.ahead = ahead && wide && rows >= TALL ? TYPED(take_ahead)(ahead, t.k) : NULL;
        if (t.ahead) TYPED(tiles_fetching)[rows - TALL](&t);
        else tiles[rows - 1][wide](&t);
        m -= rows;
        t.a += rows * unit;
        t.init += rows * t.ldinit;
        t.c += rows * t.ldc;
    }
}

/* Few rows have too few sums to keep the multipliers busy (each must wait for the one before): they take several
 * panels at a time, `apart` elements from one to the next. Every sum is taken as in a tile, to the bit. */
INLINE void TYPED(wide)(const int rows, const int panels, const TYPED(tile_task) * t, int64_t apart) {
    V sum[3][4][2];
    const REAL *panel = t->panel;
    for (int i = 0; i < rows; i++)
        for (int p = 0; p < panels; p++) sum[i][p][0] = sum[i][p][1] = SPLAT(0);
    for (int64_t r = 0; r < t->k; r++, panel += WIDTH)
        for (int p = 0; p < panels; p++)
            for (int v = 0; v < 2; v++) {
                V b = TYPED(load)(panel + p * apart + v * LANES);
                IN_REGISTER(b);
                for (int i = 0; i < rows; i++) sum[i][p][v] += SPLAT(t->a[i * t->unit + r]) * b;
            }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int p = 0; p < panels; p++)
            for (int v = 0; v < 2; v++) TYPED(put)(t, i, p * WIDTH + v * LANES, sum[i][p][v]);
    }
}

/* as many whole panels at a time as it takes; returns how many were done, 0 where the tiles do as well */
static int TYPED(wide_panels)(int64_t m, int64_t whole, const TYPED(tile_task) * t, int64_t apart) {
    if (m > 3 || whole < 2) return 0;
    if (m == 1) TYPED(wide)(1, 2, t, apart);
    else if (m == 2) TYPED(wide)(2, 2, t, apart);
    else TYPED(wide)(3, 2, t, apart);
    return 2;
}

/* The single row of a batch of one: several sums for each element, every chains-th term, so that none waits. */
INLINE void TYPED(lone)(const int panels, const int vecs, const int chains, const TYPED(tile_task) * t, int64_t apart) {
    V sum[4][2][2]; /* chain, panel, vector */
    const REAL *panel = t->panel;
    int64_t r = 0;
    for (int c = 0; c < chains; c++)
        for (int p = 0; p < panels; p++) sum[c][p][0] = sum[c][p][1] = SPLAT(0);
    for (; r + chains <= t->k; r += chains)
        for (int c = 0; c < chains; c++, panel += vecs * LANES)
            for (int p = 0; p < panels; p++)
                for (int v = 0; v < vecs; v++)
                    sum[c][p][v] += SPLAT(t->a[r + c]) * TYPED(load)(panel + p * apart + v * LANES);
    for (; r < t->k; r++, panel += vecs * LANES)
        for (int p = 0; p < panels; p++)
            for (int v = 0; v < vecs; v++) sum[0][p][v] += SPLAT(t->a[r]) * TYPED(load)(panel + p * apart + v * LANES);
    for (int p = 0; p < panels; p++)
        for (int v = 0; v < vecs; v++) {
            V total = sum[0][p][v] + sum[1][p][v];
            if (chains == 4) total += sum[2][p][v] + sum[3][p][v];
            TYPED(put)(t, 0, p * WIDTH + v * LANES, total);
        }
}

/* ---- elementwise ----------------------------------------------------------------------------------------- */

static REAL TYPED(exp_shifted)(int64_t n, const REAL *x, REAL shift, REAL *y) {
    V sums = SPLAT(0);
    REAL sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const V e = MATH(exp)(TYPED(load)(x + i) - SPLAT(shift));
        sums += e;
        TYPED(store)(y + i, e);
    }
    for (int j = 0; j < LANES; j++) sum += sums[j];
    if (i == n) return sum;
    TYPED(store_part)(y + i, MATH(exp)(TYPED(load_part)(x + i, n - i) - SPLAT(shift)), n - i);
    for (; i < n; i++) sum += y[i];
    return sum;
}

/* sums[v] += each column's sum, of `vecs` whole vectors of columns or of the first `part` of one */
INLINE void TYPED(add_columns)(const int vecs, int64_t part, int64_t rows, const REAL *a, int64_t lda, REAL *sums) {
    V sum[4];
    UNROLL
    for (int v = 0; v < vecs; v++) sum[v] = SPLAT(0);
    for (int64_t row = 0; row < rows; row++, a += lda) UNROLL
    for (int v = 0; v < vecs; v++) sum[v] += part ? TYPED(load_part)(a, part) : TYPED(load)(a + v * LANES);
    if (part) TYPED(store_part)(sums, TYPED(load_part)(sums, part) + sum[0], part);
    UNROLL
    for (int v = 0; v < vecs && !part; v++) TYPED(store)(sums + v * LANES, TYPED(load)(sums + v * LANES) + sum[v]);
}

/* four vectors at a time, so that a row is passed over once */
static void TYPED(add_column_sums)(int64_t rows, int64_t n, const REAL *a, int64_t lda, REAL *sums) {
    int64_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES) TYPED(add_columns)(4, 0, rows, a + j, lda, sums + j);
    for (; j + LANES <= n; j += LANES) TYPED(add_columns)(1, 0, rows, a + j, lda, sums + j);
    if (j < n) TYPED(add_columns)(1, n - j, rows, a + j, lda, sums + j);
}

/* as many doubles as a vector holds, and as many REALs: pieces of x that convert to them */
typedef double TYPED(doubles) __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL TYPED(narrow) __attribute__((vector_size(VECTOR_BYTES / sizeof(double) * sizeof(REAL))));
typedef REAL TYPED(loose_narrow)
    __attribute__((vector_size(VECTOR_BYTES / sizeof(double) * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

INLINE TYPED(doubles) TYPED(square)(const REAL *x) {
    const TYPED(narrow) v = *(const TYPED(loose_narrow) *)x;
    const TYPED(doubles) d = __builtin_convertvector(v, TYPED(doubles));
    return d * d;
}

static double TYPED(sum_squares)(int64_t n, const REAL *x) {
    enum { PIECE_OF_DOUBLES = VECTOR_BYTES / sizeof(double) };
    TYPED(doubles) even = {0}, odd = {0};
    double sum = 0;
    int64_t i = 0;
    for (; i + 2 * PIECE_OF_DOUBLES <= n; i += 2 * PIECE_OF_DOUBLES) {
        even += TYPED(square)(x + i);
        odd += TYPED(square)(x + i + PIECE_OF_DOUBLES);
    }
    even += odd;
    for (int j = 0; j < PIECE_OF_DOUBLES / 2; j++) sum += even[j] + even[j + PIECE_OF_DOUBLES / 2];
    for (; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

/* ---- products ------------------------------------------------------------------------------------------- */

static void TYPED(finish)(const TYPED(product) * p) {
    if (p->finish == FINISH_NONE) return;
    const int flat = p->ldc == p->n && (p->finish == FINISH_ACTIVATE || p->ldh == p->n);
    const int64_t rows = flat ? 1 : p->m, length = flat ? p->m * p->n : p->n;
    for (int64_t i = 0; i < rows; i++) {
        REAL *c = p->c + i * p->ldc;
        if (p->finish == FINISH_ACTIVATE) TYPED(activate)(p->cell, length, c);
        else TYPED(slope)(p->cell, length, p->h + i * p->ldh, c, c);
    }
}

/* the columns behind the panels: each element one sum over k, along the rows of a */
static void TYPED(multiply_thin)(const TYPED(product) * p) {
    for (int64_t j = TYPED(panel_columns)(p->n); j < p->n; j++) {
        const REAL *column = p->panels + j * p->k;
        for (int64_t i = 0; i < p->m; i++) {
            const REAL *a = p->a + i * p->lda;
            V even = SPLAT(0), odd = SPLAT(0);
            int64_t r = 0;
            for (; r + 2 * LANES <= p->k; r += 2 * LANES) {
                even += TYPED(load)(a + r) * TYPED(load)(column + r);
                odd += TYPED(load)(a + r + LANES) * TYPED(load)(column + r + LANES);
            }
            for (; r < p->k; r += LANES) {
                const int64_t left = p->k - r < LANES ? p->k - r : LANES;
                even += TYPED(load_part)(a + r, left) * TYPED(load_part)(column + r, left);
            }
            p->c[i * p->ldc + j] = (p->init ? p->init[i * p->ldinit + j] : 0) + TYPED(sum_lanes)(even + odd);
        }
    }
}

/* One row by all panels: two at a time where they stay in the nearest cache; where they come from beyond it one at a
 * time, so that they are one stream. */
static void TYPED(multiply_lone)(const TYPED(product) * p) {
    const int64_t n = TYPED(panel_columns)(p->n);
    const int at_once = p->k * n <= NEARBY / (int)sizeof(REAL) ? 2 : 1;
    const int64_t groups = (n + at_once * WIDTH - 1) / (at_once * WIDTH);
    for (int64_t i = 0; i < groups; i++) {
        const int64_t first = (p->backwards ? groups - 1 - i : i) * at_once * WIDTH, end = first + at_once * WIDTH;
        for (int64_t j = first; j < end && j < n;) {
            const TYPED(tile_task) t = {.k = p->k,
                                        .a = p->a,
                                        .panel = p->panels + j * p->k,
                                        .init = p->init ? p->init + j : TYPED(no_init),
                                        .c = p->c + j,
                                        .cols = n - j};
            const int pair = at_once == 2 && t.cols >= 2 * WIDTH;
            if (pair) TYPED(lone)(2, 2, 2, &t, p->k * WIDTH);
            else if (t.cols > LANES) TYPED(lone)(1, 2, 4, &t, 0);
            else TYPED(lone)(1, 1, 4, &t, 0);
            j += pair ? 2 * WIDTH : TYPED(panel_width)(j, n);
        }
    }
}

/* the columns of the panel at j, or of several, by DEPTH rows of b from r on; meanwhile fetches what is ahead. Returns
 * how many columns. */
static int64_t TYPED(multiply_block)(const TYPED(product) * p, int64_t n, int64_t j, int64_t r,
                                     TYPED(stretch) * ahead) {
    const int width = TYPED(panel_width)(j, n);
    const REAL *init = p->init ? p->init + j : TYPED(no_init);
    const TYPED(tile_task) t = {.k = p->k - r < DEPTH ? p->k - r : DEPTH,
                                .a = p->a + r,
                                .unit = p->lda,
                                .panel = p->panels + j * p->k + r * width,
                                .init = r ? p->c + j : init,
                                .ldinit = r         ? p->ldc
                                          : p->init ? p->ldinit
                                                    : 0,
                                .c = p->c + j,
                                .ldc = p->ldc,
                                .cols = n - j};
    const int done = TYPED(wide_panels)(p->m, (n - j) / WIDTH, &t, p->k * WIDTH);
    if (!done) TYPED(column_of_tiles)(TYPED(tiles_by_rows), p->m, p->lda, t, ahead);
    return done ? done * WIDTH : width;
}

/* Few rows of a stay in the second cache as a whole: then c is passed over once, panel by panel. Of many rows DEPTH
 * columns of a do: then b is. The sums are the same. What is fetched meanwhile: of panels that come from afar the next
 * ones, otherwise what the next call uses. */
static void TYPED(multiply_panels)(const TYPED(product) * p) {
    const int64_t n = TYPED(panel_columns)(p->n), size = (int64_t)sizeof(REAL);
    const int far = p->k * n * size > FAR, few = p->m * p->k <= STAYS / size;
    TYPED(stretch) ahead[2] = {p->next[0], p->next[1]};
    if (far) ahead[1].size = 0;
    for (int64_t j = 0, done = 0; few && j < n; j += done)
        for (int64_t r = 0; r < p->k; r += DEPTH) {
            const int64_t end = r + DEPTH < p->k ? r + DEPTH : p->k; /* or the next panel's first row */
            if (far) ahead[0] = (TYPED(stretch)){p->panels + j * p->k + end * WIDTH, (end - r) * WIDTH};
            done = TYPED(multiply_block)(p, n, j, r, ahead);
        }
    for (int64_t r = 0; !few && r < p->k; r += DEPTH)
        for (int64_t j = 0; j < n;) {
            const int64_t rows = p->k - r < DEPTH ? p->k - r : DEPTH;
            if (far) ahead[0] = (TYPED(stretch)){p->panels + (j + WIDTH) * p->k + r * WIDTH, rows * WIDTH};
            j += TYPED(multiply_block)(p, n, j, r, ahead);
        }
}

static void TYPED(multiply)(const TYPED(product) * p) {
    if (p->m < 1) return; /* a thread without rows */
    if (p->lone) TYPED(multiply_lone)(p);
    else TYPED(multiply_panels)(p);
    TYPED(multiply_thin)(p);
    TYPED(finish)(p);
}

/* one panel of b: `cols` columns from column j on, rows r0.., rows to skip as zeros */
static void TYPED(pack_rows)(const TYPED(outer_product) * p, int64_t r0, int64_t depth, int64_t j, int64_t cols,
                             int width, REAL *panel) {
    for (int64_t r = r0; r < r0 + depth; r++, panel += width) {
        const REAL *b = p->b + r * p->ldb + j;
        const int skipped = p->skip && p->skip[r];
        for (int v = 0; v < width; v += LANES) {
            if (skipped || cols <= v) TYPED(store)(panel + v, SPLAT(0));
            else TYPED(store)(panel + v, cols - v >= LANES ? TYPED(load)(b + v) : TYPED(load_part)(b + v, cols - v));
        }
    }
}

/* the rows r0.. of a column j that no panel holds: a vector of rows of c at a time, each element a sum over r */
static void TYPED(outer_thin)(const TYPED(outer_product) * p, int64_t r0, int64_t depth, int64_t j) {
    enum { AT_ONCE = 4 };
    for (int64_t i = 0; i < p->m; i += AT_ONCE * LANES) {
        const int64_t rows = p->m - i < AT_ONCE * LANES ? p->m - i : AT_ONCE * LANES;
        V sum[AT_ONCE] = {SPLAT(0), SPLAT(0), SPLAT(0), SPLAT(0)};
        REAL sums[AT_ONCE * LANES];
        for (int64_t r = r0; r < r0 + depth; r++) {
            if (p->skip && p->skip[r]) continue;
            const V b = SPLAT(p->b[r * p->ldb + j]);
            const REAL *a = p->a + r * p->lda + i;
            UNROLL
            for (int v = 0; v < AT_ONCE; v++) {
                const int64_t left = rows - v * LANES;
                if (left >= LANES) sum[v] += b * TYPED(load)(a + v * LANES);
                else if (left > 0) sum[v] += b * TYPED(load_part)(a + v * LANES, left);
            }
        }
        for (int v = 0; v < AT_ONCE; v++) TYPED(store)(sums + v * LANES, sum[v]);
        for (int64_t row = 0; row < rows; row++) p->c[(i + row) * p->ldc + j] += sums[row];
    }
}

/* rows i0 .. i0+m of c by depth rows of a and b from r on: those columns of a stay in the second cache */
static void TYPED(outer_block)(const TYPED(outer_product) * p, int64_t i0, int64_t m, int64_t r, int64_t depth) {
    REAL panel[DEPTH * WIDTH] __attribute__((aligned(64)));
    const int64_t n = TYPED(panel_columns)(p->n);
    for (int64_t j = 0; j < n; j += WIDTH) {
        const int width = TYPED(panel_width)(j, n);
        TYPED(pack_rows)(p, r, depth, j, n - j < width ? n - j : width, width, panel);
        const TYPED(tile_task) t = {.k = depth,
                                    .a = p->a + r * p->lda + i0,
                                    .unit = 1,
                                    .step = p->lda,
                                    .panel = panel,
                                    .init = p->c + i0 * p->ldc + j,
                                    .ldinit = p->ldc,
                                    .c = p->c + i0 * p->ldc + j,
                                    .ldc = p->ldc,
                                    .cols = n - j};
        TYPED(column_of_tiles)(TYPED(tiles_by_cols), m, 1, t, NULL);
    }
}

static void TYPED(outer)(const TYPED(outer_product) * p) {
    const int64_t most = STAYS / (int64_t)sizeof(REAL) / DEPTH;
    for (int64_t r = 0; r < p->k; r += DEPTH) {
        const int64_t depth = p->k - r < DEPTH ? p->k - r : DEPTH;
        for (int64_t i = 0; i < p->m; i += most) TYPED(outer_block)(p, i, p->m - i < most ? p->m - i : most, r, depth);
        for (int64_t j = TYPED(panel_columns)(p->n); j < p->n; j++) TYPED(outer_thin)(p, r, depth, j);
    }
}

const TYPED(kernels) TABLE(TYPED) = {
    .name = NAME,
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
