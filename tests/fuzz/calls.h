/* One call, or a few that belong together, made of bytes; the first says which. Ends the process if a check fails. */
#ifndef FUZZ_CALLS_H
#define FUZZ_CALLS_H
#include <stdlib.h>
#include <string.h>

#include "arrays.h"
#include "bptt.h"
#include "input.h"
#include "learner.h"
#include "network.h"

/* Every number has a text, and names end where the numbers do. */
LOCAL void fuzz_names(input *in) {
    const int number = (int)take_any_word(in);
    const char *text = bptt_status_string((bptt_status)number), *cell = bptt_cell_name(number);
    name_case("names of %d", number);
    CHECK(text && strlen(text) > 3);
    for (int status = BPTT_OK; status <= BPTT_ERROR_PACKED; status++)
        CHECK(strcmp(bptt_status_string((bptt_status)status), bptt_status_string((bptt_status)-1)) != 0);
    CHECK(!cell == (number < 0 || number > BPTT_CELL_GRU));
    CHECK(bptt_isa() && strstr(bptt_isa_choices(), bptt_isa()) && strlen(bptt_version()) >= 5);
}

typedef void fuzz_part(input *in);

/* Those that do most come more than once. */
static fuzz_part *const fuzz_parts[] = {fuzz_problem,      fuzz_damaged_call, fuzz_problem,   fuzz_damaged_call,
                                        fuzz_damaged_call, fuzz_sequence,     fuzz_exactness, fuzz_damaged_learner,
                                        fuzz_loss,         fuzz_loss,         fuzz_update,    fuzz_clip,
                                        fuzz_scale,        fuzz_constrain,    fuzz_windows,   fuzz_names};

LOCAL void fuzz_bytes(const uint8_t *bytes, size_t size) {
    input in = {bytes, bytes + size};
    fuzz_part *part = fuzz_parts[take_below(&in, COUNT_OF(fuzz_parts))];
    random_state = take_word(&in);
    part(&in);
    if (!checks_failed) return;
    fflush(stdout); /* what check_that has printed */
    abort();
}
#endif
