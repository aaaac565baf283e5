/* A step allocates nothing, takes no lock and makes no system call: a million of them, over all cells.
 *
 * Where the C library is glibc, this program's own malloc and others count their calls; on Linux the steps also run in
 * a child process that the kernel ends at its first system call. Clang's RealtimeSanitizer (-fsanitize=realtime, Clang
 * 20) checks the same by its own list of functions: then it takes the place of both. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "bptt.h"
#include "check.h"
#include "real.h"

#ifdef __has_feature
#if __has_feature(realtime_sanitizer)
#define REALTIME_SANITIZER 1
#endif
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define OTHER_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OTHER_SANITIZER 1
#endif

#ifdef REALTIME_SANITIZER
#define REALTIME __attribute__((nonblocking))
#else
#define REALTIME
#endif

/* ---- counted functions ---------------------------------------------------------------------------------- */

static volatile long counted; /* calls while `counting` */
static volatile int counting;

#if defined(__GLIBC__) && !defined(REALTIME_SANITIZER) && !defined(OTHER_SANITIZER)
#define COUNTS 1
#include <pthread.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static volatile int no_memory; /* malloc fails */

static void count(void) { counted += counting; }

void *malloc(size_t size) {
    count();
    return no_memory ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    count();
    return __libc_calloc(n, size);
}

void *realloc(void *memory, size_t size) {
    count();
    return __libc_realloc(memory, size);
}

void free(void *memory) {
    count();
    __libc_free(memory);
}

void *aligned_alloc(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    count();
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : 12;
}

/* No other thread runs here, so the locks need not lock. */
int pthread_mutex_lock(pthread_mutex_t *mutex) {
    (void)mutex;
    count();
    return 0;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex) {
    (void)mutex;
    count();
    return 0;
}

int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    (void)condition;
    (void)mutex;
    count();
    return 0;
}
#endif

/* ---- steps ----------------------------------------------------------------------------------------------- */

enum { STREAMS_MOST = 64, ROWS = 4 };

typedef struct {
    bptt_spec spec;
    int64_t B;
    REAL *packed, *x, *state, *y, *work;
    int64_t tokens[ROWS];
} stream;

static stream streams[STREAMS_MOST];
static int stream_count;

static void add_stream(bptt_spec spec, int64_t B) {
    stream *s = &streams[stream_count++];
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    CHECK(stream_count <= STREAMS_MOST);
    CHECK_STATUS(TYPED(bptt_sizes)(&spec, 1, B, NULL, &sizes), BPTT_OK);
    *s = (stream){spec,
                  B,
                  array(sizes.packed),
                  array(B * spec.input_size),
                  array(sizes.state),
                  array(sizes.output),
                  array(sizes.step_work),
                  {0, 1, 2, 1}};
    REAL *params = array(sizes.params);
    for (int64_t i = 0; i < sizes.params; i++) params[i] = (REAL)(.3 * uniform());
    for (int64_t i = 0; i < B * spec.input_size; i++) s->x[i] = (REAL)uniform();
    memset(s->state, 0, (size_t)sizes.state * sizeof(REAL));
    CHECK_STATUS(TYPED(bptt_pack)(&spec, params, s->packed), BPTT_OK);
    release(params);
}

static void add_streams(void) {
    for (int cell = 0; bptt_cell_name(cell); cell++)
        for (int64_t B = 1; B <= ROWS; B += ROWS - 1) {
            bptt_spec spec = {.struct_size = sizeof spec, .input_size = 3, .hidden_size = 9, .cell = cell, .bias = 1};
            spec.output_size = 1;
            add_stream(spec, B);
            spec.num_layers = 3;
            spec.peepholes = cell == BPTT_CELL_LSTM;
            spec.reset_before = cell == BPTT_CELL_GRU;
            spec.one_hot = B == 1;
            spec.num_embeddings = B == 1 ? 0 : 5;
            add_stream(spec, B);
        }
}

/* One step of each stream; returns how many failed. */
static int step_all(void) REALTIME {
    int failed = 0;
    for (int i = 0; i < stream_count; i++) {
        stream *s = &streams[i];
        const int tokens = s->spec.one_hot || s->spec.num_embeddings;
        failed += tokens ? TYPED(bptt_step_tokens)(&s->spec, s->B, s->packed, s->tokens, s->state, s->y, s->work) != 0
                         : TYPED(bptt_step)(&s->spec, s->B, s->packed, s->x, s->state, s->y, s->work) != 0;
    }
    return failed;
}

/* Steps of all streams together: a million under the best kernel set. */
static int run_steps(void) {
    const long rounds = (is_best_set() ? 1000000 : 100000) / stream_count;
    int failed = 0;
    for (long i = 0; i < rounds; i++) failed += step_all();
    return failed;
}

/* ---- without system calls ---------------------------------------------------------------------------------- */

#if defined(__linux__) && !defined(REALTIME_SANITIZER) && !defined(OTHER_SANITIZER)
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NO_SECCOMP = 3 };

/* The child may do nothing but read, write and end. */
static void check_system_calls(void) {
    int status = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)) _exit(NO_SECCOMP);
        syscall(SYS_exit, run_steps() != 0);
    }
    name_case("steps without system calls");
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SECCOMP) {
        printf("skipped: the kernel has no seccomp\n");
        return;
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The check above sees a system call. */
static void check_that_calls_are_seen(void) {
    int status = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)) _exit(NO_SECCOMP);
        syscall(SYS_exit, syscall(SYS_getppid) < 0);
    }
    name_case("a system call is seen");
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
          (WIFEXITED(status) && WEXITSTATUS(status) == NO_SECCOMP));
}
#else
static void check_system_calls(void) { printf("skipped: system calls are checked on Linux, without sanitizers\n"); }
static void check_that_calls_are_seen(void) {}
#endif

int main(void) {
    if (!bptt_isa()) { /* nothing can be packed */
        CHECK(bptt_isa_choices() != NULL);
        return end_of_checks();
    }
    add_streams();
    name_case("steps");
    counting = 1;
    const int failed = run_steps();
    counting = 0;
    CHECK(failed == 0);
    CHECK(counted == 0);
#ifdef COUNTS
    name_case("a call of malloc is seen");
    counting = 1;
    void *volatile memory = malloc(1);
    free(memory);
    counting = 0;
    CHECK(counted == 2);
    name_case("no memory for a team");
    bptt_team *team = NULL;
    no_memory = 1;
    const bptt_status status = bptt_team_make(&team);
    no_memory = 0;
    CHECK_STATUS(status, BPTT_ERROR_MEMORY);
    CHECK(!team);
#endif
    check_that_calls_are_seen();
    check_system_calls();
    for (int i = 0; i < stream_count; i++) {
        REAL *const all[] = {streams[i].packed, streams[i].x, streams[i].state, streams[i].y, streams[i].work};
        for (size_t k = 0; k < sizeof all / sizeof all[0]; k++) release(all[k]);
    }
    return end_of_checks();
}
