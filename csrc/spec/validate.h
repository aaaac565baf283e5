/* The checks of a spec and of a call's sizes and options: every public function on a network begins with one of them,
 * and what comes after trusts. */
#ifndef BPTT_SPEC_VALIDATE_H
#define BPTT_SPEC_VALIDATE_H
#include "base/local.h"
#include "bptt.h"
#include "spec/sentence.h"

/* The arguments of a call on T steps of B rows in a type of so many bits. */
typedef struct {
    const bptt_spec *spec;
    int64_t T, B;
    const bptt_options *options; /* NULL: none */
    int bits;
} bptt_internal_arguments;

/* Copies the caller's struct to *full; fields that an older caller does not know are zero. `to` receives the sentence
 * about the first argument that is wrong; NULL: not wanted. */
bptt_status bptt_internal_check_spec(const bptt_spec *spec, bptt_spec *full, bptt_internal_sentence *to);

/* The same for a call, and its options. */
bptt_status bptt_internal_check_call(const bptt_internal_arguments *call, bptt_spec *full_spec, bptt_options *full,
                                     bptt_internal_sentence *to);

/* The options alone, for a spec that was checked before. */
bptt_status bptt_internal_check_options(const bptt_spec *spec, int64_t T, const bptt_options *options,
                                        bptt_options *full, bptt_internal_sentence *to);

/* The largest batch of a single step whose sizes do not overflow. */
int64_t bptt_internal_most_rows(const bptt_spec *spec);

/* Whether the network's inputs are integers, and how many there are. */
LOCAL int bptt_internal_takes_tokens(const bptt_spec *spec) { return spec->one_hot || spec->num_embeddings; }
LOCAL int64_t bptt_internal_vocabulary(const bptt_spec *spec) {
    return spec->one_hot ? spec->input_size : spec->num_embeddings;
}

/* Whether a caller's struct_size is set and not that of a later version. */
LOCAL int bptt_internal_size_fits(size_t struct_size, size_t size) {
    return struct_size >= sizeof struct_size && struct_size <= size;
}
#endif
