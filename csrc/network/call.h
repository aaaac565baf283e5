/* One call of forward, backward or step: its arguments after the checks, the sizes that follow from them, and the
 * scratch memory it was given. */
#ifndef BPTT_NETWORK_CALL_H
#define BPTT_NETWORK_CALL_H
#include <stdatomic.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/rows.h"
#include "base/threads.h"
#include "bptt.h"
#include "cells/shape.h"
#include "kernels/kernels.h"
#include "spec/params.h"
#include "spec/validate.h"

enum { BACKWARD, FORWARD }; /* the pass that weights are packed for */
enum { MOST_SHARDS = 8 };

/* The integer inputs of some rows of a chunk, sorted. A run is all places that have the same integer. */
typedef struct {
    const int64_t *tokens; /* of all places */
    int64_t count;
    int64_t *places; /* of all rows by integer, within a run in the order of steps and rows */
    int64_t *begin;  /* (count + 1): the first of each run's places, and one past the last of all */
    int64_t *run_at; /* the run of each place */
} token_runs;

/* Scratch for integer inputs. */
typedef struct {
    REAL *runs;   /* memory of token_runs */
    REAL *inputs; /* an embedding: its row for each run (chunk,B,I) */
    REAL *rows;   /* forward: W_ih x + bias of each run (chunk,B,G*H); an embedding, backward: its sum of dz
                     (chunk,B,dz blocks*H). A table: of each integer (D,V,G*H); backward (shards,D,V,dz blocks*H) */
} token_scratch;

typedef struct {
    const kernels *kernels;
    bptt_spec spec;
    bptt_options options;
    const bptt_internal_shape *shape;      /* of the cell */
    bptt_internal_offsets offsets;         /* of the tensors in params */
    int64_t I, H, O, Y, T, B, L, D;        /* as bptt.h names them */
    int64_t V;                             /* the inputs are integers below V; 0: they are x */
    int64_t state_size;                    /* elements of h of all layers and directions (L*D,B,H) */
    int64_t chunk;                         /* steps whose tall products are done together */
    int64_t shards;                        /* parts of the batch, each with weight gradients of its own: shards_of */
    int64_t shard_begins[MOST_SHARDS + 1]; /* the first row of each, and B */
    int64_t poll_steps;                    /* steps between two calls of the caller's poll */
    double step_flops;                     /* multiplications and additions of one forward step */
    int needs_dh_norms;                    /* backward measures or clips dh_t */

    /* the caller's buffers; shapes in bptt.h */
    const REAL *params, *x, *state0, *dy, *dstate1, *dstates;
    REAL *y, *state1, *states, *dx, *dstate0, *grads;

    REAL *panels[2];          /* packed weights, for BACKWARD and FORWARD: weights.h */
    REAL *activations;        /* states and gates of activation_steps steps: layout.h */
    int64_t activation_steps; /* their number: of the caller's tape, or of a chunk or a segment */
    int rolling;              /* the activations hold one chunk at a time and are overwritten by the next */
    REAL *checkpoints;        /* with a segment: the state that enters each, (segments,states,L*D,B,H) */
    const REAL *token_rows;   /* an embedding (V,I); while weights are packed, where a row for each integer goes */

    /* scratch; each thread uses its own rows of the batch */
    REAL *entering_state;     /* the state that enters a step, rows of a reset zeroed (states,B,H) */
    REAL *dropped_inputs;     /* a layer's inputs after dropout (chunk,B,D*H) */
    REAL *hh_products;        /* where the cell keeps W_hh h separate: that of one step (B,G*H) */
    REAL *mask;               /* recurrent dropout: the factor of each unit of h_{t-1} (B,H) */
    REAL *masked_h;           /* h_{t-1} * mask: of a chunk (chunk,B,H) in backward, of a step (B,H) in forward */
    REAL *outer_scratch;      /* of the outer products of one shard after another: each thread that shares a shard has
                                 the part of its rows of the weight */
    REAL *shard_grads;        /* gradients of the shards but the first (shards-1,params) */
    REAL *dh[2];              /* gradient by a layer's outputs (span,B,D*H), rows ld_dh apart; span: a chunk, or T with
                                 two directions */
    REAL *shard_dy;           /* where there are several shards, dy of a chunk (chunk,B,O) */
    REAL *dz;                 /* where it does not take the place of dh: gradient by the pre-activations of a chunk
                                 (chunk,B,dz blocks*H), rows ld_dz apart */
    REAL *leak_terms;         /* a trained leak: the terms of its gradient in a chunk (chunk,B,H) */
    REAL *saved_dz_next;      /* dz of the next step, kept from chunk to chunk (L*D,B,dz blocks*H) */
    REAL *dh_next;            /* gradient by h_t through the next step (L*D,B,H) */
    REAL *dc_next;            /* gradient by c_t through the next step (L*D,B,H) */
    REAL *d_operand;          /* gradient by the operand of a recurrent product (B,H) */
    REAL *learned_state_grad; /* gradient by the learned state where the caller does not ask for dstate0 (state) */
    double *dh_squares;       /* ||dh_t||^2 of each row of a chunk (chunk,B) */
    double *shard_squares;    /* the same of each shard's rows together (shards,L*D,T) */
    uint8_t *skip;            /* reverse direction: rows of a chunk whose entering state is zero (chunk,B) */
    token_scratch token_scratch[2]; /* for BACKWARD and FORWARD */
    token_runs runs[MOST_SHARDS];   /* backward: those of each shard in the chunk that it is at */
    REAL *d_token_inputs;           /* an embedding: the gradient by its row of each run (chunk,B,I), or of each
                                       integer (V,I) */
    int tasks;       /* shares of the rows that forward works on, of the parameters that backward adds up */
    atomic_int stop; /* set by the poll */
} call;

