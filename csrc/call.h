/* One call of forward, backward or step: its arguments after the checks, and the scratch memory it was given. */

typedef TYPED(product) product;
typedef TYPED(outer_product) outer_product;
typedef TYPED(kernels) kernels;

/* The weights in panels. Forward multiplies by the transposed matrices, backward by the matrices themselves. */
typedef struct {
    REAL *ih, *hh, *ho;
    REAL *bias;   /* forward only: b_ih + b_hh (H), zeros without biases */
    REAL *bias_o; /* forward only: b_o (O), zeros without biases */
} weights;

typedef struct {
    const kernels *kernels;
    const bptt_spec *spec;
    bptt_options options;
    bptt_internal_layout layout;
    int64_t I, H, O, Y, T, B;
    int64_t poll_steps; /* steps between two questions whether to stop */
    int64_t chunk;      /* steps whose tall products are done together */
    const REAL *params, *x, *dy, *dstate1;
    REAL *y, *tape, *dx, *dstate0, *grads;
    weights weights;
    REAL *hidden;      /* without a tape: entering state and states of a chunk (chunk+1,B,H) */
    REAL *entering;    /* a step's entering state with reset rows zeroed (B,H) */
    REAL *dz;          /* a chunk (chunk,B,H): first dL/dh from the outputs, then dz */
    REAL *dz_after;    /* dz of the step after the chunk (B,H) */
    REAL *flow;        /* W_hhT dz_{t+1} on its own (B,H) */
    double *row_norms; /* ||dh_t|| of each row of a chunk (chunk,B) */
    atomic_int stop;   /* set by the poll */
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

#define CHUNK_BYTES (1 << 19)

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

static bptt_status begin(call *c, const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options) {
    memset(c, 0, sizeof *c);
    bptt_status status = bptt_internal_check_call(spec, T, B, options, &c->options);
    if (status) return status;
    c->kernels = TYPED(bptt_internal_kernels)();
    if (!c->kernels) return BPTT_ERROR_ISA;
    c->spec = spec;
    c->I = spec->input_size;
    c->H = spec->hidden_size;
    c->O = spec->output_size;
    c->Y = c->O ? c->O : c->H;
    c->T = T;
    c->B = B;
    /* enough rows for tall products to pay and for barriers not to count, few enough that chunks stay in caches */
    c->chunk = min_of(T, max_of((256 + B - 1) / B, CHUNK_BYTES / (int64_t)sizeof(REAL) / (B * c->H)));
    c->poll_steps = max_of(1, (int64_t)(1e8 / ((double)B * (double)c->H * (double)(c->I + c->H + c->O))));
    return BPTT_OK;
}

static void set_params(call *c, const REAL *params) {
    c->params = params;
    c->layout = bptt_internal_layout_of(c->spec);
}

/* The tensor's place in a flat buffer, NULL where the network has none. */
static const REAL *tensor(const call *c, int which) {
    return c->layout.offset[which] < 0 ? NULL : c->params + c->layout.offset[which];
}

static REAL *gradient(const call *c, int which) {
    return c->layout.offset[which] < 0 ? NULL : c->grads + c->layout.offset[which];
}
