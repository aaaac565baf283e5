/* The optimisers' steps, element by element (bptt.h has their formulas and sources); included behind elementwise.h, and
 * like it one body for scalars and vectors. ROOT(v) is the square root of each lane. */

/* the gradient with its weight decay */
#define DECAYED(u) (LOAD(u.grads + j) + SPLAT(u.decay) * LOAD(u.params + j))

static void TYPED(sgd)(const TYPED(update) * given) {
    const TYPED(update) u = *given;
    if (!u.mean) {
        EACH_VECTOR(u.n, STORE(u.params + j, LOAD(u.params + j) - SPLAT(u.rate) * DECAYED(u)));
        return;
    }
    EACH_VECTOR(u.n, const V g = DECAYED(u), velocity = SPLAT(u.keep1) * LOAD(u.mean + j) + g;
                const V step = u.nesterov ? g + SPLAT(u.keep1) * velocity : velocity; STORE(u.mean + j, velocity);
                STORE(u.params + j, LOAD(u.params + j) - SPLAT(u.rate) * step));
}

/* RMSprop; Adagrad, which keeps and takes all */
static void TYPED(rmsprop)(const TYPED(update) * given) {
    const TYPED(update) u = *given;
    EACH_VECTOR(u.n, const V g = DECAYED(u), square = SPLAT(u.keep2) * LOAD(u.square + j) + SPLAT(u.take2) * g * g;
                STORE(u.square + j, square);
                STORE(u.params + j, LOAD(u.params + j) - SPLAT(u.rate) * g / (ROOT(square) + SPLAT(u.eps))));
}

static void TYPED(adam)(const TYPED(update) * given) {
    const TYPED(update) u = *given;
    EACH_VECTOR(u.n, const V g = DECAYED(u), mean = SPLAT(u.keep1) * LOAD(u.mean + j) + SPLAT(u.take1) * g;
                const V square = SPLAT(u.keep2) * LOAD(u.square + j) + SPLAT(u.take2) * g * g;
                const V step = SPLAT(u.rate) * mean / (ROOT(square) * SPLAT(u.root) + SPLAT(u.eps));
                STORE(u.mean + j, mean); STORE(u.square + j, square);
                STORE(u.params + j, SPLAT(u.shrink) * LOAD(u.params + j) - step));
}
#undef DECAYED
