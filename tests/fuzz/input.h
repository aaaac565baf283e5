/* Arguments made of bytes, and random numbers seeded by them: the same bytes give the same call in every run. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../c/check.h"
#include "../c/real.h"

/* Bytes that are read one after another; zeros follow the last. */
typedef struct {
    const uint8_t *next, *end;
} input;

LOCAL unsigned take_byte(input *in) { return in->next < in->end ? *in->next++ : 0; }

LOCAL uint64_t take_word(input *in) {
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) word |= (uint64_t)take_byte(in) << (8 * i);
    return word;
}

/* An integer in 0..n-1, n <= 256. */
LOCAL int64_t take_below(input *in, int64_t n) { return take_byte(in) % n; }
/* An integer in least..most. */
LOCAL int64_t take_between(input *in, int64_t least, int64_t most) { return least + take_below(in, most - least + 1); }
/* True once in n times. */
LOCAL int take_chance(input *in, int n) { return take_byte(in) % (unsigned)n == (unsigned)n - 1; }

/* Any 64 bits: those of a number at an edge, or eight bytes as they are. */
LOCAL uint64_t take_any_word(input *in) {
    static const int64_t edges[] = {
        0,         1,         2,       3,       -1,        5,         6,         100,       INT32_MAX, INT32_MIN,
        INT64_MAX, INT64_MIN, 1 << 16, 1 << 30, 1LL << 32, 1LL << 40, 1LL << 60, 1LL << 62, 10000,     INT64_MAX / 64};
    static const double numbers[] = {0.5, 0.999, 1, 2, -0.1, 1e-320, 1e300, INFINITY, -INFINITY, NAN, 1e39, 0x1p-149};
    enum { EDGES = sizeof edges / sizeof edges[0], NUMBERS = sizeof numbers / sizeof numbers[0] };
    const unsigned kind = take_byte(in);
    uint64_t word;
    if (kind < EDGES) return (uint64_t)edges[kind];
    if (kind >= EDGES + NUMBERS) return take_word(in);
    memcpy(&word, &numbers[kind - EDGES], sizeof word);
    return word;
}

LOCAL double take_any_double(input *in) {
    const uint64_t word = take_any_word(in);
    double number;
    memcpy(&number, &word, sizeof number);
    return number;
}

/* The usual value in most cases, else any. */
LOCAL int64_t take_integer(input *in, int64_t usual) {
    return take_chance(in, 12) ? (int64_t)take_any_word(in) : usual;
}
LOCAL double take_number(input *in, double usual) { return take_chance(in, 12) ? take_any_double(in) : usual; }

/* n numbers in [-1, 1), of which up to three become any number of the type. */
LOCAL REAL *take_array(input *in, int64_t n) {
    REAL *values = array(n);
    for (int64_t i = 0; i < n; i++) values[i] = (REAL)uniform();
    for (int64_t left = take_below(in, 16) - 12; left > 0 && n; left--) {
        const int64_t at = (int64_t)(take_word(in) % (uint64_t)n);
        values[at] = (REAL)take_any_double(in);
    }
    return values;
}

/* n flags, about one in four of them set. */
LOCAL uint8_t *take_flags(input *in, int64_t n) {
    uint8_t *flags = buffer_of(n);
    const uint8_t value = (uint8_t)(1 + take_below(in, 255));
    for (int64_t i = 0; i < n; i++) flags[i] = any_of(4) ? 0 : value;
    return flags;
}

/* Overwrites 4 or 8 bytes of a struct, up to three times: mostly not at all. */
LOCAL void take_damage(input *in, void *memory, size_t size) {
    for (int64_t left = take_below(in, 8) - 4; left > 0; left--) {
        const size_t width = take_chance(in, 2) ? 8 : 4, at = (size_t)take_below(in, (int64_t)(size / width)) * width;
        const uint64_t word = take_any_word(in);
        memcpy((char *)memory + at, &word, width); /* the lower half of a little-endian word */
    }
}

/* ---- comparisons ------------------------------------------------------------------------------------ */

/* The same numbers; any NaN equals any other. */
LOCAL int same_numbers(int64_t n, const REAL *a, const REAL *b) {
    for (int64_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]))) return 0;
    return 1;
}

/* Whether nothing was written to buffers of n elements each; NULL ones hold nothing. */
LOCAL int untouched(int64_t n, REAL *const *buffers, int count) {
    for (int i = 0; i < count; i++)
        if (buffers[i] && !all_bytes(buffers[i], n * (int64_t)sizeof(REAL), buffer_fill)) return 0;
    return 1;
}

LOCAL void release_all(REAL *const *buffers, int count) {
    for (int i = 0; i < count; i++) release(buffers[i]);
}
#define COUNT_OF(list) ((int)(sizeof(list) / sizeof(list)[0]))
#endif
