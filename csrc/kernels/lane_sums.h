/* The sums of the lanes of several vectors at once: fewer shuffles than one vector after another. SUMS_AT_ONCE, the
 * number of vectors, is defined for the sets that have this. */
#ifndef BPTT_KERNELS_LANE_SUMS_H
#define BPTT_KERNELS_LANE_SUMS_H
#include "kernels/vec.h"

#if defined(__x86_64__) && VECTOR_BYTES >= 32
#define SUMS_AT_ONCE LANES
enum { LANES_OF_16_BYTES = 16 / sizeof(REAL) };

/* Each lane of the result is the sum of two lanes of a, or of two lanes of b, as many bits apart as the name says.
 * Results of a lie in front of those of b; in fold_64 and fold_32 within each 16 bytes. */
#if VECTOR_BYTES == 64
#define SHUFFLED(shuffle, a, b, lanes) (vec) _mm512_shuffle_##shuffle((a), (b), lanes)
#define DOUBLES(v) ((__m512d)(v))
#define FLOATS(v) ((__m512)(v))
INLINE vec fold_256(vec a, vec b) {
    return SHUFFLED(f64x2, DOUBLES(a), DOUBLES(b), 0x44) + SHUFFLED(f64x2, DOUBLES(a), DOUBLES(b), 0xee);
}

INLINE vec fold_128(vec a, vec b) {
    return SHUFFLED(f64x2, DOUBLES(a), DOUBLES(b), 0x88) + SHUFFLED(f64x2, DOUBLES(a), DOUBLES(b), 0xdd);
}
#else
#define SHUFFLED(shuffle, a, b, lanes) (vec) _mm256_shuffle_##shuffle((a), (b), lanes)
#define DOUBLES(v) ((__m256d)(v))
#define FLOATS(v) ((__m256)(v))
INLINE vec fold_128(vec a, vec b) {
    return (vec)_mm256_permute2f128_pd(DOUBLES(a), DOUBLES(b), 0x20) +
           (vec)_mm256_permute2f128_pd(DOUBLES(a), DOUBLES(b), 0x31);
}
#endif

INLINE vec fold_64(vec a, vec b) {
    return SHUFFLED(pd, DOUBLES(a), DOUBLES(b), 0) + SHUFFLED(pd, DOUBLES(a), DOUBLES(b), (1 << VECTOR_BYTES / 8) - 1);
}

#if REAL_BITS == 32
INLINE vec fold_32(vec a, vec b) {
    return SHUFFLED(ps, FLOATS(a), FLOATS(b), 0x88) + SHUFFLED(ps, FLOATS(a), FLOATS(b), 0xdd);
}
#endif

/* Vectors i, i + n, i + 2*n, ..., n = LANES_OF_16_BYTES, each folded to 16 bytes. */
INLINE vec fold_to_16_bytes(const vec *v, int i) {
    enum { N = LANES_OF_16_BYTES };
#if VECTOR_BYTES == 64
    return fold_128(fold_256(v[i], v[i + N]), fold_256(v[i + 2 * N], v[i + 3 * N]));
#else
    return fold_128(v[i], v[i + N]);
#endif
}

/* Lane i of the result: the sum of the lanes of v[i], in the order of sum_of_lanes. */
INLINE vec sums_of_lanes(const vec v[SUMS_AT_ONCE]) {
    const vec front = fold_64(fold_to_16_bytes(v, 0), fold_to_16_bytes(v, 1));
#if REAL_BITS == 32
    return fold_32(front, fold_64(fold_to_16_bytes(v, 2), fold_to_16_bytes(v, 3)));
#else
    return front;
#endif
}
#endif
#endif
