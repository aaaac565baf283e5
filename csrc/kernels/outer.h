/* The outer products c += aT b over k rows: the gradients of weight matrices. DEPTH rows of a and b at a time are
 * packed: those of b in panels, those of a in tiles, where all c together are wide enough to pay for it. Rows of a that
 * lie a power of two apart would share a few sets of L1, and a tile takes only a part of each line. */
#ifndef BPTT_KERNELS_OUTER_H
#define BPTT_KERNELS_OUTER_H
#include "kernels/tile.h"
#include <string.h>

enum {
    WIDE = 8 * PANEL_WIDTH, /* columns in panels from which on packing a pays */
    TILE_VECTORS = (TILE_ROWS + LANES - 1) / LANES,
    NEIGHBOURS = 4, /* tiles or panels that are packed together, row by row: a page is then found once for all */
    AHEAD = 16,     /* rows from that which is packed to that which is prefetched */
    COLUMNS_IN_L2 = L2_BYTES / DEPTH / (int)sizeof(REAL), /* columns of DEPTH rows */
    ROWS_IN_L2 = COLUMNS_IN_L2 / 2,                       /* rows of c whose tiles are all packed at once */
    /* of more rows: their tiles, and the columns of panels that fill the rest of L2 */
    ROWS_AT_ONCE = (COLUMNS_IN_L2 / 8 + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS,
    COLUMNS_AT_ONCE = (COLUMNS_IN_L2 - ROWS_AT_ONCE) / PANEL_WIDTH * PANEL_WIDTH
};

/* elements from a row of b to that which is prefetched, rows of gaps included */
INLINE int64_t elements_ahead(const outer_product *p, int64_t ld) {
    return (p->gap ? AHEAD + AHEAD / p->run * p->gap : AHEAD) * ld;
}

/* `count` panels of b from column j on, the last of which has `cols` columns, by `depth` rows from r on. Zeros stand
 * for skipped rows and missing columns. */
INLINE void pack_neighbouring_panels(const outer_product *p, const outer_operand *operand, int64_t r, int64_t depth,
                                     int64_t j, const int count, const int width, const int64_t cols, REAL *panels) {
    const int64_t ld = operand->ldb, ahead = elements_ahead(p, ld);
    for (const int64_t end = r + depth; r < end;) {
        const int64_t first = outer_row(p, r), rows = outer_rows_together(p, r, end);
        const REAL *b = operand->b + first * ld + j;
        for (int64_t row = 0; row < rows; row++, b += ld, panels += width) {
            const int skipped = operand->skip && operand->skip[first + row];
            UNROLL
            for (int t = 0; t < count; t++) {
                const REAL *from = b + t * PANEL_WIDTH;
                REAL *to = panels + t * PANEL_WIDTH * depth;
                const int64_t left = t < count - 1 ? PANEL_WIDTH : cols;
                __builtin_prefetch(from + ahead);
                for (int v = 0; v < width; v += LANES) {
                    if (skipped) store(to + v, splat(0));
                    else store(to + v, left - v >= LANES ? load(from + v) : load_part(from + v, left - v));
                }
            }
        }
        r += rows;
    }
}

/* The panels of b's columns [j, end) by `depth` rows from r on. */
OUT_OF_LINE void pack_rows(const outer_product *p, const outer_operand *operand, int64_t r, int64_t depth, int64_t j,
                           int64_t end, REAL *panels) {
    for (int64_t cols; (cols = end - j) > 0;) {
        const int count = cols < NEIGHBOURS * PANEL_WIDTH ? 1 : NEIGHBOURS;
        if (count > 1) pack_neighbouring_panels(p, operand, r, depth, j, NEIGHBOURS, PANEL_WIDTH, PANEL_WIDTH, panels);
        else
            pack_neighbouring_panels(p, operand, r, depth, j, 1, panel_width(j, end),
                                     cols < PANEL_WIDTH ? cols : PANEL_WIDTH, panels);
        j += count * PANEL_WIDTH;
        panels += count * PANEL_WIDTH * depth;
    }
}

/* Column j by `depth` rows from r_begin on: a few vectors of rows of c at a time, each element a sum over r, the same
 * to the bit as in a tile. Skipped rows are not read. */
OUT_OF_LINE void outer_column(const outer_product *p, const outer_operand *operand, int64_t r_begin, int64_t depth,
                              int64_t j) {
    enum { AT_ONCE = 4 };
    for (int64_t i = 0; i < operand->m; i += AT_ONCE * LANES) {
        const int64_t rows = operand->m - i < AT_ONCE * LANES ? operand->m - i : AT_ONCE * LANES;
        vec sum[AT_ONCE] = {splat(0), splat(0), splat(0), splat(0)};
        REAL sums[AT_ONCE * LANES];
        for (int64_t r = r_begin, together = 0, row_b = 0; r < r_begin + depth; r++, row_b++) {
            if (!together--) {
                row_b = outer_row(p, r);
                together = outer_rows_together(p, r, r_begin + depth) - 1;
            }
            if (operand->skip && operand->skip[row_b]) continue;
            const vec b = splat(operand->b[row_b * operand->ldb + j]);
            const REAL *a = p->a + r * p->lda + i;
            UNROLL
            for (int v = 0; v < AT_ONCE; v++) {
                const int64_t left = rows - v * LANES;
                if (left >= LANES) sum[v] += b * load(a + v * LANES);
                else if (left > 0) sum[v] += b * load_part(a + v * LANES, left);
            }
        }
        for (int v = 0; v < AT_ONCE; v++) store(sums + v * LANES, sum[v]);
        for (int64_t row = 0; row < rows; row++) operand->c[(i + row) * operand->ldc + j] += sums[row];
    }
}

/* `count` tiles of a, `depth` rows of it each: (depth,rows). Whole vectors are copied where a row has `room` for them;
 * what a copy writes too much, the next one overwrites. Returns the elements written. */
INLINE int64_t pack_neighbouring_tiles(const outer_product *p, const REAL *a, int64_t room, int64_t depth,
                                       const int count, const int64_t *rows, REAL *tiles) {
    REAL *tile[NEIGHBOURS];
    int64_t width = 0;
    for (int t = 0; t < count; t++) {
        tile[t] = tiles + width * depth;
        width += rows[t];
    }
    const int fits = room >= width - rows[count - 1] + TILE_VECTORS * LANES;
    const int64_t by_vectors = fits ? depth - TILE_VECTORS * LANES / rows[count - 1] : 0;
    int64_t row = 0;
    for (; row < by_vectors; row++, a += p->lda) {
        const REAL *from = a;
        __builtin_prefetch(a + AHEAD * p->lda);
        UNROLL
        for (int t = 0; t < count; t++) {
            for (int v = 0; v < TILE_VECTORS; v++) store(tile[t] + v * LANES, load(from + v * LANES));
            from += rows[t];
            tile[t] += rows[t];
        }
    }
    for (; row < depth; row++, a += p->lda) {
        const REAL *from = a;
        for (int t = 0; t < count; from += rows[t], tile[t] += rows[t], t++)
            memcpy(tile[t], from, (size_t)rows[t] * sizeof(REAL));
    }
    return width * depth;
}

/* Columns of a, `depth` rows of it from r on, for the tiles of the rows [i, i + m) of c. */
OUT_OF_LINE void pack_tiles(const outer_product *p, int64_t i, int64_t m, int64_t r, int64_t depth, REAL *tiles) {
    const REAL *a = p->a + r * p->lda;
    const int64_t end = i + m;
    for (int64_t left = tiles_below(m); left > 0;) {
        const int count = left < NEIGHBOURS ? 1 : NEIGHBOURS;
        const int64_t begin = i;
        int64_t rows[NEIGHBOURS];
        for (int t = 0; t < count; t++) {
            rows[t] = (end - i + left - 1) / left;
            i += rows[t];
            left--;
        }
        tiles += count == 1 ? pack_neighbouring_tiles(p, a + begin, p->m - begin, depth, 1, rows, tiles)
                            : pack_neighbouring_tiles(p, a + begin, p->m - begin, depth, NEIGHBOURS, rows, tiles);
    }
}

/* for tiles, and behind them panels */
LOCAL int64_t outer_scratch(int64_t m) { return m * DEPTH; }

/* Whether a skipped row of a holds NaN or Inf: times the zeros that a panel has in place of b it would be NaN. */
OUT_OF_LINE int skips_nonfinite(const outer_product *p, const outer_operand *operand, int64_t r_begin, int64_t depth) {
    const uint8_t *skip = operand->skip;
    for (int64_t r = r_begin; skip && r < r_begin + depth; r++)
        for (int64_t i = 0; skip[outer_row(p, r)] && i < operand->m; i++)
            if (!isfinite(p->a[r * p->lda + i])) return 1;
    return 0;
}

/* Panels of an operand among those of all, which are numbered through. */
typedef struct {
    const outer_operand *operand;
    int64_t first;      /* columns of the panels before its own */
    int64_t begin, end; /* its columns */
    REAL *panels;       /* where they are packed */
    int by_tile;        /* the only one: its first tile packs it */
} panel_range;

/* Packs those of the panels [j, end) of all that are the operand's own; there may be none. by_tile: a whole one all of
 * whose rows count is left to the first tile. */
static panel_range pack_range(const outer_product *p, const panel_range *all, int64_t r, int64_t depth, int64_t j,
                              int64_t end, const int by_tile, REAL *panels) {
    panel_range range = *all;
    if (j > all->first) range.begin = j - all->first;
    if (end < all->first + all->end) range.end = end - all->first;
    if (range.begin >= range.end) return range;
    range.panels = panels + (all->first + range.begin - j) * depth;
    range.by_tile = by_tile && !all->operand->skip && range.end - range.begin == PANEL_WIDTH;
    if (!range.by_tile) pack_rows(p, all->operand, r, depth, range.begin, range.end, range.panels);
    return range;
}

/* rows of b for the range's panel, from row r on */
static unpacked_rows rows_of_panel(const outer_product *p, const panel_range *range, int64_t r, int64_t depth) {
    const int64_t ld = range->operand->ldb;
    return (unpacked_rows){.b = range->operand->b + outer_row(p, r) * ld + range->begin,
                           .ld = ld,
                           .left = outer_rows_together(p, r, r + depth),
                           .run = p->run,
                           .gap = p->gap * ld,
                           .ahead = elements_ahead(p, ld),
                           .panel = range->panels};
}

/* The columns of c that have these panels, by its rows [i, i + m) and `depth` rows of a from r on, whose tiles these
 * are (NULL: they are not packed). */
static void outer_block(const outer_product *p, const panel_range *range, int64_t i, int64_t m, int64_t r,
                        int64_t depth, const REAL *tiles) {
    const int64_t ld = range->operand->ldc;
    const REAL *panel = range->panels;
    const int packs = range->by_tile && i == 0;
    const unpacked_rows unpacked = packs ? rows_of_panel(p, range, r, depth) : (unpacked_rows){0};
    for (int64_t j = range->begin; j < range->end; j += PANEL_WIDTH, panel += depth * PANEL_WIDTH) {
        REAL *c = range->operand->c + i * ld + j;
        const tile_task task = {.k = depth,
                                .a = tiles ? tiles : p->a + r * p->lda + i,
                                .a_row_stride = 1,
                                .a_depth_stride = p->lda,
                                .panel = panel,
                                .init = c,
                                .ldinit = ld,
                                .c = c,
                                .ldc = ld,
                                .cols = range->end - j,
                                .unpacked = packs ? &unpacked : NULL};
        if (tiles) tiles_of_packed_outer(m, task);
        else tiles_of_outer(m, task);
    }
}

/* Rows of c from i on, at most that many, which the same operands have. */
static int64_t rows_together(const outer_product *p, int64_t i, int64_t most) {
    int64_t end = p->m - i < most ? p->m : i + most;
    for (int o = 0; o < OUTER_OPERANDS; o++)
        if (p->operands[o].m > i && p->operands[o].m < end) end = p->operands[o].m;
    return end - i;
}

/* The n columns of c that are in panels, gaps between operands included, by `depth` rows of a and b from r on. Where c
 * has many rows, the tiles for a part of them leave room in the scratch for several panels, which then serve all parts;
 * otherwise panels are packed one by one. */
static void outer_panels(const outer_product *p, const panel_range all[OUTER_OPERANDS], int64_t n, int64_t r,
                         int64_t depth) {
    REAL one_panel[DEPTH * PANEL_WIDTH] __attribute__((aligned(64)));
    const int in_parts = p->m > ROWS_IN_L2;
    const int64_t rows = in_parts ? ROWS_AT_ONCE : p->m, room = (p->m - rows) / PANEL_WIDTH * PANEL_WIDTH;
    const int64_t at_once = !in_parts ? PANEL_WIDTH : room < COLUMNS_AT_ONCE ? room : COLUMNS_AT_ONCE;
    const int by_tile = !in_parts && begins_tall(rows_together(p, 0, rows));
    REAL *panels = in_parts ? p->scratch + (p->m - room) * DEPTH : one_panel;
    for (int64_t j = 0; j < n; j += at_once) {
        panel_range range[OUTER_OPERANDS];
        for (int o = 0; o < OUTER_OPERANDS; o++)
            range[o] = pack_range(p, all + o, r, depth, j, j + at_once, by_tile, panels);
        for (int64_t i = 0, m; i < p->m; i += m) {
            REAL *tiles = n < WIDE ? NULL : p->scratch + (in_parts ? 0 : i * depth);
            m = rows_together(p, i, rows);
            if (tiles && (in_parts || j == 0)) pack_tiles(p, i, m, r, depth, tiles);
            for (int o = 0; o < OUTER_OPERANDS; o++)
                if (i < range[o].operand->m) outer_block(p, range + o, i, m, r, depth, tiles);
        }
    }
}

/* The sums over r in blocks of DEPTH: panels first, then each of the tail columns. */
LOCAL void outer(const outer_product *p) {
    for (int64_t r = 0; r < p->k; r += DEPTH) {
        const int64_t depth = p->k - r < DEPTH ? p->k - r : DEPTH;
        panel_range all[OUTER_OPERANDS];
        int64_t n = 0;
        for (int o = 0; o < OUTER_OPERANDS; o++) {
            const outer_operand *operand = p->operands + o;
            const int in_panels = operand->m && !skips_nonfinite(p, operand, r, depth);
            all[o] = (panel_range){operand, .first = n, .end = in_panels ? panel_columns(operand->n) : 0};
            n += (all[o].end + PANEL_WIDTH - 1) / PANEL_WIDTH * PANEL_WIDTH;
        }
        if (n) outer_panels(p, all, n, r, depth);
        for (int o = 0; o < OUTER_OPERANDS; o++)
            for (int64_t j = all[o].end; j < p->operands[o].n; j++) outer_column(p, p->operands + o, r, depth, j);
    }
}
#endif
