/* The product of a single row, for a batch of one: limited by memory and by the latency of additions, not by their
 * number. */
#ifndef BPTT_KERNELS_GEMV_H
#define BPTT_KERNELS_GEMV_H
#include "kernels/tile.h"

/* init of a product that has none: as many zeros as the columns of any task */
static const REAL no_init[2 * PANEL_WIDTH];

/* One row by one or two panels that lie panel_stride apart. Each element has several sums, each of every chains-th
 * term, so that no addition waits for the one before. */
INLINE void gemv_panels(const int panels, const int vecs, const int chains, const tile_task *task,
                        int64_t panel_stride) {
    vec sum[4][2][2];                /* chain, panel, vector */
    const REAL *b_row = task->panel; /* row r of b in the first panel */
    int64_t r = 0;
    for (int chain = 0; chain < chains; chain++)
        for (int panel = 0; panel < panels; panel++) sum[chain][panel][0] = sum[chain][panel][1] = splat(0);
    for (; r + chains <= task->k; r += chains)
        for (int chain = 0; chain < chains; chain++, b_row += vecs * LANES)
            for (int panel = 0; panel < panels; panel++)
                for (int v = 0; v < vecs; v++)
                    sum[chain][panel][v] += splat(task->a[r + chain]) * load(b_row + panel * panel_stride + v * LANES);
    for (; r < task->k; r++, b_row += vecs * LANES)
        for (int panel = 0; panel < panels; panel++)
            for (int v = 0; v < vecs; v++)
                sum[0][panel][v] += splat(task->a[r]) * load(b_row + panel * panel_stride + v * LANES);
    for (int panel = 0; panel < panels; panel++)
        for (int v = 0; v < vecs; v++) {
            vec total = sum[0][panel][v] + sum[1][panel][v];
            if (chains == 4) total += sum[2][panel][v] + sum[3][panel][v];
            put(task, 0, panel * PANEL_WIDTH + v * LANES, total);
        }
}

/* All panels, two at a time: for each element of a there are as many loads of b as one core's caches can serve. */
LOCAL void gemv(const product *p) {
    enum { AT_ONCE = 2 * PANEL_WIDTH };
    const int64_t n = panel_columns(p->n), groups = (n + AT_ONCE - 1) / AT_ONCE;
    for (int64_t i = 0; i < groups; i++) {
        const int64_t begin = (p->reverse_panels ? groups - 1 - i : i) * AT_ONCE;
        for (int64_t j = begin; j < begin + AT_ONCE && j < n;) {
            const tile_task task = {.k = p->k,
                                    .a = p->a,
                                    .panel = p->panels + j * p->k,
                                    .init = p->init ? p->init + j : no_init,
                                    .c = p->c + j,
                                    .cols = n - j};
            const int pair = task.cols >= AT_ONCE;
            if (pair) gemv_panels(2, 2, 2, &task, p->k * PANEL_WIDTH);
            else if (task.cols > LANES) gemv_panels(1, 2, 4, &task, 0);
            else gemv_panels(1, 1, 4, &task, 0);
            j += pair ? AT_ONCE : panel_width(j, n);
        }
    }
}
#endif
