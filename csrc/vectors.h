/* Vectors of REAL by the GCC and Clang vector extensions: the includer defines VECTOR_BYTES. Loads and stores of part
 * of a vector use the masks that x86 has; elsewhere they copy. */
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#undef V
#undef VU
#undef LANES
#undef BITS
#undef REALS
#undef SPLAT
#undef CHOOSE
#undef SMALLER
#undef LARGER
#undef ROOT
#undef X86
#undef SCALE
#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))
#define V TYPED(vector)
#define VU TYPED(bits_vector)

typedef REAL V __attribute__((vector_size(VECTOR_BYTES)));
typedef UINT VU __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL TYPED(loose_vector) __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));

/* four elements anywhere, and any four of the eight elements of two such */
#undef QUAD
#undef QUAD_AT
#undef SHUFFLE
#define QUAD TYPED(quad)
#define QUAD_AT(p) (*(QUAD *)(p))
typedef REAL QUAD __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef UINT TYPED(quad_bits) __attribute__((vector_size(4 * sizeof(UINT))));
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (TYPED(quad_bits)){__VA_ARGS__})
#endif

#define BITS(v) ((VU)(v))
#define REALS(u) ((V)(u))
#define SPLAT(x) TYPED(splat)((REAL)(x))
#define CHOOSE TYPED(choose)
#define SMALLER TYPED(smaller)
#define LARGER TYPED(larger)
#define ROOT TYPED(root)

#define INLINE static inline __attribute__((always_inline))

/* before loops over arrays of vectors: all of them, or the vectors lie in memory */
#undef UNROLL
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 12")
#endif

/* a vector that is used several times: GCC would load it again for each */
#undef IN_REGISTER
#ifdef __x86_64__
#define IN_REGISTER(v) __asm__("" : "+v"(v))
#else
#define IN_REGISTER(v) (void)(v)
#endif

/* a list, not `x + zeros`: that would have to add */
INLINE V TYPED(splat)(REAL x) {
#if VECTOR_BYTES * 8 / REAL_BITS == 16
    return (V){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#elif VECTOR_BYTES * 8 / REAL_BITS == 8
    return (V){x, x, x, x, x, x, x, x};
#elif VECTOR_BYTES * 8 / REAL_BITS == 4
    return (V){x, x, x, x};
#else
    return (V){x, x};
#endif
}

INLINE V TYPED(load)(const REAL *p) { return *(const TYPED(loose_vector) *)p; }
INLINE void TYPED(store)(REAL *p, V v) { *(TYPED(loose_vector) *)p = v; }

/* the first n lanes, 0 < n <= LANES; lanes beyond are zero and their memory is not touched */
INLINE V TYPED(load_part)(const REAL *p, int64_t n) {
#if VECTOR_BYTES == 64 && REAL_BITS == 32
    return (V)_mm512_maskz_loadu_ps((__mmask16)(0xffffu >> (16 - n)), p);
#elif VECTOR_BYTES == 64
    return (V)_mm512_maskz_loadu_pd((__mmask8)(0xffu >> (8 - n)), p);
#else
    V v = SPLAT(0);
    memcpy(&v, p, (size_t)n * sizeof(REAL));
    return v;
#endif
}

INLINE void TYPED(store_part)(REAL *p, V v, int64_t n) {
#if VECTOR_BYTES == 64 && REAL_BITS == 32
    _mm512_mask_storeu_ps(p, (__mmask16)(0xffffu >> (16 - n)), (__m512)v);
#elif VECTOR_BYTES == 64
    _mm512_mask_storeu_pd(p, (__mmask8)(0xffu >> (8 - n)), (__m512d)v);
#else
    memcpy(p, &v, (size_t)n * sizeof(REAL));
#endif
}

/* a < b ? x : y in each lane; the smaller and the larger of a and b, b where one is NaN */
#if VECTOR_BYTES == 64 && REAL_BITS == 32
#define X86(name) _mm512_##name##_ps
#elif VECTOR_BYTES == 64
#define X86(name) _mm512_##name##_pd
#elif VECTOR_BYTES == 32 && REAL_BITS == 32
#define X86(name) _mm256_##name##_ps
#elif VECTOR_BYTES == 32
#define X86(name) _mm256_##name##_pd
#elif defined(__x86_64__) && REAL_BITS == 32
#define X86(name) _mm_##name##_ps
#elif defined(__x86_64__)
#define X86(name) _mm_##name##_pd
#endif

INLINE V TYPED(choose)(V a, V b, V x, V y) {
#if VECTOR_BYTES == 64 && REAL_BITS == 32
    return (V)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ), (__m512)y, (__m512)x);
#elif VECTOR_BYTES == 64
    return (V)_mm512_mask_blend_pd(_mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_LT_OQ), (__m512d)y, (__m512d)x);
#else
    const VU less = (VU)(a < b);
    return REALS((less & BITS(x)) | (~less & BITS(y)));
#endif
}

#if VECTOR_BYTES == 64
#define SCALE(x, n) (V) X86(scalef)(x, n) /* x 2^n */
#endif

INLINE V TYPED(smaller)(V a, V b) {
#ifdef X86
    return (V)X86(min)(a, b);
#else
    return CHOOSE(a, b, a, b);
#endif
}

INLINE V TYPED(larger)(V a, V b) {
#ifdef X86
    return (V)X86(max)(a, b);
#else
    return CHOOSE(b, a, a, b);
#endif
}

/* the square root of each lane */
INLINE V TYPED(root)(V v) {
#ifdef X86
    return (V)X86(sqrt)(v);
#elif defined(__aarch64__) && REAL_BITS == 32
    return (V)vsqrtq_f32((float32x4_t)v);
#elif defined(__aarch64__)
    return (V)vsqrtq_f64((float64x2_t)v);
#else
    for (int i = 0; i < LANES; i++) v[i] = SQRT(v[i]);
    return v;
#endif
}

INLINE REAL TYPED(sum_lanes)(V v) {
#if VECTOR_BYTES == 64 && REAL_BITS == 32
    return _mm512_reduce_add_ps((__m512)v);
#elif VECTOR_BYTES == 64
    return _mm512_reduce_add_pd((__m512d)v);
#else
    REAL sum = 0;
    for (int i = 0; i < LANES; i++) sum += v[i];
    return sum;
#endif
}
