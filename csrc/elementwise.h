/* What is done element by element, one body for scalars and vectors of either type: cells, forward and backward side by
 * side, and some arithmetic. The includer defines V, LANES, SPLAT, load, store, load_part, store_part (the first n
 * lanes) and what vmath.h gives. A row of gates is passed over several times rather than once: a gate waits some
 * hundred cycles for its exponential, and so the processor has that of many vectors under way. */

#undef LOAD
#undef STORE
#undef EACH_VECTOR
#undef EACH_ROW
#define LOAD(p) (n == LANES ? TYPED(load)(p) : TYPED(load_part)(p, n))
#define STORE(p, v) (n == LANES ? TYPED(store)(p, v) : TYPED(store_part)(p, v, n))

/* a statement for every vector of `count` elements: `n` of its lanes from element j on; n is a constant in all but the
 * last */
#define EACH_VECTOR(count, ...)                                                                                        \
    do {                                                                                                               \
        int64_t j = 0;                                                                                                 \
        for (; j + LANES <= (count); j += LANES) {                                                                     \
            const int64_t n = LANES;                                                                                   \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
        if (j < (count)) {                                                                                             \
            const int64_t n = (count) - j;                                                                             \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
    } while (0)

/* ---- vanilla cells: h = f(z), and dz = f'(z) dh ------------------------------------------------------ */

static void TYPED(tanh_in_place)(int64_t count, REAL *x) { EACH_VECTOR(count, STORE(x + j, MATH(tanh)(LOAD(x + j)))); }

static void TYPED(logistic)(int64_t count, const REAL *x, REAL *y) {
    EACH_VECTOR(count, STORE(y + j, MATH(logistic)(LOAD(x + j))));
}

static void TYPED(activate)(int cell, int64_t count, REAL *z) {
    switch (cell) {
    case BPTT_CELL_TANH: TYPED(tanh_in_place)(count, z); break;
    case BPTT_CELL_RELU: EACH_VECTOR(count, STORE(z + j, MATH(at_least)(LOAD(z + j), SPLAT(0)))); break;
    case BPTT_CELL_SIGMOID: TYPED(logistic)(count, z, z); break;
    }
}

/* f' is written in terms of h; in place allowed */
static void TYPED(slope)(int cell, int64_t count, const REAL *h, const REAL *dh, REAL *dz) {
    switch (cell) {
    case BPTT_CELL_TANH:
        EACH_VECTOR(count, const V f = LOAD(h + j); STORE(dz + j, LOAD(dh + j) * ((SPLAT(1) - f) * (SPLAT(1) + f))));
        break;
    case BPTT_CELL_RELU: /* NaN stays NaN */
        EACH_VECTOR(count, const V f = LOAD(h + j); STORE(dz + j, CHOOSE(SPLAT(0), f, LOAD(dh + j), f * SPLAT(0))));
        break;
    case BPTT_CELL_SIGMOID:
        EACH_VECTOR(count, const V f = LOAD(h + j); STORE(dz + j, LOAD(dh + j) * (f * (SPLAT(1) - f))));
        break;
    default:
        if (dz != dh) memcpy(dz, dh, (size_t)count * sizeof(REAL));
    }
}

/* ---- gated cells ------------------------------------------------------------------------------------- */

#define EACH_ROW(of_row)                                                                                               \
    for (int64_t row = 0; row < s->rows; row++) of_row(s, row)

/* y += a * b */
INLINE void TYPED(add_product)(int64_t count, const REAL *a, const REAL *b, REAL *y) {
    EACH_VECTOR(count, STORE(y + j, LOAD(y + j) + LOAD(a + j) * LOAD(b + j)));
}

/* ---- LSTM: blocks i, f, g, o ----------------------------------------------------------------------- */

INLINE void TYPED(lstm_forward_row)(const TYPED(gated_step) * s, int64_t row) {
    const int64_t H = s->H;
    REAL *i = s->gates + row * 4 * H, *f = i + H, *g = f + H, *o = g + H;
    REAL *c = s->c + row * s->ld, *h = s->h + row * s->ld;
    const REAL *c_before = s->c_before + row * s->ld_before, *p = s->peepholes;
    if (p) TYPED(add_product)(H, p, c_before, i);
    if (p) TYPED(add_product)(H, p + H, c_before, f);
    TYPED(logistic)(2 * H, i, i);
    TYPED(tanh_in_place)(H, g);
    EACH_VECTOR(H, STORE(c + j, LOAD(f + j) * LOAD(c_before + j) + LOAD(i + j) * LOAD(g + j)));
    if (p) TYPED(add_product)(H, p + 2 * H, c, o);
    TYPED(logistic)(H, o, o);
    EACH_VECTOR(H, STORE(h + j, LOAD(o + j) * MATH(tanh)(LOAD(c + j))));
}

INLINE void TYPED(lstm_backward_at)(const TYPED(gated_step) * s, int64_t row, int64_t j, const int64_t n) {
    const int64_t H = s->H;
    const REAL *gates = s->gates + row * 4 * H + j, *p = s->peepholes ? s->peepholes + j : NULL;
    const V i = LOAD(gates), f = LOAD(gates + H), g = LOAD(gates + 2 * H), o = LOAD(gates + 3 * H);
    const V tanh_c = MATH(tanh)(LOAD(s->c + row * s->ld + j)), dh = LOAD(s->dh + row * s->ld_dh + j);
    REAL *flow = s->flow_c + row * H + j, *dz = s->dz + row * 4 * H + j;
    const V dzo = dh * tanh_c * (o * (SPLAT(1) - o));
    V dc = LOAD(flow) + dh * o * ((SPLAT(1) - tanh_c) * (SPLAT(1) + tanh_c));
    if (p) dc += dzo * LOAD(p + 2 * H);
    const V dzi = dc * g * (i * (SPLAT(1) - i));
    const V dzf = dc * LOAD(s->c_before + row * s->ld_before + j) * (f * (SPLAT(1) - f));
    V dc_before = dc * f;
    if (p) dc_before += dzi * LOAD(p) + dzf * LOAD(p + H);
    STORE(dz, dzi);
    STORE(dz + H, dzf);
    STORE(dz + 2 * H, dc * i * ((SPLAT(1) - g) * (SPLAT(1) + g)));
    STORE(dz + 3 * H, dzo);
    STORE(flow, dc_before);
}

INLINE void TYPED(lstm_backward_row)(const TYPED(gated_step) * s, int64_t row) {
    EACH_VECTOR(s->H, TYPED(lstm_backward_at)(s, row, j, n));
}

static void TYPED(lstm_forward)(const TYPED(gated_step) * s) { EACH_ROW(TYPED(lstm_forward_row)); }
static void TYPED(lstm_backward)(const TYPED(gated_step) * s) { EACH_ROW(TYPED(lstm_backward_row)); }

/* ---- GRU, reset after the product: blocks r, z, n, q = W_hn h + b_hn; gradients dn, dr, dz, dq ------ */

/* h = (1-z)*n + z*h_before */
INLINE void TYPED(gru_mix)(const TYPED(gated_step) * s, int64_t row) {
    const int64_t H = s->H;
    const REAL *z = s->gates + row * 4 * H + H, *new = z + H, *h_before = s->h_before + row * s->ld_before;
    REAL *h = s->h + row * s->ld;
    EACH_VECTOR(H, const V u = LOAD(z + j); STORE(h + j, (SPLAT(1) - u) * LOAD(new + j) + u * LOAD(h_before + j)));
}

INLINE void TYPED(gru_forward_row)(const TYPED(gated_step) * s, int64_t row) {
    const int64_t H = s->H;
    const REAL *of_h = s->products + row * 3 * H;
    REAL *r = s->gates + row * 4 * H, *new = r + 2 * H, *q = r + 3 * H;
    EACH_VECTOR(2 * H, STORE(r + j, MATH(logistic)(LOAD(r + j) + LOAD(of_h + j)))); /* and z */
    EACH_VECTOR(H, const V p = LOAD(of_h + 2 * H + j); STORE(q + j, p);
                STORE(new + j, LOAD(new + j) + LOAD(r + j) * p));
    TYPED(tanh_in_place)(H, new);
    TYPED(gru_mix)(s, row);
}

/* what both forms share: dn and dz, and the flow past the products; returns dn */
INLINE V TYPED(gru_unmix)(const TYPED(gated_step) * s, int64_t row, int64_t j, const int64_t n) {
    const int64_t H = s->H;
    const REAL *gates = s->gates + row * 4 * H + j;
    const V z = LOAD(gates + H), new = LOAD(gates + 2 * H), dh = LOAD(s->dh + row * s->ld_dh + j);
    REAL *dz = s->dz + row * 4 * H + j;
    const V dn = dh * (SPLAT(1) - z) * ((SPLAT(1) - new) * (SPLAT(1) + new));
    STORE(dz, dn);
    STORE(dz + 2 * H, dh * (LOAD(s->h_before + row * s->ld_before + j) - new) * (z * (SPLAT(1) - z)));
    STORE(s->flow_h + row * H + j, dh * z);
    return dn;
}

INLINE void TYPED(gru_backward_row)(const TYPED(gated_step) * s, int64_t row) {
    const int64_t H = s->H;
    const REAL *r = s->gates + row * 4 * H, *q = r + 3 * H;
    REAL *dr = s->dz + row * 4 * H + H, *dq = dr + 2 * H;
    EACH_VECTOR(H, const V dn = TYPED(gru_unmix)(s, row, j, n), reset = LOAD(r + j);
                STORE(dr + j, dn * LOAD(q + j) * (reset * (SPLAT(1) - reset))); STORE(dq + j, dn * reset));
}

static void TYPED(gru_forward)(const TYPED(gated_step) * s) { EACH_ROW(TYPED(gru_forward_row)); }
static void TYPED(gru_backward)(const TYPED(gated_step) * s) { EACH_ROW(TYPED(gru_backward_row)); }

/* ---- GRU, reset before the product: blocks r, z, n, q = r*h_before ----------------------------------- */

INLINE void TYPED(gru_before_gates_row)(const TYPED(gated_step) * s, int64_t row) {
    const int64_t H = s->H;
    const REAL *h_before = s->h_before + row * s->ld_before;
    REAL *r = s->gates + row * 4 * H, *q = r + 3 * H;
    TYPED(logistic)(2 * H, r, r); /* and z */
    EACH_VECTOR(H, STORE(q + j, LOAD(r + j) * LOAD(h_before + j)));
}

INLINE void TYPED(gru_before_forward_row)(const TYPED(gated_step) * s, int64_t row) {
    TYPED(tanh_in_place)(s->H, s->gates + row * 4 * s->H + 2 * s->H);
    TYPED(gru_mix)(s, row);
}

INLINE void TYPED(gru_before_backward_row)(const TYPED(gated_step) * s, int64_t row) {
    EACH_VECTOR(s->H, TYPED(gru_unmix)(s, row, j, n));
}

/* dr, and the flow through r*h_before, from the gradient by it */
INLINE void TYPED(gru_before_reset_row)(const TYPED(gated_step) * s, int64_t row) {
    const int64_t H = s->H;
    const REAL *r = s->gates + row * 4 * H, *d_reset = s->d_reset + row * H;
    const REAL *h_before = s->h_before + row * s->ld_before;
    REAL *flow = s->flow_h + row * H, *dr = s->dz + row * 4 * H + H;
    EACH_VECTOR(H, const V reset = LOAD(r + j), d = LOAD(d_reset + j);
                STORE(dr + j, d * LOAD(h_before + j) * (reset * (SPLAT(1) - reset)));
                STORE(flow + j, LOAD(flow + j) + d * reset));
}

static void TYPED(gru_before_gates)(const TYPED(gated_step) * s) { EACH_ROW(TYPED(gru_before_gates_row)); }
static void TYPED(gru_before_forward)(const TYPED(gated_step) * s) { EACH_ROW(TYPED(gru_before_forward_row)); }
static void TYPED(gru_before_backward)(const TYPED(gated_step) * s) { EACH_ROW(TYPED(gru_before_backward_row)); }
static void TYPED(gru_before_reset)(const TYPED(gated_step) * s) { EACH_ROW(TYPED(gru_before_reset_row)); }

/* ---- arithmetic: y += scale * x, y = scale * (a - b), and x into [-limit, limit] ------------------------ */

static void TYPED(add_scaled)(int64_t count, REAL scale, const REAL *x, REAL *y) {
    EACH_VECTOR(count, STORE(y + j, LOAD(y + j) + SPLAT(scale) * LOAD(x + j)));
}

static void TYPED(difference)(int64_t count, REAL scale, const REAL *a, const REAL *b, REAL *y) {
    EACH_VECTOR(count, STORE(y + j, SPLAT(scale) * (LOAD(a + j) - LOAD(b + j))));
}

static void TYPED(clamp)(int64_t count, REAL limit, REAL *x) {
    EACH_VECTOR(count, STORE(x + j, MATH(at_least)(MATH(at_most)(LOAD(x + j), SPLAT(limit)), SPLAT(-limit))));
}
