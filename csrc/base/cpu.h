/* What the processor and the operating system offer. */
#ifndef BPTT_BASE_CPU_H
#define BPTT_BASE_CPU_H
#include "base/local.h"

#if (defined(__x86_64__) || defined(__i386__)) && defined(GNU_C)
#define BPTT_X86 1
#endif

int bptt_internal_always(void);
int bptt_internal_has_avx2(void);   /* AVX2 and FMA */
int bptt_internal_has_avx512(void); /* AVX-512 F, DQ and VL */
#endif
