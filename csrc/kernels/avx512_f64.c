/* The AVX-512 kernels for float64; compiled with -mavx512f -mavx512dq -mavx512vl -mavx2 -mfma, empty elsewhere. */
#include "base/local.h"
#if defined(__AVX512F__) && defined(GNU_C)
#define REAL_BITS 64
#define TABLE bptt_internal_avx512_f64
#define VECTOR_BYTES 64
#define TILE_ROWS 13
#include "kernels/table.h"
#else
typedef int bptt_internal_avx512_f64_is_empty; /* C asks for a declaration in every unit */
#endif
