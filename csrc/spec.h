/* What a spec means: its checks, the shape of its cell, and where each tensor lies in the flat parameter buffer. */
#ifndef BPTT_SPEC_H
#define BPTT_SPEC_H
#include "bptt.h"

/* How structs grow: later versions add fields at the end. A caller's struct_size says which fields it knows, at least
 * those of the first version, which ended here; the others are zero (bptt_sizes: are not written). */
#define BPTT_INTERNAL_SPEC_1 (offsetof(bptt_spec, bias) + sizeof(int32_t))
#define BPTT_INTERNAL_OPTIONS_1 (offsetof(bptt_options, poll_context) + sizeof(void *))
#define BPTT_INTERNAL_SIZES_1 (offsetof(bptt_sizes, step_work) + sizeof(int64_t))

/* the tensors of one layer in one direction, in memory order */
enum { WEIGHT_IH, WEIGHT_HH, BIAS_IH, BIAS_HH, PEEPHOLES, UNIT_TENSORS };
/* and those behind all layers */
enum { WEIGHT_HO, BIAS_O, STATE_H0, STATE_C0, NETWORK_TENSORS };

/* The shape of a cell, in blocks of H elements. Weights have G blocks of rows. A step's gates and their gradients dz
 * have `width` blocks; rows of the weights begin at block `first` of dz. A block of rows that is `apart` has a product
 * of its own: GRU's n, block 0 of dz on the side of the inputs. */
typedef struct {
    int blocks, width, first;
    int ih_apart, hh_apart; /* 1: the last block of rows is apart; ih: in backward only */
    int bias_apart;         /* 1: b_ih and b_hh do not add up */
    int states;             /* 1: h; 2: h and c */
    int gates;              /* 1: the tape holds the gates too */
} bptt_internal_shape;

static inline int bptt_internal_layers(const bptt_spec *spec) { return spec->num_layers ? spec->num_layers : 1; }
static inline int bptt_internal_directions(const bptt_spec *spec) { return spec->bidirectional ? 2 : 1; }

bptt_internal_shape bptt_internal_shape_of(const bptt_spec *spec);

/* where a tensor lies, -1 if the network has none; unit = layer * D + direction */
int64_t bptt_internal_unit_offset(const bptt_spec *spec, int64_t unit, int which);
int64_t bptt_internal_network_offset(const bptt_spec *spec, int which);
int64_t bptt_internal_params(const bptt_spec *spec);

/* spec, sizes and options of a call on T steps of B rows; spec and options (may be NULL) are copied to *full_spec and
 * *full, fields that an older caller does not know zero */
bptt_status bptt_internal_check_call(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                                     bptt_spec *full_spec, bptt_options *full);
#endif
