/* bptt_explain: the sentence about each argument, field by field, and the memory that it goes into. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bad_specs.h"
#include "bptt.h"
#include "check.h"
#include "real.h"

enum { TEXT = 400 }; /* bytes that hold every sentence */

static int explain(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options, char text[TEXT]) {
    memset(text, '#', TEXT);
    return TYPED(bptt_explain)(spec, T, B, options, text, TEXT);
}

/* The sentence, or none, is this one, and tells the same as the status of bptt_sizes. */
static void expect_text(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                        const char *expected) {
    char text[TEXT];
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    const int length = explain(spec, T, B, options, text);
    if (strcmp(text, expected) != 0) printf("text: %s\n", text);
    CHECK(strcmp(text, expected) == 0);
    CHECK(length == (int)strlen(expected));
    CHECK((TYPED(bptt_sizes)(spec, T, B, options, &sizes) == BPTT_OK) == (length == 0));
}

/* ---- the spec ----------------------------------------------------------------------------------------- */

#define VALID(...) SPEC(3, 4, 2, .bias = 1, __VA_ARGS__)

static void check_spec_fields(void) {
    static const struct {
        bptt_spec spec;
        const char *text;
    } cases[] = {
        {SPEC(0, 4, 2, .bias = 1), "input_size must be at least 1, got 0"},
        {SPEC(3, -4, 2, .bias = 1), "hidden_size must be at least 1, got -4"},
        {SPEC(3, 4, -1, .bias = 1), "output_size must be at least 0, got -1"},
        {SPEC(INT64_MAX, 4, 2, .bias = 1), "input_size must be at most 9007199254740927, got 9223372036854775807"},
        {SPEC(3, INT64_MAX, 2, .bias = 1), "hidden_size must be at most 9007199254740927, got 9223372036854775807"},
        {SPEC(3, 4, INT64_MAX, .bias = 1), "output_size must be at most 9007199254740927, got 9223372036854775807"},
        {SPEC(3, 1 << 30, 2, .bias = 1, .bidirectional = 1),
         "the sizes must multiply to what memory can address, got input_size=3, hidden_size=1073741824, output_size=2, "
         "num_layers=1, bidirectional=1"},
        {VALID(.cell = 6), "cell must be in 0..5, got 6"},
        {VALID(.cell = -1), "cell must be in 0..5, got -1"},
        {SPEC(3, 4, 2, .bias = 2), "bias must be 0 or 1, got 2"},
        {VALID(.num_layers = -1), "num_layers must be at least 0, got -1"},
        {VALID(.num_layers = 10001), "num_layers must be at most 10000, got 10001"},
        {VALID(.bidirectional = -1), "bidirectional must be 0 or 1, got -1"},
        {VALID(.reset_before = 2), "reset_before must be 0 or 1, got 2"},
        {VALID(.cell = BPTT_CELL_LSTM, .reset_before = 1), "reset_before must be 0 for the cell lstm, got 1"},
        {VALID(.cell = BPTT_CELL_LSTM, .reset_before = 1, .leak = 0.5),
         "reset_before must be 0 for the cell lstm, got 1"},
        {VALID(.peepholes = 3), "peepholes must be 0 or 1, got 3"},
        {VALID(.cell = BPTT_CELL_GRU, .peepholes = 1), "peepholes must be 0 for the cell gru, got 1"},
        {VALID(.learn_state = 2), "learn_state must be 0 or 1, got 2"},
        {VALID(.one_hot = 2), "one_hot must be 0 or 1, got 2"},
        {VALID(.dropout = 1), "dropout must be in [0, 1), got 1"},
        {VALID(.recurrent_dropout = -0.1), "recurrent_dropout must be in [0, 1), got -0.1"},
        {VALID(.num_embeddings = -7), "num_embeddings must be at least 0, got -7"},
        {VALID(.num_embeddings = 5, .one_hot = 1), "num_embeddings must be 0 with one_hot=1, got 5"},
        {VALID(.num_embeddings = INT64_C(1) << 60),
         "num_embeddings must be at most 6004799503160661, got 1152921504606846976"},
        {VALID(.num_embeddings = 5, .padding_row = 6), "padding_row must be in 0..num_embeddings = 0..5, got 6"},
        {VALID(.padding_row = -1), "padding_row must be in 0..num_embeddings = 0..0, got -1"},
        {VALID(.leak = 1.5), "leak must be in [0, 1], got 1.5"},
        {VALID(.cell = BPTT_CELL_LSTM, .leak = 0.25), "leak must be 0 or 1 for the cell lstm, got 0.25"},
        {VALID(.cell = BPTT_CELL_GRU, .reset_before = 1, .leak = 0.25),
         "leak must be 0 or 1 for the cell gru, got 0.25"},
        {VALID(.noise = -1), "noise must be finite and at least 0, got -1"},
        {VALID(.noise = INFINITY), "noise must be finite and at least 0, got inf"},
        {VALID(.learn_leak = 2), "learn_leak must be 0 or 1, got 2"},
        {VALID(.cell = BPTT_CELL_GRU, .learn_leak = 1), "learn_leak must be 0 for the cell gru, got 1"},
        {VALID(.leak = 0.5, .noise = 0.5, .dropout = 0.999, .num_layers = 10000), ""},
        {VALID(.cell = BPTT_CELL_GRU, .reset_before = 1, .leak = 1), ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        name_case("explain spec %d", (int)i);
        expect_text(&cases[i].spec, 5, 2, NULL, cases[i].text);
    }
    name_case("explain no spec");
    expect_text(NULL, 5, 2, NULL, "spec must be a bptt_spec, got NULL");
}

static void check_struct_sizes(void) {
    const bptt_spec valid = small_spec();
    const size_t bad[] = {0, STRUCT_LEAST - 1, sizeof(bptt_spec) + 1000, SIZE_MAX};
    char text[TEXT];
    name_case("explain struct_size");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const bptt_spec spec = {.struct_size = bad[i]};
        const bptt_options options = {.struct_size = bad[i]};
        snprintf(text, sizeof text, "struct_size of bptt_spec must be sizeof(bptt_spec), at most %zu, got %zu",
                 sizeof spec, bad[i]);
        expect_text(&spec, 5, 2, NULL, text);
        snprintf(text, sizeof text, "struct_size of bptt_options must be sizeof(bptt_options), at most %zu, got %zu",
                 sizeof options, bad[i]);
        expect_text(&valid, 5, 2, &options, text);
    }
}

