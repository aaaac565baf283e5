/* exp, tanh and the logistic function, one body for scalars and vectors of either type.
 *
 * The includer defines V (the value type: REAL, or a vector of REAL), VU (UINT, or a vector of UINT of the same
 * shape), BITS(v) and REALS(u) that reinterpret one as the other, SPLAT(x) that makes a V of one number,
 * CHOOSE(a,b,x,y), which is a < b ? x : y, SMALLER(a,b) and LARGER(a,b), which are b where one is NaN, and MATH(name),
 * the name of each function here. No conversion between integers and reals is used (a rounding constant does it), so
 * NaN and Inf are safe, and no branch, so that a compiler can vectorise the scalar form.
 *
 * Method: x = n ln2 + r, |r| <= ln2/2 (Cody & Waite 1980), e^r - 1 = r + r^2 P(r), P the Taylor polynomial. */

#undef MAGIC
#undef LN2_HIGH
#undef LN2_LOW
#undef MANTISSA_BITS
#undef EXPONENT_BIAS
#undef SIGN_BIT
#undef TANH_ONE
#undef TANH_3
#undef TANH_5
#undef TANH_7
#undef EXP_MIN
#undef EXP_MAX
#undef LOGISTIC_ONE
#if REAL_BITS == 32
#define MAGIC 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer */
#define LN2_HIGH 0.693359375f
#define LN2_LOW (-2.12194440e-4f)
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define SIGN_BIT 0x80000000u
#define TANH_ONE 9.1f         /* tanh rounds to 1 from here on */
#define TANH_3 (-0.33333147f) /* tanh x = x + x^3 (TANH_3 + TANH_5 x^2 + TANH_7 x^4) near zero */
#define TANH_5 0.133190093f
#define TANH_7 (-0.0507965061f)
#define EXP_MIN (-104.0f)
#define EXP_MAX 89.0f
#define LOGISTIC_ONE 80.0f /* the logistic function rounds to 1 long before */
#else
#define MAGIC 6755399441055744.0 /* 1.5 * 2^52 */
#define LN2_HIGH 0.693147180369123816490
#define LN2_LOW 1.90821492927058770002e-10
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define SIGN_BIT 0x8000000000000000u
#define TANH_ONE 19.1
#define EXP_MIN (-746.0)
#define EXP_MAX 710.0
#define LOGISTIC_ONE 700.0
#endif
#define R(x) ((REAL)(x))

/* NaN stays NaN in both */
static inline V MATH(at_most)(V x, V bound) { return SMALLER(bound, x); }
static inline V MATH(at_least)(V x, V bound) { return LARGER(bound, x); }

/* r of x = n ln2 + r, and n + MAGIC */
static inline V MATH(reduce)(V x, V *shifted) {
    *shifted = x * R(1.44269504088896340736) + MAGIC;
    V n = *shifted - MAGIC;
    return (x - n * LN2_HIGH) - n * LN2_LOW;
}

/* e^r - 1 for |r| <= ln2/2 */
static inline V MATH(expm1_reduced)(V r) {
#if REAL_BITS == 32
    V p = r * R(1.0 / 5040) + R(1.0 / 720);
#else
    V p = r * R(1.0 / 6227020800) + R(1.0 / 479001600);
    p = p * r + R(1.0 / 39916800);
    p = p * r + R(1.0 / 3628800);
    p = p * r + R(1.0 / 362880);
    p = p * r + R(1.0 / 40320);
    p = p * r + R(1.0 / 5040);
    p = p * r + R(1.0 / 720);
#endif
    p = p * r + R(1.0 / 120);
    p = p * r + R(1.0 / 24);
    p = p * r + R(1.0 / 6);
    p = p * r + R(0.5);
    return r + r * r * p;
}

/* 2^n for normal results; the bits of n + MAGIC do as well as n */
static inline V MATH(power_of_two)(VU n) { return REALS((n + EXPONENT_BIAS) << MANTISSA_BITS); }

/* x 2^n of n + MAGIC, subnormal results included: in two halves where no instruction does it */
static inline V MATH(scale)(V x, V shifted) {
#ifdef SCALE
    return SCALE(x, shifted - MAGIC);
#else
    VU n = BITS(shifted) - BITS(SPLAT(MAGIC));
    VU half = ((n + 4096) >> 1) - 2048; /* n/2 rounded down, n negative too */
    return x * MATH(power_of_two)(half) * MATH(power_of_two)(n - half);
#endif
}

static inline V MATH(exp)(V x) {
    V shifted;
    V r = MATH(reduce)(MATH(at_least)(MATH(at_most)(x, SPLAT(EXP_MAX)), SPLAT(EXP_MIN)), &shifted);
    return MATH(scale)(R(1) + MATH(expm1_reduced)(r), shifted);
}

/* tanh|x| = (e^2|x| - 1) / (e^2|x| + 1), the sign put back. Near zero three roundings of that size are more than
 * float should lose: there it takes the odd polynomial, fitted to the least largest relative error over |x| < 0.28. */
static inline V MATH(tanh)(V x) {
    VU sign = BITS(x) & SIGN_BIT;
    V shifted, size = MATH(at_most)(REALS(BITS(x) ^ sign), SPLAT(TANH_ONE));
    V q = MATH(expm1_reduced)(MATH(reduce)(size + size, &shifted));
    V power = MATH(power_of_two)(BITS(shifted));
    V e = power * q + (power - R(1));
    V y = e / (e + R(2));
#if REAL_BITS == 32
    V square = size * size;
    V p = (square * TANH_7 + TANH_5) * square + TANH_3;
    y = CHOOSE(size, SPLAT(0.27f), size + size * square * p, y);
#endif
    return REALS(BITS(y) | sign);
}

/* 1 / (1 + e^-x) = s / (s + e^-r) with s = 2^n, x = n ln2 + r: nothing overflows, small results keep their precision,
 * and what s + 1 loses goes to the small term. */
static inline V MATH(logistic)(V x) {
    V shifted;
    V r = MATH(reduce)(MATH(at_least)(MATH(at_most)(x, SPLAT(LOGISTIC_ONE)), SPLAT(EXP_MIN)), &shifted);
    V s = MATH(scale)(SPLAT(1), shifted), sum = s + R(1);
    return s / (sum + (MATH(expm1_reduced)(-r) + (s - (sum - R(1)))));
}
#undef R
