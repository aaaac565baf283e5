/* Noise of training: the pre-activations of every step get noise * xi, xi standard normal from the counter-based
 * generator of dropout.h. It is a constant for the gradient, so backward does not know of it. */
#ifndef BPTT_NETWORK_NOISE_H
#define BPTT_NETWORK_NOISE_H
#include "network/dropout.h"
#include "network/sequence.h"

LOCAL int adds_noise(const call *call) { return call->options.training && call->spec.noise > 0; }

/* z (rows,G*H), rows ld apart, += noise * xi for the rows of a block. */
LOCAL void add_noise(const worker *worker, const block *block, REAL *z, int64_t ld) {
    const call *call = worker->call;
    const int64_t columns = call->shape->blocks * call->H, B = call->B;
    const REAL scale = (REAL)call->spec.noise;
    for (int64_t i = 0; i < block->rows; i++) {
        const int64_t place = block->row + i;
        const uint64_t step = (uint64_t)call->options.first_step + (uint64_t)(block->t + place / B); /* may wrap */
        call->kernels->add_normal(columns, row_key(worker, NOISE, step, place % B), scale, z + i * ld);
    }
}
#endif
