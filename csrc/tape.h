/* Where the states lie. The store holds for each layer h, for an LSTM also c, (steps + D, B, D*H): both directions side
 * by side, one slot for each step and one for each state that enters from outside; then, for gated cells, each
 * direction's gates (steps, B, 4*H). Step t's outputs lie in slot t+1; it is entered from slot t, in the reverse
 * direction from slot t+2. The store is the caller's tape, or scratch that holds a piece of the sequence. */

static int64_t store_layer_size(const call *c, int64_t steps) {
    const int64_t states = c->shape.states * (steps + c->D) * c->B * c->D * c->H;
    return states + c->shape.gates * c->D * steps * c->B * 4 * c->H;
}

/* part 0 is h, part 1 is c; row 0 of the direction */
static REAL *state_at(const call *c, int64_t layer, int64_t direction, int part, int64_t slot) {
    const int64_t slots = c->store_steps + c->D;
    REAL *at = c->store + layer * store_layer_size(c, c->store_steps);
    return at + (part * slots + slot) * c->B * c->D * c->H + direction * c->H;
}

/* Takes up a layer in a direction: where its states and gates lie. */
static void choose_unit(pass *p, int64_t layer, int64_t direction) {
    const call *c = p->call;
    p->layer = layer;
    p->direction = direction;
    p->unit = layer * c->D + direction;
    p->h = state_at(c, layer, direction, 0, 0);
    p->c = c->shape.states == 2 ? state_at(c, layer, direction, 1, 0) : NULL;
    p->gates = state_at(c, layer, 0, c->shape.states, 0) + direction * c->store_steps * c->B * 4 * c->H;
    p->dh = c->dh[(c->L - 1 - layer) % 2];
}

/* the gates (B,4*H) of step t */
static REAL *gates_at(const pass *p, int64_t t) { return p->gates + (t - p->origin) * p->call->B * 4 * p->call->H; }

static int64_t slot_of(const pass *p, int64_t t) { return t - p->origin + 1; }
static int64_t slot_before(const pass *p, int64_t t) { return slot_of(p, t) + (p->direction ? 1 : -1); }

/* h or c of the unit in a slot, row 0 */
static REAL *in_slot(const pass *p, REAL *states, int64_t slot) {
    return states + slot * p->call->B * p->call->D * p->call->H;
}

/* rows of distance D*H in the store */
static int64_t ld_state(const call *c) { return c->D * c->H; }

/* ---- small helpers ------------------------------------------------------------------------------- */

static void copy_or_clear(REAL *to, const REAL *from, int64_t n) {
    if (from == to) return;
    if (from) memcpy(to, from, (size_t)n * sizeof(REAL));
    else memset(to, 0, (size_t)n * sizeof(REAL));
}

/* rows of H elements; from NULL: zeros, ldfrom 0: the same row for all */
static void copy_rows(int64_t rows, int64_t H, const REAL *from, int64_t ldfrom, REAL *to, int64_t ldto) {
    if (from && ldfrom == H && ldto == H) copy_or_clear(to, from, rows * H);
    else
        for (int64_t i = 0; i < rows; i++) copy_or_clear(to + i * ldto, from ? from + i * ldfrom : NULL, H);
}

/* a unit's rows of a state as the caller lays it out, (L*D,B,H) and behind it that of c */
static int64_t state_offset(const call *c, int64_t unit, int part, int64_t row) {
    return part * c->state + (unit * c->B + row) * c->H;
}

/* ---- lengths ------------------------------------------------------------------------------------- */

static int64_t length_of(const call *c, int64_t row) { return c->options.lengths ? c->options.lengths[row] : c->T; }

/* the end of the rows of [first,last) that have step t: lengths never rise */
static int64_t active(const call *c, int64_t t, int64_t first, int64_t last) {
    if (c->options.lengths)
        while (last > first && c->options.lengths[last - 1] <= t) last--;
    return last;
}

/* Rows of a chunk that lie together: the whole chunk where a member has the whole batch, else a step's. */
typedef struct {
    int64_t t, row, rows;
} block;

static int next_block(const pass *p, block *b, int64_t first, int64_t last) {
    const call *c = p->call;
    const int whole = first == 0 && last == c->B && !c->options.lengths;
    b->t = b->rows < 0 ? p->t0 : whole ? p->t0 + p->steps : b->t + 1;
    b->row = first;
    b->rows = whole ? p->steps * c->B : b->t < p->t0 + p->steps ? active(c, b->t, first, last) - first : 0;
    return b->t < p->t0 + p->steps && b->rows > 0; /* no step after one without rows has any */
}

#define EACH_BLOCK(p, b, first, last) for (block b = {.rows = -1}; next_block(p, &b, first, last);)

/* ---- resets and carries: links between steps --------------------------------------------------------- */

static int reset_at(const call *c, int64_t t, int64_t row) {
    return c->options.reset && c->options.reset[t * c->B + row];
}

/* whether the state that enters step t in this direction is zero: a sequence begins there (or begins at t+1) */
static int enters_zero(const call *c, int64_t direction, int64_t t, int64_t row) {
    if (!direction) return reset_at(c, t, row);
    return t + 1 < length_of(c, row) && reset_at(c, t + 1, row);
}

