/* The register tile, where a product spends its time: up to TILE_ROWS rows by one or two vectors of c, whose sums stay
 * in registers while k runs. A set chooses TILE_ROWS so that 2 * TILE_ROWS sums, two vectors of b and one broadcast
 * element of a fit its registers.
 *
 * Every sum starts at zero and adds its terms in the order of k, in blocks of DEPTH: whatever the tile's height, an
 * element of c gets the same bits. */
#ifndef BPTT_KERNELS_TILE_H
#define BPTT_KERNELS_TILE_H
#include "kernels/pack.h"
#include "kernels/kernels.h"

#ifndef TILE_ROWS
#ifdef __aarch64__
#define TILE_ROWS 12 /* for 32 registers */
#else
#define TILE_ROWS 6 /* for 16 registers */
#endif
#endif

/* Sizes of caches, of the smallest usual ones, and what follows from them. They are constants, and not those of the
 * machine at hand, because the order of a sum depends on DEPTH: a set gives the same bits everywhere. */
#ifndef BPTT_L1_KB
#define BPTT_L1_KB 32
#endif
#ifndef BPTT_L2_KB
#define BPTT_L2_KB 512
#endif
enum {
    L1_BYTES = BPTT_L1_KB << 10,
    L2_BYTES = BPTT_L2_KB << 10,
    BEYOND_L2_BYTES = 4 * L2_BYTES,        /* data of which most comes from beyond L2 */
    DEPTH = L1_BYTES / (4 * VECTOR_BYTES), /* rows of a panel that fills half of L1 */
    PREFETCH_STRIDE = 256,                 /* bytes from row to row that defeat the hardware prefetcher */
    PREFETCH_DEPTH = 64                    /* terms of a sum: an access to memory takes as long */
};

/* The rows of b that a packing tile copies to its panel, one for each term: `left` of them ld apart, then `run` at a
 * time, with `gap` elements between. */
typedef struct {
    const REAL *b;
    int64_t ld, left, run, gap;
    int64_t ahead; /* elements from a row to that which is prefetched */
    REAL *panel;
} unpacked_rows;

/* c = init + sum over r of a[row*a_row_stride + r*a_depth_stride] * panel[r] */
typedef struct {
    int64_t k;
    const REAL *a;
    int64_t a_row_stride, a_depth_stride;
    const REAL *panel;
    const REAL *init;
    int64_t ldinit;
    const int64_t *init_rows; /* as in a product; of a tile NULL */
    REAL *c;
    int64_t ldc;
    int64_t cols;                  /* columns of c from this panel on */
    const REAL *prefetch;          /* what a prefetching tile fetches: one vector for each of its k terms */
    const unpacked_rows *unpacked; /* the panel is not packed yet: the first tile does it; NULL: it is */
} tile_task;

/* the row of init that row i takes */
INLINE const REAL *init_of_row(const tile_task *task, int64_t i) {
    return task->init + (task->init_rows ? task->init_rows[i] : i) * task->ldinit;
}

/* Stores one vector of sums: row i, columns from `col` on, as far as c has them. */
INLINE void put(const tile_task *task, int64_t i, int64_t col, vec sum) {
    const int64_t cols = task->cols - col;
    const REAL *init = init_of_row(task, i) + col;
    REAL *c = task->c + i * task->ldc + col;
    if (cols >= LANES) store(c, sum + load(init));
    else if (cols > 0) store_part(c, sum + load_part(init, cols), cols);
}

/* Stores a tile that has more columns than c. */
static void put_part(const tile_task *task, int rows, int vecs, const vec *sums) {
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vecs; v++) put(task, i, v * LANES, *sums++);
}

/* Copies a row, whose vectors these are, to the panel; the next row follows. */
INLINE void pack_unpacked(unpacked_rows *rows, const vec b[2]) {
    for (int v = 0; v < 2; v++) {
        store(rows->panel + v * LANES, b[v]);
        __builtin_prefetch(rows->b + rows->ahead + v * LANES);
    }
    rows->panel += PANEL_WIDTH;
    rows->b += rows->ld;
    if (--rows->left) return;
    rows->b += rows->gap;
    rows->left = rows->run;
}

