/* The product c = epilogue(init + a b): its panels by tiles, its tail columns, its epilogue. */
#ifndef BPTT_KERNELS_GEMM_H
#define BPTT_KERNELS_GEMM_H
#include "kernels/epilogue.h"
#include "kernels/tile.h"

/* init of a product that has none: as many zeros as the columns of any task */
static const REAL no_init[2 * PANEL_WIDTH];

/* Up to three rows, by several panels at a time that lie panel_stride apart: by one panel they would have too few sums
 * to keep the multipliers busy, as each addition waits for the one before. The bits are those of a tile. */
INLINE void few_rows(const int rows, const int panels, const tile_task *task, int64_t panel_stride) {
    vec sum[3][4][2];                /* row, panel, vector */
    const REAL *b_row = task->panel; /* row r of b in the first panel */
    UNROLL
    for (int i = 0; i < rows; i++) UNROLL
    for (int panel = 0; panel < panels; panel++) sum[i][panel][0] = sum[i][panel][1] = splat(0);
    for (int64_t r = 0; r < task->k; r++, b_row += PANEL_WIDTH) UNROLL
    for (int panel = 0; panel < panels; panel++) UNROLL
    for (int v = 0; v < 2; v++) {
        vec b = load(b_row + panel * panel_stride + v * LANES);
        IN_REGISTER(b);
        UNROLL
        for (int i = 0; i < rows; i++) sum[i][panel][v] += splat(task->a[i * task->a_row_stride + r]) * b;
    }
    UNROLL
    for (int i = 0; i < rows; i++) UNROLL
    for (int panel = 0; panel < panels; panel++) UNROLL
    for (int v = 0; v < 2; v++) put(task, i, panel * PANEL_WIDTH + v * LANES, sum[i][panel][v]);
}

/* Returns how many panels it did: 0 where tiles are as fast or fewer than two whole panels are left. */
static int few_rows_panels(int64_t m, int64_t whole_panels, const tile_task *task, int64_t panel_stride) {
    if (m > 3 || whole_panels < 2) return 0;
    if (m == 1) few_rows(1, 2, task, panel_stride);
    else if (m == 2) few_rows(2, 2, task, panel_stride);
    else few_rows(3, 2, task, panel_stride);
    return 2;
}

/* All rows of c, columns of the panel at j or of several, by the DEPTH rows of b from r on; `prefetch` is fetched
 * meanwhile. Returns the number of columns. */
static int64_t multiply_block(const product *p, int64_t n, int64_t j, int64_t r, span *prefetch) {
    const int width = panel_width(j, n);
    const REAL *init = p->init ? p->init + j : no_init;
    const tile_task task = {.k = p->k - r < DEPTH ? p->k - r : DEPTH,
                            .a = p->a + r,
                            .a_row_stride = p->lda,
                            .panel = p->panels + j * p->k + r * width,
                            .init = r ? p->c + j : init,
                            .ldinit = r         ? p->ldc
                                      : p->init ? p->ldinit
                                                : 0,
                            .init_rows = r ? NULL : p->init_rows,
                            .c = p->c + j,
                            .ldc = p->ldc,
                            .cols = n - j};
    const int done = few_rows_panels(p->m, (n - j) / PANEL_WIDTH, &task, p->k * PANEL_WIDTH);
    if (!done) tiles_of_product(p->m, task, prefetch);
    return done ? done * PANEL_WIDTH : width;
}

/* The order of the blocks: where all of a stays in L2, panel by panel, so that c is passed over once; otherwise DEPTH
 * columns of a at a time, so that b is. The sums are the same. Meanwhile the following panels are prefetched if panels
 * come from beyond L2, otherwise what the next call reads. */
OUT_OF_LINE void multiply_panels(const product *p) {
    const int64_t n = panel_columns(p->n), size = (int64_t)sizeof(REAL);
    const int panels_beyond_l2 = p->k * n * size > BEYOND_L2_BYTES, a_in_l2 = p->m * p->k <= L2_BYTES / size;
    const int64_t terms = p->k ? p->k : 1; /* sums without terms take a block as well */
    span prefetch[PREFETCHES] = {p->prefetch[0], p->prefetch[1], p->prefetch[2]};
    if (panels_beyond_l2) prefetch[1].size = prefetch[2].size = 0;
    for (int64_t j = 0, done = 0; a_in_l2 && j < n; j += done)
        for (int64_t r = 0; r < terms; r += DEPTH) {
            const int64_t end = r + DEPTH < p->k ? r + DEPTH : p->k; /* at p->k the next panel begins */
            if (panels_beyond_l2)
                prefetch[0] = (span){p->panels + j * p->k + end * PANEL_WIDTH, (end - r) * PANEL_WIDTH};
            done = multiply_block(p, n, j, r, prefetch);
        }
    for (int64_t r = 0; !a_in_l2 && r < p->k; r += DEPTH)
        for (int64_t j = 0; j < n;) {
            const int64_t rows = p->k - r < DEPTH ? p->k - r : DEPTH;
            if (panels_beyond_l2)
                prefetch[0] = (span){p->panels + (j + PANEL_WIDTH) * p->k + r * PANEL_WIDTH, rows * PANEL_WIDTH};
            j += multiply_block(p, n, j, r, prefetch);
        }
}

/* the sum of a[r] * b[r] for r < k */
INLINE REAL dot(int64_t k, const REAL *a, const REAL *b) {
    vec even = splat(0), odd = splat(0);
    for (; k >= 2 * LANES; k -= 2 * LANES, a += 2 * LANES, b += 2 * LANES) {
        even += load(a) * load(b);
        odd += load(a + LANES) * load(b + LANES);
    }
    if (k >= LANES) {
        even += load(a) * load(b);
        k -= LANES, a += LANES, b += LANES;
    }
    if (k) odd += load_part(a, k) * load_part(b, k);
    return sum_of_lanes(even + odd);
}

/* Columns [begin, n), each of which lies behind the panels. */
static void multiply_tail_columns(const product *p, int64_t begin) {
    const int64_t m = p->m, n = p->n, k = p->k;
    for (int64_t j = begin; j < n; j++)
        for (int64_t i = 0; i < m; i++)
            p->c[i * p->ldc + j] = (p->init ? init_row(p, i)[j] : 0) + dot(k, p->a + i * p->lda, p->panels + j * k);
}

LOCAL void multiply(const product *p) {
    if (p->m < 1) return; /* a thread without rows */
    const int64_t in_panels = panel_columns(p->n);
    if (in_panels) multiply_panels(p);
    if (in_panels < p->n) multiply_tail_columns(p, in_panels);
    if (p->epilogue != EPILOGUE_NONE) apply_epilogue(p);
}

/* The columns in panels; out of line, as few outputs have none and need no product. */
OUT_OF_LINE void multiply_vector_by_panels(int64_t n, int64_t k, const REAL *a, const REAL *panels, const REAL *init,
                                           REAL *c) {
    multiply_panels(&(product){.m = 1, .n = n, .k = k, .a = a, .lda = k, .panels = panels, .init = init, .c = c});
}

/* c = init + a b with one row; in line in a step of one row, whose readout it is */
INLINE void multiply_vector(int64_t n, int64_t k, const REAL *a, const REAL *panels, const REAL *init, REAL *c) {
    const int64_t in_panels = panel_columns(n);
    if (in_panels) multiply_vector_by_panels(n, k, a, panels, init, c);
    for (int64_t j = in_panels; j < n; j++) c[j] = init[j] + dot(k, a, panels + j * k);
}
#endif
