/* The elementwise part of gated cells, one body for scalars and vectors of either type: forward and backward side by
 * side. The includer defines V, LANES, SPLAT, load, store, load_part, store_part (the first n lanes) and what vmath.h
 * gives. A step's rows are taken vector by vector, `n` of its lanes at the end of a row. */

#undef LOAD
#undef STORE
#undef EACH_VECTOR
#define LOAD(p) (n == LANES ? TYPED(load)(p) : TYPED(load_part)(p, n))
#define STORE(p, v) (n == LANES ? TYPED(store)(p, v) : TYPED(store_part)(p, v, n))

/* body(s, row, j, n) for every vector of every row; n is a constant in all but the last of a row */
#define EACH_VECTOR(body)                                                                                              \
    for (int64_t row = 0; row < s->rows; row++) {                                                                      \
        int64_t j = 0;                                                                                                 \
        for (; j + LANES <= s->H; j += LANES) body(s, row, j, LANES);                                                  \
        if (j < s->H) body(s, row, j, s->H - j);                                                                       \
    }

/* ---- LSTM: blocks i, f, g, o ----------------------------------------------------------------------- */

INLINE void TYPED(lstm_forward_at)(const TYPED(gated_step) * s, int64_t row, int64_t j, const int64_t n) {
    const int64_t H = s->H;
    REAL *gates = s->gates + row * 4 * H + j;
    const REAL *p = s->peepholes ? s->peepholes + j : NULL;
    const V c_before = LOAD(s->c_before + row * s->ld_before + j);
    V zi = LOAD(gates), zf = LOAD(gates + H), zo = LOAD(gates + 3 * H);
    if (p) {
        zi += LOAD(p) * c_before;
        zf += LOAD(p + H) * c_before;
    }
    const V i = MATH(logistic)(zi), f = MATH(logistic)(zf), g = MATH(tanh)(LOAD(gates + 2 * H));
    const V c = f * c_before + i * g;
    if (p) zo += LOAD(p + 2 * H) * c;
    const V o = MATH(logistic)(zo);
    STORE(gates, i);
    STORE(gates + H, f);
    STORE(gates + 2 * H, g);
    STORE(gates + 3 * H, o);
    STORE(s->c + row * s->ld + j, c);
    STORE(s->h + row * s->ld + j, o * MATH(tanh)(c));
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

static void TYPED(lstm_forward)(const TYPED(gated_step) * s) { EACH_VECTOR(TYPED(lstm_forward_at)) }
static void TYPED(lstm_backward)(const TYPED(gated_step) * s){EACH_VECTOR(TYPED(lstm_backward_at))}

/* ---- GRU, reset after the product: blocks n, r, z, q = W_hn h + b_hn; gradients dn, dr, dz, dq ------ */

/* h = (1-z)*n + z*h_before */
INLINE void TYPED(gru_mix)(const TYPED(gated_step) * s, int64_t row, int64_t j, const int64_t lanes, V new, V z) {
    const int64_t n = lanes;
    STORE(s->h + row * s->ld + j, (SPLAT(1) - z) * new + z *LOAD(s->h_before + row * s->ld_before + j));
}

INLINE void TYPED(gru_forward_at)(const TYPED(gated_step) * s, int64_t row, int64_t j, const int64_t n) {
    const int64_t H = s->H;
    REAL *gates = s->gates + row * 4 * H + j;
    const V r = MATH(logistic)(LOAD(gates + H)), z = MATH(logistic)(LOAD(gates + 2 * H));
    const V new = MATH(tanh)(LOAD(gates) + r * LOAD(gates + 3 * H));
    STORE(gates, new);
    STORE(gates + H, r);
    STORE(gates + 2 * H, z);
    TYPED(gru_mix)(s, row, j, n, new, z);
}

/* what both forms share: dn and dz, and the flow past the products; returns dn */
INLINE V TYPED(gru_unmix)(const TYPED(gated_step) * s, int64_t row, int64_t j, const int64_t n) {
    const int64_t H = s->H;
    const REAL *gates = s->gates + row * 4 * H + j;
    const V new = LOAD(gates), z = LOAD(gates + 2 * H), dh = LOAD(s->dh + row * s->ld_dh + j);
    REAL *dz = s->dz + row * 4 * H + j;
    const V dn = dh * (SPLAT(1) - z) * ((SPLAT(1) - new) * (SPLAT(1) + new));
    STORE(dz, dn);
    STORE(dz + 2 * H, dh * (LOAD(s->h_before + row * s->ld_before + j) - new) * (z * (SPLAT(1) - z)));
    STORE(s->flow_h + row * H + j, dh * z);
    return dn;
}

INLINE void TYPED(gru_backward_at)(const TYPED(gated_step) * s, int64_t row, int64_t j, const int64_t n) {
    const int64_t H = s->H;
    const REAL *gates = s->gates + row * 4 * H + j;
    REAL *dz = s->dz + row * 4 * H + j;
    const V dn = TYPED(gru_unmix)(s, row, j, n), r = LOAD(gates + H);
    STORE(dz + H, dn * LOAD(gates + 3 * H) * (r * (SPLAT(1) - r)));
    STORE(dz + 3 * H, dn * r);
}

static void TYPED(gru_forward)(const TYPED(gated_step) * s) { EACH_VECTOR(TYPED(gru_forward_at)) }
static void TYPED(gru_backward)(const TYPED(gated_step) * s){EACH_VECTOR(TYPED(gru_backward_at))}

/* ---- GRU, reset before the product: blocks n, r, z, q = r*h_before ----------------------------------- */

INLINE void TYPED(gru_before_gates_at)(const TYPED(gated_step) * s, int64_t row, int64_t j, const int64_t n) {
    const int64_t H = s->H;
    REAL *gates = s->gates + row * 4 * H + j;
    const V r = MATH(logistic)(LOAD(gates + H));
    STORE(gates + H, r);
    STORE(gates + 2 * H, MATH(logistic)(LOAD(gates + 2 * H)));
    STORE(gates + 3 * H, r * LOAD(s->h_before + row * s->ld_before + j));
}

INLINE void TYPED(gru_before_forward_at)(const TYPED(gated_step) * s, int64_t row, int64_t j, const int64_t n) {
    REAL *gates = s->gates + row * 4 * s->H + j;
    const V new = MATH(tanh)(LOAD(gates));
    STORE(gates, new);
    TYPED(gru_mix)(s, row, j, n, new, LOAD(gates + 2 * s->H));
}

INLINE void TYPED(gru_before_backward_at)(const TYPED(gated_step) * s, int64_t row, int64_t j, const int64_t n) {
    TYPED(gru_unmix)(s, row, j, n);
}

/* dr, and the flow through r*h_before, from the gradient by it */
INLINE void TYPED(gru_before_reset_at)(const TYPED(gated_step) * s, int64_t row, int64_t j, const int64_t n) {
    const int64_t H = s->H;
    const V r = LOAD(s->gates + row * 4 * H + H + j), d_reset = LOAD(s->d_reset + row * H + j);
    const V h_before = LOAD(s->h_before + row * s->ld_before + j);
    REAL *flow = s->flow_h + row * H + j;
    STORE(s->dz + row * 4 * H + H + j, d_reset * h_before * (r * (SPLAT(1) - r)));
    STORE(flow, LOAD(flow) + d_reset * r);
}

static void TYPED(gru_before_gates)(const TYPED(gated_step) * s) { EACH_VECTOR(TYPED(gru_before_gates_at)) }
static void TYPED(gru_before_forward)(const TYPED(gated_step) * s) { EACH_VECTOR(TYPED(gru_before_forward_at)) }
static void TYPED(gru_before_backward)(const TYPED(gated_step) * s) { EACH_VECTOR(TYPED(gru_before_backward_at)) }
static void TYPED(gru_before_reset)(const TYPED(gated_step) * s) { EACH_VECTOR(TYPED(gru_before_reset_at)) }

/* ---- y += scale * x, and x into [-limit, limit] --------------------------------------------------------- */

static void TYPED(add_scaled)(int64_t n, REAL scale, const REAL *x, REAL *y) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) TYPED(store)(y + i, TYPED(load)(y + i) + SPLAT(scale) * TYPED(load)(x + i));
    for (; i < n; i++) y[i] += scale * x[i];
}

INLINE void TYPED(clamp_at)(REAL limit, REAL *x, const int64_t n) {
    STORE(x, MATH(at_least)(MATH(at_most)(LOAD(x), SPLAT(limit)), SPLAT(-limit)));
}

static void TYPED(clamp)(int64_t n, REAL limit, REAL *x) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) TYPED(clamp_at)(limit, x + i, LANES);
    if (i < n) TYPED(clamp_at)(limit, x + i, n - i);
}
#undef LOAD
#undef STORE
#undef EACH_VECTOR
