/* Chooses the kernel set once: the best that runs here, or the one that BPTT_ISA names. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "bptt.h"

/* Only the tables' addresses are needed, so both types can be named here. */
struct kernels_f32;
struct kernels_f64;

#define DECLARE(set)                                                                                                   \
    extern const struct kernels_f32 bptt_internal_##set##_f32;                                                         \
    extern const struct kernels_f64 bptt_internal_##set##_f64
#define TABLES(set) &bptt_internal_##set##_f32, &bptt_internal_##set##_f64

DECLARE(portable);
DECLARE(generic);
DECLARE(avx2);
DECLARE(avx512);

typedef struct {
    const char *name;
    const char *choices; /* the names of the slower sets and this one */
    int (*runs_here)(void);
    const struct kernels_f32 *f32;
    const struct kernels_f64 *f64;
} kernel_set;

/* The list of the sets, slowest first. */
static const kernel_set sets[] = {
    {"portable", "portable", bptt_internal_always, TABLES(portable)},
#ifdef __aarch64__
    {"neon", "portable, neon", bptt_internal_always, TABLES(generic)},
#elif defined(GNU_C)
    {"generic", "portable, generic", bptt_internal_always, TABLES(generic)},
#endif
#ifdef BPTT_X86
    {"avx2", "portable, generic, avx2", bptt_internal_has_avx2, TABLES(avx2)},
    {"avx512", "portable, generic, avx2, avx512", bptt_internal_has_avx512, TABLES(avx512)},
#endif
};
enum { SETS = sizeof sets / sizeof sets[0] };

/* The set of that name (NULL or "": the fastest), if it runs here. */
static const kernel_set *best_set(const char *name) {
    const kernel_set *best = NULL;
    for (int i = 0; i < SETS; i++)
        if (sets[i].runs_here() && (!name || !*name || strcmp(name, sets[i].name) == 0)) best = &sets[i];
    return best;
}

/* The tables in use; NULL before the first call, and where BPTT_ISA names no set that runs here. */
_Atomic(const struct kernels_f32 *) bptt_internal_chosen_f32;
_Atomic(const struct kernels_f64 *) bptt_internal_chosen_f64;

static const kernel_set *chosen_set(void) {
    static _Atomic(const kernel_set *) chosen; /* threads that come here together choose the same */
    const kernel_set *set = atomic_load_explicit(&chosen, memory_order_acquire);
    if (!set) {
        set = best_set(getenv("BPTT_ISA"));
        atomic_store_explicit(&bptt_internal_chosen_f32, set ? set->f32 : NULL, memory_order_release);
        atomic_store_explicit(&bptt_internal_chosen_f64, set ? set->f64 : NULL, memory_order_release);
        atomic_store_explicit(&chosen, set, memory_order_release);
    }
    return set;
}

const struct kernels_f32 *bptt_internal_kernels_f32(void) { return chosen_set() ? chosen_set()->f32 : NULL; }
const struct kernels_f64 *bptt_internal_kernels_f64(void) { return chosen_set() ? chosen_set()->f64 : NULL; }

const char *bptt_isa(void) { return chosen_set() ? chosen_set()->name : NULL; }

const char *bptt_isa_choices(void) { return best_set(NULL)->choices; }
