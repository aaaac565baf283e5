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

/* The list of the sets, slowest first: each name follows those of the slower sets. That is what bptt_isa_choices
 * returns where the set is the best. */
#define PORTABLE "portable"
#ifdef __aarch64__
#define GENERIC PORTABLE ", neon"
#else
#define GENERIC PORTABLE ", generic"
#endif
#define AVX2 GENERIC ", avx2"
#define AVX512 AVX2 ", avx512"

typedef struct {
    const char *names; /* of this set and, before it, of the slower ones */
    int (*runs_here)(void);
    const struct kernels_f32 *f32;
    const struct kernels_f64 *f64;
} kernel_set;

static const kernel_set sets[] = {
    {PORTABLE, bptt_internal_always, TABLES(portable)},
#ifdef __GNUC__
    {GENERIC, bptt_internal_always, TABLES(generic)},
#endif
#ifdef BPTT_X86
    {AVX2, bptt_internal_has_avx2, TABLES(avx2)},
    {AVX512, bptt_internal_has_avx512, TABLES(avx512)},
#endif
};
enum { SETS = sizeof sets / sizeof sets[0] };

/* the last of its names */
static const char *name_of(const kernel_set *set) {
    const char *space = strrchr(set->names, ' ');
    return space ? space + 1 : set->names;
}

/* The set of that name (NULL or "": the fastest), if it runs here. */
static const kernel_set *best_set(const char *name) {
    const kernel_set *best = NULL;
    for (int i = 0; i < SETS; i++)
        if (sets[i].runs_here() && (!name || !*name || strcmp(name, name_of(&sets[i])) == 0)) best = &sets[i];
    return best;
}

static const kernel_set *chosen_set(void) {
    static _Atomic(const kernel_set *) chosen; /* threads that come here together choose the same */
    const kernel_set *set = atomic_load_explicit(&chosen, memory_order_acquire);
    if (!set) {
        set = best_set(getenv("BPTT_ISA"));
        atomic_store_explicit(&chosen, set, memory_order_release);
    }
    return set;
}

const struct kernels_f32 *bptt_internal_kernels_f32(void) { return chosen_set() ? chosen_set()->f32 : NULL; }
const struct kernels_f64 *bptt_internal_kernels_f64(void) { return chosen_set() ? chosen_set()->f64 : NULL; }

const char *bptt_isa(void) { return chosen_set() ? name_of(chosen_set()) : NULL; }

const char *bptt_isa_choices(void) { return best_set(NULL)->names; }
