/* The portable kernel set: plain C for both types. */
#include "bptt.h"
#define REAL_BITS 32
#include "kernels_portable.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "kernels_portable.h"
