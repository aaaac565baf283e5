/* Dropout (Srivastava et al. 2014) from a counter-based generator: whether an element is kept is a hash of the call's
 * seed and of layer, step, row and unit. So it does not depend on threads, and backward finds the same masks again. */
#ifndef BPTT_NETWORK_DROPOUT_H
#define BPTT_NETWORK_DROPOUT_H
#include "base/mix.h"
#include "network/worker.h"

enum { DROP_INPUT, DROP_RECURRENT, NOISE = 1 << 20 /* beyond 2 * layer_dir + 1 of any network */ };

/* The hash of what chooses a row's mask, or its noise. Both directions of a layer have the same inputs, so the same
 * mask of them. */
LOCAL uint64_t row_key(const worker *worker, int kind, uint64_t step, int64_t row) {
    const int64_t layer_dir = kind == DROP_INPUT ? worker->layer * worker->call->D : worker->layer_dir;
    uint64_t key = mix64(worker->call->options.dropout_seed + 0x9e3779b97f4a7c15u);
    key = mix64(key ^ (uint64_t)(2 * layer_dir + kind));
    key = mix64(key + step);
    return mix64(key ^ ((uint64_t)row << 20));
}

/* out = 0 with probability rate, otherwise x / (1 - rate); 16 bits for each element, so rates are multiples of 2^-16 */
LOCAL void drop_row(uint64_t key, double rate, int64_t n, const REAL *x, REAL *out) {
    const uint64_t bound = (uint64_t)min_of(65535, (int64_t)(rate * 65536 + 0.5));
    const REAL scale = (REAL)(65536.0 / (double)(65536 - bound));
    for (int64_t j = 0; j < n; j += 4) {
        const uint64_t bits = mix64(key + (uint64_t)j * 0x9e3779b97f4a7c15u);
        for (int64_t i = j; i < n && i < j + 4; i++)
            out[i] = (bits >> (16 * (i - j)) & 0xffff) < bound ? 0 : x[i] * scale;
    }
}

/* ---- inputs of the layers above the first ------------------------------------------------------------ */

LOCAL int drops_inputs(const worker *worker) {
    return worker->call->options.training && worker->call->spec.dropout > 0 && worker->layer > 0;
}

/* out (rows,n) = x (rows,n) after dropout, rows of both ld apart, for rows from `row` of step t on, continued in the
 * next steps. */
LOCAL void drop_inputs(const worker *worker, int64_t t, int64_t row, int64_t rows, int64_t n, const REAL *x, REAL *out,
                       int64_t ld) {
    const call *call = worker->call;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t place = row + i;
        const uint64_t step = (uint64_t)call->options.first_step + (uint64_t)(t + place / call->B); /* may wrap */
        drop_row(row_key(worker, DROP_INPUT, step, place % call->B), call->spec.dropout, n, x + i * ld, out + i * ld);
    }
}

/* ---- the recurrent state ----------------------------------------------------------------------------- */

LOCAL int drops_recurrent(const call *call) { return call->options.training && call->spec.recurrent_dropout > 0; }

/* Draws the factor of each unit of h_{t-1} for the member's rows, the same at all steps (Gal & Ghahramani 2016). */
LOCAL void draw_mask(const worker *worker) {
    const call *call = worker->call;
    const int64_t H = call->H;
    for (int64_t row = worker->row_begin; row < worker->row_end; row++) {
        REAL *mask = call->mask + row * H;
        for (int64_t j = 0; j < H; j++) mask[j] = 1;
        drop_row(row_key(worker, DROP_RECURRENT, 0, row), call->spec.recurrent_dropout, H, mask, mask);
    }
}

/* out = x * mask for `rows` rows from `row` on; where the mask is 0 the result is 0, NaN and Inf too. x (rows,H) rows
 * ld apart, out (rows,H), may be x where ld is H. */
LOCAL void apply_mask(const call *call, int64_t row, int64_t rows, const REAL *x, int64_t ld, REAL *out) {
    const int64_t H = call->H;
    for (int64_t i = 0; i < rows; i++) {
        const REAL *mask = call->mask + (row + i) * H;
        for (int64_t j = 0; j < H; j++) out[i * H + j] = mask[j] == 0 ? 0 : x[i * ld + j] * mask[j];
    }
}
#endif
