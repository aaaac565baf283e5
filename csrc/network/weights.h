/* The weights of a call in panels. Forward multiplies by the transposed matrices, backward by the matrices themselves.
 * For a batch of one W_ih in forward and W_hh are in unit panels. All panels lie together: the readout's, then those of
 * each layer_dir. */
#ifndef BPTT_NETWORK_WEIGHTS_H
#define BPTT_NETWORK_WEIGHTS_H
#include "network/call.h"

/* The weights of one layer_dir. */
typedef struct {
    REAL *inputs;                      /* forward: the whole W_ih transposed; NULL: integers pick its columns */
    REAL *products[CELL_PRODUCTS_MAX]; /* the cell's products in their order; forward: only those of W_hh */
    REAL *input_bias;                  /* forward: initial value of the product of x, b_ih + b_hh (G*H); in unit panels
                                          where W_ih is */
    REAL *hh_bias;                     /* forward, where W_hh h is separate: its initial value b_hh (G*H), for a
                                          batch of one in unit panels */
    REAL *peepholes;                   /* (3,H); NULL: none */
    REAL *leak;                        /* (H,); NULL: none */
} weights;

typedef struct {
    REAL *ho, *bias_o; /* NULL: no readout */
} readout_weights;

/* the products of the cell, up to the end of its list */
#define EACH_PRODUCT(call, cell_product)                                                                               \
    for (const bptt_internal_cell_product *cell_product = (call)->shape->products; cell_product->rows; cell_product++)

/* Whether a product has no panels: the integers choose columns of the matrix itself. */
LOCAL int picks_columns(const call *call, int64_t layer, int matrix) {
    return call->spec.one_hot && !layer && matrix == WEIGHT_IH;
}

/* elements of the panels of one product */
LOCAL int64_t product_panels(const call *call, const bptt_internal_cell_product *cell_product, int64_t layer,
                             int pass) {
    const int64_t rows = cell_product->rows * call->H,
                  in = cell_product->matrix == WEIGHT_IH ? layer_inputs(call, layer) : call->H;
    const int input = cell_product->matrix == WEIGHT_IH, forward = pass == FORWARD;
    if (picks_columns(call, layer, cell_product->matrix) || (input && forward)) return 0;
    if (!input && call->B == 1)
        return call->kernels->unit_panels_size(forward ? cell_product->rows : 1, call->H, forward ? in : rows);
    return forward ? call->kernels->packed_size(in, rows) : call->kernels->packed_size(rows, in);
}

/* elements of the panels of the whole W_ih in forward */
LOCAL int64_t input_panels(const call *call, int64_t layer) {
    const int64_t in = layer_inputs(call, layer);
    const int blocks = call->shape->blocks;
    return call->B == 1 ? call->kernels->unit_panels_size(blocks, call->H, in)
                        : call->kernels->packed_size(in, blocks * call->H);
}

/* elements of a bias in forward */
LOCAL int64_t bias_size(const call *call) {
    const int blocks = call->shape->blocks;
    return call->B == 1 ? call->kernels->unit_panels_size(blocks, call->H, 1) : blocks * call->H;
}

/* the panels of one product */
LOCAL REAL *panels_of(const call *call, const weights *weights, const bptt_internal_cell_product *cell_product) {
    return weights->products[cell_product - call->shape->products];
}

LOCAL weights alloc_weights(const call *call, arena *from, int64_t layer, int pass) {
    const int64_t H = call->H, forward = pass == FORWARD;
    weights weights = {0};
    if (forward && !picks_columns(call, layer, WEIGHT_IH))
        weights.inputs = arena_alloc(from, input_panels(call, layer));
    int i = 0;
    EACH_PRODUCT(call, cell_product)
        weights.products[i++] = arena_alloc(from, product_panels(call, cell_product, layer, pass));
    if (forward) weights.input_bias = arena_alloc(from, bias_size(call));
    if (forward && call->shape->separate_hh) weights.hh_bias = arena_alloc(from, bias_size(call));
    if (call->spec.peepholes) weights.peepholes = arena_alloc(from, 3 * H);
    if (bptt_internal_leaks(&call->spec)) weights.leak = arena_alloc(from, H);
    return weights;
}

