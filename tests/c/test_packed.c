/* Packed weights: they may be moved to any address of the type's alignment, and what was not packed for the call is
 * refused. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bptt.h"
#include "check.h"
#include "real.h"

enum { STEPS = 3, MOST = 1 << 14, SHIFTS = 64 / sizeof(REAL) };

typedef struct {
    bptt_spec spec;
    bptt_sizes sizes;
    REAL *params, *packed; /* packed (sizes.packed,) and a line more */
} network;

static network make_network(bptt_spec spec, int64_t B) {
    network n = {.spec = spec, .sizes = {.struct_size = sizeof n.sizes}};
    CHECK_STATUS(TYPED(bptt_sizes)(&n.spec, 1, B, NULL, &n.sizes), BPTT_OK);
    n.params = array(n.sizes.params);
    n.packed = array(n.sizes.packed);
    for (int64_t i = 0; i < n.sizes.params; i++) n.params[i] = (REAL)(.3 * uniform());
    CHECK_STATUS(TYPED(bptt_pack)(&n.spec, n.params, n.packed), BPTT_OK);
    return n;
}

static void free_network(network *n) {
    release(n->params);
    release(n->packed);
}

/* Some steps from the zero state: the outputs and the last state (outputs + state). */
static void some_steps(const network *n, int64_t B, const REAL *packed, REAL *results) {
    const int64_t state_size = n->sizes.state, I = n->spec.input_size, out = n->sizes.output;
    const int tokens = n->spec.one_hot || n->spec.num_embeddings;
    REAL *work = array(n->sizes.step_work), *x = array(B * I), *state = results + STEPS * out;
    int64_t integers[8];
    memset(state, 0, (size_t)state_size * sizeof(REAL));
    for (int t = 0; t < STEPS; t++) {
        for (int64_t i = 0; i < B * I; i++) x[i] = (REAL)(.1 * (double)((i + t) % 7 - 3));
        for (int64_t i = 0; i < B; i++) integers[i] = (i + t) % 3;
        CHECK_STATUS(tokens ? TYPED(bptt_step_tokens)(&n->spec, B, packed, integers, state, results + t * out, work)
                            : TYPED(bptt_step)(&n->spec, B, packed, x, state, results + t * out, work),
                     BPTT_OK);
    }
    release(work);
    release(x);
}

/* The same bits wherever the packed weights lie, and after the original is gone. */
static void check_moved(bptt_spec spec, int64_t B) {
    network n = make_network(spec, B);
    const int64_t results = STEPS * n.sizes.output + n.sizes.state;
    REAL *expected = array(results), *moved = array(results), *memory = array(n.sizes.packed + SHIFTS);
    name_case("moved: cell %d, layers %d, I %d, H %d, B %d", spec.cell, spec.num_layers, (int)spec.input_size,
              (int)spec.hidden_size, (int)B);
    some_steps(&n, B, n.packed, expected);
    for (int shift = 0; shift < (int)SHIFTS; shift++) {
        memset(memory, 0xff, (size_t)(n.sizes.packed + SHIFTS) * sizeof(REAL));
        memcpy(memory + shift, n.packed, (size_t)n.sizes.packed * sizeof(REAL));
        if (shift == (int)SHIFTS - 1) memset(n.packed, 0xff, (size_t)n.sizes.packed * sizeof(REAL));
        some_steps(&n, B, memory + shift, moved);
        CHECK(same_bits(results, moved, expected));
    }
    for (int shift = 1; shift < (int)SHIFTS; shift += 5) { /* and packed there */
        CHECK_STATUS(TYPED(bptt_pack)(&n.spec, n.params, memory + shift), BPTT_OK);
        some_steps(&n, B, memory + shift, moved);
        CHECK(same_bits(results, moved, expected));
    }
    REAL *const all[] = {expected, moved, memory};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
    free_network(&n);
}

static bptt_spec any_spec(int cell) {
    return (bptt_spec){.struct_size = sizeof(bptt_spec),
                       .input_size = 3,
                       .hidden_size = 21,
                       .output_size = 2,
                       .cell = cell,
                       .bias = 1};
}

static void check_all_moved(void) {
    for (int cell = 0; bptt_cell_name(cell); cell++)
        for (int64_t B = 1; B <= 4; B += 3) {
            bptt_spec spec = any_spec(cell);
            check_moved(spec, B);
            spec.num_layers = 3;
            spec.output_size = 0;
            spec.reset_before = cell == BPTT_CELL_GRU;
            spec.peepholes = cell == BPTT_CELL_LSTM;
            check_moved(spec, B);
            spec.one_hot = 1;
            check_moved(spec, B);
            spec.one_hot = 0;
            spec.num_embeddings = 5;
            check_moved(spec, B);
        }
}

