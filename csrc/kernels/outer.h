/* The outer product c += aT b over k rows: the gradient of a weight matrix. DEPTH rows of a and b at a time are packed:
 * those of b in a panel, those of a in tiles, where c is wide enough to pay for it. Rows of a that lie a power of two
 * apart would share a few sets of L1, and a tile takes only a part of each line. */
#ifndef BPTT_KERNELS_OUTER_H
#define BPTT_KERNELS_OUTER_H
#include "kernels/tile.h"

enum {
    WIDE = 8 * PANEL_WIDTH, /* columns of c from which on packing a pays */
    TILE_VECTORS = (TILE_ROWS + LANES - 1) / LANES,
    AHEAD = 16, /* rows from that which is packed to that which is prefetched */
    ROWS_AT_ONCE = L2_BYTES / 4 / (int)sizeof(REAL) / DEPTH
};

/* One panel of b: `cols` columns from j on by `depth` rows from r on, zeros for skipped rows and missing columns. */
OUT_OF_LINE void pack_rows(const outer_product *p, int64_t r, int64_t depth, int64_t j, int64_t cols, int width,
                           REAL *panel) {
    const int64_t ahead = (p->gap ? AHEAD + AHEAD / p->run * p->gap : AHEAD) * p->ldb;
    for (const int64_t end = r + depth; r < end;) {
        const int64_t first = outer_row(p, r), rows = outer_rows_together(p, r, end);
        const REAL *b = p->b + first * p->ldb + j;
        for (int64_t row = 0; row < rows; row++, b += p->ldb, panel += width) {
            const int skipped = p->skip && p->skip[first + row];
            __builtin_prefetch(b + ahead);
            for (int v = 0; v < width; v += LANES) {
                if (skipped) store(panel + v, splat(0));
                else store(panel + v, cols - v >= LANES ? load(b + v) : load_part(b + v, cols - v));
            }
        }
        r += rows;
    }
}

/* Column j by `depth` rows from r_begin on: a few vectors of rows of c at a time, each element a sum over r, the same
 * to the bit as in a tile. Skipped rows are not read. */
OUT_OF_LINE void outer_column(const outer_product *p, int64_t r_begin, int64_t depth, int64_t j) {
    enum { AT_ONCE = 4 };
    for (int64_t i = 0; i < p->m; i += AT_ONCE * LANES) {
        const int64_t rows = p->m - i < AT_ONCE * LANES ? p->m - i : AT_ONCE * LANES;
        vec sum[AT_ONCE] = {splat(0), splat(0), splat(0), splat(0)};
        REAL sums[AT_ONCE * LANES];
        for (int64_t r = r_begin, together = 0, row_b = 0; r < r_begin + depth; r++, row_b++) {
            if (!together--) {
                row_b = outer_row(p, r);
                together = outer_rows_together(p, r, r_begin + depth) - 1;
            }
            if (p->skip && p->skip[row_b]) continue;
            const vec b = splat(p->b[row_b * p->ldb + j]);
            const REAL *a = p->a + r * p->lda + i;
            UNROLL
            for (int v = 0; v < AT_ONCE; v++) {
                const int64_t left = rows - v * LANES;
                if (left >= LANES) sum[v] += b * load(a + v * LANES);
                else if (left > 0) sum[v] += b * load_part(a + v * LANES, left);
            }
        }
        for (int v = 0; v < AT_ONCE; v++) store(sums + v * LANES, sum[v]);
        for (int64_t row = 0; row < rows; row++) p->c[(i + row) * p->ldc + j] += sums[row];
    }
}

/* Columns of a, `depth` rows of it from r on, for the tiles of the rows [i, i + m) of c: each (depth,rows). Whole
 * vectors are copied where a row has room; what a copy writes too much, the next one overwrites. */
OUT_OF_LINE void pack_tiles(const outer_product *p, int64_t i, int64_t m, int64_t r, int64_t depth, REAL *tiles) {
    const REAL *a = p->a + r * p->lda + i;
    for (int64_t left = tiles_below(m), room = p->m - i; left > 0; left--) {
        const int64_t rows = (m + left - 1) / left;
        const int64_t by_vectors = room < TILE_VECTORS * LANES ? 0 : depth - TILE_VECTORS * LANES / rows;
        const REAL *from = a;
        for (int64_t row = 0; row < depth; row++, from += p->lda, tiles += rows) {
            __builtin_prefetch(from + AHEAD * p->lda);
            if (row < by_vectors)
                for (int v = 0; v < TILE_VECTORS; v++) store(tiles + v * LANES, load(from + v * LANES));
            else
                for (int64_t j = 0; j < rows; j++) tiles[j] = from[j];
        }
        m -= rows;
        room -= rows;
        a += rows;
    }
}

/* Rows [i, i + m) and the first n columns of c by `depth` rows of a and b from r on. */
static void outer_block(const outer_product *p, int64_t i, int64_t m, int64_t n, int64_t r, int64_t depth) {
    REAL panel[DEPTH * PANEL_WIDTH] __attribute__((aligned(64)));
    const int packs = p->n >= WIDE;
    if (packs) pack_tiles(p, i, m, r, depth, p->scratch);
    for (int64_t j = 0; j < n; j += PANEL_WIDTH) {
        const int width = panel_width(j, n);
        pack_rows(p, r, depth, j, n - j < width ? n - j : width, width, panel);
        REAL *c = p->c + i * p->ldc + j;
        const tile_task task = {.k = depth,
                                .a = packs ? p->scratch : p->a + r * p->lda + i,
                                .a_row_stride = 1,
                                .a_depth_stride = p->lda,
                                .panel = panel,
                                .init = c,
                                .ldinit = p->ldc,
                                .c = c,
                                .ldc = p->ldc,
                                .cols = n - j};
        if (packs) tiles_of_packed_outer(m, task);
        else tiles_of_outer(m, task);
    }
}

LOCAL int64_t outer_scratch(int64_t m) { return m * DEPTH; }

/* Whether a skipped row of a holds NaN or Inf: times the zeros that a panel has in place of b it would be NaN. */
OUT_OF_LINE int skips_nonfinite(const outer_product *p, int64_t r_begin, int64_t depth) {
    for (int64_t r = r_begin; p->skip && r < r_begin + depth; r++)
        for (int64_t i = 0; p->skip[outer_row(p, r)] && i < p->m; i++)
            if (!isfinite(p->a[r * p->lda + i])) return 1;
    return 0;
}

/* As many rows of c at a time as let the tiles of a stay in L2. */
LOCAL void outer(const outer_product *p) {
    for (int64_t r = 0; r < p->k; r += DEPTH) {
        const int64_t depth = p->k - r < DEPTH ? p->k - r : DEPTH;
        const int64_t in_panels = skips_nonfinite(p, r, depth) ? 0 : panel_columns(p->n);
        for (int64_t i = 0; i < p->m && in_panels; i += ROWS_AT_ONCE)
            outer_block(p, i, p->m - i < ROWS_AT_ONCE ? p->m - i : ROWS_AT_ONCE, in_panels, r, depth);
        for (int64_t j = in_panels; j < p->n; j++) outer_column(p, r, depth, j);
    }
}
#endif
