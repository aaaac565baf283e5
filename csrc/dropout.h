/* Dropout (Srivastava et al. 2014) from a counter-based generator: whether an element is kept is a hash of the call's
 * seed and of layer, step, row and unit, so that it does not depend on threads and backward finds the same again. */

/* a bijection of 64 bits whose outputs look random (Steele, Lea, Flood 2014) */
static uint64_t mixed(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

enum { DROP_INPUT, DROP_RECURRENT };

static uint64_t drop_key(const pass *p, int kind, int64_t t, int64_t row) {
    uint64_t key = mixed(p->call->options.dropout_seed + 0x9e3779b97f4a7c15u);
    /* both directions of a layer have the same inputs */
    key = mixed(key ^ (uint64_t)(2 * (kind == DROP_INPUT ? p->layer * p->call->D : p->unit) + kind));
    key = mixed(key + (uint64_t)t);
    return mixed(key ^ ((uint64_t)row << 20));
}

/* out = 0 with probability rate, otherwise x / (1 - rate); 16 bits for each element, so rates are multiples of 2^-16 */
static void drop_row(uint64_t key, double rate, int64_t n, const REAL *x, REAL *out) {
    const uint64_t bound = (uint64_t)min_of(65535, (int64_t)(rate * 65536 + 0.5));
    const REAL scale = (REAL)(65536.0 / (double)(65536 - bound));
    for (int64_t j = 0; j < n; j += 4) {
        const uint64_t bits = mixed(key + (uint64_t)j * 0x9e3779b97f4a7c15u);
        for (int64_t i = j; i < n && i < j + 4; i++)
            out[i] = (bits >> (16 * (i - j)) & 0xffff) < bound ? 0 : x[i] * scale;
    }
}

/* ---- inputs of the layers above the first ----------------------------------------------------------- */

static int drops_inputs(const pass *p) {
    return p->call->options.training && p->call->spec.dropout > 0 && p->layer > 0;
}

/* rows of the chunk's steps: x (ld apart) after dropout to `out`, of the same shape */
static void drop_inputs(const pass *p, int64_t t, int64_t row, int64_t rows, int64_t n, const REAL *x, REAL *out) {
    const call *c = p->call;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t at = row + i, step = t + at / c->B;
        drop_row(drop_key(p, DROP_INPUT, c->options.first_step + step, at % c->B), c->spec.dropout, n, x + i * n,
                 out + i * n);
    }
}

/* ---- the recurrent state ---------------------------------------------------------------------------- */

static int drops_recurrent(const call *c) { return c->options.training && c->spec.recurrent_dropout > 0; }

/* what each unit of the member's rows is multiplied by, the same at all steps */
static void choose_kept(const pass *p) {
    const call *c = p->call;
    const int64_t H = c->H;
    for (int64_t row = p->first; row < p->last; row++) {
        REAL *kept = c->kept + row * H;
        for (int64_t j = 0; j < H; j++) kept[j] = 1;
        drop_row(drop_key(p, DROP_RECURRENT, 0, row), c->spec.recurrent_dropout, H, kept, kept);
    }
}

/* out = x * kept for rows from `row` on; where kept is 0 the result is 0 */
static void thin(const call *c, int64_t row, int64_t rows, const REAL *x, int64_t ld, REAL *out) {
    const int64_t H = c->H;
    for (int64_t i = 0; i < rows; i++) {
        const REAL *kept = c->kept + (row + i) * H;
        for (int64_t j = 0; j < H; j++) out[i * H + j] = kept[j] == 0 ? 0 : x[i * ld + j] * kept[j];
    }
}