/* ---- what is refused ------------------------------------------------------------------------------------ */

typedef struct {
    const network *n;
    REAL *x, *state, *y, *work;
} step_call;

/* A step with this spec and these packed weights is refused and writes nothing. */
static void expect_refused(const step_call *c, const bptt_spec *spec, const REAL *packed, const char *why) {
    const size_t state = (size_t)c->n->sizes.state * sizeof(REAL), y = (size_t)c->n->sizes.output * sizeof(REAL);
    for (int64_t B = 1; B <= 2; B++) { /* one row has a check of its own */
        name_case("refused: %s, B %d", why, (int)B);
        memset(c->state, 0x11, state);
        memset(c->y, 0x22, y);
        CHECK_STATUS(TYPED(bptt_step)(spec, B, packed, c->x, c->state, c->y, c->work), BPTT_ERROR_PACKED);
        CHECK(all_bytes(c->state, (int64_t)state, 0x11) && all_bytes(c->y, (int64_t)y, 0x22));
    }
}

static void check_refused(void) {
    network n = make_network(any_spec(BPTT_CELL_LSTM), 2);
    const step_call c = {&n, array(2 * n.spec.input_size), array(n.sizes.state), array(n.sizes.output),
                         array(n.sizes.step_work)};
    REAL *other = array(n.sizes.packed);
    for (int64_t i = 0; i < 2 * n.spec.input_size; i++) c.x[i] = 1;
    static const unsigned char fillings[] = {0, 0xff, 0x3f};
    name_case("more rows than any buffer can have");
    CHECK_STATUS(TYPED(bptt_step)(&n.spec, INT64_MAX / 2, n.packed, c.x, c.state, c.y, c.work), BPTT_ERROR_OVERFLOW);
    for (int i = 0; i < 3; i++) {
        memset(other, fillings[i], (size_t)n.sizes.packed * sizeof(REAL));
        expect_refused(&c, &n.spec, other, "nothing packed");
    }
    for (int byte = 0; byte < 16; byte++) { /* another library, type or kernel set */
        memcpy(other, n.packed, (size_t)n.sizes.packed * sizeof(REAL));
        ((unsigned char *)other)[byte] ^= 1;
        expect_refused(&c, &n.spec, other, "a byte of the header is another");
    }
    bptt_spec specs[10];
    for (int i = 0; i < 10; i++) specs[i] = n.spec;
    specs[0].hidden_size = 20;
    specs[1].input_size = 2;
    specs[2].output_size = 1;
    specs[3].cell = BPTT_CELL_GRU;
    specs[4].bias = 0;
    specs[5].num_layers = 2;
    specs[6].peepholes = 1;
    specs[7].learn_state = 1;
    specs[8].recurrent_dropout = .5;
    specs[9].noise = .5;
    for (int i = 0; i < 10; i++) expect_refused(&c, &specs[i], n.packed, "another spec");
    name_case("after all that");
    CHECK_STATUS(TYPED(bptt_step)(&n.spec, 2, n.packed, c.x, c.state, c.y, c.work), BPTT_OK);
    REAL *const all[] = {c.x, c.state, c.y, c.work, other};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
    free_network(&n);
}

/* Weights that the functions of the other type packed. */
static void check_other_type(void) {
    network n = make_network(any_spec(BPTT_CELL_GRU), 2);
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    double *params = buffer_of(n.sizes.params * (int64_t)sizeof(double)), *packed;
    name_case("packed for the other type");
    for (int64_t i = 0; i < n.sizes.params; i++) memset(params + i, 0, sizeof *params);
#if REAL_BITS == 32
    CHECK_STATUS(bptt_sizes_f64(&n.spec, 1, 2, NULL, &sizes), BPTT_OK);
    packed = buffer_of(sizes.packed * (int64_t)sizeof(double));
    CHECK_STATUS(bptt_pack_f64(&n.spec, params, packed), BPTT_OK);
#else
    CHECK_STATUS(bptt_sizes_f32(&n.spec, 1, 2, NULL, &sizes), BPTT_OK);
    packed = buffer_of(sizes.packed * (int64_t)sizeof(double));
    CHECK_STATUS(bptt_pack_f32(&n.spec, (float *)params, (float *)packed), BPTT_OK);
#endif
    const step_call c = {&n, array(2 * n.spec.input_size), array(n.sizes.state), array(n.sizes.output),
                         array(n.sizes.step_work)};
    expect_refused(&c, &n.spec, (REAL *)packed, "the other type");
    REAL *const all[] = {c.x, c.state, c.y, c.work};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
    release(params);
    release(packed);
    free_network(&n);
}

