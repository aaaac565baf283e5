/* The scalar type: everything that float32 and float64 differ in. Include after defining REAL_BITS as 32 or
 * 64; may be included again with the other. */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#undef REAL
#undef UINT
#undef TYPED
#undef SQRT
#if REAL_BITS == 32
#define REAL float
#define SQRT sqrtf
#define UINT uint32_t
#define TYPED(name) name##_f32
#elif REAL_BITS == 64
#define REAL double
#define SQRT sqrt
#define UINT uint64_t
#define TYPED(name) name##_f64
#else
#error "REAL_BITS must be 32 or 64"
#endif
