/* Windows of truncated BPTT: index arithmetic only (Williams & Peng 1990; Sutskever 2013, 2.8.6). */
#include "bptt.h"

bptt_status bptt_window_count(int64_t T, int64_t k1, int64_t k2, int64_t *count) {
    if (!count) return BPTT_ERROR_NULL;
    if (T < 1) return BPTT_ERROR_SIZE;
    if (k1 < 1 || k2 < k1) return BPTT_ERROR_WINDOW;
    *count = (T - 1) / k1 + 1;
    return BPTT_OK;
}

bptt_status bptt_window_at(int64_t T, int64_t k1, int64_t k2, int64_t index, bptt_window *window) {
    int64_t count;
    if (!window) return BPTT_ERROR_NULL;
    bptt_status status = bptt_window_count(T, k1, k2, &count);
    if (status) return status;
    if (index < 0 || index >= count) return BPTT_ERROR_WINDOW;
    window->start = index * k1;
    window->stop = T - window->start < k1 ? T : window->start + k1;
    window->back = window->stop < k2 ? 0 : window->stop - k2;
    return BPTT_OK;
}
