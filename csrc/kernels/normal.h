/* Standard normal numbers from a counter (Box & Muller 1958): two uniform numbers u, v give r cos(2 pi v) and
 * r sin(2 pi v), r = sqrt(-2 log u). Of n numbers, number i and number i + ceil(n/2) are such a pair, whatever the
 * length of a vector. u has REAL_BITS bits, so |r| goes up to 6.6 (float) or 9.4. */
#ifndef BPTT_KERNELS_NORMAL_H
#define BPTT_KERNELS_NORMAL_H
#include "base/mix.h"
#include "kernels/pointwise.h"

/* ---- random bits ------------------------------------------------------------------------------------------ */

/* Random bits for each counter. float: "lowbias32", a bijection of 32 bits (Wellons 2018), twice, with half of the key
 * before each; double: SplitMix64. */
INLINE vec_bits random_bits(vec_bits counter, uint64_t key) {
#if REAL_BITS == 32
    vec_bits x = counter + (UINT)key;
    for (int round = 0; round < 2; round++) {
        x = (x ^ (x >> 16)) * 0x7feb352du;
        x = (x ^ (x >> 15)) * 0x846ca68bu;
        x ^= x >> 16;
        if (round == 0) x += (UINT)(key >> 32);
    }
    return x;
#else
    vec_bits x = counter * 0x9e3779b97f4a7c15u + key;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
#endif
}

enum { BELOW_MANTISSA = REAL_BITS - MANTISSA_BITS };

/* The first MANTISSA_BITS bits as a number in [1, 2). */
INLINE vec from_1_to_2(vec_bits bits) { return from_bits((bits >> BELOW_MANTISSA) | to_bits(splat(1))); }

/* All bits as a number in (0, 1]: small ones keep the lowest bits. */
INLINE vec uniform_above_zero(vec_bits bits) {
    const REAL two_to_mantissa = (REAL)((UINT)1 << MANTISSA_BITS);
    const vec_bits low = bits & (((UINT)1 << BELOW_MANTISSA) - 1);
    const vec rest = from_bits(low | to_bits(splat(two_to_mantissa))) - two_to_mantissa;
    return (NUMBER(2) - from_1_to_2(bits)) - rest * (NUMBER(1) / two_to_mantissa / ((UINT)1 << BELOW_MANTISSA));
}

/* ---- functions of it -------------------------------------------------------------------------------------- */

/* log u for u in [2^-64, 1]: u = m 2^e with m between the square roots of 1/2 and 2, log m = 2 artanh((m-1)/(m+1)) by
 * its Taylor series. */
INLINE vec log_of_uniform(vec u) {
    const UINT shift = (UINT)96 << MANTISSA_BITS; /* added to exponents, so that none is negative */
    const vec_bits root_half = to_bits(splat(NUMBER(0.70710678118654752440)));
    const vec_bits shifted = to_bits(u) - root_half + shift, mantissa = shifted & (((UINT)1 << MANTISSA_BITS) - 1);
    const vec e = from_bits((shifted >> MANTISSA_BITS) + to_bits(splat(ROUNDER))) - (ROUNDER + NUMBER(96));
    const vec m = from_bits(mantissa + root_half);
    const vec s = (m - NUMBER(1)) / (m + NUMBER(1)), square = s * s;
#if REAL_BITS == 32
    vec p = square * NUMBER(1.0 / 9) + NUMBER(1.0 / 7);
#else
    vec p = square * NUMBER(1.0 / 19) + NUMBER(1.0 / 17);
    p = p * square + NUMBER(1.0 / 15);
    p = p * square + NUMBER(1.0 / 13);
    p = p * square + NUMBER(1.0 / 11);
    p = p * square + NUMBER(1.0 / 9);
    p = p * square + NUMBER(1.0 / 7);
#endif
    p = p * square + NUMBER(1.0 / 5);
    p = p * square + NUMBER(1.0 / 3);
    return e * NUMBER(0.69314718055994530942) + (s + s * square * p) * NUMBER(2);
}

/* A point of the unit circle: the angle x, within +-pi/4, by Taylor series; the highest bit exchanges sine and cosine,
 * the next one gives both signs. */
INLINE void point_of_circle(vec_bits bits, vec *first, vec *second) {
    const vec x = (from_1_to_2(bits << 2) - NUMBER(1.5)) * NUMBER(1.57079632679489661923), square = x * x;
#if REAL_BITS == 32
    vec s = square * NUMBER(1.0 / 362880) - NUMBER(1.0 / 5040);
    vec c = square * NUMBER(1.0 / 40320) - NUMBER(1.0 / 720);
#else
    vec s = square * NUMBER(-1.0 / 1307674368000) + NUMBER(1.0 / 6227020800);
    vec c = square * NUMBER(1.0 / 20922789888000) - NUMBER(1.0 / 87178291200);
    s = s * square - NUMBER(1.0 / 39916800);
    c = c * square + NUMBER(1.0 / 479001600);
    s = s * square + NUMBER(1.0 / 362880);
    c = c * square - NUMBER(1.0 / 3628800);
    s = s * square - NUMBER(1.0 / 5040);
    c = c * square + NUMBER(1.0 / 40320);
    c = c * square - NUMBER(1.0 / 720);
#endif
    s = s * square + NUMBER(1.0 / 120);
    c = c * square + NUMBER(1.0 / 24);
    s = s * square - NUMBER(1.0 / 6);
    c = c * square - NUMBER(0.5);
    const vec_bits sine = to_bits(x + x * square * s), cosine = to_bits(NUMBER(1) + square * c);
    const vec_bits exchange = (sine ^ cosine) & (0 - (bits >> (REAL_BITS - 1))), sign = (bits << 1) & SIGN_BIT;
    *first = from_bits(cosine ^ exchange ^ sign);
    *second = from_bits(sine ^ exchange ^ sign);
}

/* x += scale * xi, xi standard normal numbers that are a function of key and place */
LOCAL void add_normal(int64_t n, uint64_t key, REAL scale, REAL *x) {
    const int64_t pairs = n - n / 2;
    const uint64_t angle_key = mix64(key + 0x9e3779b97f4a7c15u);
    for (int64_t j = 0; j < pairs; j += LANES) {
        const vec_bits counter = lane_numbers() + (UINT)j;
        const vec r = square_root(log_of_uniform(uniform_above_zero(random_bits(counter, key))) * NUMBER(-2));
        const vec scaled = r * scale;
        vec first, second;
        point_of_circle(random_bits(counter, angle_key), &first, &second);
        add_part(x + j, scaled * first, pairs - j);
        add_part(x + pairs + j, scaled * second, n - pairs - j);
    }
}
#endif