/* A spec of an older header, which ends earlier, is the same spec. */
static void check_older_spec(void) {
    network n = make_network(any_spec(BPTT_CELL_LSTM), 1);
    bptt_spec older = n.spec;
    REAL *x = array(3), *state = array(n.sizes.state), *y = array(2), *work = array(n.sizes.step_work);
    name_case("an older spec");
    older.struct_size = offsetof(bptt_spec, num_embeddings);
    older.num_embeddings = older.padding_row = 77; /* not read */
    memset(state, 0, (size_t)n.sizes.state * sizeof(REAL));
    for (int i = 0; i < 3; i++) x[i] = 1;
    CHECK_STATUS(TYPED(bptt_step)(&older, 1, n.packed, x, state, y, work), BPTT_OK);
    CHECK_STATUS(TYPED(bptt_pack)(&older, n.params, n.packed), BPTT_OK);
    CHECK_STATUS(TYPED(bptt_step)(&n.spec, 1, n.packed, x, state, y, work), BPTT_OK);
    REAL *const all[] = {x, state, y, work};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
    free_network(&n);
}

/* Specs with the same meaning, whichever of them the weights were packed for. */
static void check_same_meaning(void) {
    bptt_spec specs[5];
    for (int i = 0; i < 5; i++) specs[i] = any_spec(BPTT_CELL_TANH);
    specs[1].num_layers = 1;
    specs[2].leak = 1;
    specs[3].dropout = specs[3].recurrent_dropout = specs[3].noise = specs[3].leak = -0.;
    specs[4].num_layers = 1;
    specs[4].leak = 1;
    specs[4].noise = -0.;
    for (int packed = 0; packed < 5; packed++) {
        network n = make_network(specs[packed], 1);
        REAL *x = array(3), *state = array(n.sizes.state), *y = array(2), *work = array(n.sizes.step_work);
        memset(state, 0, (size_t)n.sizes.state * sizeof(REAL));
        for (int i = 0; i < 3; i++) x[i] = 1;
        for (int i = 0; i < 5; i++) {
            name_case("packed for spec %d, step with spec %d", packed, i);
            CHECK_STATUS(TYPED(bptt_step)(&specs[i], 1, n.packed, x, state, y, work), BPTT_OK);
        }
        bptt_spec other = specs[packed];
        name_case("packed for spec %d, step with a leak", packed);
        other.leak = .5;
        CHECK_STATUS(TYPED(bptt_step)(&other, 1, n.packed, x, state, y, work), BPTT_ERROR_PACKED);
        other.leak = specs[packed].leak;
        other.noise = .5;
        CHECK_STATUS(TYPED(bptt_step)(&other, 1, n.packed, x, state, y, work), BPTT_ERROR_PACKED);
        REAL *const all[] = {x, state, y, work};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
        free_network(&n);
    }
}

/* A leak that is trained: the spec's number is not used. */
static void check_unused_leak(void) {
    bptt_spec spec = any_spec(BPTT_CELL_TANH);
    spec.learn_leak = 1;
    network n = make_network(spec, 1);
    REAL *x = array(3), *state = array(n.sizes.state), *y = array(2), *work = array(n.sizes.step_work);
    memset(state, 0, (size_t)n.sizes.state * sizeof(REAL));
    for (int i = 0; i < 3; i++) x[i] = 1;
    name_case("a leak that is trained");
    spec.leak = .5;
    CHECK_STATUS(TYPED(bptt_step)(&spec, 1, n.packed, x, state, y, work), BPTT_OK);
    spec.learn_leak = 0;
    CHECK_STATUS(TYPED(bptt_step)(&spec, 1, n.packed, x, state, y, work), BPTT_ERROR_PACKED);
    REAL *const all[] = {x, state, y, work};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
    free_network(&n);
}

/* The header's second number holds the version: weights of another version are refused. */
static void check_version(void) {
    network n = make_network(any_spec(BPTT_CELL_GRU), 1);
    int64_t layout;
    memcpy(&layout, (const char *)n.packed + sizeof layout, sizeof layout);
    name_case("version");
    CHECK(layout >> 16 == BPTT_VERSION_MAJOR * 1000000 + BPTT_VERSION_MINOR * 1000 + BPTT_VERSION_PATCH);
    free_network(&n);
}

int main(void) {
    if (!bptt_isa()) { /* nothing can be packed */
        CHECK(bptt_isa_choices() != NULL);
        return end_of_checks();
    }
    check_all_moved();
    check_refused();
    check_other_type();
    check_older_spec();
    check_same_meaning();
    check_unused_leak();
    check_version();
    return end_of_checks();
}
