/* Asks the processor by cpuid, and by xgetbv whether the system saves the wide registers. */
#include "base/cpu.h"

int bptt_internal_always(void) { return 1; }

#ifdef BPTT_X86
#include <cpuid.h>

enum { STATE_YMM = 0x06, STATE_ZMM = 0xe6 }; /* bits of XCR0 */

static int saves(unsigned state) {
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & state) == state;
}

static int has(unsigned leaf1_ecx, unsigned leaf7_ebx) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & leaf1_ecx) != leaf1_ecx) return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & leaf7_ebx) == leaf7_ebx;
}

int bptt_internal_has_avx2(void) { return saves(STATE_YMM) && has(bit_AVX | bit_FMA, bit_AVX2); }

int bptt_internal_has_avx512(void) {
    return saves(STATE_ZMM) && has(bit_AVX | bit_FMA, bit_AVX2 | bit_AVX512F | bit_AVX512DQ | bit_AVX512VL);
}
#endif