/* elements of the weights of one layer_dir; those of the first layer have one size, all others another */
LOCAL int64_t weights_size(const call *call, int64_t layer, int pass) {
    arena counted = {NULL, 0};
    alloc_weights(call, &counted, layer, pass);
    return counted.used;
}

LOCAL readout_weights alloc_readout(const call *call, arena *from, int pass) {
    const int64_t DH = call->D * call->H, O = call->O;
    readout_weights readout = {NULL, NULL};
    if (!O) return readout;
    readout.ho =
        arena_alloc(from, pass == FORWARD ? call->kernels->packed_size(DH, O) : call->kernels->packed_size(O, DH));
    readout.bias_o = arena_alloc(from, pass == FORWARD ? O : 0);
    return readout;
}

/* The memory of all panels of a call. */
LOCAL REAL *alloc_panels(const call *call, arena *from, int pass) {
    REAL *panels = arena_alloc(from, 0);
    alloc_readout(call, from, pass);
    from->used += call->D * weights_size(call, 0, pass);
    if (call->L > 1) from->used += (call->L - 1) * call->D * weights_size(call, 1, pass);
    return panels;
}

LOCAL readout_weights readout_of(const call *call, int pass) {
    arena from = {call->panels[pass], LINE};
    return alloc_readout(call, &from, pass);
}

LOCAL weights weights_of(const call *call, int64_t layer_dir, int pass) {
    arena from = {call->panels[pass], LINE};
    alloc_readout(call, &from, pass);
    const int64_t in_first = min_of(layer_dir, call->D);
    from.used += in_first * weights_size(call, 0, pass);
    if (layer_dir > in_first) from.used += (layer_dir - in_first) * weights_size(call, 1, pass);
    return alloc_weights(call, &from, layer_dir / call->D, pass);
}

/* ---- packing ----------------------------------------------------------------------------------------- */

/* a + b; NULL: zeros */
LOCAL void pack_bias(const call *call, int in_units, const REAL *a, const REAL *b, REAL *to) {
    const int blocks = call->shape->blocks;
    if (in_units) {
        call->kernels->pack_bias_units(blocks, call->H, a, b, to);
        return;
    }
    copy_or_clear(to, a, blocks * call->H);
    if (b) call->kernels->add_scaled(blocks * call->H, 1, b, to);
}

/* b_ih + b_hh, or each on its own where W_hh h is separate; in_units: in unit panels, but for a bias that is added to
 * columns of W_ih */
LOCAL void pack_biases(const call *call, int64_t layer_dir, int in_units, const weights *weights) {
    const REAL *b_ih = layer_dir_param(call, layer_dir, BIAS_IH), *b_hh = layer_dir_param(call, layer_dir, BIAS_HH);
    const int separate = call->shape->separate_hh;
    pack_bias(call, in_units && weights->inputs, b_ih, separate ? NULL : b_hh, weights->input_bias);
    if (separate) pack_bias(call, in_units, b_hh, NULL, weights->hh_bias);
}

LOCAL void pack_peepholes(const call *call, int64_t layer_dir, REAL *peepholes) {
    if (peepholes) memcpy(peepholes, layer_dir_param(call, layer_dir, PEEPHOLES), (size_t)(3 * call->H) * sizeof(REAL));
}

/* One number for all units, or the logistic function of each unit's parameter. */
LOCAL void pack_leak(const call *call, int64_t layer_dir, REAL *leak) {
    if (!leak) return;
    const REAL *trained = layer_dir_param(call, layer_dir, LEAK);
    if (trained) call->kernels->logistic(call->H, trained, leak);
    else
        for (int64_t j = 0; j < call->H; j++) leak[j] = (REAL)call->spec.leak;
}

