/* Vectors of REAL, VECTOR_BYTES long, by the vector extensions of GCC and Clang. With VECTOR_BYTES 0 the same names
 * stand for a single REAL in plain C (scalar.h), so that one source serves every set. */
#ifndef BPTT_KERNELS_VEC_H
#define BPTT_KERNELS_VEC_H
#include "base/real.h"

#ifndef VECTOR_BYTES
#define VECTOR_BYTES 16
#endif

/* A product and a sum of one expression become a fused multiply-add, alike in all functions, so that a row has the same
 * bits whichever function computes it. -ffp-contract=fast would overrule this: Clang then fuses across expressions too,
 * depending on what it inlines. For GCC, whose default it is, it is the right flag. */
#ifdef __clang__
#pragma clang fp contract(on)
#endif

#if VECTOR_BYTES == 0
#include "kernels/scalar.h"
#else

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

typedef REAL vec __attribute__((vector_size(VECTOR_BYTES)));
typedef UINT vec_bits __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL unaligned_vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));
enum { LANES = VECTOR_BYTES / sizeof(REAL) };

#define INLINE static inline __attribute__((always_inline, unused))

/* A long function with several callers: copies would only fill the instruction cache. */
#define OUT_OF_LINE static __attribute__((noinline, unused))

/* Unrolls the loop that follows completely. Loops over arrays of vectors need it: an index that is not constant would
 * force the array into memory. */
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Keeps v in a register: GCC would load a vector that is used several times again for each use. */
#ifdef __x86_64__
#define IN_REGISTER(v) __asm__("" : "+v"(v))
#else
#define IN_REGISTER(v) (void)(v)
#endif

/* Ends a function that calls others with vectors as arguments. GCC forgets to clear the upper halves of the registers
 * there, and the caller's SSE code would wait for what is computed in them. */
#if defined(__x86_64__) && VECTOR_BYTES >= 32
#define END_VECTORS() _mm256_zeroupper()
#else
#define END_VECTORS() (void)0
#endif

/* X86(add) is the intrinsic for a whole vector, such as _mm256_add_ps. */
#if VECTOR_BYTES == 64 && REAL_BITS == 32
#define X86(operation) _mm512_##operation##_ps
#define X86_LESS_MASK(a, b) _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)
typedef __mmask16 lane_mask;
#elif VECTOR_BYTES == 64
#define X86(operation) _mm512_##operation##_pd
#define X86_LESS_MASK(a, b) _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ)
typedef __mmask8 lane_mask;
#elif VECTOR_BYTES == 32 && REAL_BITS == 32
#define X86(operation) _mm256_##operation##_ps
#elif VECTOR_BYTES == 32
#define X86(operation) _mm256_##operation##_pd
#elif defined(__x86_64__) && REAL_BITS == 32
#define X86(operation) _mm_##operation##_ps
#elif defined(__x86_64__)
#define X86(operation) _mm_##operation##_pd
#endif

