/* Names, shapes and order of the parameters, and so where each lies in the flat buffer. */
#include "spec/params.h"

#include <stdio.h>

#include "cells/shape.h"
#include "spec/validate.h"

typedef struct {
    const char *name;
    int64_t rows, cols; /* rows = 0: the network does not have it; cols = 0: a vector */
} tensor_shape;

/* The one spot that knows names, shapes and order. */
static void layer_dir_shapes(const bptt_spec *spec, int64_t layer_dir, tensor_shape shapes[LAYER_DIR_TENSORS]) {
    const int64_t H = spec->hidden_size, D = bptt_internal_directions(spec);
    const int64_t rows = bptt_internal_shape_of(spec)->blocks * H;
    shapes[WEIGHT_IH] = (tensor_shape){"weight_ih", rows, layer_dir < D ? spec->input_size : D * H};
    shapes[WEIGHT_HH] = (tensor_shape){"weight_hh", rows, H};
    shapes[BIAS_IH] = (tensor_shape){"bias_ih", spec->bias ? rows : 0, 0};
    shapes[BIAS_HH] = (tensor_shape){"bias_hh", spec->bias ? rows : 0, 0};
    shapes[PEEPHOLES] = (tensor_shape){"weight_peephole", spec->peepholes ? 3 : 0, H};
    shapes[LEAK] = (tensor_shape){"leak", spec->learn_leak ? H : 0, 0};
}

static void network_shapes(const bptt_spec *spec, tensor_shape shapes[NETWORK_TENSORS]) {
    const int64_t H = spec->hidden_size, O = spec->output_size, D = bptt_internal_directions(spec);
    const int64_t layer_dirs = spec->learn_state ? bptt_internal_layers(spec) * D : 0;
    shapes[WEIGHT_HO] = (tensor_shape){"weight_ho", O, D * H};
    shapes[BIAS_O] = (tensor_shape){"bias_o", spec->bias ? O : 0, 0};
    shapes[STATE_H0] = (tensor_shape){"state_h0", layer_dirs, H};
    shapes[STATE_C0] = (tensor_shape){"state_c0", bptt_internal_shape_of(spec)->states == 2 ? layer_dirs : 0, H};
    shapes[EMBEDDING] = (tensor_shape){"embedding", spec->num_embeddings, spec->input_size};
}

static int64_t elements(tensor_shape shape) { return shape.rows * (shape.cols ? shape.cols : 1); }

/* Sets the offset of each tensor, the first at `begin`; returns the elements of all. */
static int64_t place(const tensor_shape *shapes, int count, int64_t begin, int64_t *offsets) {
    int64_t at = begin;
    for (int i = 0; i < count; i++) {
        offsets[i] = shapes[i].rows ? at : -1;
        at += elements(shapes[i]);
    }
    return at - begin;
}

void bptt_internal_offsets_of(const bptt_spec *spec, bptt_internal_offsets *offsets) {
    tensor_shape layer_dir[LAYER_DIR_TENSORS], network[NETWORK_TENSORS];
    const int64_t D = bptt_internal_directions(spec);
    offsets->directions = D;
    layer_dir_shapes(spec, 0, layer_dir);
    offsets->layer_dir_size[0] = place(layer_dir, LAYER_DIR_TENSORS, 0, offsets->layer_dir[0]);
    const int64_t first_layer = D * offsets->layer_dir_size[0];
    layer_dir_shapes(spec, D, layer_dir);
    offsets->layer_dir_size[1] = place(layer_dir, LAYER_DIR_TENSORS, first_layer, offsets->layer_dir[1]);
    const int64_t layers = first_layer + (bptt_internal_layers(spec) - 1) * D * offsets->layer_dir_size[1];
    network_shapes(spec, network);
    offsets->params = layers + place(network, NETWORK_TENSORS, layers, offsets->network);
}

/* how many of the tensors the network has */
static int64_t present(const tensor_shape *shapes, int count) {
    int64_t there = 0;
    for (int i = 0; i < count; i++) there += shapes[i].rows > 0;
    return there;
}

bptt_status bptt_tensor_count(const bptt_spec *spec, int64_t *count) {
    bptt_spec full;
    tensor_shape own[LAYER_DIR_TENSORS], network[NETWORK_TENSORS];
    bptt_status status = bptt_internal_check_spec(spec, &full, NULL);
    if (status) return status;
    if (!count) return BPTT_ERROR_NULL;
    layer_dir_shapes(&full, 0, own);
    network_shapes(&full, network);
    *count = bptt_internal_layer_dirs(&full) * present(own, LAYER_DIR_TENSORS) + present(network, NETWORK_TENSORS);
    return BPTT_OK;
}

/* The number of the index-th tensor of those that the network has. */
static int present_at(const tensor_shape *shapes, int64_t index) {
    int i = 0;
    while (!shapes[i].rows || index--) i++;
    return i;
}

bptt_status bptt_tensor_at(const bptt_spec *spec, int64_t index, bptt_tensor *tensor) {
    bptt_spec full;
    bptt_internal_offsets offsets;
    tensor_shape shapes[LAYER_DIR_TENSORS]; /* no fewer than NETWORK_TENSORS */
    int64_t count;
    bptt_status status = bptt_tensor_count(spec, &count);
    if (status) return status;
    if (!tensor) return BPTT_ERROR_NULL;
    if (index < 0 || index >= count) return BPTT_ERROR_SIZE;
    bptt_internal_check_spec(spec, &full, NULL);
    bptt_internal_offsets_of(&full, &offsets);
    layer_dir_shapes(&full, 0, shapes);
    const int64_t each = present(shapes, LAYER_DIR_TENSORS), layer_dirs = bptt_internal_layer_dirs(&full);
    const int64_t layer_dir = index / each, D = bptt_internal_directions(&full);
    const int of_layer = layer_dir < layer_dirs;
    if (of_layer) layer_dir_shapes(&full, layer_dir, shapes);
    else network_shapes(&full, shapes);
    const int at = present_at(shapes, of_layer ? index % each : index - layer_dirs * each);
    *tensor = (bptt_tensor){.rows = shapes[at].rows, .cols = shapes[at].cols};
    if (of_layer) {
        tensor->offset = bptt_internal_layer_dir_offset(&offsets, layer_dir, at);
        snprintf(tensor->name, sizeof tensor->name, "%s_l%d%s", shapes[at].name, (int)(layer_dir / D),
                 layer_dir % D ? "_reverse" : "");
    } else {
        tensor->offset = offsets.network[at];
        snprintf(tensor->name, sizeof tensor->name, "%s", shapes[at].name);
    }
    return BPTT_OK;
}
