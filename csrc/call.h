/* One call of forward, backward or step: its arguments after the checks, and the scratch memory it was given. */

typedef TYPED(stretch) stretch;
typedef TYPED(product) product;
typedef TYPED(outer_product) outer_product;
typedef TYPED(gated_step) gated_step;
typedef TYPED(update) update;
typedef TYPED(kernels) kernels;

/* the weights of a layer in one direction, in panels: weights.h */
typedef struct {
    REAL *ih, *ih_apart, *hh, *hh_apart; /* what is apart: see bptt_internal_shape */
    REAL *bias_ih, *bias_hh; /* forward only: what the products of x and, where they do not add up, of h begin with */
    REAL *peepholes;         /* (3,H) or NULL */
} weights;

typedef struct {
    const kernels *kernels;
    bptt_spec spec;
    bptt_options options;
    bptt_internal_shape shape;
    int64_t I, H, O, Y, T, B, L, D;
    int64_t state;      /* elements of h of all layers and directions, (L*D,B,H) */
    int64_t poll_steps; /* steps between two questions whether to stop */
    int64_t chunk;      /* steps whose tall products are done together */
    double step_flops;  /* multiplications and additions of a step forward */
    int watches;        /* backward measures or clips dh_t */
    const REAL *params, *x, *state0, *dy, *dstate1;
    REAL *y, *state1, *dx, *dstate0, *grads;

    REAL *packed[2]; /* weights in panels, for backward and for forward: weights.h */
    REAL *store;     /* states and gates of store_steps steps: tape.h */
    int64_t store_steps;
    int moving;        /* the store holds a chunk or a segment only and moves along */
    REAL *checkpoints; /* with a segment: the state that enters each, in a row */

    /* scratch, rows of all members side by side */
    REAL *entering;      /* a step's entering state with reset rows zeroed (B,H), twice that with c */
    REAL *dropped;       /* a chunk's inputs of a layer after dropout (chunk,B,D*H) */
    REAL *products;      /* GRU with the reset after: what a step's products of W_hh give (B,3*H) */
    REAL *kept;          /* recurrent dropout: what each unit of h is multiplied by (B,H) */
    REAL *thinned;       /* h times that: of a chunk (chunk,B,H) in backward, of a step (B,H) in forward */
    REAL *dh[2];         /* dL/dh of a layer's outputs: (span,B,D*H), span a chunk or with two directions all steps */
    REAL *dz;            /* gated cells: a chunk (chunk,B,4*H) */
    REAL *dz_after;      /* of each layer and direction: dz of the step after the chunk; see dz_stays */
    REAL *flow_h;        /* of each (B,H): what flows back into h, past the products or in all */
    REAL *flow_c;        /* of each (B,H): the gradient by c */
    REAL *d_reset;       /* GRU with the reset before: the gradient by r*h (B,H); elsewhere scratch of dropout */
    REAL *learned;       /* gradient by the entering state where it is learned and not asked for (state) */
    double *row_squares; /* ||dh_t||^2 of each row of a chunk (chunk,B) */
    uint8_t *skip;       /* two directions: rows of a chunk whose entering state is zero (chunk,B) */
    atomic_int stop;     /* set by the poll */
} call;

/* Scratch memory is handed out in order, each piece from a fresh cache line. The same walk with base = NULL only
 * counts, so sizes and addresses cannot disagree. */
typedef struct {
    REAL *base;
    int64_t used;
} arena;

enum { LINE = 64 / sizeof(REAL) };

static arena arena_at(REAL *work) {
    const uintptr_t beyond = (uintptr_t)work % 64 / sizeof(REAL);
    return (arena){work ? work + (beyond ? LINE - beyond : 0) : NULL, LINE};
}

static REAL *take(arena *from, int64_t elements) {
    REAL *piece = from->base ? from->base + from->used - LINE : NULL;
    from->used += (elements + LINE - 1) / LINE * LINE;
    return piece;
}

enum { CHUNK_ROWS = 256, CHUNK_BYTES = 1 << 19 };

static int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

/* How many threads pay for that many multiplications and additions: each has some 100 microseconds of work at least,
 * against the 20 to 50 that it costs to make and join. */
static int useful_threads(const call *c, double flops) {
    const double flops_per_thread = 3e7;
    if (flops < 2 * flops_per_thread) return 1;
    const int most = c->options.threads ? c->options.threads : bptt_internal_processors();
    return (int)fmin(flops / flops_per_thread, (double)min_of(most, BPTT_INTERNAL_MOST_THREADS));
}

/* inputs of a layer's units */
static int64_t inputs_of(const call *c, int64_t layer) { return layer ? c->D * c->H : c->I; }

/* whether a threshold above zero is zero in the array's type: it would clip everything away */
static int vanishes(double threshold) { return threshold > 0 && !((REAL)threshold > 0); }

