/* The AVX2 kernels for float64; compiled with -mavx2 -mfma, empty elsewhere. */
#include "base/local.h"
#if defined(__AVX2__) && defined(__FMA__) && defined(GNU_C)
#define REAL_BITS 64
#define TABLE bptt_internal_avx2_f64
#define VECTOR_BYTES 32
#define TILE_ROWS 6
#include "kernels/table.h"
#else
typedef int bptt_internal_avx2_f64_is_empty; /* C asks for a declaration in every unit */
#endif
