/* Counted checks, buffers with guard zones, and random numbers. A program names each case, checks, and ends with the
 * counts. */
#ifndef CHECK_H
#define CHECK_H
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bptt.h"

/* A function of a header: static, and a program may leave it unused. */
#ifndef LOCAL
#ifdef __GNUC__
#define LOCAL static __attribute__((unused))
#else
#define LOCAL static
#endif
#endif

enum { SKIPPED = 77 }; /* exit code: BPTT_ISA names no kernel set that runs here */

LOCAL long checks_passed, checks_failed;
LOCAL char case_name[200] = "start";

#define CHECK(condition) check_that((condition) != 0, __FILE__, __LINE__, #condition)
#define CHECK_STATUS(call, expected) check_status(call, expected, __FILE__, __LINE__, #call)

/* Whether the kernel set in use is the best that runs here: checks that do not depend on the set need to run under this
 * one only. */
LOCAL int is_best_set(void) {
    const char *isa = bptt_isa(), *choices = bptt_isa_choices();
    return isa && strcmp(choices + strlen(choices) - strlen(isa), isa) == 0;
}

/* The case that messages of failed checks name. */
LOCAL void name_case(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(case_name, sizeof case_name, format, arguments);
    va_end(arguments);
}

LOCAL void check_that(int holds, const char *file, int line, const char *text) {
    if (holds) {
        checks_passed++;
        return;
    }
    checks_failed++;
    printf("%s:%d: failed in %s: %s\n", file, line, case_name, text);
#ifdef STOP_AT_FAILURE
    exit(1);
#endif
}

LOCAL void check_status(bptt_status status, bptt_status expected, const char *file, int line, const char *text) {
    if (status != expected)
        printf("status %d (%s), expected %d\n", (int)status, bptt_status_string(status), (int)expected);
    check_that(status == expected, file, line, text);
}

/* Prints the counts; returns the exit code of the program. */
LOCAL int end_of_checks(void) {
    const char *isa = bptt_isa();
    printf("%s: %ld checks failed\n%s: %ld checks passed\n", isa ? isa : "none", checks_failed, isa ? isa : "none",
           checks_passed);
    if (checks_failed || !checks_passed) return 1;
    return isa ? 0 : SKIPPED;
}

/* ---- memory ------------------------------------------------------------------------------------- */

/* A guard zone lies before each buffer and another behind it. Under AddressSanitizer there is none behind: the
 * sanitizer sees an access to the first byte beyond the buffer. */
enum { GUARD = 64, GUARD_BYTE = 0xfe };
#ifdef __has_feature /* Clang */
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
enum { GUARD_AFTER = 0 };
#else
enum { GUARD_AFTER = GUARD };
#endif

/* Under a sanitizer finite differences are left out: many calls of one kind, which tell about numbers alone. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* The byte that fills new buffers: NaN in both types, so that a read of unwritten memory shows in the result. */
static int buffer_fill = 0xff;
/* Distance in bytes of new buffers from where malloc aligns them. */
static int64_t buffer_shift;

typedef struct {
    int64_t bytes, shift;
} buffer_label; /* lies at the start of the guard zone before the buffer */

LOCAL void *buffer_of(int64_t bytes) {
    const buffer_label label = {bytes, buffer_shift};
    unsigned char *block = malloc((size_t)(buffer_shift + GUARD + bytes + GUARD_AFTER));
    if (!block) {
        printf("out of memory: %lld bytes\n", (long long)bytes);
        exit(1);
    }
    unsigned char *guard = block + buffer_shift;
    memset(guard, GUARD_BYTE, (size_t)(GUARD + bytes + GUARD_AFTER));
    memcpy(guard, &label, sizeof label);
    return memset(guard + GUARD, buffer_fill, (size_t)bytes);
}

/* Whether all bytes hold `value`. */
LOCAL int all_bytes(const void *memory, int64_t bytes, int value) {
    for (int64_t i = 0; i < bytes; i++)
        if (((const unsigned char *)memory)[i] != value) return 0;
    return 1;
}

/* Frees a buffer and checks that its guard zones are as they were. */
LOCAL void release(void *buffer) {
    if (!buffer) return;
    unsigned char *guard = (unsigned char *)buffer - GUARD;
    buffer_label label;
    memcpy(&label, guard, sizeof label);
    const int before = all_bytes(guard + sizeof label, GUARD - (int64_t)sizeof label, GUARD_BYTE);
    CHECK(before && all_bytes(guard + GUARD + label.bytes, GUARD_AFTER, GUARD_BYTE));
    free(guard - label.shift);
}

/* ---- numbers ------------------------------------------------------------------------------------ */

static uint64_t random_state = 20240607;

/* Uniform in [-1, 1), the same sequence in every run, in steps that float32 holds exactly. */
LOCAL double uniform(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 42) / (1 << 21) - 1;
}

/* A random integer in 0..n-1. */
LOCAL int64_t any_of(int64_t n) { return (int64_t)((uniform() + 1) / 2 * (double)n); }

LOCAL double *zeros(int64_t n) {
    const int64_t bytes = n * (int64_t)sizeof(double);
    return memset(buffer_of(bytes), 0, (size_t)bytes);
}

LOCAL double largest_of(int64_t n, const double *values) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(values[i]));
    return largest;
}

LOCAL double *uniform_array(int64_t n, double scale) {
    double *values = buffer_of(n * (int64_t)sizeof *values);
    for (int64_t i = 0; i < n; i++) values[i] = (double)(float)(scale * uniform());
    return values;
}
#endif
