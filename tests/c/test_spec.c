/* What has no data and no type: status strings, the version, kernel sets, tensors and windows. */
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bad_specs.h"
#include "bptt.h"
#include "check.h"
#include "problem.h"
#include "real.h"

/* Every code has a sentence of its own. */
static void check_strings(void) {
    const char *unknown = bptt_status_string((bptt_status)(BPTT_ERROR_PACKED + 1));
    name_case("status strings");
    for (int code = BPTT_OK; code <= BPTT_ERROR_PACKED; code++) {
        const char *text = bptt_status_string((bptt_status)code);
        CHECK(text && *text && text[strlen(text) - 1] != '.');
        CHECK(strcmp(text, unknown) != 0);
        for (int other = BPTT_OK; other < code; other++)
            CHECK(strcmp(text, bptt_status_string((bptt_status)other)) != 0);
    }
    CHECK(unknown && *unknown);
    CHECK(strcmp(bptt_status_string((bptt_status)-1), unknown) == 0);
    CHECK(strcmp(bptt_status_string((bptt_status)INT32_MAX), unknown) == 0);
}

static void check_version(void) {
    char expected[64];
    name_case("version");
    snprintf(expected, sizeof expected, "%d.%d.%d", BPTT_VERSION_MAJOR, BPTT_VERSION_MINOR, BPTT_VERSION_PATCH);
    CHECK(strcmp(bptt_version(), expected) == 0);
}

/* The set in use is the one that BPTT_ISA names, or else the last of the choices. */
static void check_kernel_sets(void) {
    const char *wanted = getenv("BPTT_ISA"), *choices = bptt_isa_choices(), *isa = bptt_isa();
    name_case("kernel sets");
    CHECK(choices && strstr(choices, "portable") == choices);
    if (!isa) return;
    CHECK(strstr(choices, isa) != NULL);
    if (wanted && *wanted) CHECK(strcmp(isa, wanted) == 0);
    else CHECK(strcmp(choices + strlen(choices) - strlen(isa), isa) == 0);
}

static void check_tensor(const bptt_spec *spec, int64_t index, bptt_tensor expected) {
    bptt_tensor tensor;
    CHECK_STATUS(bptt_tensor_at(spec, index, &tensor), BPTT_OK);
    CHECK(strcmp(tensor.name, expected.name) == 0);
    CHECK(tensor.offset == expected.offset && tensor.rows == expected.rows && tensor.cols == expected.cols);
}

static void check_tensors(void) {
    const bptt_spec all = small_spec();
    bptt_spec few = all, plain = all;
    few.bias = plain.bias = 0;
    few.output_size = 0;
    int64_t count = 0;
    name_case("tensors");
    CHECK(bptt_tensor_count(&all, &count) == BPTT_OK && count == 6);
    check_tensor(&all, 0, (bptt_tensor){"weight_ih_l0", 0, 4, 3});
    check_tensor(&all, 1, (bptt_tensor){"weight_hh_l0", 12, 4, 4});
    check_tensor(&all, 2, (bptt_tensor){"bias_ih_l0", 28, 4, 0});
    check_tensor(&all, 3, (bptt_tensor){"bias_hh_l0", 32, 4, 0});
    check_tensor(&all, 4, (bptt_tensor){"weight_ho", 36, 2, 4});
    check_tensor(&all, 5, (bptt_tensor){"bias_o", 44, 2, 0});
    CHECK(bptt_tensor_count(&few, &count) == BPTT_OK && count == 2);
    check_tensor(&few, 1, (bptt_tensor){"weight_hh_l0", 12, 4, 4});
    CHECK(bptt_tensor_count(&plain, &count) == BPTT_OK && count == 3);
    check_tensor(&plain, 2, (bptt_tensor){"weight_ho", 28, 2, 4});
}

/* All tensors of the spec in order. The list gives name, rows and cols; each offset is the end of the tensor before. */
static void check_tensor_list(const bptt_spec *spec, int64_t expected, const bptt_tensor *list) {
    int64_t count = 0, offset = 0;
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    CHECK(bptt_tensor_count(spec, &count) == BPTT_OK && count == expected);
    for (int64_t i = 0; i < expected; i++) {
        bptt_tensor tensor = list[i];
        tensor.offset = offset;
        check_tensor(spec, i, tensor);
        offset += tensor.rows * (tensor.cols ? tensor.cols : 1);
    }
    if (!bptt_isa()) return;
    CHECK_STATUS(TYPED(bptt_sizes)(spec, 1, 1, NULL, &sizes), BPTT_OK);
    CHECK(sizes.params == offset);
}

