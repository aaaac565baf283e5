/* Status codes in words, and the version. */
#include "bptt.h"

const char *bptt_status_string(bptt_status status) {
    switch (status) {
    case BPTT_OK: return "success";
    case BPTT_ERROR_NULL: return "a required pointer is NULL";
    case BPTT_ERROR_STRUCT: return "struct_size is not set, or larger than this library's struct";
    case BPTT_ERROR_CELL: return "the cell is not one that this library has";
    case BPTT_ERROR_SIZE: return "a size is zero or negative, or an index is beyond the last";
    case BPTT_ERROR_OVERFLOW: return "the sizes multiply beyond what memory can address";
    case BPTT_ERROR_OPTION:
        return "an option, a reduction or a field of the spec is out of its range, NaN, or does not go with another";
    case BPTT_ERROR_THRESHOLD: return "a clipping threshold is NaN or, in the array's type, not above zero";
    case BPTT_ERROR_LABEL: return "a label is neither a class nor the ignored one";
    case BPTT_ERROR_WINDOW: return "windows need k1 >= 1, k2 >= k1 and an index below their count";
    case BPTT_ERROR_HYPERPARAMETER: return "an optimiser's number is NaN or out of its range";
    case BPTT_ERROR_INTERRUPTED: return "the call was interrupted";
    case BPTT_ERROR_ISA: return "BPTT_ISA names a kernel set that is unknown or does not run here";
    case BPTT_ERROR_LENGTHS: return "a length is not in 1..T, or above the one before it";
    case BPTT_ERROR_MEMORY: return "there is not enough memory";
    case BPTT_ERROR_TOKEN: return "an integer input is not in 0..V-1";
    case BPTT_ERROR_PACKED: return "packed weights were not made for this network, type and kernel set";
    }
    return "an unknown status";
}

#define TEXT(x) #x
#define DOTTED(a, b, c) TEXT(a) "." TEXT(b) "." TEXT(c)

const char *bptt_version(void) { return DOTTED(BPTT_VERSION_MAJOR, BPTT_VERSION_MINOR, BPTT_VERSION_PATCH); }