static int any_enters_zero(const call *c, int64_t direction, int64_t t, int64_t first, int64_t last) {
    for (int64_t row = first; c->options.reset && row < last; row++)
        if (enters_zero(c, direction, t, row)) return 1;
    return 0;
}

/* the scale of what flows back into step t from the step that came after it in this direction; 0 cuts */
static REAL carried(const call *c, int64_t direction, int64_t t, int64_t row) {
    const int64_t after = direction ? t - 1 : t + 1, link = direction ? t - 1 : t;
    const REAL *carry = c->options.carry;
    if (enters_zero(c, direction, after, row)) return 0;
    return carry ? carry[c->options.carry_per_row ? link * c->B + row : link] : 1;
}

/* ---- the state that enters a step ------------------------------------------------------------------- */

typedef struct {
    const REAL *h, *c; /* c NULL where the cell has none */
    int64_t ld;
} state_view;

/* that of rows [first,end): in place, or a copy where some begin with zero */
static state_view entering_state(const pass *p, int64_t t, int64_t end) {
    const call *c = p->call;
    const int64_t H = c->H, ld = ld_state(c), first = p->first;
    const REAL *h = in_slot(p, p->h, slot_before(p, t)) + first * ld;
    const REAL *cell = p->c ? in_slot(p, p->c, slot_before(p, t)) + first * ld : NULL;
    if (!any_enters_zero(c, p->direction, t, first, end)) return (state_view){h, cell, ld};
    REAL *to_h = c->entering + first * H, *to_c = cell ? to_h + c->B * H : NULL;
    for (int64_t row = first; row < end; row++) {
        const int zero = enters_zero(c, p->direction, t, row);
        copy_or_clear(to_h + (row - first) * H, zero ? NULL : h + (row - first) * ld, H);
        if (cell) copy_or_clear(to_c + (row - first) * H, zero ? NULL : cell + (row - first) * ld, H);
    }
    return (state_view){to_h, to_c, H};
}

/* ---- the states at the ends ------------------------------------------------------------------------- */

/* where the caller's entering state comes from: given, learned (the same row for all), or NULL for zeros */
static const REAL *given_state(const call *c, int64_t unit, int part, int64_t row, int64_t *ld) {
    *ld = c->H;
    if (c->state0) return c->state0 + state_offset(c, unit, part, row);
    const REAL *learned = network_tensor(c, part ? STATE_C0 : STATE_H0);
    *ld = 0;
    return learned ? learned + unit * c->H : NULL;
}

/* lays the entering state of the member's rows into the store: the reverse direction begins at each row's last step */
static void load_state(const pass *p) {
    const call *c = p->call;
    const int64_t ld = ld_state(c);
    for (int64_t unit = 0; unit < c->L * c->D; unit++)
        for (int part = 0; part < c->shape.states; part++)
            for (int64_t row = p->first; row < p->last; row++) {
                int64_t ldfrom;
                const REAL *from = given_state(c, unit, part, row, &ldfrom);
                const int64_t slot = unit % c->D ? length_of(c, row) + 1 : 0;
                copy_or_clear(state_at(c, unit / c->D, unit % c->D, part, slot - p->origin) + row * ld, from, c->H);
            }
}

/* hands out the final state of the rows that end in this chunk */
static void keep_final_state(const pass *p) {
    const call *c = p->call;
    if (!c->state1 || (p->direction && p->t0 > 0)) return;
    for (int64_t row = p->first; row < p->last; row++) {
        const int64_t t = p->direction ? 0 : length_of(c, row) - 1;
        if (t < p->t0 || t >= p->t0 + p->steps) continue;
        for (int part = 0; part < c->shape.states; part++)
            copy_or_clear(c->state1 + state_offset(c, p->unit, part, row),
                          in_slot(p, part ? p->c : p->h, slot_of(p, t)) + row * ld_state(c), c->H);
    }
}

/* one direction: the state in `slot` becomes the one that enters the store */
static void move_state(const pass *p, int64_t slot) {
    const call *c = p->call;
    const int64_t ld = ld_state(c), n = (p->last - p->first) * ld;
    for (int64_t layer = 0; slot && layer < c->L; layer++)
        for (int part = 0; part < c->shape.states; part++)
            memcpy(state_at(c, layer, 0, part, 0) + p->first * ld, state_at(c, layer, 0, part, slot) + p->first * ld,
                   (size_t)n * sizeof(REAL));
}

/* one direction: the state that enters the store to its checkpoint, or back */
static void copy_checkpoint(const pass *p, int64_t segment, int back) {
    const call *c = p->call;
    const int64_t H = c->H, n = (p->last - p->first) * H;
    REAL *all = c->checkpoints + segment * c->shape.states * c->state;
    for (int64_t layer = 0; layer < c->L; layer++)
        for (int part = 0; part < c->shape.states; part++) {
            REAL *kept = all + state_offset(c, layer, part, p->first);
            REAL *enters = state_at(c, layer, 0, part, 0) + p->first * H;
            memcpy(back ? enters : kept, back ? kept : enters, (size_t)n * sizeof(REAL));
        }
}
