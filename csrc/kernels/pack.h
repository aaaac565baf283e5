/* Panels: the layout of a packed (k,n) matrix b.
 *
 * A panel is PANEL_WIDTH columns of b (two vectors), row by row: (k,PANEL_WIDTH). Panels follow one another; the last
 * is a single vector wide where that is enough, and zeros fill its columns beyond b. One or two columns beyond whole
 * vectors (65 = 64 + 1), or few columns at all, would leave most of a vector empty: such tail columns lie behind the
 * panels, each (k,). */
#ifndef BPTT_KERNELS_PACK_H
#define BPTT_KERNELS_PACK_H
#include "kernels/pack_panel.h"

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

LOCAL void pack(int64_t k, int64_t n, const REAL *w, int64_t row_stride, int64_t col_stride, REAL *panels) {
    const int64_t in_panels = panel_columns(n);
    for (int64_t j = 0; j < in_panels; j += PANEL_WIDTH) {
        const int width = panel_width(j, in_panels);
        const int64_t filled = in_panels - j < width ? in_panels - j : width;
        pack_panel(k, w + j * col_stride, row_stride, col_stride, filled, width, width, panels);
        panels += k * width;
    }
    for (int64_t j = in_panels; j < n; j++)
        for (int64_t i = 0; i < k; i++) *panels++ = w[i * row_stride + j * col_stride];
}
#endif