/* Gates, layers, directions, peepholes, learned states; an embedding, which lies behind all others. */
static void check_more_tensors(void) {
    bptt_spec lstm = small_spec(), gru = small_spec();
    static const bptt_tensor of_lstm[] = {{"weight_ih_l0", 0, 16, 3},
                                          {"weight_hh_l0", 0, 16, 4},
                                          {"bias_ih_l0", 0, 16, 0},
                                          {"bias_hh_l0", 0, 16, 0},
                                          {"weight_peephole_l0", 0, 3, 4},
                                          {"weight_ih_l0_reverse", 0, 16, 3},
                                          {"weight_hh_l0_reverse", 0, 16, 4},
                                          {"bias_ih_l0_reverse", 0, 16, 0},
                                          {"bias_hh_l0_reverse", 0, 16, 0},
                                          {"weight_peephole_l0_reverse", 0, 3, 4},
                                          {"weight_ih_l1", 0, 16, 8},
                                          {"weight_hh_l1", 0, 16, 4},
                                          {"bias_ih_l1", 0, 16, 0},
                                          {"bias_hh_l1", 0, 16, 0},
                                          {"weight_peephole_l1", 0, 3, 4},
                                          {"weight_ih_l1_reverse", 0, 16, 8},
                                          {"weight_hh_l1_reverse", 0, 16, 4},
                                          {"bias_ih_l1_reverse", 0, 16, 0},
                                          {"bias_hh_l1_reverse", 0, 16, 0},
                                          {"weight_peephole_l1_reverse", 0, 3, 4},
                                          {"weight_ho", 0, 2, 8},
                                          {"bias_o", 0, 2, 0},
                                          {"state_h0", 0, 4, 4},
                                          {"state_c0", 0, 4, 4},
                                          {"embedding", 0, 9, 3}};
    static const bptt_tensor of_gru[] = {
        {"weight_ih_l0", 0, 12, 3}, {"weight_hh_l0", 0, 12, 4}, {"weight_ih_l1", 0, 12, 4}, {"weight_hh_l1", 0, 12, 4},
        {"weight_ih_l2", 0, 12, 4}, {"weight_hh_l2", 0, 12, 4}, {"state_h0", 0, 3, 4}};
    name_case("tensors of gated cells");
    lstm.cell = BPTT_CELL_LSTM;
    lstm.peepholes = lstm.bidirectional = lstm.learn_state = 1;
    lstm.num_layers = 2;
    check_tensor_list(&lstm, sizeof of_lstm / sizeof of_lstm[0] - 1, of_lstm);
    lstm.num_embeddings = 9;
    lstm.padding_row = 9;
    check_tensor_list(&lstm, sizeof of_lstm / sizeof of_lstm[0], of_lstm);
    gru.cell = BPTT_CELL_GRU;
    gru.learn_state = gru.one_hot = 1;
    gru.num_layers = 3;
    gru.bias = gru.output_size = 0;
    check_tensor_list(&gru, sizeof of_gru / sizeof of_gru[0], of_gru);
}

/* The longest name fits. */
static void check_last_layer(void) {
    bptt_spec spec = small_spec();
    bptt_tensor tensor;
    name_case("tensors of the last of many layers");
    spec.cell = BPTT_CELL_LSTM;
    spec.peepholes = spec.bidirectional = 1;
    spec.num_layers = 10000;
    CHECK_STATUS(bptt_tensor_at(&spec, 2 * 5 * 10000 - 1, &tensor), BPTT_OK);
    CHECK(strcmp(tensor.name, "weight_peephole_l9999_reverse") == 0);
}

static void check_bad_tensors(void) {
    const bptt_spec spec = small_spec();
    bptt_tensor tensor;
    int64_t count = 7;
    name_case("bad tensors");
    CHECK_STATUS(bptt_tensor_count(NULL, &count), BPTT_ERROR_NULL);
    CHECK_STATUS(bptt_tensor_count(&spec, NULL), BPTT_ERROR_NULL);
    CHECK_STATUS(bptt_tensor_at(NULL, 0, &tensor), BPTT_ERROR_NULL);
    CHECK_STATUS(bptt_tensor_at(&spec, 0, NULL), BPTT_ERROR_NULL);
    CHECK_STATUS(bptt_tensor_at(&spec, -1, &tensor), BPTT_ERROR_SIZE);
    CHECK_STATUS(bptt_tensor_at(&spec, 6, &tensor), BPTT_ERROR_SIZE);
    for (size_t i = 0; i < sizeof bad_specs / sizeof bad_specs[0]; i++) {
        CHECK_STATUS(bptt_tensor_count(&bad_specs[i].spec, &count), bad_specs[i].expected);
        CHECK_STATUS(bptt_tensor_at(&bad_specs[i].spec, 0, &tensor), bad_specs[i].expected);
    }
    CHECK(count == 7);
}

