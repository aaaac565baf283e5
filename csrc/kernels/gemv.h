/* The product of a single row, for a batch of one: limited by memory and by the latency of additions, not by their
 * number. */
#ifndef BPTT_KERNELS_GEMV_H
#define BPTT_KERNELS_GEMV_H
#include "kernels/tile.h"

/* init of a product that has none: as many zeros as the columns of any task */
static const REAL no_init[2 * PANEL_WIDTH];

/* One row by one or two panels that lie panel_stride apart: several sums for each element, each of every chains-th
 * term, so that no addition waits for the one before. */
INLINE void gemv_panels(const int panels, const int vecs, const int chains, const tile_task *task,
                        int64_t panel_stride) {
    vec sum[4][2][2]; /* chain, panel, vector */
    const REAL *panel = task->panel;
    int64_t r = 0;
    for (int chain = 0; chain < chains; chain++)
        for (int p = 0; p < panels; p++) sum[chain][p][0] = sum[chain][p][1] = splat(0);
    for (; r + chains <= task->k; r += chains)
        for (int chain = 0; chain < chains; chain++, panel += vecs * LANES)
            for (int p = 0; p < panels; p++)
                for (int v = 0; v < vecs; v++)
                    sum[chain][p][v] += splat(task->a[r + chain]) * load(panel + p * panel_stride + v * LANES);
    for (; r < task->k; r++, panel += vecs * LANES)
        for (int p = 0; p < panels; p++)
            for (int v = 0; v < vecs; v++)
                sum[0][p][v] += splat(task->a[r]) * load(panel + p * panel_stride + v * LANES);
    for (int p = 0; p < panels; p++)
        for (int v = 0; v < vecs; v++) {
            vec total = sum[0][p][v] + sum[1][p][v];
            if (chains == 4) total += sum[2][p][v] + sum[3][p][v];
            put(task, 0, p * PANEL_WIDTH + v * LANES, total);
        }
}

/* All panels: two at a time where they stay in L1; one at a time where they come from beyond it, as one stream. */
LOCAL void gemv(const product *p) {
    const int64_t n = panel_columns(p->n);
    const int at_once = p->k * n <= L1_BYTES / (int)sizeof(REAL) ? 2 : 1;
    const int64_t groups = (n + at_once * PANEL_WIDTH - 1) / (at_once * PANEL_WIDTH);
    for (int64_t i = 0; i < groups; i++) {
        const int64_t begin = (p->reverse_panels ? groups - 1 - i : i) * at_once * PANEL_WIDTH;
        const int64_t end = begin + at_once * PANEL_WIDTH;
        for (int64_t j = begin; j < end && j < n;) {
            const tile_task task = {.k = p->k,
                                    .a = p->a,
                                    .panel = p->panels + j * p->k,
                                    .init = p->init ? p->init + j : no_init,
                                    .c = p->c + j,
                                    .cols = n - j};
            const int pair = at_once == 2 && task.cols >= 2 * PANEL_WIDTH;
            if (pair) gemv_panels(2, 2, 2, &task, p->k * PANEL_WIDTH);
            else if (task.cols > LANES) gemv_panels(1, 2, 4, &task, 0);
            else gemv_panels(1, 1, 4, &task, 0);
            j += pair ? 2 * PANEL_WIDTH : panel_width(j, n);
        }
    }
}
#endif
