/* A team of threads, each of which runs the same body: the caller's bptt_team, or one that lives only inside a call. */
#ifndef BPTT_BASE_THREADS_H
#define BPTT_BASE_THREADS_H
#include <stdint.h>

#include "base/local.h"
#include "bptt.h"

enum {
    BPTT_INTERNAL_MOST_THREADS = 64,
    BPTT_INTERNAL_MOST_TASKS = 24 /* of a run */
};

typedef struct {
    struct bptt_team *team;
    int rank, size;  /* the calling thread has rank 0 */
    int64_t process; /* in which the run began */
} bptt_internal_member;

typedef void bptt_internal_body(void *context, const bptt_internal_member *me);
typedef void bptt_internal_task(void *context, const bptt_internal_member *me, int task);

/* Runs body on `size` threads, on fewer where the system refuses to make them. NULL, or a team that is in the middle of
 * another run: on threads that are made here and joined. */
void bptt_internal_team_run(struct bptt_team *team, int size, bptt_internal_body *body, void *context);

/* Runs the tasks 0..tasks-1, which do not wait for one another, on at most `size` threads. Each takes its own share of
 * them first, then what others left: a thread that comes late, as others use its processor, delays nobody. While the
 * calling thread waits for the others it calls idle (NULL: nothing) every 20 milliseconds. */
void bptt_internal_team_tasks(struct bptt_team *team, int size, int tasks, bptt_internal_task *task,
                              bptt_internal_body *idle, void *context);

/* Whether the team's other threads do not exist: this is the child of a process that forked within the call. */
int bptt_internal_team_lost(const bptt_internal_member *me);

/* A barrier: returns when every member has reached it, or at once where the team is lost. */
void bptt_internal_team_wait(const bptt_internal_member *me);

/* How many processors the system offers, at least 1. */
int bptt_internal_processors(void);

/* The share of member `me`: items [*begin,*end) of `total`, with boundaries at multiples of `quantum`. */
LOCAL void bptt_internal_share(const bptt_internal_member *me, int64_t total, int64_t quantum, int64_t *begin,
                               int64_t *end) {
    const int64_t blocks = (total + quantum - 1) / quantum;
    const int64_t each = blocks / me->size, rest = blocks % me->size;
    const int64_t first = (me->rank * each + (me->rank < rest ? me->rank : rest)) * quantum;
    const int64_t next = first + (each + (me->rank < rest)) * quantum;
    *begin = first < total ? first : total;
    *end = next < total ? next : total;
}
#endif