/* The windows cover 0..T-1 without overlap; each but the last has k1 steps, and each goes back over k2 steps, or to 0.
 */
static void check_windows_of(int64_t T, int64_t k1, int64_t k2) {
    bptt_window window = {0, 0, 0};
    int64_t count = 0, next = 0;
    name_case("windows T=%lld k1=%lld k2=%lld", (long long)T, (long long)k1, (long long)k2);
    CHECK_STATUS(bptt_window_count(T, k1, k2, &count), BPTT_OK);
    for (int64_t i = 0; i < count; i++) {
        CHECK_STATUS(bptt_window_at(T, k1, k2, i, &window), BPTT_OK);
        CHECK(window.start == next && window.start < window.stop);
        CHECK(window.stop - window.start == k1 || (window.stop == T && window.stop - window.start < k1));
        CHECK(window.back >= 0 && window.back <= window.start &&
              (window.stop - window.back == k2 || (window.back == 0 && window.stop < k2)));
        next = window.stop;
    }
    CHECK(next == T);
    CHECK_STATUS(bptt_window_at(T, k1, k2, count, &window), BPTT_ERROR_WINDOW);
    CHECK_STATUS(bptt_window_at(T, k1, k2, -1, &window), BPTT_ERROR_WINDOW);
}

static void check_far_windows(void) {
    const int64_t most = INT64_MAX;
    bptt_window window;
    int64_t count;
    name_case("windows of the longest sequences");
    CHECK(bptt_window_count(most, 1, most, &count) == BPTT_OK && count == most);
    CHECK_STATUS(bptt_window_at(most, 1, most, most - 1, &window), BPTT_OK);
    CHECK(window.start == most - 1 && window.stop == most && window.back == 0);
    CHECK(bptt_window_count(most, most - 1, most - 1, &count) == BPTT_OK && count == 2);
    CHECK_STATUS(bptt_window_at(most, most - 1, most - 1, 1, &window), BPTT_OK);
    CHECK(window.start == most - 1 && window.stop == most && window.back == 1);
    CHECK(bptt_window_count(5, most, most, &count) == BPTT_OK && count == 1);
}

static void check_bad_windows(void) {
    bptt_window window = {7, 7, 7};
    int64_t count = 7;
    name_case("bad windows");
    CHECK_STATUS(bptt_window_count(5, 2, 2, NULL), BPTT_ERROR_NULL);
    CHECK_STATUS(bptt_window_at(5, 2, 2, 0, NULL), BPTT_ERROR_NULL);
    CHECK_STATUS(bptt_window_count(0, 2, 2, &count), BPTT_ERROR_SIZE);
    CHECK_STATUS(bptt_window_at(-5, 2, 2, 0, &window), BPTT_ERROR_SIZE);
    CHECK_STATUS(bptt_window_count(5, 0, 2, &count), BPTT_ERROR_WINDOW);
    CHECK_STATUS(bptt_window_count(5, -1, 2, &count), BPTT_ERROR_WINDOW);
    CHECK_STATUS(bptt_window_count(5, 3, 2, &count), BPTT_ERROR_WINDOW);
    CHECK_STATUS(bptt_window_at(5, 3, 2, 0, &window), BPTT_ERROR_WINDOW);
    CHECK(count == 7 && window.start == 7 && window.stop == 7 && window.back == 7);
}

static void check_windows(void) {
    for (int64_t T = 1; T < 9; T++)
        for (int64_t k1 = 1; k1 < 10; k1++)
            for (int64_t k2 = k1; k2 < 11; k2++) check_windows_of(T, k1, k2);
    check_far_windows();
    check_bad_windows();
}

/* Every cell that the core names is one of the forms that the other programs run. */
static void check_cells(void) {
    int cells = 0;
    for (; bptt_cell_name(cells); cells++) {
        int found = 0;
        for (int i = 0; i < FORMS; i++) found |= forms[i].cell == cells;
        name_case("cell %s", bptt_cell_name(cells));
        CHECK(found);
        CHECK(strlen(bptt_cell_name(cells)) > 0);
    }
    CHECK(cells > BPTT_CELL_GRU);
    CHECK(bptt_cell_name(-1) == NULL);
    CHECK(bptt_cell_name(INT_MAX) == NULL);
}

int main(void) {
    check_strings();
    check_cells();
    check_version();
    check_kernel_sets();
    check_tensors();
    check_more_tensors();
    check_last_layer();
    check_bad_tensors();
    check_windows();
    return end_of_checks();
}
