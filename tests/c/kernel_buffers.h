/* Buffers that know what a kernel must leave in them. Every buffer of a case is compared as a whole when the case ends:
 * elements that the check announced by `want` within their tolerance, all others (inputs, padding between rows, guard
 * elements) to the bit. */
#ifndef KERNEL_BUFFERS_H
#define KERNEL_BUFFERS_H
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "kernels/kernels.h"

#if REAL_BITS == 32
#define EPSILON ((double)FLT_EPSILON)
#define SMALLEST ((double)FLT_TRUE_MIN)
#define LARGEST ((double)FLT_MAX)
#else
#define EPSILON DBL_EPSILON
#define SMALLEST DBL_TRUE_MIN
#define LARGEST DBL_MAX
#endif

enum { GUARDS = 16, MOST_BUFFERS = 40, MOST_REPORTS = 30 };

/* With `exact` (--exact, or under AddressSanitizer) a buffer ends where its allocation does, so that valgrind or the
 * sanitizer sees an access to the first byte beyond it. Otherwise guard elements lie behind it. */
#ifdef __SANITIZE_ADDRESS__
static int exact = 1;
#else
static int exact = 0;
#endif

typedef struct {
    REAL *block, *data; /* block: guard elements, then data */
    int64_t n, all;     /* elements of data and of the block */
    int64_t front;      /* guard elements before data */
    REAL *before;       /* copy of the block as it was made */
    double *expected;   /* what data must hold, within `tolerance`; a tolerance below zero: the bits of `before` */
    double *tolerance;
    const REAL *same_as; /* another buffer's data that must have the same bits in the end; NULL: none */
} buffer;

static buffer buffers[MOST_BUFFERS];
static int buffer_count;

LOCAL void *checked_malloc(int64_t bytes) {
    void *memory = malloc((size_t)(bytes > 0 ? bytes : 1));
    if (memory) return memory;
    printf("out of memory: %lld bytes\n", (long long)bytes);
    exit(1);
}

/* Takes the present content of a buffer as its content before the kernel. */
LOCAL void settle(const REAL *data) {
    for (int i = 0; i < buffer_count; i++)
        if (buffers[i].data == data) memcpy(buffers[i].before, buffers[i].block, (size_t)buffers[i].all * sizeof(REAL));
}

/* n numbers between -scale and scale, at an address that is aligned for REAL only. */
LOCAL REAL *numbers(int64_t n, double scale) {
    if (buffer_count == MOST_BUFFERS) exit(2);
    buffer *b = &buffers[buffer_count++];
    b->front = GUARDS + any_of(GUARDS);
    b->n = n;
    b->all = b->front + n + (exact ? 0 : GUARDS);
    b->block = checked_malloc(b->all * (int64_t)sizeof(REAL));
    b->before = checked_malloc(b->all * (int64_t)sizeof(REAL));
    b->expected = checked_malloc(n * (int64_t)sizeof(double));
    b->tolerance = checked_malloc(n * (int64_t)sizeof(double));
    b->data = b->block + b->front;
    b->same_as = NULL;
    for (int64_t i = 0; i < b->all; i++) b->block[i] = (REAL)NAN;
    for (int64_t i = 0; i < n; i++) {
        b->data[i] = (REAL)(scale * uniform());
        b->tolerance[i] = -1;
    }
    settle(b->data);
    return b->data;
}

/* A matrix whose rows lie ld apart; it ends with the last row's last column. Padding is NaN, so that a read of it
 * shows. */
LOCAL REAL *matrix(int64_t rows, int64_t cols, int64_t ld, double scale) {
    const int64_t n = rows > 0 ? (rows - 1) * ld + cols : 0;
    REAL *data = numbers(n, scale);
    for (int64_t i = 0; i < n; i++)
        if (i % ld >= cols) data[i] = (REAL)NAN;
    settle(data);
    return data;
}

/* Sets elements before the kernel is called. */
LOCAL void fill(REAL *data, int64_t n, REAL value) {
    for (int64_t i = 0; i < n; i++) data[i] = value;
    settle(data);
}

LOCAL buffer *buffer_of_data(const REAL *data) {
    for (int i = 0; i < buffer_count; i++)
        if (buffers[i].data == data) return &buffers[i];
    printf("no buffer begins there\n");
    exit(2);
}

