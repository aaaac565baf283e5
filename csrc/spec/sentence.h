/* The sentence about the first argument that is wrong, which bptt_explain writes. Checks write it where they find that
 * argument, so that each rule and its words stand at one place. */
#ifndef BPTT_SPEC_SENTENCE_H
#define BPTT_SPEC_SENTENCE_H
#include "base/local.h"
#include "bptt.h"

/* Where the sentence goes. Checks take NULL in its place where nobody asks for it. */
typedef struct {
    char *text; /* receives it, cut off to `size` bytes with the 0 at the end; size 0: not used */
    size_t size;
    int length; /* receives the length of the whole sentence */
} bptt_internal_sentence;

/* Writes the sentence, whose words come as printf's, and returns the status. */
#ifdef GNU_C
__attribute__((format(printf, 3, 4)))
#endif
bptt_status bptt_internal_refuse(bptt_internal_sentence *to, bptt_status status, const char *format, ...);

/* Ends a check with the status and the sentence of a rule that does not hold. */
#define REQUIRE(holds, to, status, ...)                                                                                \
    do {                                                                                                               \
        if (!(holds)) return bptt_internal_refuse(to, status, __VA_ARGS__);                                            \
    } while (0)
#endif