enum {
    CHUNK_ROWS = 128,        /* steps times rows of a chunk, at least: enough for tall products to pay */
    CHUNK_BYTES = 1 << 19,   /* of dz of a chunk, where that is more rows: few enough to stay in caches */
    ROWS_PER_THREAD = 4,     /* fewer rows are not worth a thread */
    TWO_SHARDS_ROWS = 8,     /* of the batch in each of two shards, at least: enough for a product */
    SHARD_ROWS = 16,         /* in each of more: smaller ones slow a single thread down */
    SHARD_TERMS = 512,       /* rows of the batch times steps, at least: enough that adding shards up costs little */
    SHARDED_PARAMS = 1 << 17 /* where there are more, threads share a product well, and copies would take memory */
};

/* The number of threads worth their cost for that many multiplications and additions, `most` at most. Each thread must
 * get enough: making and joining one takes 20 to 50 microseconds, calling one of a team a few. Where a batch has too
 * few rows to share out, only the weight gradients are shared, and threads wait long for one another. */
LOCAL int useful_threads(const call *call, double flops, int only_weights, int64_t most) {
    const double flops_per_thread = only_weights ? 1e8 : call->options.team ? 3e6 : 3e7;
    if (flops < 2 * flops_per_thread) return 1;
    const int wanted = call->options.threads ? call->options.threads : bptt_internal_processors();
    return (int)fmin(flops / flops_per_thread, (double)min_of(wanted, most));
}

/* columns of the inputs of a layer */
LOCAL int64_t layer_inputs(const call *call, int64_t layer) { return layer ? call->D * call->H : call->I; }

enum { WEIGHT_ROWS = 8 }; /* rows of a weight are shared out to threads in multiples of this */

/* the rows of the largest weight, rounded up */
LOCAL int64_t most_weight_rows(const call *call) {
    return (max_of(call->shape->blocks * call->H, call->O) + WEIGHT_ROWS - 1) / WEIGHT_ROWS * WEIGHT_ROWS;
}

/* columns of dz, H times its blocks; of the gates where there are any */
LOCAL int64_t dz_columns(const call *call) { return bptt_internal_dz_blocks(call->shape) * call->H; }

/* distance of rows of states */
LOCAL int64_t ld_state(const call *call) { return call->D * call->H; }

LOCAL double flops_of_step(const call *call) {
    const double H = (double)call->H, D = (double)call->D, L = (double)call->L;
    const double inputs = (call->spec.one_hot ? 1 : (double)call->I) + (L - 1) * D * H + L * H;
    return 2.0 * (double)call->B * (D * (double)call->shape->blocks * H * inputs + (double)call->O * D * H);
}

/* Parts of the batch that each have weight gradients of their own, which are added up at the end: a thread that goes
 * back over whole shards waits for nobody and reads no rows that lie in the cache of another processor. They depend on
 * sizes alone, so that results do not depend on threads. */
LOCAL int64_t shards_of(const call *call) {
    const int64_t B = call->B, terms = call->T * B;
    if (call->offsets.params > SHARDED_PARAMS || terms < 2 * SHARD_TERMS || B < 2 * TWO_SHARDS_ROWS) return 1;
    int64_t shards = 2;
    while (shards < MOST_SHARDS && terms >= 2 * shards * SHARD_TERMS && B >= 2 * shards * SHARD_ROWS) shards *= 2;
    return shards;
}

