/* A small valid spec, the smallest structs, and specs that every function must refuse. */
#ifndef BAD_SPECS_H
#define BAD_SPECS_H
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "bptt.h"
#include "check.h"

LOCAL bptt_spec small_spec(void) {
    return (bptt_spec){
        .struct_size = sizeof(bptt_spec), .input_size = 3, .hidden_size = 4, .output_size = 2, .bias = 1};
}

/* The least struct_size: a struct that holds nothing else. */
enum { STRUCT_LEAST = sizeof(size_t) };

typedef struct {
    bptt_spec spec;
    bptt_status expected;
} bad_spec;

/* A spec of I inputs, H units and O outputs; the rest initialise other fields. */
#define SPEC(I, H, O, ...)                                                                                             \
    {.struct_size = sizeof(bptt_spec), .input_size = I, .hidden_size = H, .output_size = O, __VA_ARGS__}

LOCAL const bad_spec bad_specs[] = {
    {{.struct_size = 0, .input_size = 3, .hidden_size = 4, .output_size = 2}, BPTT_ERROR_STRUCT},
    {{.struct_size = STRUCT_LEAST - 1, .input_size = 3, .hidden_size = 4, .output_size = 2}, BPTT_ERROR_STRUCT},
    {{.struct_size = STRUCT_LEAST, .input_size = 3, .hidden_size = 4, .output_size = 2}, BPTT_ERROR_SIZE},
    {{.struct_size = sizeof(bptt_spec) + 1, .input_size = 3, .hidden_size = 4, .output_size = 2}, BPTT_ERROR_STRUCT},
    {{.struct_size = sizeof(bptt_spec) + 8, .input_size = 3, .hidden_size = 4, .output_size = 2}, BPTT_ERROR_STRUCT},
    {{.struct_size = SIZE_MAX, .input_size = 3, .hidden_size = 4, .output_size = 2}, BPTT_ERROR_STRUCT},
    {SPEC(3, 4, 2, .cell = 1000, .bias = 1), BPTT_ERROR_CELL},
    {SPEC(3, 4, 2, .cell = -1, .bias = 1), BPTT_ERROR_CELL},
    {SPEC(3, 4, 2, .cell = INT32_MAX, .bias = 1), BPTT_ERROR_CELL},
    {SPEC(3, 4, 2, .bias = 2), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .bidirectional = 2), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .cell = BPTT_CELL_GRU, .bias = 1, .reset_before = 2), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .cell = BPTT_CELL_LSTM, .bias = 1, .peepholes = 2), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .learn_state = 2), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .one_hot = 2), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = -1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .bidirectional = -1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .cell = BPTT_CELL_GRU, .bias = 1, .reset_before = -1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .cell = BPTT_CELL_LSTM, .bias = 1, .peepholes = -1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .learn_state = -1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .one_hot = -1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .cell = BPTT_CELL_LSTM, .bias = 1, .reset_before = 1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .reset_before = 1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .cell = BPTT_CELL_GRU, .bias = 1, .peepholes = 1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .peepholes = 1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .dropout = 1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .recurrent_dropout = 1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .dropout = -0.1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .recurrent_dropout = -0.1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .dropout = NAN), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .recurrent_dropout = NAN), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .dropout = INFINITY), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .recurrent_dropout = INFINITY), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .dropout = -INFINITY), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .recurrent_dropout = -INFINITY), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .leak = -0.1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .leak = 1.1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .leak = NAN), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .leak = INFINITY), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .learn_leak = 2), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .learn_leak = -1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .learn_leak = INT64_C(1) << 32), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .cell = BPTT_CELL_LSTM, .bias = 1, .leak = 0.5), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .cell = BPTT_CELL_LSTM, .bias = 1, .learn_leak = 1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .cell = BPTT_CELL_GRU, .bias = 1, .leak = 0.5), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .cell = BPTT_CELL_GRU, .bias = 1, .reset_before = 1, .leak = 0.5), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .noise = -0.1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .noise = NAN), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .noise = INFINITY), BPTT_ERROR_OPTION},
    {SPEC(0, 4, 2, .bias = 1), BPTT_ERROR_SIZE},
    {SPEC(-3, 4, 2, .bias = 1), BPTT_ERROR_SIZE},
    {SPEC(INT64_MIN, 4, 2, .bias = 1), BPTT_ERROR_SIZE},
    {SPEC(3, 0, 2, .bias = 1), BPTT_ERROR_SIZE},
    {SPEC(3, -4, 2, .bias = 1), BPTT_ERROR_SIZE},
    {SPEC(3, INT64_MIN, 2, .bias = 1), BPTT_ERROR_SIZE},
    {SPEC(3, 4, -1, .bias = 1), BPTT_ERROR_SIZE},
    {SPEC(3, 4, INT64_MIN, .bias = 1), BPTT_ERROR_SIZE},
    {SPEC(3, 4, 2, .bias = 1, .one_hot = 1, .num_embeddings = 5), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .num_embeddings = 5, .padding_row = 6), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .num_embeddings = 5, .padding_row = -1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .num_embeddings = 5, .padding_row = INT64_MAX), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .num_embeddings = 5, .padding_row = INT64_MIN), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .padding_row = 1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .one_hot = 1, .padding_row = 1), BPTT_ERROR_OPTION},
    {SPEC(3, 4, 2, .bias = 1, .num_embeddings = -1), BPTT_ERROR_SIZE},
    {SPEC(3, 4, 2, .bias = 1, .num_embeddings = INT64_MIN), BPTT_ERROR_SIZE},
    {SPEC(3, 4, 2, .bias = 1, .num_embeddings = INT64_MAX), BPTT_ERROR_OVERFLOW},
    {SPEC(1 << 20, 4, 2, .bias = 1, .num_embeddings = INT64_C(1) << 40), BPTT_ERROR_OVERFLOW},
    {SPEC(INT64_C(1) << 60, 4, 2, .bias = 1, .one_hot = 1), BPTT_ERROR_OVERFLOW},
    {SPEC(0, 4, 2, .bias = 1, .one_hot = 1), BPTT_ERROR_SIZE},
    {SPEC(0, 4, 2, .bias = 1, .num_embeddings = 5), BPTT_ERROR_SIZE},
    {SPEC(3, 4, 2, .bias = 1, .num_layers = -1), BPTT_ERROR_SIZE},
    {SPEC(3, 4, 2, .bias = 1, .num_layers = INT32_MIN), BPTT_ERROR_SIZE},
    {SPEC(INT64_MAX, 4, 2, .bias = 1), BPTT_ERROR_OVERFLOW},
    {SPEC(3, INT64_MAX, 2, .bias = 1), BPTT_ERROR_OVERFLOW},
    {SPEC(3, 4, INT64_MAX, .bias = 1), BPTT_ERROR_OVERFLOW},
    {SPEC(3, INT64_C(1) << 30, 2, .bias = 1), BPTT_ERROR_OVERFLOW},
    {SPEC(3, INT64_C(1) << 30, 2, .cell = BPTT_CELL_LSTM, .bias = 1), BPTT_ERROR_OVERFLOW},
    {SPEC(3, INT64_C(1) << 30, 2, .cell = BPTT_CELL_GRU, .bias = 1), BPTT_ERROR_OVERFLOW},
    {SPEC(INT64_C(1) << 40, 1 << 20, 2, .bias = 1), BPTT_ERROR_OVERFLOW},
    {SPEC(3, 1 << 20, INT64_C(1) << 40, .bias = 1), BPTT_ERROR_OVERFLOW},
    {SPEC(3, 1 << 24, 2, .bias = 1, .num_layers = 10000), BPTT_ERROR_OVERFLOW},
};
#endif
