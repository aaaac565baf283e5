/* Counting checks. A program names the case it is in, checks, and ends with the number of checks that passed. */
#ifndef CHECK_H
#define CHECK_H
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bptt.h"

enum { SKIPPED = 77 }; /* exit code: no kernels run here under the BPTT_ISA that was asked for */

static long checks_passed, checks_failed;
static char case_name[200] = "start";

#define CHECK(condition) check_that((condition) != 0, __FILE__, __LINE__, #condition)
#define CHECK_STATUS(call, expected) check_status(call, expected, __FILE__, __LINE__, #call)

static inline void name_case(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(case_name, sizeof case_name, format, arguments);
    va_end(arguments);
}

static inline void check_that(int true_here, const char *file, int line, const char *text) {
    if (true_here) {
        checks_passed++;
        return;
    }
    checks_failed++;
    printf("%s:%d: failed in %s: %s\n", file, line, case_name, text);
}

static inline void check_status(bptt_status status, bptt_status expected, const char *file, int line,
                                const char *text) {
    if (status != expected)
        printf("status %d (%s), expected %d\n", (int)status, bptt_status_string(status), (int)expected);
    check_that(status == expected, file, line, text);
}

/* The program's exit code, after its last line. */
static inline int end_of_checks(void) {
    const char *isa = bptt_isa();
    printf("%s: %ld checks failed\n%s: %ld checks passed\n", isa ? isa : "none", checks_failed, isa ? isa : "none",
           checks_passed);
    if (checks_failed || !checks_passed) return 1;
    return isa ? 0 : SKIPPED;
}

/* ---- memory ------------------------------------------------------------------------------------- */

/* In front of a buffer lies a guard zone, behind it another, but under a sanitizer, which itself sees the first byte
 * too far. */
enum { GUARD = 64, GUARD_BYTE = 0xfe };
#ifdef __SANITIZE_ADDRESS__
enum { GUARD_BEHIND = 0 };
#else
enum { GUARD_BEHIND = GUARD };
#endif

/* What buffers hold at first, NaN in both types: what nobody wrote shows in every result it enters. And how many bytes
 * further than malloc aligns they begin. A check may set both for a while. */
static int buffer_fill = 0xff;
static int64_t buffer_shift;

typedef struct {
    int64_t bytes, shift;
} buffer_label; /* begins the guard zone in front */

static inline void *buffer_of(int64_t bytes) {
    const buffer_label label = {bytes, buffer_shift};
    unsigned char *block = malloc((size_t)(buffer_shift + GUARD + bytes + GUARD_BEHIND));
    if (!block) {
        printf("out of memory: %lld bytes\n", (long long)bytes);
        exit(1);
    }
    unsigned char *guard = block + buffer_shift;
    memset(guard, GUARD_BYTE, (size_t)(GUARD + bytes + GUARD_BEHIND));
    memcpy(guard, &label, sizeof label);
    return memset(guard + GUARD, buffer_fill, (size_t)bytes);
}

/* nobody has written to these bytes since they held nothing but `value` */
static inline int all_bytes(const void *memory, int64_t bytes, int value) {
    for (int64_t i = 0; i < bytes; i++)
        if (((const unsigned char *)memory)[i] != value) return 0;
    return 1;
}

/* frees a buffer after a look at its guard zones */
static inline void release(void *buffer) {
    if (!buffer) return;
    unsigned char *guard = (unsigned char *)buffer - GUARD;
    buffer_label label;
    memcpy(&label, guard, sizeof label);
    const int in_front = all_bytes(guard + sizeof label, GUARD - (int64_t)sizeof label, GUARD_BYTE);
    CHECK(in_front && all_bytes(guard + GUARD + label.bytes, GUARD_BEHIND, GUARD_BYTE));
    free(guard - label.shift);
}

/* ---- numbers ------------------------------------------------------------------------------------ */

/* The same sequence in every run: uniform in [-1, 1), in steps that float32 holds exactly. */
static inline double uniform(void) {
    static uint64_t state = 20240607;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 42) / (1 << 21) - 1;
}

/* one of 0..n-1 */
static inline int64_t any_of(int64_t n) { return (int64_t)((uniform() + 1) / 2 * (double)n); }

static inline double *zeros(int64_t n) {
    const int64_t bytes = n * (int64_t)sizeof(double);
    return memset(buffer_of(bytes), 0, (size_t)bytes);
}

static inline double largest_of(int64_t n, const double *values) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(values[i]));
    return largest;
}

static inline double *uniform_array(int64_t n, double scale) {
    double *values = buffer_of(n * (int64_t)sizeof *values);
    for (int64_t i = 0; i < n; i++) values[i] = (double)(float)(scale * uniform());
    return values;
}
#endif
