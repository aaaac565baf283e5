/* The optimisers' steps, element by element. bptt.h has the formulas with their sources, train/optim.h computes the
 * numbers of an update. */
#ifndef BPTT_KERNELS_OPTIM_POINTWISE_H
#define BPTT_KERNELS_OPTIM_POINTWISE_H
#include "kernels/kernels.h"
#include "kernels/pointwise.h"

/* the gradient plus weight decay */
#define DECAYED(u) (LOAD((u).grads + j) + splat((u).decay) * LOAD((u).params + j))

/* velocity = momentum*velocity + g; params -= rate * (nesterov ? g + momentum*velocity : velocity), momentum = keep1.
 * Without a velocity: params -= rate * g. */
LOCAL void sgd(const update *given) {
    const update u = *given;
    if (!u.mean) {
        EACH_VECTOR(u.n, STORE(u.params + j, LOAD(u.params + j) - splat(u.rate) * DECAYED(u)));
        return;
    }
    EACH_VECTOR(u.n, const vec g = DECAYED(u), velocity = splat(u.keep1) * LOAD(u.mean + j) + g;
                const vec step = u.nesterov ? g + splat(u.keep1) * velocity : velocity; STORE(u.mean + j, velocity);
                STORE(u.params + j, LOAD(u.params + j) - splat(u.rate) * step));
}

/* square = keep2*square + take2*g^2; params -= rate * g / (sqrt(square) + eps). Adagrad has keep2 = take2 = 1. */
LOCAL void rmsprop(const update *given) {
    const update u = *given;
    EACH_VECTOR(u.n, const vec g = DECAYED(u), square = splat(u.keep2) * LOAD(u.square + j) + splat(u.take2) * g * g;
                STORE(u.square + j, square);
                STORE(u.params + j, LOAD(u.params + j) - splat(u.rate) * g / (square_root(square) + splat(u.eps))));
}

/* mean = keep1*mean + take1*g; square = keep2*square + take2*g^2;
 * params = shrink*params - rate * mean / (root*sqrt(square) + eps). rate and root hold the bias corrections, shrink the
 * decoupled weight decay. */
LOCAL void adam(const update *given) {
    const update u = *given;
    EACH_VECTOR(u.n, const vec g = DECAYED(u), mean = splat(u.keep1) * LOAD(u.mean + j) + splat(u.take1) * g;
                const vec square = splat(u.keep2) * LOAD(u.square + j) + splat(u.take2) * g * g;
                const vec step = splat(u.rate) * mean / (square_root(square) * splat(u.root) + splat(u.eps));
                STORE(u.mean + j, mean); STORE(u.square + j, square);
                STORE(u.params + j, splat(u.shrink) * LOAD(u.params + j) - step));
}
#endif