INLINE void tile(const int rows, const int vecs, const tile_task *task, const int64_t a_row_stride,
                 const int64_t a_depth_stride, const int prefetching, const int packing) {
    vec sum[TILE_ROWS][2];
    const REAL *panel = task->panel;
    const REAL *a[(TILE_ROWS + 2) / 3]; /* one pointer for three rows: an address reaches it plus one or two strides */
    UNROLL
    for (int i = 0; i < rows; i++) {
        if (i % 3 == 0) a[i / 3] = task->a + i * a_row_stride;
        for (int v = 0; v < vecs; v++) sum[i][v] = splat(0);
    }
    unpacked_rows unpacked = packing ? *task->unpacked : (unpacked_rows){0};
    for (int64_t r = task->k; r > 0; r--, panel += vecs * LANES) {
        const REAL *from = packing ? unpacked.b : panel;
        vec b[2];
        for (int v = 0; v < vecs; v++) b[v] = load(from + v * LANES);
        if (packing) pack_unpacked(&unpacked, b);
        if (prefetching) __builtin_prefetch(task->prefetch + (task->k - r) * LANES, 0, 2);
        UNROLL
        for (int i = 0; i < rows; i++) {
            const vec x = splat(a[i / 3][i % 3 * a_row_stride]);
            if (i % 3 == 2 || i == rows - 1) a[i / 3] += a_depth_stride;
            for (int v = 0; v < vecs; v++) sum[i][v] += x * b[v];
        }
    }
    if (!packing && task->cols < vecs * LANES) { /* a packing tile is whole */
        vec sums[TILE_ROWS * 2];
        UNROLL
        for (int i = 0; i < rows; i++)
            for (int v = 0; v < vecs; v++) sums[i * vecs + v] = sum[i][v];
        put_part(task, rows, vecs, sums);
        return;
    }
    REAL *c = task->c;
    const REAL *init = task->init;
    const int64_t ldc = task->ldc, ldinit = task->ldinit; /* copies: c may alias *task, as far as compilers know */
    UNROLL
    for (int i = 0; i < rows; i++, c += ldc, init += ldinit)
        for (int v = 0; v < vecs; v++) store(c + v * LANES, sum[i][v] + load(init + v * LANES));
}

/* ---- one function for each height and width ----------------------------------------------------------- */

/* X(rows) for every height, for those of one vector along k, of which eight sums keep the multipliers busy, and for the
 * tall ones, which have the time to prefetch */
#define UP_TO_6(X) X(1) X(2) X(3) X(4) X(5) X(6)
#define UP_TO_8(X) UP_TO_6(X) X(7) X(8)
#define FROM_9_TO_12(X) X(9) X(10) X(11) X(12)
#if TILE_ROWS == 13
#define EACH_HEIGHT(X) UP_TO_8(X) FROM_9_TO_12(X) X(13)
#define EACH_NARROW_HEIGHT(X) UP_TO_8(X)
#define EACH_TALL_HEIGHT(X) FROM_9_TO_12(X) X(13)
enum { NARROW_ROWS = 8, TALL = 9 };
#elif TILE_ROWS == 12
#define EACH_HEIGHT(X) UP_TO_8(X) FROM_9_TO_12(X)
#define EACH_NARROW_HEIGHT(X) UP_TO_8(X)
#define EACH_TALL_HEIGHT(X) FROM_9_TO_12(X)
enum { NARROW_ROWS = 8, TALL = 9 };
#elif TILE_ROWS == 6
#define EACH_HEIGHT(X) UP_TO_6(X)
#define EACH_NARROW_HEIGHT(X) UP_TO_6(X)
#define EACH_TALL_HEIGHT(X) X(5) X(6)
enum { NARROW_ROWS = 6, TALL = 5 };
#else
#error "TILE_ROWS must be 6, 12 or 13: another height needs its lists here"
#endif

/* `along_k`: the terms of a row of c lie side by side in a (a depth stride of 1, as in a b); `along_rows`: those of
 * neighbouring rows do (a row stride of 1, as in aT b). The constants keep the loop free of index arithmetic. */
#define TILE_ALONG_K(rows, vecs)                                                                                       \
    static void tile_along_k_##rows##_##vecs(const tile_task *task) {                                                  \
        tile(rows, vecs, task, task->a_row_stride, 1, 0, 0);                                                           \
    }
#define TILE_ALONG_ROWS(rows, vecs)                                                                                    \
    static void tile_along_rows_##rows##_##vecs(const tile_task *task) {                                               \
        tile(rows, vecs, task, 1, task->a_depth_stride, 0, 0);                                                         \
    }
#define TILE_FUNCTIONS(rows) TILE_ALONG_K(rows, 2) TILE_ALONG_ROWS(rows, 1) TILE_ALONG_ROWS(rows, 2)
#define NARROW_TILE_FUNCTION(rows) TILE_ALONG_K(rows, 1)
#define PREFETCHING_TILE_FUNCTION(rows)                                                                                \
    static void tile_prefetching_##rows(const tile_task *task) { tile(rows, 2, task, task->a_row_stride, 1, 1, 0); }
#define PACKING_TILE_FUNCTION(rows)                                                                                    \
    static void tile_packing_##rows(const tile_task *task) { tile(rows, 2, task, 1, task->a_depth_stride, 0, 1); }

EACH_HEIGHT(TILE_FUNCTIONS)
EACH_NARROW_HEIGHT(NARROW_TILE_FUNCTION)
EACH_TALL_HEIGHT(PREFETCHING_TILE_FUNCTION)
EACH_TALL_HEIGHT(PACKING_TILE_FUNCTION)

typedef void tile_function(const tile_task *);