/* `blocks` blocks of H rows of W (.,columns) transposed, for rows of x or h. */
LOCAL void pack_transposed(const call *call, int blocks, int64_t columns, const REAL *w, REAL *panels) {
    const int64_t H = call->H;
    if (call->B == 1) call->kernels->pack_units(blocks, H, columns, w, columns, 1, panels);
    else call->kernels->pack(columns, blocks * H, w, 1, columns, panels);
}

/* The same blocks as they are, for rows of dz. */
LOCAL void pack_plain(const call *call, int blocks, int64_t columns, int recurrent, const REAL *w, REAL *panels) {
    const int64_t rows = blocks * call->H;
    if (recurrent && call->B == 1) call->kernels->pack_units(1, columns, rows, w, 1, columns, panels);
    else call->kernels->pack(rows, columns, w, columns, 1, panels);
}

/* Panels of W transposed: forward multiplies rows of x and h by it. */
LOCAL void pack_forward(const call *call) {
    const kernels *kernels = call->kernels;
    const int64_t H = call->H, DH = call->D * H;
    for (int64_t layer_dir = 0; layer_dir < call->L * call->D; layer_dir++) {
        const int64_t in = layer_inputs(call, layer_dir / call->D);
        const REAL *w_ih = layer_dir_param(call, layer_dir, WEIGHT_IH);
        const REAL *w_hh = layer_dir_param(call, layer_dir, WEIGHT_HH);
        const weights weights = weights_of(call, layer_dir, FORWARD);
        if (weights.inputs) pack_transposed(call, call->shape->blocks, in, w_ih, weights.inputs);
        EACH_PRODUCT(call, cell_product)
            if (cell_product->matrix == WEIGHT_HH)
                pack_transposed(call, cell_product->rows, H, w_hh + cell_product->row * H * H,
                                panels_of(call, &weights, cell_product));
        pack_biases(call, layer_dir, call->B == 1, &weights);
        pack_peepholes(call, layer_dir, weights.peepholes);
        pack_leak(call, layer_dir, weights.leak);
    }
    if (!call->O) return;
    const readout_weights readout = readout_of(call, FORWARD);
    kernels->pack(DH, call->O, network_param(call, WEIGHT_HO), 1, DH, readout.ho);
    copy_or_clear(readout.bias_o, network_param(call, BIAS_O), call->O);
}

/* Whether backward multiplies by W_ih: of the first layer only for dx and for the gradient of an embedding. */
LOCAL int needs_input_grad(const call *call, int64_t layer) {
    return layer || call->dx || (call->spec.num_embeddings && call->grads);
}

/* Panels of W itself: backward multiplies rows of gradients by it. */
LOCAL void pack_backward(const call *call) {
    const kernels *kernels = call->kernels;
    const int64_t H = call->H, DH = call->D * H;
    for (int64_t layer_dir = 0; layer_dir < call->L * call->D; layer_dir++) {
        const weights weights = weights_of(call, layer_dir, BACKWARD);
        EACH_PRODUCT(call, cell_product) {
            const int input = cell_product->matrix == WEIGHT_IH;
            const int64_t columns = input ? layer_inputs(call, layer_dir / call->D) : H;
            const REAL *w = layer_dir_param(call, layer_dir, cell_product->matrix) + cell_product->row * H * columns;
            if (!input || needs_input_grad(call, layer_dir / call->D))
                pack_plain(call, cell_product->rows, columns, !input, w, panels_of(call, &weights, cell_product));
        }
        pack_peepholes(call, layer_dir, weights.peepholes);
        pack_leak(call, layer_dir, weights.leak);
    }
    if (call->O) kernels->pack(call->O, DH, network_param(call, WEIGHT_HO), DH, 1, readout_of(call, BACKWARD).ho);
}
#endif
