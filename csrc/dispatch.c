/* Chooses the kernel set once: the best that runs here, or the one that BPTT_ISA names. */
#include <stdatomic.h>
#include <stdlib.h>

#include "bptt.h"
#define REAL_BITS 32
#include "real.h"

#include "kernels.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "real.h"

#include "kernels.h"

#include "cpu.h"

#define DECLARE(set)                                                                                                   \
    extern const kernels_f32 bptt_internal_##set##_f32;                                                                \
    extern const kernels_f64 bptt_internal_##set##_f64
#define USE(set, runs_here, choices) {runs_here, choices, &bptt_internal_##set##_f32, &bptt_internal_##set##_f64}

DECLARE(portable);
DECLARE(generic);
DECLARE(avx2);
DECLARE(avx512);

typedef struct {
    int (*runs_here)(void);
    const char *choices; /* the names up to this one */
    const kernels_f32 *f32;
    const kernels_f64 *f64;
} kernel_set;

/* Slowest first: the last that runs here is used. */
static const kernel_set sets[] = {
    USE(portable, bptt_internal_always, "portable"),
#ifdef __aarch64__
    USE(generic, bptt_internal_always, "portable, neon"),
#elif defined(__GNUC__)
    USE(generic, bptt_internal_always, "portable, generic"),
#endif
#ifdef BPTT_X86
    USE(avx2, bptt_internal_has_avx2, "portable, generic, avx2"),
    USE(avx512, bptt_internal_has_avx512, "portable, generic, avx2, avx512"),
#endif
};
enum { SETS = sizeof sets / sizeof sets[0] };

static const kernel_set *choose(void) {
    const char *wanted = getenv("BPTT_ISA");
    const kernel_set *best = NULL;
    for (int i = 0; i < SETS; i++)
        if (sets[i].runs_here() && (!wanted || !*wanted || strcmp(wanted, sets[i].f32->name) == 0)) best = &sets[i];
    return best;
}

static const kernel_set *chosen(void) {
    static _Atomic(const kernel_set *) kept; /* two threads that race here choose the same */
    const kernel_set *set = atomic_load_explicit(&kept, memory_order_acquire);
    if (!set) {
        set = choose();
        atomic_store_explicit(&kept, set, memory_order_release);
    }
    return set;
}

const kernels_f32 *bptt_internal_kernels_f32(void) { return chosen() ? chosen()->f32 : NULL; }
const kernels_f64 *bptt_internal_kernels_f64(void) { return chosen() ? chosen()->f64 : NULL; }

const char *bptt_isa(void) { return chosen() ? chosen()->f32->name : NULL; }

const char *bptt_isa_choices(void) {
    const char *choices = NULL;
    for (int i = 0; i < SETS; i++)
        if (sets[i].runs_here()) choices = sets[i].choices;
    return choices;
}