/* Every lane is x. An initialiser list, because compilers implement `x + zeros` with an addition. */
INLINE vec splat(REAL x) {
#if VECTOR_BYTES * 8 / REAL_BITS == 16
    return (vec){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#elif VECTOR_BYTES * 8 / REAL_BITS == 8
    return (vec){x, x, x, x, x, x, x, x};
#elif VECTOR_BYTES * 8 / REAL_BITS == 4
    return (vec){x, x, x, x};
#else
    return (vec){x, x};
#endif
}

INLINE vec load(const REAL *from) { return *(const unaligned_vec *)from; }
INLINE void store(REAL *to, vec v) { *(unaligned_vec *)to = v; }

#if VECTOR_BYTES == 64
INLINE lane_mask first_lanes(int64_t lanes) { return (lane_mask)(((1u << LANES) - 1) >> (LANES - lanes)); }
#elif VECTOR_BYTES == 32
INLINE __m256i first_lanes(int64_t lanes) {
    static const int64_t ones_then_zeros[8] = {-1, -1, -1, -1, 0, 0, 0, 0};
    return _mm256_loadu_si256((const __m256i *)((const char *)(ones_then_zeros + 4) - lanes * (int64_t)sizeof(REAL)));
}
#endif

/* The functions on a part of a vector: one instruction, or with short vectors a call. */
#if VECTOR_BYTES >= 32
#define PART_FUNCTION INLINE
#else
#define PART_FUNCTION OUT_OF_LINE
#endif

/* The first `lanes` lanes, 0 < lanes <= LANES. Memory of the other lanes is not touched; they are loaded as zeros. */
PART_FUNCTION vec load_part(const REAL *from, int64_t lanes) {
#if VECTOR_BYTES == 64
    return (vec)X86(maskz_loadu)(first_lanes(lanes), from);
#elif VECTOR_BYTES == 32
    return (vec)X86(maskload)(from, first_lanes(lanes));
#else
    vec v = splat(0);
    memcpy(&v, from, (size_t)lanes * sizeof(REAL));
    return v;
#endif
}

PART_FUNCTION void store_part(REAL *to, vec v, int64_t lanes) {
#if VECTOR_BYTES == 64
    X86(mask_storeu)(to, first_lanes(lanes), v);
#elif VECTOR_BYTES == 32
    X86(maskstore)(to, first_lanes(lanes), v);
#else
    memcpy(to, &v, (size_t)lanes * sizeof(REAL));
#endif
}

/* Reinterprets the lanes. */
INLINE vec_bits to_bits(vec v) { return (vec_bits)v; }
INLINE vec from_bits(vec_bits bits) { return (vec)bits; }

/* Whether any bit is set. */
INLINE int any_bit(vec_bits v) {
#if VECTOR_BYTES == 64
    return _mm512_test_epi64_mask((__m512i)v, (__m512i)v) != 0;
#elif VECTOR_BYTES == 32
    return !_mm256_testz_si256((__m256i)v, (__m256i)v);
#else
    uint64_t halves[2];
    memcpy(halves, &v, sizeof halves);
    return (halves[0] | halves[1]) != 0;
#endif
}

/* The number of each lane. */
INLINE vec_bits lane_numbers(void) {
    vec_bits numbers;
    for (int i = 0; i < LANES; i++) numbers[i] = (UINT)i;
    return numbers;
}

/* a < b ? x : y in each lane */
INLINE vec select_less(vec a, vec b, vec x, vec y) {
#if VECTOR_BYTES == 64
    return (vec)X86(mask_blend)(X86_LESS_MASK(a, b), y, x);
#elif VECTOR_BYTES == 32
    return (vec)X86(blendv)(y, x, (vec)(a < b));
#else
    const vec_bits less = (vec_bits)(a < b);
    return from_bits((less & to_bits(x)) | (~less & to_bits(y)));
#endif
}

/* The smaller and the larger of a and b; b where either is NaN. */
INLINE vec smaller(vec a, vec b) {
#ifdef X86
    return (vec)X86(min)(a, b);
#else
    return select_less(a, b, a, b);
#endif
}

INLINE vec larger(vec a, vec b) {
#ifdef X86
    return (vec)X86(max)(a, b);
#else
    return select_less(b, a, a, b);
#endif
}

INLINE vec square_root(vec v) {
#ifdef X86
    return (vec)X86(sqrt)(v);
#elif defined(__aarch64__) && REAL_BITS == 32
    return (vec)vsqrtq_f32((float32x4_t)v);
#elif defined(__aarch64__)
    return (vec)vsqrtq_f64((float64x2_t)v);
#else
    for (int i = 0; i < LANES; i++) v[i] = SQRT(v[i]);
    return v;
#endif
}

INLINE REAL sum_of_lanes(vec v) {
#if VECTOR_BYTES == 64
    return X86(reduce_add)(v);
#elif VECTOR_BYTES == 32 && REAL_BITS == 32
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
#elif VECTOR_BYTES == 32
    const __m128d sum = _mm_add_pd(_mm256_castpd256_pd128((__m256d)v), _mm256_extractf128_pd((__m256d)v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(sum, _mm_unpackhi_pd(sum, sum)));
#else
    REAL sum = 0;
    for (int i = 0; i < LANES; i++) sum += v[i];
    return sum;
#endif
}
#endif
#endif
