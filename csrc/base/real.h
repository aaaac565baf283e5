/* The scalar type of a translation unit: all that float32 and float64 differ in. The unit's .c file defines REAL_BITS
 * as 32 or 64 before its first include; an editor that opens another file sees float. */
#ifndef BPTT_BASE_REAL_H
#define BPTT_BASE_REAL_H
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/local.h"

#ifndef REAL_BITS
#define REAL_BITS 32
#endif

#if REAL_BITS == 32
#define REAL float
#define SQRT sqrtf
#define REAL_SMALLEST_NORMAL FLT_MIN
#define UINT uint32_t
#define TYPED(name) name##_f32 /* the name of what other units see */
#elif REAL_BITS == 64
#define REAL double
#define SQRT sqrt
#define REAL_SMALLEST_NORMAL DBL_MIN
#define UINT uint64_t
#define TYPED(name) name##_f64
#else
#error "REAL_BITS must be 32 or 64"
#endif

#define REAL_LARGEST (REAL_BITS == 32 ? (double)FLT_MAX : DBL_MAX)
#endif