/* A second buffer with the same content, whose final bits must be those of the first. */
LOCAL REAL *twin(const REAL *data) {
    const int64_t n = buffer_of_data(data)->n;
    REAL *copy = numbers(n, 1);
    memcpy(copy, data, (size_t)n * sizeof(REAL));
    buffer_of_data(copy)->same_as = data;
    return copy;
}

/* Element i of data must become `value`, give or take `tolerance`; NaN where value is NaN. */
LOCAL void want_within(const REAL *data, int64_t i, double value, double tolerance) {
    buffer *b = buffer_of_data(data);
    b->expected[i] = value;
    b->tolerance[i] = tolerance;
}

/* The same, give or take some roundings of numbers of that magnitude. */
LOCAL void want(const REAL *data, int64_t i, double value, double magnitude) {
    want_within(data, i, value, 16 * EPSILON * magnitude + 2 * SMALLEST);
}

/* n numbers that a kernel may overwrite with any others. */
LOCAL REAL *scratch(int64_t n) {
    REAL *data = numbers(n, 1);
    for (int64_t i = 0; i < n; i++) want_within(data, i, 0, INFINITY);
    return data;
}

/* whether the number is the expected one, NaN and infinities included */
LOCAL int is_close(double actual, double expected, double tolerance) {
    if (isnan(expected)) return isnan(actual);
    if (isinf(expected) || fabs(expected) > LARGEST) return isinf(actual) && (actual > 0) == (expected > 0);
    if (isinf(actual)) return fabs(expected) + tolerance > LARGEST && (actual > 0) == (expected > 0);
    return fabs(actual - expected) <= tolerance || (isinf(tolerance) && !isnan(actual));
}

static int reports;

/* The table under test, and the case: "avx2 f32 " and what the caller says. */
static const char *set_name = "";

LOCAL void kernel_case(const char *format, ...) {
    char text[150];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    name_case("%s f%d %s", set_name, REAL_BITS, text);
}

/* The same bits, or both NaN: the compiler chooses which operand's sign a NaN takes. */
static int same_number(REAL a, REAL b) { return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b)); }

/* element i of a block, which begins with guard elements */
LOCAL int element_holds(const buffer *b, int64_t i) {
    const int64_t index = i - b->front; /* in data */
    if (b->same_as && index >= 0 && index < b->n) return same_number(b->data[index], b->same_as[index]);
    if (index < 0 || index >= b->n || b->tolerance[index] < 0)
        return memcmp(b->block + i, b->before + i, sizeof(REAL)) == 0;
    return is_close((double)b->data[index], b->expected[index], b->tolerance[index]);
}

LOCAL void report(const buffer *b, int64_t i) {
    const int64_t index = i - b->front; /* in data */
    const int wanted = index >= 0 && index < b->n && b->tolerance[index] >= 0;
    if (reports++ >= MOST_REPORTS) return;
    printf("%s: buffer %d, element %lld of %lld is %.17g, ", case_name, (int)(b - buffers), (long long)index,
           (long long)b->n, (double)b->block[i]);
    if (b->same_as) printf("its twin's is %.17g\n", (double)b->same_as[index]);
    else if (wanted) printf("expected %.17g within %.3g\n", b->expected[index], b->tolerance[index]);
    else printf("was %.17g and should stay\n", (double)b->before[i]);
}

/* Compares all buffers and frees them. */
LOCAL void end_case(void) {
    for (int k = 0; k < buffer_count; k++) {
        const buffer *b = &buffers[k];
        int64_t wrong = 0;
        for (int64_t i = 0; i < b->all; i++)
            if (!element_holds(b, i) && !wrong++) report(b, i);
        if (wrong == 0 || reports < MOST_REPORTS) CHECK(wrong == 0);
        else checks_failed++;
    }
    for (int k = 0; k < buffer_count; k++) {
        free(buffers[k].block);
        free(buffers[k].before);
        free(buffers[k].expected);
        free(buffers[k].tolerance);
    }
    buffer_count = 0;
}

/* A number that a kernel returned. */
LOCAL void check_number(double actual, double expected, double tolerance) {
    const int close = fabs(actual - expected) <= tolerance || (isnan(actual) && isnan(expected));
    if (!close && reports++ < MOST_REPORTS)
        printf("%s: returned %.17g, expected %.17g within %.3g\n", case_name, actual, expected, tolerance);
    CHECK(close);
}
#endif
