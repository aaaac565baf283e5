/* bptt.h for extension modules of Python that link nothing: the functions come from the bptt package that is installed,
 * by a table of pointers in a capsule. For C, C++ (pybind11, nanobind) and, through `cimport bptt`, Cython.
 *
 *     #include <bptt_capsule.h>                 in place of bptt.h
 *     if (bptt_import() < 0) return NULL;       in the module's init function
 *
 * From then on every function of bptt.h is called by its name. Each source file that calls them includes this header
 * and calls bptt_import() itself.
 *
 * With BPTT_LINKED defined the names are those of the libbptt.a that the module links, and bptt_import() has nothing to
 * do: the same source goes both ways.
 *
 * Growth: later versions add functions at the end of the table; struct_size says which it has. BPTT_ABI rises only if
 * something changes that was there before. A module compiled for functions that the installed bptt lacks fails at
 * import with a message that says so. In every ABI a table begins with struct_size, abi and bptt_version. */
#ifndef BPTT_CAPSULE_H
#define BPTT_CAPSULE_H

#include <Python.h>

#include "bptt.h"

/* The number of the ABI, and the capsule's name. */
#define BPTT_ABI 1
#define BPTT_CAPSULE "bptt._core._C_API"

/* F(name) for each function bptt_name, in the order in which they were added. */
/* clang-format off */
#define BPTT_FUNCTIONS(F)                                                                                              \
    F(version) F(status_string) F(isa) F(isa_choices) F(tensor_count) F(tensor_at)                                     \
    F(sizes_f32) F(sizes_f64) F(forward_f32) F(forward_f64) F(backward_f32) F(backward_f64)                            \
    F(tape_shift_f32) F(tape_shift_f64) F(pack_f32) F(pack_f64) F(step_f32) F(step_f64)                                \
    F(window_count) F(window_at) F(clip_norm_f32) F(clip_norm_f64) F(clip_value_f32) F(clip_value_f64)                 \
    F(mse_f32) F(mse_f64) F(cross_entropy_f32) F(cross_entropy_f64)                                                    \
    F(binary_cross_entropy_f32) F(binary_cross_entropy_f64) F(sgd_f32) F(sgd_f64)                                      \
    F(rmsprop_f32) F(rmsprop_f64) F(adagrad_f32) F(adagrad_f64) F(adam_f32) F(adam_f64) F(cell_name)   \
    F(team_make) F(team_free)                                                                                          \
    F(huber_f32) F(huber_f64) F(weighted_cross_entropy_f32) F(weighted_cross_entropy_f64) F(scale_f32) F(scale_f64) \
    F(step_tokens_f32) F(step_tokens_f64)                                                                              \
    F(learner_sizes_f32) F(learner_sizes_f64) F(learner_reset_f32) F(learner_reset_f64)                                \
    F(learner_step_f32) F(learner_step_f64) F(learner_backward_f32) F(learner_backward_f64)                             \
    F(constrain_f32) F(constrain_f64) F(explain_f32) F(explain_f64)
/* clang-format on */

#ifdef __cplusplus
#define BPTT_POINTER(name) decltype(bptt_##name) *name;
#else
#define BPTT_POINTER(name) __typeof__(bptt_##name) *name;
#endif

/* The capsule's content: two numbers, then a pointer to each function, by its name without bptt_. */
typedef struct bptt_table {
    size_t struct_size; /* of the table of the library that runs */
    int64_t abi;        /* BPTT_ABI of that library */
    BPTT_FUNCTIONS(BPTT_POINTER)
} bptt_table;

#ifdef BPTT_LINKED

static inline int bptt_import(void) { return 0; }

#else

static const bptt_table *bptt_functions; /* the table that bptt_import found */

#define BPTT_COUNT(table_size) (((table_size) - offsetof(bptt_table, version)) / sizeof(void *))

/* 0, or -1 with an ImportError set: bptt is not there, or it is older than what this module was compiled for. */
static inline int bptt_import(void) {
    const bptt_table *found = (const bptt_table *)PyCapsule_Import(BPTT_CAPSULE, 0);
    if (!found) return -1;
    if (found->abi != BPTT_ABI || found->struct_size < sizeof(bptt_table)) {
        PyErr_Format(PyExc_ImportError,
                     "this module was compiled for bptt %d.%d.%d (ABI %d, %zu functions) and the installed bptt is %s "
                     "(ABI %d, %zu functions): install a bptt of that version, or compile the module again",
                     BPTT_VERSION_MAJOR, BPTT_VERSION_MINOR, BPTT_VERSION_PATCH, BPTT_ABI,
                     BPTT_COUNT(sizeof(bptt_table)), found->version(), (int)found->abi, BPTT_COUNT(found->struct_size));
        return -1;
    }
    bptt_functions = found;
    return 0;
}

