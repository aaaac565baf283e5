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

/* offset of a tensor in elements; -1: the network does not have it */
int64_t bptt_internal_layer_dir_offset(const bptt_spec *spec, int64_t layer_dir, int tensor);
int64_t bptt_internal_network_offset(const bptt_spec *spec, int tensor);

/* elements of all parameters */
int64_t bptt_internal_params(const bptt_spec *spec);
#endif
