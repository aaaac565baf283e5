/* Every entry of every kernel table that runs on this processor, or of the one that BPTT_ISA names, against formulas in
 * double. Reads the core's own headers: -Icsrc.
 *
 *   test_kernels          checks
 *   test_kernels --exact  checks in buffers that end where their allocation does, for valgrind
 *   test_kernels --speed  the speed of every entry */
#include "base/cpu.h"
#include "bptt.h"
#include "check.h"
#include "kernel_buffers.h"
#include "kernel_gates.h"
#include "kernel_learner.h"
#include "kernel_pointwise.h"
#include "kernel_products.h"
#include "kernel_rows.h"
#include "kernel_speed.h"

#define DECLARE(set) extern const kernels TYPED(bptt_internal_##set)
DECLARE(portable);
DECLARE(generic);
DECLARE(avx2);
DECLARE(avx512);

static const struct {
    const char *name;
    int (*runs_here)(void);
    const kernels *table;
} sets[] = {
    {"portable", bptt_internal_always, &TYPED(bptt_internal_portable)},
#ifdef __aarch64__
    {"neon", bptt_internal_always, &TYPED(bptt_internal_generic)},
#elif defined(__GNUC__)
    {"generic", bptt_internal_always, &TYPED(bptt_internal_generic)},
#endif
#ifdef BPTT_X86
    {"avx2", bptt_internal_has_avx2, &TYPED(bptt_internal_avx2)},
    {"avx512", bptt_internal_has_avx512, &TYPED(bptt_internal_avx512)},
#endif
};
enum { SETS = sizeof sets / sizeof sets[0] };

static void check_table(const kernels *table) {
    check_small_products(table);
    check_deep_products(table);
    check_unit_products(table);
    check_special_products(table);
    check_no_rows(table);
    check_accuracy(table);
    check_outers(table);
    check_pointwise(table);
    check_gates(table);
    check_rows(table);
    check_learner(table);
}

/* The table in use is that of the set that bptt_isa names, and the choices are the sets that run here. */
static void check_dispatch(void) {
    char choices[100] = "";
    const kernels *chosen = NULL;
    name_case("dispatch");
    for (int i = 0; i < SETS; i++) {
        if (!sets[i].runs_here()) continue;
        if (i) strcat(choices, ", ");
        strcat(choices, sets[i].name);
        if (bptt_isa() && strcmp(bptt_isa(), sets[i].name) == 0) chosen = sets[i].table;
    }
    CHECK(TYPED(bptt_internal_kernels)() == chosen);
    CHECK(strcmp(bptt_isa_choices(), choices) == 0);
}

int main(int count, char **arguments) {
    const char *wanted = getenv("BPTT_ISA");
    const int speed = count > 1 && strcmp(arguments[1], "--speed") == 0;
    if (count > 1 && strcmp(arguments[1], "--exact") == 0) exact = 1;
    check_dispatch();
    for (int i = 0; i < SETS; i++) {
        if (!sets[i].runs_here() || (wanted && *wanted && strcmp(wanted, sets[i].name) != 0)) continue;
        set_name = sets[i].name;
        if (speed) measure_speed(sets[i].table);
        else check_table(sets[i].table);
    }
    return end_of_checks();
}
