/* The hash behind all random bits of the core. */
#ifndef BPTT_BASE_MIX_H
#define BPTT_BASE_MIX_H
#include <stdint.h>

#include "base/local.h"

/* SplitMix64's mixing function, a bijection of 64 bits whose outputs look random (Steele, Lea, Flood 2014) */
LOCAL uint64_t mix64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}
#endif
