/* The sentence about the first argument that is wrong. */
#include "spec/sentence.h"

#include <stdarg.h>
#include <stdio.h>

bptt_status bptt_internal_refuse(bptt_internal_sentence *to, bptt_status status, const char *format, ...) {
    va_list values;
    if (!to) return status;
    va_start(values, format);
    to->length = vsnprintf(to->text, to->size, format, values);
    va_end(values);
    return status;
}
