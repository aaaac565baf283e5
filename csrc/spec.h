/* What a spec means: its checks, and where each tensor lies in the flat parameter buffer. */
#ifndef BPTT_SPEC_H
#define BPTT_SPEC_H
#include "bptt.h"

/* the tensors in memory order */
enum { WEIGHT_IH, WEIGHT_HH, BIAS_IH, BIAS_HH, WEIGHT_HO, BIAS_O, TENSORS };

typedef struct {
    int64_t offset[TENSORS]; /* -1 where the network has none */
    int64_t total;
} bptt_internal_layout;

bptt_status bptt_internal_check_spec(const bptt_spec *spec);
bptt_internal_layout bptt_internal_layout_of(const bptt_spec *spec);

/* spec, sizes and options of a call on T steps of B rows; options (may be NULL) are copied to *full */
bptt_status bptt_internal_check_call(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                                     bptt_options *full);
#endif