static bptt_status begin(call *c, const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options) {
    memset(c, 0, sizeof *c);
    bptt_status status = bptt_internal_check_call(spec, T, B, options, &c->spec, &c->options);
    if (status) return status;
    if (vanishes(c->options.step_clip_norm) || vanishes(c->options.step_clip_value)) return BPTT_ERROR_THRESHOLD;
    c->kernels = TYPED(bptt_internal_kernels)();
    if (!c->kernels) return BPTT_ERROR_ISA;
    c->shape = bptt_internal_shape_of(&c->spec);
    c->I = spec->input_size;
    c->H = spec->hidden_size;
    c->L = bptt_internal_layers(&c->spec);
    c->D = bptt_internal_directions(&c->spec);
    c->O = spec->output_size;
    c->Y = c->O ? c->O : c->D * c->H;
    c->T = T;
    c->B = B;
    c->state = c->L * c->D * B * c->H;
    const double rows = (double)c->D * (double)c->shape.blocks * (double)c->H;
    const double inputs = (double)c->I + (double)(c->L - 1) * (double)c->D * (double)c->H + (double)c->L * (double)c->H;
    c->step_flops = 2.0 * (double)B * (rows * inputs + (double)c->O * (double)c->D * (double)c->H);
    /* enough rows for tall products to pay and for barriers not to count, few enough that chunks stay in caches */
    const int64_t row_bytes = c->shape.width * c->H * (int64_t)sizeof(REAL);
    c->chunk = min_of(T, max_of(max_of(1, CHUNK_ROWS / B), CHUNK_BYTES / row_bytes / B));
    if (c->options.segment) c->chunk = min_of(c->chunk, c->options.segment);
    c->poll_steps = max_of(1, (int64_t)(2e8 / c->step_flops));
    return BPTT_OK;
}

/* A tensor's place in the parameters or the gradients, NULL where the network has none. */
static const REAL *unit_tensor(const call *c, int64_t unit, int which) {
    const int64_t offset = bptt_internal_unit_offset(&c->spec, unit, which);
    return offset < 0 ? NULL : c->params + offset;
}

static const REAL *network_tensor(const call *c, int which) {
    const int64_t offset = bptt_internal_network_offset(&c->spec, which);
    return offset < 0 ? NULL : c->params + offset;
}

static REAL *gradient(const call *c, int64_t offset) { return offset < 0 ? NULL : c->grads + offset; }

/* One thread's part of a call: its rows of the batch; then a layer, a direction and a chunk of steps at a time. */
typedef struct {
    call *call;
    const bptt_internal_member *me;
    int64_t first, last; /* rows of the batch */
    int64_t origin;      /* the step whose outputs lie first in the store */
    int64_t t0, steps;   /* the chunk */
    int64_t layer, direction, unit;
    REAL *h, *c, *gates; /* where these lie in the store, see tape.h */
    REAL *dh;            /* backward: the layer's dL/dh, see dh_at */
    weights w;
} pass;

/* Whether to stop; the calling thread asks the caller. Members may hear of it at different times. */
static int stopped(const pass *p) {
    call *c = p->call;
    const int asks = p->me->rank == 0 && c->options.poll && !atomic_load(&c->stop);
    if (asks && c->options.poll(c->options.poll_context)) atomic_store(&c->stop, 1);
    return atomic_load(&c->stop);
}

/* The same at a barrier: all members get the same answer, as nobody asks again before all have read this one. */
static int stopped_together(const pass *p) {
    stopped(p);
    bptt_internal_team_wait(p->me);
    return atomic_load(&p->call->stop);
}

/* Long chunks are also left in the middle: the calling thread asks after every poll_steps steps, all see the answer. */
static int stopped_at_step(const pass *p, int64_t s) { return s % p->call->poll_steps == 0 ? stopped(p) : 0; }

/* fewer rows than this are not worth a thread */
enum { ROWS_PER_THREAD = 4 };

/* The member's rows of the batch: as many steps for each member, the cuts at multiples of `quantum`. */
static void share_rows(pass *p, int64_t quantum) {
    const int64_t *lengths = p->call->options.lengths, B = p->call->B;
    bptt_internal_share(p->me, B, quantum, &p->first, &p->last);
    if (!lengths) return;
    int64_t all = 0, before = 0, cuts[2] = {0, B};
    for (int64_t b = 0; b < B; b++) all += lengths[b];
    for (int64_t b = 0; b < B; before += lengths[b++])
        for (int side = 0; side < 2; side++) {
            const double share = (double)(p->me->rank + side) / p->me->size;
            if (b % quantum == 0 && (double)before <= share * (double)all) cuts[side] = b;
        }
    p->first = p->me->rank == 0 ? 0 : cuts[0];
    p->last = p->me->rank == p->me->size - 1 ? B : cuts[1];
}
