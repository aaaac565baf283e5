/* The portable kernels for float32: plain C. */
#define REAL_BITS 32
#define TABLE bptt_internal_portable_f32
#define VECTOR_BYTES 0
#include "kernels/table.h"