/* [rows - 1][vecs - 1], and [rows - TALL] */
#define ALONG_K_ENTRY(rows) [rows - 1][1] = tile_along_k_##rows##_2,
#define NARROW_ENTRY(rows) [rows - 1][0] = tile_along_k_##rows##_1,
#define ALONG_ROWS_ENTRY(rows) {tile_along_rows_##rows##_1, tile_along_rows_##rows##_2},
#define PREFETCHING_ENTRY(rows) tile_prefetching_##rows,
#define PACKING_ENTRY(rows) tile_packing_##rows,
static tile_function *const tiles_along_k[TILE_ROWS][2] = {EACH_HEIGHT(ALONG_K_ENTRY) EACH_NARROW_HEIGHT(NARROW_ENTRY)};
static tile_function *const tiles_along_rows[TILE_ROWS][2] = {EACH_HEIGHT(ALONG_ROWS_ENTRY)};
static tile_function *const tiles_prefetching[] = {EACH_TALL_HEIGHT(PREFETCHING_ENTRY)};
static tile_function *const tiles_packing[] = {EACH_TALL_HEIGHT(PACKING_ENTRY)};

/* ---- a column of tiles ---------------------------------------------------------------------------------- */

/* how many tiles m rows take */
LOCAL int64_t tiles_below(int64_t m) { return (m + TILE_ROWS - 1) / TILE_ROWS; }

/* Whether the first of them can pack a panel. */
LOCAL int begins_tall(int64_t m) { return (m + tiles_below(m) - 1) / tiles_below(m) >= TALL; }

/* Prefetches the rows of c when their stride defeats the hardware prefetcher, so that they arrive before the tile is
 * stored. */
INLINE void prefetch_rows(const tile_task *task, int64_t rows) {
    if (task->ldc * (int64_t)sizeof(REAL) < PREFETCH_STRIDE || task->k < PREFETCH_DEPTH) return;
    for (int64_t i = 0; i < rows; i++)
        for (int v = 0; v < 2; v++) __builtin_prefetch(task->c + i * task->ldc + v * LANES, 1);
}

/* Takes a tile's share off the spans, the first one first: a vector for each of its k terms. NULL: all are used up. */
INLINE const REAL *take_prefetch(span *prefetch, int64_t k) {
    const span *last = prefetch + PREFETCHES - 1;
    span *next = prefetch;
    while (next->size <= 0 && next < last) next++;
    if (next->size <= 0) return NULL;
    const REAL *data = next->data;
    next->data += k * LANES;
    next->size -= k * LANES;
    return data;
}

/* The rows of init that the task's first rows take by number, one after another. */
INLINE void gather_init(const tile_task *task, int64_t rows, REAL *gathered) {
    for (int64_t i = 0; i < rows; i++, gathered += PANEL_WIDTH) {
        const REAL *init = init_of_row(task, i);
        for (int64_t j = 0; j < PANEL_WIDTH && j < task->cols; j += LANES) {
            const int64_t left = task->cols - j;
            store(gathered + j, left >= LANES ? load(init + j) : load_part(init + j, left));
        }
    }
}

/* The m rows of c below task's first tile, in as few tiles as possible of nearly equal height. `prefetch`: the spans
 * from which tall tiles along k prefetch; NULL: the tiles are along rows. */
INLINE void column_of_tiles(tile_function *const tiles[TILE_ROWS][2], int64_t m, int64_t a_row_stride,
                            const int in_tiles, tile_task task, span *prefetch) {
    const int two_vecs = task.cols > LANES;
    const int by_number = prefetch && task.init_rows;
    REAL gathered[TILE_ROWS * PANEL_WIDTH] __attribute__((aligned(64)));
    tile_task table = task;
    if (by_number) {
        task.init = gathered;
        task.ldinit = PANEL_WIDTH;
        task.init_rows = NULL;
    }
    const int64_t most = prefetch && !two_vecs ? NARROW_ROWS : TILE_ROWS;
    for (int64_t left = (m + most - 1) / most; left > 0; left--) {
        const int64_t rows = (m + left - 1) / left;
        prefetch_rows(&task, rows);
        if (in_tiles) task.a_depth_stride = rows;
        task.prefetch = prefetch && two_vecs && rows >= TALL ? take_prefetch(prefetch, task.k) : NULL;
        if (by_number) {
            gather_init(&table, rows, gathered);
            table.init_rows += rows;
        }
        if (!prefetch && task.unpacked) tiles_packing[rows - TALL](&task);
        else if (task.prefetch) tiles_prefetching[rows - TALL](&task);
        else tiles[rows - 1][two_vecs](&task);
        task.unpacked = NULL;
        m -= rows;
        task.a += in_tiles ? rows * task.k : rows * a_row_stride;
        if (!by_number) task.init += rows * task.ldinit;
        task.c += rows * task.ldc;
    }
}

/* m rows of c = init + a b: rows of a are contiguous. */
INLINE void tiles_of_product(int64_t m, tile_task task, span *prefetch) {
    column_of_tiles(tiles_along_k, m, task.a_row_stride, 0, task, prefetch);
}

/* m rows of c = init + aT b: columns of aT, rows of a, are contiguous. */
INLINE void tiles_of_outer(int64_t m, tile_task task) { column_of_tiles(tiles_along_rows, m, 1, 0, task, NULL); }

/* The same where each tile's part of a lies on its own, (k,rows), one after another. */
INLINE void tiles_of_packed_outer(int64_t m, tile_task task) { column_of_tiles(tiles_along_rows, m, 1, 1, task, NULL); }
#endif
