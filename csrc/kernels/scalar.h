/* What vec.h offers, in plain C: a vector of one lane. The portable set computes with it. */
#ifndef BPTT_KERNELS_SCALAR_H
#define BPTT_KERNELS_SCALAR_H
#include "base/real.h"

typedef REAL vec;
typedef UINT vec_bits;
enum { LANES = 1 };

#define INLINE LOCAL
#define OUT_OF_LINE LOCAL
#define UNROLL
#define IN_REGISTER(v) (void)(v)
#define END_VECTORS() (void)0

INLINE vec splat(REAL x) { return x; }
INLINE vec load(const REAL *from) { return *from; }
INLINE void store(REAL *to, vec v) { *to = v; }

/* The first `lanes` lanes: one or none. */
INLINE vec load_part(const REAL *from, int64_t lanes) { return lanes ? *from : 0; }
INLINE void store_part(REAL *to, vec v, int64_t lanes) {
    if (lanes) *to = v;
}

INLINE vec_bits to_bits(vec v) {
    vec_bits bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

INLINE vec from_bits(vec_bits bits) {
    vec v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* a < b ? x : y */
INLINE vec select_less(vec a, vec b, vec x, vec y) { return a < b ? x : y; }

/* The smaller and the larger of a and b; b where either is NaN. */
INLINE vec smaller(vec a, vec b) { return a < b ? a : b; }
INLINE vec larger(vec a, vec b) { return b < a ? a : b; }

INLINE vec square_root(vec v) { return SQRT(v); }
#endif
