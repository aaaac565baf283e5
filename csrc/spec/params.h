/* Where each tensor lies in the flat buffer of parameters, and in that of their gradients. A layer_dir is a layer in
 * one direction, counted as layer * D + direction. */
#ifndef BPTT_SPEC_PARAMS_H
#define BPTT_SPEC_PARAMS_H
#include "base/local.h"
#include "bptt.h"

/* the tensors of one layer_dir, in memory order */
enum { WEIGHT_IH, WEIGHT_HH, BIAS_IH, BIAS_HH, PEEPHOLES, LEAK, LAYER_DIR_TENSORS };
/* the tensors of the network, behind those of all layers */
enum { WEIGHT_HO, BIAS_O, STATE_H0, STATE_C0, EMBEDDING, NETWORK_TENSORS };

LOCAL int bptt_internal_layers(const bptt_spec *spec) { return spec->num_layers ? spec->num_layers : 1; }
LOCAL int bptt_internal_directions(const bptt_spec *spec) { return spec->bidirectional ? 2 : 1; }
LOCAL int bptt_internal_layer_dirs(const bptt_spec *spec) {
    return bptt_internal_layers(spec) * bptt_internal_directions(spec);
}

/* Whether the cell is one with a leak. */
LOCAL int bptt_internal_leaks(const bptt_spec *spec) { return spec->learn_leak || (spec->leak > 0 && spec->leak < 1); }

/* Where the tensors lie, in elements; -1: the network does not have it. All layer_dirs of the first layer have one
 * size, all others another. */
typedef struct {
    int64_t layer_dir[2][LAYER_DIR_TENSORS]; /* of the first layer_dir of the first layer, and of the second layer */
    int64_t layer_dir_size[2];               /* elements of a layer_dir of either */
    int64_t network[NETWORK_TENSORS];
    int64_t directions;
    int64_t params; /* elements of all parameters */
} bptt_internal_offsets;

void bptt_internal_offsets_of(const bptt_spec *spec, bptt_internal_offsets *offsets);

LOCAL int64_t bptt_internal_layer_dir_offset(const bptt_internal_offsets *offsets, int64_t layer_dir, int tensor) {
    const int above = layer_dir >= offsets->directions;
    const int64_t first = offsets->layer_dir[above][tensor];
    if (first < 0) return -1;
    return first + (layer_dir - (above ? offsets->directions : 0)) * offsets->layer_dir_size[above];
}
#endif
