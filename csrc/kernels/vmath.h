/* exp, tanh and the logistic function of every lane. No integer is converted to a real or back (adding ROUNDER rounds
 * instead), so NaN and Inf are safe; nothing branches, so compilers can vectorise the scalar form.
 *
 * Method: x = n ln2 + r with |r| <= ln2/2 (Cody & Waite 1980); e^r - 1 = r + r^2 P(r). A step of a small network waits
 * for these functions, so they have few operations that wait for one another: P by Estrin's scheme. */
#ifndef BPTT_KERNELS_VMATH_H
#define BPTT_KERNELS_VMATH_H
#include "kernels/vec.h"

/* a - b c. FUSED: it is rounded once, whatever the compiler's flags. */
#if VECTOR_BYTES >= 32 && REAL_BITS == 32
#define FUSED 1
INLINE vec minus_product(vec a, vec b, vec c) { return (vec)X86(fnmadd)(b, c, a); }
#else
#define FUSED 0
INLINE vec minus_product(vec a, vec b, vec c) { return a - b * c; }
#endif

#if REAL_BITS == 32
#define ROUNDER 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, which the lowest bits then hold */
#if FUSED                   /* LN2_HIGH has all bits of a float, otherwise so few that n LN2_HIGH is exact */
#define LN2_HIGH 0.693147182f
#define LN2_LOW (-1.90465421e-9f)
#define TANH_LN2_LOW 0 /* n is at most 26: LN2_HIGH alone is precise enough */
#else
#define LN2_HIGH 0.693359375f
#define LN2_LOW (-2.12194440e-4f)
#define TANH_LN2_LOW LN2_LOW
#endif
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define SIGN_BIT 0x80000000u
#define TANH_ONE 9.1f         /* tanh rounds to 1 from here on */
#define TANH_3 (-0.33333147f) /* tanh x = x + x^3 (TANH_3 + TANH_5 x^2 + TANH_7 x^4) near zero */
#define TANH_5 0.133190093f
#define TANH_7 (-0.0507965061f)
#define EXP_MIN (-104.0f)
#define EXP_MAX 89.0f
#define LOGISTIC_ONE 18.0f /* the logistic function rounds to 1 from here on */
#define LOGISTIC_SCALE 64  /* 2^(n + this) is a normal number for all n that the logistic function meets */
#else
#define ROUNDER 6755399441055744.0 /* 1.5 * 2^52 */
#define LN2_HIGH 0.693147180369123816490
#define LN2_LOW 1.90821492927058770002e-10
#define TANH_LN2_LOW LN2_LOW
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define SIGN_BIT 0x8000000000000000u
#define TANH_ONE 19.1
#define EXP_MIN (-746.0)
#define EXP_MAX 710.0
#define LOGISTIC_ONE 38.0
#define LOGISTIC_SCALE 512
#endif
#define NUMBER(x) ((REAL)(x))
#define LOG2_E NUMBER(1.44269504088896340736)

/* NaN stays NaN in both. */
INLINE vec at_most(vec x, vec bound) { return smaller(bound, x); }
INLINE vec at_least(vec x, vec bound) { return larger(bound, x); }

/* r of x = n ln2 + r, from rounded = n + ROUNDER = x LOG2_E + ROUNDER. Where n is small, LN2_HIGH may be precise
 * enough alone: low = 0. */
INLINE vec reduce_by_ln2(vec x, vec rounded, const REAL low) {
    const vec n = rounded - ROUNDER, r = minus_product(x, n, splat(LN2_HIGH));
    return low == 0 ? r : r - n * low;
}

/* e^r - 1 + more for |r| <= ln2/2, from linear = r + more. P: float fitted to the least maximal relative error of
 * e^r - 1, double the Taylor series. */
INLINE vec expm1_reduced(vec r, vec linear) {
    const vec square = r * r;
#if REAL_BITS == 32
    const vec p0 = r * NUMBER(0.166665435) + NUMBER(0.5), p2 = r * NUMBER(8.36657174e-3) + NUMBER(4.16662842e-2);
    const vec p = (square * NUMBER(1.39464275e-3) + p2) * square + p0;
#else
    const vec fourth = square * square;
    const vec p0 = (r * NUMBER(1.0 / 120) + NUMBER(1.0 / 24)) * square + (r * NUMBER(1.0 / 6) + NUMBER(0.5));
    const vec p4 =
        (r * NUMBER(1.0 / 362880) + NUMBER(1.0 / 40320)) * square + (r * NUMBER(1.0 / 5040) + NUMBER(1.0 / 720));
    const vec p8 = (r * NUMBER(1.0 / 6227020800) + NUMBER(1.0 / 479001600)) * square +
                   (r * NUMBER(1.0 / 39916800) + NUMBER(1.0 / 3628800));
    const vec p = (p8 * fourth + p4) * fourth + p0;
#endif
    return linear + square * p;
}

