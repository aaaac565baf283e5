/* The generic kernel set: vectors of 16 bytes, which every 64-bit processor has (SSE2, NEON); empty for compilers
 * without vector extensions. */
#if defined(__GNUC__)
#include "bptt.h"
#if defined(__aarch64__)
#define NAME "neon"
#define ROWS 12
#else
#define NAME "generic"
#define ROWS 6
#endif
#define TABLE(typed) typed(bptt_internal_generic)
#define VECTOR_BYTES 16
#define REAL_BITS 32
#include "kernels_vector.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "kernels_vector.h"
#else
typedef int bptt_internal_generic_is_empty; /* a unit must hold something */
#endif
