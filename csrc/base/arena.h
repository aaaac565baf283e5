/* Scratch memory handed out in order, each piece from a fresh cache line. The same walk with base = NULL only counts,
 * so sizes and addresses cannot disagree. */
#ifndef BPTT_BASE_ARENA_H
#define BPTT_BASE_ARENA_H
#include "base/real.h"

enum { LINE = 64 / sizeof(REAL) }; /* elements of a cache line */

typedef struct {
    REAL *base;   /* the first cache line; NULL: only count */
    int64_t used; /* elements handed out, and one line more to align the caller's memory */
} arena;

/* The first cache line at or behind an address, which is not NULL. */
LOCAL REAL *first_line(REAL *memory) { return memory + (0 - (uintptr_t)memory) % 64 / sizeof(REAL); }

LOCAL arena arena_at(REAL *memory) { return (arena){memory ? first_line(memory) : NULL, LINE}; }

LOCAL REAL *arena_alloc(arena *from, int64_t elements) {
    REAL *piece = from->base ? from->base + from->used - LINE : NULL;
    from->used += (elements + LINE - 1) / LINE * LINE;
    return piece;
}
#endif
