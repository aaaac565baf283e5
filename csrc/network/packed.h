/* What packed weights begin with: a header that says what they were made of and where each piece lies, counted from
 * their begin, so that a step checks it and goes, without a plan, and packed weights may be copied to another address.
 * Behind it lie panels in two forms, for one row and for several, as the number of rows is the step's. */
#ifndef BPTT_NETWORK_PACKED_H
#define BPTT_NETWORK_PACKED_H
#include <stddef.h>

#include "bptt.h"
#include "kernels/kernels.h"
#include "spec/validate.h"

enum { ONE_ROW, SEVERAL_ROWS, FORMS }; /* of panels */

/* What packed weights are: a number that no other data begins with, and what decides on their layout: the version of
 * the library, the kernel set and the type. */
#define PACKED_MAGIC UINT64_C(0x316b636170545042)
#define PACKED_VERSION ((INT64_C(1000) * BPTT_VERSION_MAJOR + BPTT_VERSION_MINOR) * 1000 + BPTT_VERSION_PATCH)
#define PACKED_LAYOUT(kernels) (PACKED_VERSION << 16 | (kernels)->vector_bytes << 8 | REAL_BITS)

/* Where the members of `weights` lie, in elements from the begin of the packed weights; 0: NULL. */
typedef struct {
    int64_t inputs, recurrent[2], input_bias, hh_bias, peepholes, leak;
} weight_places;

/* The panels of one form. Layers above the second follow it at a fixed distance. */
typedef struct {
    weight_places first, second;
    int64_t layer_size, ho, bias_o;
} form_places;

/* Their address has the alignment of REAL only, so members are copied to be read. */
typedef struct {
    uint64_t magic;
    int64_t layout;
    bptt_spec spec;     /* as it was given, struct_size: that of this library */
    int64_t most_rows;  /* the largest B whose sizes do not overflow */
    int64_t token_rows; /* integer inputs: where a row for each lies; 0: none */
    int64_t layers;     /* of the spec, as a number of their own: above zero */
    int64_t activation; /* its bptt_cell */
    int64_t row_number; /* of the function of the kernel table that makes a step of one row */
    int64_t odd_bit;    /* of the address of a row's input: it changes from sample to sample */
    int64_t gates;      /* one row: where in the scratch of a step its gates lie; 0: no scratch for them */
    form_places forms[FORMS];
} packed_header;

/* A number of the header. */
#define HEADER_AT(packed, member) number_at(packed, offsetof(packed_header, member))
LOCAL int64_t number_at(const void *from, size_t offset) {
    int64_t number;
    memcpy(&number, (const char *)from + offset, sizeof number);
    return number;
}

/* The weights of a layer. */
typedef struct {
    const char *places; /* its weight_places, not aligned */
    const REAL *from;   /* from where they count */
} layer_pieces;

LOCAL layer_pieces layer_at(const REAL *packed, int form, int64_t layer) {
    const size_t offset = layer ? offsetof(form_places, second) : offsetof(form_places, first);
    return (layer_pieces){
        .places = (const char *)packed + offsetof(packed_header, forms) + (size_t)form * sizeof(form_places) + offset,
        .from = layer < 2 ? packed : packed + (layer - 1) * HEADER_AT(packed, forms[form].layer_size)};
}

/* A piece that every layer of the cell has, or that the cell does not read. */
#define PIECE(layer, member) ((layer).from + number_at((layer).places, offsetof(weight_places, member)))

/* A piece of several rows, or NULL. Nobody writes it. */
#define PIECE_OR_NULL(layer, member) piece_at((layer).from, number_at((layer).places, offsetof(weight_places, member)))
LOCAL REAL *piece_at(const REAL *packed, int64_t place) { return place ? (REAL *)packed + place : NULL; }

/* ---- opening ------------------------------------------------------------------------------------------- */

/* A step's arguments. */
typedef struct {
    const kernels *kernels;
    const bptt_spec *spec;
    const REAL *packed, *x; /* x NULL: tokens */
    const int64_t *tokens;
    REAL *state, *y, *work;
    int64_t B;
} single_step;

/* Whether weights were packed by this library for this type and kernel set. */
LOCAL int packed_here(const kernels *kernels, const REAL *packed) {
    return HEADER_AT(packed, magic) == PACKED_MAGIC && HEADER_AT(packed, layout) == PACKED_LAYOUT(kernels);
}

/* Whether a step may go at once: nothing is NULL, and the spec has the bytes of the one that was checked when the
 * weights were packed. `compare` is memcmp, or what a kernel set has in its place. */
LOCAL int opens_at_once(const single_step *single, int takes_tokens,
                        int (*compare)(const void *, const void *, size_t)) {
    const bptt_spec *spec = single->spec;
    const REAL *packed = single->packed;
    return packed && (takes_tokens ? single->tokens != NULL : single->x != NULL) && single->state && single->work &&
           spec && single->kernels && spec->struct_size == sizeof *spec && packed_here(single->kernels, packed) &&
           compare((const char *)packed + offsetof(packed_header, spec), spec, sizeof *spec) == 0 && single->B >= 1 &&
           single->B <= HEADER_AT(packed, most_rows) && bptt_internal_takes_tokens(spec) == takes_tokens;
}
#endif
