/* The core for double. */
#define REAL_BITS 64
#include "typed.h"