/* What any function refuses in the spec has a sentence. */
static void check_bad_specs(void) {
    char text[TEXT];
    for (size_t i = 0; i < sizeof bad_specs / sizeof bad_specs[0]; i++) {
        name_case("explain bad spec %d", (int)i);
        const int length = explain(&bad_specs[i].spec, 5, 2, NULL, text);
        CHECK(length > 0 && length < TEXT && strstr(text, " must ") && strstr(text, ", got "));
    }
}

/* ---- T, B and options ------------------------------------------------------------------------------------ */

#define OPTIONS(...) {.struct_size = sizeof(bptt_options), __VA_ARGS__}

static void check_option_fields(void) {
    const struct {
        bptt_options options;
        const char *text;
    } cases[] = {
        {OPTIONS(.threads = -1), "threads must be at least 0, got -1"},
        {OPTIONS(.carry_per_row = 2), "carry_per_row must be 0 or 1, got 2"},
        {OPTIONS(.step_clip_norm = -1), "step_clip_norm must be at least 0, got -1"},
        {OPTIONS(.step_clip_value = -2.5), "step_clip_value must be at least 0, got -2.5"},
        {OPTIONS(.dy_start = -1), "dy_start must be in 0..T = 0..5, got -1"},
        {OPTIONS(.dy_start = 6), "dy_start must be in 0..T = 0..5, got 6"},
        {OPTIONS(.tape_steps = -1), "tape_steps must be at least 0, got -1"},
        {OPTIONS(.tape_steps = 4), "tape_steps must be 0 or at least T = 5, got 4"},
        {OPTIONS(.tape_steps = INT64_MAX),
         "the sizes must multiply to what memory can address, got tape_steps=9223372036854775807, B=2, input_size=3, "
         "hidden_size=4, output_size=2, num_layers=1, bidirectional=0"},
        {OPTIONS(.tape_first = -1), "tape_first must be at least 0, got -1"},
        {OPTIONS(.tape_first = 1), "tape_first must be at most 0, got 1"},
        {OPTIONS(.tape_first = 4, .tape_steps = 8), "tape_first must be at most 3, got 4"},
        {OPTIONS(.segment = -1), "segment must be at least 0, got -1"},
        {OPTIONS(.segment = 2, .tape_steps = 8), "segment must be 0 with tape_steps=8, got 2"},
        {OPTIONS(.training = 2), "training must be 0 or 1, got 2"},
        {OPTIONS(.state_given = -1), "state_given must be 0 or 1, got -1"},
        {OPTIONS(.lengths = (const int64_t[]){6, 1}), "lengths[0] must be in 1..T = 1..5, got 6"},
        {OPTIONS(.lengths = (const int64_t[]){5, 0}), "lengths[1] must be in 1..T = 1..5, got 0"},
        {OPTIONS(.lengths = (const int64_t[]){3, 4}), "lengths[1] must be at most the length before it, 3, got 4"},
        {OPTIONS(.tokens = (const int64_t[]){0}),
         "tokens must be NULL without one_hot or num_embeddings, got an array"},
        {OPTIONS(.lengths = (const int64_t[]){5, 3}, .tape_steps = 8, .tape_first = 3, .dy_start = 5, .training = 1),
         ""},
    };
    const bptt_spec spec = small_spec();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        name_case("explain options %d", (int)i);
        expect_text(&spec, 5, 2, &cases[i].options, cases[i].text);
    }
    name_case("explain steps and rows");
    expect_text(&spec, 0, 2, NULL, "T must be at least 1, got 0");
    expect_text(&spec, 5, -2, NULL, "B must be at least 1, got -2");
    expect_text(&spec, 5, INT64_C(1) << 56, NULL,
                "the sizes must multiply to what memory can address, got T=5, B=72057594037927936, input_size=3, "
                "hidden_size=4, output_size=2, num_layers=1, bidirectional=0");
    expect_text(&spec, 5, 2, NULL, "");
}

