/* The list of the cells: the one place that names them all. A new cell is a file like lstm.h, its gate arithmetic in a
 * file like lstm_pointwise.h, its enumerator in bptt.h, and its lines here. */
#ifndef BPTT_CELLS_LIST_H
#define BPTT_CELLS_LIST_H

/* X(enumerator of bptt_cell without its prefix, name for users, cell: a struct in that cell's file) */
#define CELLS(X)                                                                                                       \
    X(TANH, "tanh", vanilla)                                                                                           \
    X(RELU, "relu", vanilla)                                                                                           \
    X(SIGMOID, "sigmoid", vanilla)                                                                                     \
    X(IDENTITY, "identity", vanilla)                                                                                   \
    X(LSTM, "lstm", lstm)                                                                                              \
    X(GRU, "gru", gru)

/* X(function of a pointwise header, which is a member of the kernel table) */
#define GATE_FUNCTIONS(X)                                                                                              \
    X(lstm_forward)                                                                                                    \
    X(lstm_backward)                                                                                                   \
    X(gru_forward)                                                                                                     \
    X(gru_backward)                                                                                                    \
    X(gru_reset_before_gates)                                                                                          \
    X(gru_reset_before_forward)                                                                                        \
    X(gru_reset_before_backward)                                                                                       \
    X(gru_reset_before_operand)                                                                                        \
    X(leaky_forward)                                                                                                   \
    X(leaky_backward)

/* X(function of a pointwise header for a batch of one, which is a member of the kernel table) */
#define ROW_FUNCTIONS(X)                                                                                               \
    X(vanilla_row)                                                                                                     \
    X(lstm_row)                                                                                                        \
    X(gru_row)                                                                                                         \
    X(gru_reset_before_row)                                                                                            \
    X(leaky_row)
#endif

/* The files of all cells, for an includer that defines CELL_FILE(name): "name.h" or "name_pointwise.h". */
#ifdef CELL_FILE
#include CELL_FILE(vanilla)
#include CELL_FILE(leaky)
#include CELL_FILE(lstm)
#include CELL_FILE(gru)
#undef CELL_FILE
#endif