#define bptt_version (*bptt_functions->version)
#define bptt_status_string (*bptt_functions->status_string)
#define bptt_isa (*bptt_functions->isa)
#define bptt_isa_choices (*bptt_functions->isa_choices)
#define bptt_tensor_count (*bptt_functions->tensor_count)
#define bptt_tensor_at (*bptt_functions->tensor_at)
#define bptt_sizes_f32 (*bptt_functions->sizes_f32)
#define bptt_sizes_f64 (*bptt_functions->sizes_f64)
#define bptt_forward_f32 (*bptt_functions->forward_f32)
#define bptt_forward_f64 (*bptt_functions->forward_f64)
#define bptt_backward_f32 (*bptt_functions->backward_f32)
#define bptt_backward_f64 (*bptt_functions->backward_f64)
#define bptt_tape_shift_f32 (*bptt_functions->tape_shift_f32)
#define bptt_tape_shift_f64 (*bptt_functions->tape_shift_f64)
#define bptt_pack_f32 (*bptt_functions->pack_f32)
#define bptt_pack_f64 (*bptt_functions->pack_f64)
#define bptt_step_f32 (*bptt_functions->step_f32)
#define bptt_step_f64 (*bptt_functions->step_f64)
#define bptt_window_count (*bptt_functions->window_count)
#define bptt_window_at (*bptt_functions->window_at)
#define bptt_clip_norm_f32 (*bptt_functions->clip_norm_f32)
#define bptt_clip_norm_f64 (*bptt_functions->clip_norm_f64)
#define bptt_clip_value_f32 (*bptt_functions->clip_value_f32)
#define bptt_clip_value_f64 (*bptt_functions->clip_value_f64)
#define bptt_mse_f32 (*bptt_functions->mse_f32)
#define bptt_mse_f64 (*bptt_functions->mse_f64)
#define bptt_cross_entropy_f32 (*bptt_functions->cross_entropy_f32)
#define bptt_cross_entropy_f64 (*bptt_functions->cross_entropy_f64)
#define bptt_binary_cross_entropy_f32 (*bptt_functions->binary_cross_entropy_f32)
#define bptt_binary_cross_entropy_f64 (*bptt_functions->binary_cross_entropy_f64)
#define bptt_sgd_f32 (*bptt_functions->sgd_f32)
#define bptt_sgd_f64 (*bptt_functions->sgd_f64)
#define bptt_rmsprop_f32 (*bptt_functions->rmsprop_f32)
#define bptt_rmsprop_f64 (*bptt_functions->rmsprop_f64)
#define bptt_adagrad_f32 (*bptt_functions->adagrad_f32)
#define bptt_adagrad_f64 (*bptt_functions->adagrad_f64)
#define bptt_adam_f32 (*bptt_functions->adam_f32)
#define bptt_adam_f64 (*bptt_functions->adam_f64)
#define bptt_cell_name (*bptt_functions->cell_name)
#define bptt_team_make (*bptt_functions->team_make)
#define bptt_team_free (*bptt_functions->team_free)
#define bptt_huber_f32 (*bptt_functions->huber_f32)
#define bptt_huber_f64 (*bptt_functions->huber_f64)
#define bptt_weighted_cross_entropy_f32 (*bptt_functions->weighted_cross_entropy_f32)
#define bptt_weighted_cross_entropy_f64 (*bptt_functions->weighted_cross_entropy_f64)
#define bptt_scale_f32 (*bptt_functions->scale_f32)
#define bptt_scale_f64 (*bptt_functions->scale_f64)
#define bptt_step_tokens_f32 (*bptt_functions->step_tokens_f32)
#define bptt_step_tokens_f64 (*bptt_functions->step_tokens_f64)
#define bptt_learner_sizes_f32 (*bptt_functions->learner_sizes_f32)
#define bptt_learner_sizes_f64 (*bptt_functions->learner_sizes_f64)
#define bptt_learner_reset_f32 (*bptt_functions->learner_reset_f32)
#define bptt_learner_reset_f64 (*bptt_functions->learner_reset_f64)
#define bptt_learner_step_f32 (*bptt_functions->learner_step_f32)
#define bptt_learner_step_f64 (*bptt_functions->learner_step_f64)
#define bptt_learner_backward_f32 (*bptt_functions->learner_backward_f32)
#define bptt_learner_backward_f64 (*bptt_functions->learner_backward_f64)
#define bptt_constrain_f32 (*bptt_functions->constrain_f32)
#define bptt_constrain_f64 (*bptt_functions->constrain_f64)
#define bptt_explain_f32 (*bptt_functions->explain_f32)
#define bptt_explain_f64 (*bptt_functions->explain_f64)

#endif
#endif