static void check_two_directions(void) {
    bptt_spec spec = small_spec();
    const bptt_options segment = OPTIONS(.segment = 2), tape = OPTIONS(.tape_steps = 6);
    spec.bidirectional = 1;
    name_case("explain two directions");
    expect_text(&spec, 5, 2, &segment, "segment must be 0 with bidirectional=1, got 2");
    expect_text(&spec, 5, 2, &tape, "tape_steps must be 0 or T = 5 with bidirectional=1, got 6");
}

/* Numbers that are 0 or Inf as a float, and only there. */
static void check_range_of_type(void) {
    bptt_spec leak = small_spec(), noise = leak, quiet = leak;
    const bptt_options norm = OPTIONS(.step_clip_norm = 1e-60), value = OPTIONS(.step_clip_value = 1e-60),
                       infinite = OPTIONS(.step_clip_norm = INFINITY, .step_clip_value = 1e300);
    const int is_float = REAL_BITS == 32;
    leak.leak = quiet.noise = 1e-60;
    noise.noise = 1e39;
    name_case("explain what the type cannot hold");
    expect_text(&quiet, 5, 2, NULL, is_float ? "noise must be within the range of float32, got 1e-60" : "");
    expect_text(&noise, 5, 2, NULL, is_float ? "noise must be within the range of float32, got 1e+39" : "");
    expect_text(&leak, 5, 2, NULL, is_float ? "leak must be within the range of float32, got 1e-60" : "");
    const bptt_spec spec = small_spec();
    expect_text(&spec, 5, 2, &norm, is_float ? "step_clip_norm must be within the range of float32, got 1e-60" : "");
    expect_text(&spec, 5, 2, &value, is_float ? "step_clip_value must be within the range of float32, got 1e-60" : "");
    expect_text(&spec, 5, 2, &infinite, "");
}

