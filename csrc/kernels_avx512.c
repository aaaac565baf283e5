/* The AVX-512 kernel set; compiled with -mavx512f -mavx512dq -mavx512vl -mavx2 -mfma, empty elsewhere. */
#if defined(__AVX512F__) && defined(__GNUC__)
#include "bptt.h"
#define NAME "avx512"
#define TABLE(typed) typed(bptt_internal_avx512)
#define VECTOR_BYTES 64
#define ROWS 12
#define REAL_BITS 32
#include "kernels_vector.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "kernels_vector.h"
#else
typedef int bptt_internal_avx512_is_empty; /* a unit must hold something */
#endif
