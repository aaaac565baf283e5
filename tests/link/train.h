/* A training by nothing but bptt.h (or bptt_capsule.h, included before this): forward, loss, backward, clipping, a step
 * of Adam. A tanh network learns to give back its inputs of the step before. C99 and C++. */
#include <stdlib.h>
#include <string.h>

enum { STEPS = 20, ROWS = 4, INPUTS = 2, HIDDEN = 16, UPDATES = 40 };

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        const bptt_status status_ = (call);                                                                            \
        if (status_ != BPTT_OK) return status_;                                                                        \
    } while (0)

typedef struct {
    bptt_spec spec;
    bptt_options options;
    bptt_sizes sizes;
    float *x, *target, *y, *dy, *params, *grads, *mean, *square, *tape, *work;
} training;

static float *floats(int64_t n) { return (float *)calloc((size_t)n, sizeof(float)); }

static float number(int64_t i) { return (float)(i * 37 % 101 - 50) / 128; }

static void fill(training *t) {
    const int64_t step = ROWS * INPUTS;
    for (int64_t i = 0; i < STEPS * step; i++) t->x[i] = number(i * i);
    for (int64_t i = step; i < STEPS * step; i++) t->target[i] = t->x[i - step];
    for (int64_t i = 0; i < t->sizes.params; i++) t->params[i] = number(i);
}

/* Every buffer is the caller's; bptt_sizes says how large each must be. */
static bptt_status create(training *t, int64_t hidden) {
    memset(t, 0, sizeof *t);
    t->spec.struct_size = sizeof t->spec;
    t->spec.input_size = t->spec.output_size = INPUTS;
    t->spec.hidden_size = hidden;
    t->spec.cell = BPTT_CELL_TANH;
    t->spec.bias = 1;
    t->options.struct_size = sizeof t->options;
    t->options.threads = 2;
    t->sizes.struct_size = sizeof t->sizes;
    TRY(bptt_sizes_f32(&t->spec, STEPS, ROWS, &t->options, &t->sizes));

    const bptt_sizes *s = &t->sizes;
    t->x = floats(STEPS * ROWS * INPUTS);
    t->target = floats(s->output);
    t->y = floats(s->output);
    t->dy = floats(s->output);
    t->params = floats(s->params);
    t->grads = floats(s->params);
    t->mean = floats(s->params);
    t->square = floats(s->params);
    t->tape = floats(s->tape);
    t->work = floats(s->forward_work > s->backward_work ? s->forward_work : s->backward_work);
    fill(t);
    return BPTT_OK;
}

static void destroy(training *t) {
    float *buffers[] = {t->x, t->target, t->y, t->dy, t->params, t->grads, t->mean, t->square, t->tape, t->work};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) free(buffers[i]);
}

static bptt_status gradient(training *t, double *loss) {
    TRY(bptt_forward_f32(&t->spec, STEPS, ROWS, t->params, t->x, NULL, t->y, NULL, t->tape, t->work, &t->options));
    TRY(bptt_mse_f32(STEPS * ROWS, INPUTS, t->y, t->target, NULL, BPTT_REDUCTION_MEAN, t->dy, loss));
    memset(t->grads, 0, (size_t)t->sizes.params * sizeof(float));
    return bptt_backward_f32(&t->spec, STEPS, ROWS, t->params, t->x, t->tape, t->dy, NULL, NULL, NULL, t->grads,
                             t->work, &t->options);
}

static bptt_status update(training *t, int64_t step) {
    const int64_t n = t->sizes.params;
    double norm;
    TRY(bptt_clip_norm_f32(n, t->grads, 1.0, &norm));
    return bptt_adam_f32(n, t->params, t->grads, t->mean, t->square, step, 1e-2, 0.9, 0.999, 1e-8, 0.0, 0);
}

/* *loss receives that of the last update */
static bptt_status train(int64_t hidden, int64_t updates, double *loss) {
    training t;
    bptt_status status = create(&t, hidden);
    for (int64_t step = 1; step <= updates && status == BPTT_OK; step++) {
        status = gradient(&t, loss);
        if (status == BPTT_OK) status = update(&t, step);
    }
    destroy(&t);
    return status;
}
