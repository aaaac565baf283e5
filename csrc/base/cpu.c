/* Asks the processor by cpuid, and by xgetbv whether the system saves the wide registers. */
#include "base/cpu.h"

int bptt_internal_always(void) { return 1; }

#ifdef BPTT_X86
#include <cpuid.h>

enum { STATE_YMM = 0x06, STATE_ZMM = 0xe6 }; /* bits of XCR0 */

static int system_saves(unsigned state) {
    unsigned eax, ebx, ecx, edx, low, high;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE)) return 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & state) == state;
}

static int cpu_has(unsigned leaf1_ecx, unsigned leaf7_ebx) {
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & leaf1_ecx) != leaf1_ecx) return 0;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & leaf7_ebx) == leaf7_ebx;
}

int bptt_internal_has_avx2(void) { return system_saves(STATE_YMM) && cpu_has(bit_AVX | bit_FMA, bit_AVX2); }

int bptt_internal_has_avx512(void) {
    return system_saves(STATE_ZMM) && cpu_has(bit_AVX | bit_FMA, bit_AVX2 | bit_AVX512F | bit_AVX512DQ | bit_AVX512VL);
}
#endif
