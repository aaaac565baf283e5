/* The weights of a call in panels. Forward multiplies by the transposed matrices, backward by the matrices themselves.
 * A unit is a layer in one direction; those of the first layer are of one size, all others of another. */

/* rows of W_ih (in backward) and of W_hh that are multiplied together */
static int64_t ih_rows(const call *c) { return (c->shape.blocks - c->shape.ih_apart) * c->H; }
static int64_t hh_rows(const call *c) { return (c->shape.blocks - c->shape.hh_apart) * c->H; }

static weights take_weights(const call *c, arena *from, int64_t layer, int forward) {
    const kernels *k = c->kernels;
    const int64_t H = c->H, all = c->shape.blocks * H, in = inputs_of(c, layer), ih = ih_rows(c), hh = hh_rows(c);
    weights w;
    w.ih = take(from, forward ? k->packed_size(in, all) : k->packed_size(ih, in));
    w.ih_apart = take(from, c->shape.ih_apart && !forward ? k->packed_size(H, in) : 0);
    w.hh = take(from, forward ? k->packed_size(H, hh) : k->packed_size(hh, H));
    w.hh_apart = take(from, c->shape.hh_apart ? k->packed_size(H, H) : 0);
    w.bias_ih = take(from, forward ? all : 0);
    w.bias_hh = take(from, forward && c->shape.bias_apart ? all : 0);
    w.peepholes = c->spec.peepholes ? take(from, 3 * H) : NULL;
    return w;
}

/* elements of the panels of one unit */
static int64_t weights_size(const call *c, int64_t layer, int forward) {
    arena counted = {NULL, 0};
    take_weights(c, &counted, layer, forward);
    return counted.used;
}

typedef struct {
    REAL *ho, *bias_o;
} readout_weights;

static readout_weights take_readout(const call *c, arena *from, int forward) {
    const int64_t DH = c->D * c->H, O = c->O;
    readout_weights w = {NULL, NULL};
    if (O) w.ho = take(from, forward ? c->kernels->packed_size(DH, O) : c->kernels->packed_size(O, DH));
    if (O) w.bias_o = take(from, forward ? O : 0);
    return w;
}

/* all panels of a call lie together: the readout's, then those of each unit */
static REAL *take_panels(const call *c, arena *from, int forward) {
    REAL *at = take(from, 0);
    take_readout(c, from, forward);
    from->used += c->D * weights_size(c, 0, forward);
    if (c->L > 1) from->used += (c->L - 1) * c->D * weights_size(c, 1, forward);
    return at;
}

static readout_weights readout_of(const call *c, int forward) {
    arena from = {c->packed[forward], LINE};
    return take_readout(c, &from, forward);
}

static weights weights_of(const call *c, int64_t unit, int forward) {
    arena from = {c->packed[forward], LINE};
    take_readout(c, &from, forward);
    const int64_t in_first = min_of(unit, c->D);
    from.used += in_first * weights_size(c, 0, forward);
    if (unit > in_first) from.used += (unit - in_first) * weights_size(c, 1, forward);
    return take_weights(c, &from, unit / c->D, forward);
}

/* b_ih + b_hh, or each on its own where they do not add up */
static void pack_biases(const call *c, int64_t unit, const weights *w) {
    const int64_t n = c->shape.blocks * c->H;
    const REAL *b_ih = unit_tensor(c, unit, BIAS_IH), *b_hh = unit_tensor(c, unit, BIAS_HH);
    copy_or_clear(w->bias_ih, b_ih, n);
    if (c->shape.bias_apart) copy_or_clear(w->bias_hh, b_hh, n);
    else
        for (int64_t j = 0; b_hh && j < n; j++) w->bias_ih[j] += b_hh[j];
}

static void pack_peepholes(const call *c, int64_t unit, REAL *peepholes) {
    if (peepholes) memcpy(peepholes, unit_tensor(c, unit, PEEPHOLES), (size_t)(3 * c->H) * sizeof(REAL));
}

/* panels of W transposed: forward multiplies rows of inputs by it */
static void pack_forward(const call *c) {
    const kernels *k = c->kernels;
    const int64_t H = c->H, DH = c->D * H, hh = hh_rows(c);
    const readout_weights out = readout_of(c, 1);
    for (int64_t unit = 0; unit < c->L * c->D; unit++) {
        const int64_t in = inputs_of(c, unit / c->D);
        const REAL *w_ih = unit_tensor(c, unit, WEIGHT_IH), *w_hh = unit_tensor(c, unit, WEIGHT_HH);
        const weights w = weights_of(c, unit, 1);
        k->pack(in, c->shape.blocks * H, w_ih, 1, in, w.ih);
        k->pack(H, hh, w_hh, 1, H, w.hh);
        if (c->shape.hh_apart) k->pack(H, H, w_hh + hh * H, 1, H, w.hh_apart);
        pack_biases(c, unit, &w);
        pack_peepholes(c, unit, w.peepholes);
    }
    if (!c->O) return;
    const REAL *b_o = network_tensor(c, BIAS_O);
    k->pack(DH, c->O, network_tensor(c, WEIGHT_HO), 1, DH, out.ho);
    for (int64_t j = 0; j < c->O; j++) out.bias_o[j] = b_o ? b_o[j] : 0;
}

/* panels of W itself: backward multiplies rows of gradients by it */
static void pack_backward(const call *c) {
    const kernels *k = c->kernels;
    const int64_t H = c->H, DH = c->D * H, ih = ih_rows(c), hh = hh_rows(c);
    for (int64_t unit = 0; unit < c->L * c->D; unit++) {
        const int64_t in = inputs_of(c, unit / c->D);
        const REAL *w_ih = unit_tensor(c, unit, WEIGHT_IH), *w_hh = unit_tensor(c, unit, WEIGHT_HH);
        const weights w = weights_of(c, unit, 0);
        const int wanted = c->dx || unit >= c->D;
        if (wanted) k->pack(ih, in, w_ih, in, 1, w.ih);
        if (wanted && c->shape.ih_apart) k->pack(H, in, w_ih + ih * in, in, 1, w.ih_apart);
        k->pack(hh, H, w_hh, H, 1, w.hh);
        if (c->shape.hh_apart) k->pack(H, H, w_hh + hh * H, H, 1, w.hh_apart);
        pack_peepholes(c, unit, w.peepholes);
    }
    if (c->O) k->pack(c->O, DH, network_tensor(c, WEIGHT_HO), DH, 1, readout_of(c, 0).ho);
}
