/* The generic kernels for float32: vectors of 16 bytes, which every 64-bit processor has (SSE2, NEON). Empty for
 * compilers without vector extensions. */
#include "base/local.h"
#if defined(GNU_C)
#define REAL_BITS 32
#define TABLE bptt_internal_generic_f32
#define VECTOR_BYTES 16
#include "kernels/table.h"
#else
typedef int bptt_internal_generic_f32_is_empty; /* C asks for a declaration in every unit */
#endif