/* A division of 16 floats keeps its unit busy for as long as 16 other instructions: an estimate of 1/b and one
 * correction need five and are as precise. */
#if VECTOR_BYTES == 64 && REAL_BITS == 32
#define ESTIMATED 1
INLINE vec estimate_inverse(vec b) { return (vec)_mm512_rcp14_ps((__m512)b); }

/* a + a b where x is not below the bound, else zero: nothing waits for the comparison, as it would for a bounded x */
INLINE vec nonzero_from(REAL bound, vec x, vec a, vec b) {
    const lane_mask kept = _mm512_cmp_ps_mask((__m512)x, (__m512)splat(bound), _CMP_NLT_UQ);
    return (vec)_mm512_maskz_fmadd_ps(kept, (__m512)a, (__m512)b, (__m512)a);
}
#else
#define ESTIMATED 0
#endif

/* a / b, where b, 1 / b and a / b are normal numbers or a is zero */
INLINE vec quotient(vec a, vec b) {
#if ESTIMATED
    const vec inverse = estimate_inverse(b), estimate = a * inverse;
    return estimate + inverse * minus_product(a, estimate, b);
#else
    return a / b;
#endif
}

/* 2^n where that is a normal number. Only the lowest bits of n count, so the bits of n + ROUNDER serve as well. */
INLINE vec power_of_two(vec_bits n) { return from_bits((n + EXPONENT_BIAS) << MANTISSA_BITS); }

/* x 2^n, subnormal results included, from rounded = n + ROUNDER. Without an instruction for it the factor is applied in
 * two halves, as 2^n itself may be too large or too small for a normal number. */
LOCAL vec scale_by_power(vec x, vec rounded) {
#if VECTOR_BYTES == 64
    return (vec)X86(scalef)(x, rounded - ROUNDER);
#else
    vec_bits n = to_bits(rounded) - to_bits(splat(ROUNDER));
    vec_bits half = ((n + 4096) >> 1) - 2048; /* n/2 rounded down, for negative n too */
    return x * power_of_two(half) * power_of_two(n - half);
#endif
}

LOCAL vec vec_exp(vec x) {
    x = at_least(at_most(x, splat(EXP_MAX)), splat(EXP_MIN));
    const vec rounded = x * LOG2_E + ROUNDER, r = reduce_by_ln2(x, rounded, LN2_LOW);
    return scale_by_power(NUMBER(1) + expm1_reduced(r, r), rounded);
}

/* tanh|x| = (e^2|x| - 1) / (e^2|x| + 1), with the sign of x. Near zero the three roundings of that formula cost float
 * too much precision; an odd polynomial replaces it, fitted to the least maximal relative error for |x| < 0.28. */
INLINE vec vec_tanh(vec x) {
    vec_bits sign = to_bits(x) & SIGN_BIT;
    vec size = at_most(from_bits(to_bits(x) ^ sign), splat(TANH_ONE));
    vec rounded = size * (2 * LOG2_E) + ROUNDER, r = reduce_by_ln2(size + size, rounded, TANH_LN2_LOW);
    vec power = power_of_two(to_bits(rounded));
    vec e = power * expm1_reduced(r, r) + (power - NUMBER(1));
    vec y = quotient(e, e + NUMBER(2));
#if REAL_BITS == 32
    vec square = size * size;
    vec p = (square * TANH_7 + TANH_5) * square + TANH_3;
    y = select_less(size, splat(0.27f), size + size * square * p, y);
#endif
    return from_bits(to_bits(y) | sign);
}

/* 1 / (1 + e^-x) = s / (s + e^-r) with s = 2^n, x = n ln2 + r: nothing overflows and small results keep their
 * precision, as the factor s comes last. What the sum s + 1 loses to rounding is added to the small term. */
INLINE vec vec_logistic(vec x) {
    x = at_most(x, splat(LOGISTIC_ONE));
#if !ESTIMATED
    x = at_least(x, splat(EXP_MIN));
#endif
    const vec rounded = x * LOG2_E + ROUNDER, r = reduce_by_ln2(x, rounded, LN2_LOW);
#if ESTIMATED
    const vec s = scale_by_power(splat(1), rounded);
#else
    const vec unscale = power_of_two(to_bits(splat(ROUNDER - LOGISTIC_SCALE)));
    const vec scaled = power_of_two(to_bits(rounded) + LOGISTIC_SCALE), s = scaled * unscale;
#endif
    const vec sum = s + NUMBER(1), lost = s - (sum - NUMBER(1));
    const vec divisor = sum + expm1_reduced(-r, lost - r);
#if ESTIMATED
    const vec inverse = estimate_inverse(divisor), estimate = scale_by_power(inverse, rounded);
    return nonzero_from(EXP_MIN, x, estimate, minus_product(splat(1), inverse, divisor));
#else
    return scaled / divisor * unscale;
#endif
}
#endif
