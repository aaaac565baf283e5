/* Names, shapes and order of the parameters, and so where each lies in the flat buffer. */
#include "spec/params.h"

#include <stdio.h>
#include <string.h>

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

static int64_t total(const tensor_shape *shapes, int count) {
    int64_t sum = 0;
    for (int i = 0; i < count; i++) sum += elements(shapes[i]);
    return sum;
}

/* Elements before a layer_dir's tensors. Those of the first layer have one size, all others another. */
static int64_t layer_dir_start(const bptt_spec *spec, int64_t layer_dir) {
    tensor_shape first[LAYER_DIR_TENSORS], other[LAYER_DIR_TENSORS];
    const int64_t D = bptt_internal_directions(spec), in_first = layer_dir < D ? layer_dir : D;
    layer_dir_shapes(spec, 0, first);
    layer_dir_shapes(spec, D, other);
    return in_first * total(first, LAYER_DIR_TENSORS) + (layer_dir - in_first) * total(other, LAYER_DIR_TENSORS);
}

int64_t bptt_internal_layer_dir_offset(const bptt_spec *spec, int64_t layer_dir, int tensor) {
    tensor_shape shapes[LAYER_DIR_TENSORS];
    layer_dir_shapes(spec, layer_dir, shapes);
    return shapes[tensor].rows ? layer_dir_start(spec, layer_dir) + total(shapes, tensor) : -1;
}

int64_t bptt_internal_network_offset(const bptt_spec *spec, int tensor) {
    tensor_shape shapes[NETWORK_TENSORS];
    network_shapes(spec, shapes);
    return shapes[tensor].rows ? layer_dir_start(spec, bptt_internal_layer_dirs(spec)) + total(shapes, tensor) : -1;
}

int64_t bptt_internal_params(const bptt_spec *spec) {
    tensor_shape shapes[NETWORK_TENSORS];
    network_shapes(spec, shapes);
    return layer_dir_start(spec, bptt_internal_layer_dirs(spec)) + total(shapes, NETWORK_TENSORS);
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
    bptt_status status = bptt_internal_check_spec(spec, &full);
    if (status) return status;
    if (!count) return BPTT_ERROR_NULL;
    layer_dir_shapes(&full, 0, own);
    network_shapes(&full, network);
    *count = bptt_internal_layer_dirs(&full) * present(own, LAYER_DIR_TENSORS) + present(network, NETWORK_TENSORS);
    return BPTT_OK;
}

/* the index-th tensor of those that the network has */
static bptt_tensor pick(const tensor_shape *shapes, int64_t index, int64_t offset) {
    const tensor_shape *shape = shapes;
    for (; !shape->rows || index-- > 0; shape++) offset += elements(*shape);
    bptt_tensor found = {.offset = offset, .rows = shape->rows, .cols = shape->cols};
    strcpy(found.name, shape->name);
    return found;
}

bptt_status bptt_tensor_at(const bptt_spec *spec, int64_t index, bptt_tensor *tensor) {
    bptt_spec full;
    tensor_shape shapes[LAYER_DIR_TENSORS]; /* no fewer than NETWORK_TENSORS */
    int64_t count;
    bptt_status status = bptt_tensor_count(spec, &count);
    if (status) return status;
    if (!tensor) return BPTT_ERROR_NULL;
    if (index < 0 || index >= count) return BPTT_ERROR_SIZE;
    bptt_internal_check_spec(spec, &full);
    layer_dir_shapes(&full, 0, shapes);
    const int64_t each = present(shapes, LAYER_DIR_TENSORS), layer_dirs = bptt_internal_layer_dirs(&full);
    const int64_t layer_dir = index / each, D = bptt_internal_directions(&full);
    if (layer_dir < layer_dirs) {
        layer_dir_shapes(&full, layer_dir, shapes);
        *tensor = pick(shapes, index % each, layer_dir_start(&full, layer_dir));
        const size_t length = strlen(tensor->name);
        snprintf(tensor->name + length, sizeof tensor->name - length, "_l%d%s", (int)(layer_dir / D),
                 layer_dir % D ? "_reverse" : "");
    } else {
        network_shapes(&full, shapes);
        *tensor = pick(shapes, index - layer_dirs * each, layer_dir_start(&full, layer_dirs));
    }
    return BPTT_OK;
}
