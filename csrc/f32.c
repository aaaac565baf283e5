/* The core for float. */
#define REAL_BITS 32
#include "typed.h"
