/* The AVX2 kernel set; compiled with -mavx2 -mfma, empty elsewhere. */
#if defined(__AVX2__) && defined(__FMA__) && defined(__GNUC__)
#include "bptt.h"
#define NAME "avx2"
#define TABLE(typed) typed(bptt_internal_avx2)
#define VECTOR_BYTES 32
#define ROWS 6
#define REAL_BITS 32
#include "kernels_vector.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "kernels_vector.h"
#else
typedef int bptt_internal_avx2_is_empty; /* a unit must hold something */
#endif