/* The first row of share `index` of `shares`: nearly the same number of steps for each. */
LOCAL int64_t share_begin(const call *call, int64_t index, int64_t shares) {
    const int64_t *lengths = call->options.lengths, B = call->B;
    if (!lengths || index == 0 || index == shares) return B * index / shares;
    int64_t all = 0, before = 0, begin = 0;
    for (int64_t row = 0; row < B; row++) all += lengths[row];
    for (int64_t row = 0; (double)before * (double)shares <= (double)index * (double)all; row++) {
        begin = row;
        before += lengths[row];
    }
    return begin;
}

/* The steps of a chunk where a shard is gone over on its own, of `shards` that may be in work at the same time: no
 * fewer for more shards, as sizes must not fall where T grows and shards with it. */
LOCAL int64_t chunk_steps(const call *call, int64_t shards) {
    const int arrays = call->shape->dz_in_place ? 4 : 1; /* dz, gates, states and the terms of a trained leak */
    const int64_t row_bytes = arrays * dz_columns(call) * (int64_t)sizeof(REAL), B = call->B;
    const int64_t steps = max_of(max_of(1, CHUNK_ROWS * shards / B), CHUNK_BYTES / row_bytes / B);
    const int64_t chunk = min_of(call->T, steps);
    return call->options.segment ? min_of(chunk, call->options.segment) : chunk;
}

/* Checks the arguments that all calls share; `to` receives the sentence about the first that is wrong, NULL: not
 * wanted. */
LOCAL bptt_status check_arguments(call *call, const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                                  bptt_internal_sentence *to) {
    const bptt_internal_arguments arguments = {spec, T, B, options, REAL_BITS};
    memset(call, 0, sizeof *call);
    const bptt_status status = bptt_internal_check_call(&arguments, &call->spec, &call->options, to);
    if (status) return status;
    call->kernels = kernel_table();
    REQUIRE(call->kernels, to, BPTT_ERROR_ISA, "BPTT_ISA in the environment must be one of %s, got %s",
            bptt_isa_choices(), getenv("BPTT_ISA"));
    call->T = T;
    call->B = B;
    call->V = bptt_internal_vocabulary(&call->spec);
    return BPTT_OK;
}

/* Checks these arguments and derives the sizes; no pointers yet. */
LOCAL bptt_status begin_call(call *call, const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options) {
    const bptt_status status = check_arguments(call, spec, T, B, options, NULL);
    if (status) return status;
    call->shape = bptt_internal_shape_of(&call->spec);
    bptt_internal_offsets_of(&call->spec, &call->offsets);
    call->I = call->spec.input_size;
    call->H = call->spec.hidden_size;
    call->O = call->spec.output_size;
    call->L = bptt_internal_layers(&call->spec);
    call->D = bptt_internal_directions(&call->spec);
    call->Y = call->O ? call->O : call->D * call->H;
    call->state_size = call->L * call->D * B * call->H;
    call->step_flops = flops_of_step(call);
    call->shards = shards_of(call);
    for (int64_t i = 0; i <= call->shards; i++) call->shard_begins[i] = share_begin(call, i, call->shards);
    call->poll_steps = max_of(1, (int64_t)(2e8 / call->step_flops));
    return BPTT_OK;
}

/* A tensor in the parameters; NULL where the network does not have it. */
LOCAL const REAL *layer_dir_param(const call *call, int64_t layer_dir, int tensor) {
    const int64_t offset = bptt_internal_layer_dir_offset(&call->offsets, layer_dir, tensor);
    return offset < 0 ? NULL : call->params + offset;
}

LOCAL const REAL *network_param(const call *call, int tensor) {
    const int64_t offset = call->offsets.network[tensor];
    return offset < 0 ? NULL : call->params + offset;
}

/* The same in gradients (params). */
LOCAL REAL *layer_dir_grad(const call *call, REAL *grads, int64_t layer_dir, int tensor) {
    const int64_t offset = bptt_internal_layer_dir_offset(&call->offsets, layer_dir, tensor);
    return offset < 0 ? NULL : grads + offset;
}

LOCAL REAL *network_grad(const call *call, REAL *grads, int tensor) {
    const int64_t offset = call->offsets.network[tensor];
    return offset < 0 ? NULL : grads + offset;
}
#endif