/* Integers are looked at where there are any, but not beyond a row's length; bptt_sizes does not look. */
static void check_tokens(void) {
    bptt_spec spec = small_spec();
    char text[TEXT];
    const int64_t tokens[] = {0, 8, 1, 9, 2, -1}; /* (3,2) */
    bptt_options options = OPTIONS(.tokens = tokens, .lengths = (const int64_t[]){3, 1});
    spec.num_embeddings = 9;
    name_case("explain tokens");
    expect_text(&spec, 3, 2, &options, "");
    expect_text(&spec, 3, 2, NULL, "");
    options.lengths = NULL;
    CHECK(explain(&spec, 3, 2, &options, text) > 0);
    CHECK(strcmp(text, "tokens must be in 0..8, got 9 at step 1 of row 1") == 0);
    options.lengths = (const int64_t[]){3, 3};
    spec.num_embeddings = 10;
    CHECK(explain(&spec, 3, 2, &options, text) > 0);
    CHECK(strcmp(text, "tokens must be in 0..9, got -1 at step 2 of row 1") == 0);
}

/* ---- the memory of the text ------------------------------------------------------------------------------- */

static void check_memory(void) {
    const char *sentence = "hidden_size must be at least 1, got 0";
    const int length = (int)strlen(sentence);
    bptt_spec bad = small_spec();
    const bptt_spec valid = bad;
    bad.hidden_size = 0;
    name_case("memory of the text");
    CHECK(TYPED(bptt_explain)(&bad, 5, 2, NULL, NULL, 0) == length);
    CHECK(TYPED(bptt_explain)(&bad, 5, 2, NULL, NULL, 100) == length);
    CHECK(TYPED(bptt_explain)(&valid, 5, 2, NULL, NULL, 0) == 0);
    CHECK(TYPED(bptt_explain)(&valid, 5, 2, NULL, NULL, 100) == 0);
    for (int size = 0; size < length + 3; size++) { /* guard zones lie around each buffer */
        char *text = buffer_of(size);
        CHECK(TYPED(bptt_explain)(&bad, 5, 2, NULL, text, (size_t)size) == length);
        const int written = size > length ? length : size - 1;
        CHECK(size == 0 || (strncmp(text, sentence, (size_t)written) == 0 && text[written] == 0));
        CHECK(TYPED(bptt_explain)(&valid, 5, 2, NULL, text, (size_t)size) == 0);
        CHECK(size == 0 || text[0] == 0);
        release(text);
    }
}

/* Fields that an older caller does not have are not read. */
static void check_older_structs(void) {
    const bptt_spec whole = small_spec();
    const size_t size = offsetof(bptt_spec, num_layers);
    bptt_spec *older = memcpy(buffer_of((int64_t)size), &whole, size);
    older->struct_size = size;
    name_case("explain an older spec");
    expect_text(older, 5, 2, NULL, "");
    older->hidden_size = 0;
    expect_text(older, 5, 2, NULL, "hidden_size must be at least 1, got 0");
    release(older);
}

/* Where BPTT_ISA names no set that runs here, that is the first thing that is wrong with a valid call. */
static void check_no_kernels(void) {
    const bptt_spec spec = small_spec();
    char text[TEXT];
    name_case("explain no kernels");
    CHECK(explain(&spec, 5, 2, NULL, text) > 0);
    CHECK(strstr(text, "BPTT_ISA in the environment must be one of portable") == text);
    CHECK(strstr(text, getenv("BPTT_ISA")) != NULL);
}

int main(void) {
    check_bad_specs();
    if (bptt_isa()) {
        check_spec_fields();
        check_struct_sizes();
        check_option_fields();
        check_two_directions();
        check_range_of_type();
        check_tokens();
        check_memory();
        check_older_structs();
    } else {
        check_no_kernels();
    }
    return end_of_checks();
}
