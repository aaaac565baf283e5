/* The portable kernels for float64: plain C. */
#define REAL_BITS 64
#define TABLE bptt_internal_portable_f64
#define VECTOR_BYTES 0
#include "kernels/table.h"
