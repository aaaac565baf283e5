/* One step of a network at batch 1, one input and one output, in nanoseconds of this thread's processor time, beside
 * the same network in other libraries: peers.
 *
 *     cc -O3 -std=c11 step.c libbptt.a -lm -pthread -ldl -o step
 *     step CELL HIDDEN PARAMS MODEL SECONDS [PEER.so ...]
 *
 * PARAMS holds the parameters as bptt has them, in float32; MODEL is the same network as RTNeural's JSON. A peer is a
 * shared library with three C functions:
 *
 *     void *peer_open(const char *model);  the network at a state of zeros; NULL: it cannot have this one
 *     void peer_run(void *network, int64_t n, const float *x, float *y);  n samples, from where the last call ended
 *     void peer_close(void *network);
 *
 * All take turns of about a millisecond. Printed is one line for each, ours first:
 *
 *     NAME NS MEDIAN LEAST DIFFERENCE
 *
 * the median ns of a sample; ours over theirs as the median of the ratios of neighbouring turns, and of the shortest
 * turns; the largest difference between the outputs of both for the first SIGNAL samples. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bptt.h>

enum { SIGNAL = 4096, MOST_CONTESTANTS = 8, MOST_TURNS = 1 << 16 };

typedef struct {
    const char *name;
    void *network;
    void (*run)(void *network, int64_t n, const float *x, float *y);
    void (*close)(void *network);
    double *ns; /* (turns,) of a sample */
    double difference;
} contestant;

typedef struct {
    bptt_spec spec;
    float *packed, *state, *work;
} our_network;

static void fail(const char *what) {
    fprintf(stderr, "step: %s\n", what);
    exit(1);
}

static void try(bptt_status status) {
    if (status != BPTT_OK) fail(bptt_status_string(status));
}

static void *allocate(int64_t n, size_t size) {
    void *memory = calloc((size_t)n, size);
    if (!memory) fail("no memory");
    return memory;
}

static void read_params(const char *path, int64_t n, float *params) {
    FILE *file = fopen(path, "rb");
    if (!file || fread(params, sizeof *params, (size_t)n, file) != (size_t)n) fail("cannot read PARAMS");
    fclose(file);
}

static int cell_of(const char *name) {
    for (int cell = 0; bptt_cell_name(cell); cell++)
        if (!strcmp(bptt_cell_name(cell), name)) return cell;
    fail("no such CELL");
    return -1;
}

static void our_run(void *network, int64_t n, const float *x, float *y) {
    our_network *net = network;
    for (int64_t t = 0; t < n; t++) try(bptt_step_f32(&net->spec, 1, net->packed, x + t, net->state, y + t, net->work));
}

static void our_close(void *network) {
    our_network *net = network;
    free(net->packed);
    free(net->state);
    free(net->work);
    free(net);
}

static contestant open_ours(const char *cell, const char *hidden, const char *path) {
    our_network *net = allocate(1, sizeof *net);
    net->spec = (bptt_spec){.struct_size = sizeof net->spec, .input_size = 1, .output_size = 1, .bias = 1};
    net->spec.cell = cell_of(cell), net->spec.hidden_size = atoi(hidden);
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    try(bptt_sizes_f32(&net->spec, 1, 1, NULL, &sizes));
    float *params = allocate(sizes.params, sizeof *params);
    net->packed = allocate(sizes.packed, sizeof *net->packed);
    net->state = allocate(sizes.state, sizeof *net->state);
    net->work = allocate(sizes.step_work, sizeof *net->work);
    read_params(path, sizes.params, params);
    try(bptt_pack_f32(&net->spec, params, net->packed));
    free(params);
    return (contestant){.name = bptt_isa(), .network = net, .run = our_run, .close = our_close};
}

/* A function of a shared library. POSIX promises that its address goes through void *. */
static void *function(void *library, const char *name) {
    void *address = dlsym(library, name);
    if (!address) fail(dlerror());
    return address;
}

static contestant open_peer(const char *path, const char *model) {
    contestant peer = {.name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) fail(dlerror());
    void *(*open)(const char *);
    *(void **)&open = function(library, "peer_open");
    *(void **)&peer.run = function(library, "peer_run");
    *(void **)&peer.close = function(library, "peer_close");
    peer.network = open(model);
    if (!peer.network) fail("a peer cannot open MODEL");
    return peer;
}

/* Noise in [-0.5, 0.5), the same every time. */
static void make_signal(float *x) {
    uint32_t seed = 1;
    for (int t = 0; t < SIGNAL; t++) {
        seed = seed * 1664525u + 1013904223u;
        x[t] = (float)(seed >> 8) / (float)(1 << 24) - 0.5f;
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static double turn(contestant *c, int64_t samples, const float *x, float *y) {
    const double began = now();
    for (int64_t left = samples; left > 0; left -= SIGNAL) c->run(c->network, left < SIGNAL ? left : SIGNAL, x, y);
    return (now() - began) / (double)samples;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static double median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, ascending);
    return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

/* Takes turns for so many seconds, at least 3 each; the number of turns. */
static int race(contestant *all, int count, double seconds, const float *x, float *y) {
    int64_t samples[MOST_CONTESTANTS];
    for (int i = 0; i < count; i++) samples[i] = 1 + (int64_t)(1e6 / turn(&all[i], SIGNAL, x, y));
    const double end = now() + 1e9 * seconds;
    int turns = 0;
    for (; turns < MOST_TURNS && (turns < 3 || now() < end); turns++)
        for (int i = 0; i < count; i++) all[i].ns[turns] = turn(&all[i], samples[i], x, y);
    return turns;
}

static void print_result(contestant *ours, contestant *c, int turns, double *ratios) {
    for (int i = 0; i < turns; i++) ratios[i] = ours->ns[i] / c->ns[i];
    const double ratio = median(ratios, turns);
    double ours_least = INFINITY, least = INFINITY;
    for (int i = 0; i < turns; i++) ours_least = fmin(ours_least, ours->ns[i]), least = fmin(least, c->ns[i]);
    memcpy(ratios, c->ns, (size_t)turns * sizeof *ratios);
    printf("%s %.1f %.3f %.3f %.2g\n", c->name, median(ratios, turns), ratio, ours_least / least, c->difference);
}

int main(int argc, char **argv) {
    if (argc < 6 || argc - 5 > MOST_CONTESTANTS) fail("usage: step CELL HIDDEN PARAMS MODEL SECONDS [PEER.so ...]");
    static float x[SIGNAL], expected[SIGNAL], y[SIGNAL];
    static double ratios[MOST_TURNS];
    contestant all[MOST_CONTESTANTS];
    const int count = argc - 5;
    make_signal(x);
    for (int i = 0; i < count; i++) {
        all[i] = i ? open_peer(argv[5 + i], argv[4]) : open_ours(argv[1], argv[2], argv[3]);
        all[i].ns = allocate(MOST_TURNS, sizeof *all[i].ns);
        float *outputs = i ? y : expected;
        all[i].run(all[i].network, SIGNAL, x, outputs);
        for (int t = 0; t < SIGNAL; t++) {
            const double difference = fabs((double)outputs[t] - expected[t]);
            if (!(difference <= all[i].difference)) all[i].difference = difference; /* also NaN */
        }
    }
    const int turns = race(all, count, atof(argv[5]), x, y);
    for (int i = 0; i < count; i++) print_result(&all[0], &all[i], turns, ratios);
    for (int i = 0; i < count; i++) {
        all[i].close(all[i].network);
        free(all[i].ns);
    }
    return 0;
}
