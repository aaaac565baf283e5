/* A team's tasks: the calling thread, which has done its own, is asked to do something else while others still work. */
#include <stdatomic.h>
#include <time.h>

#include "base/threads.h"
#include "bptt.h"
#include "check.h"

enum { SECONDS = 20, ASKED = 3 };

typedef struct {
    atomic_int taken; /* a task by another thread */
    atomic_int asked; /* the calling thread, while it waited */
    atomic_int elsewhere;
} record;

static void wait_for(atomic_int *number, int least) {
    const time_t end = time(NULL) + SECONDS;
    while (atomic_load(number) < least && time(NULL) < end) continue;
}

/* The calling thread's ends when another thread has begun one, which ends when the calling thread was asked. */
static void do_task(void *context, const bptt_internal_member *me, int task) {
    record *record = context;
    (void)task;
    if (me->rank) {
        atomic_fetch_add(&record->taken, 1);
        wait_for(&record->asked, ASKED);
    } else {
        wait_for(&record->taken, 1);
    }
}

static void note_idle(void *context, const bptt_internal_member *me) {
    record *record = context;
    atomic_fetch_add(&record->asked, 1);
    atomic_fetch_add(&record->elsewhere, me->rank != 0);
}

int main(void) {
    bptt_team *team;
    if (!bptt_isa()) return SKIPPED;
    CHECK_STATUS(bptt_team_make(&team), BPTT_OK);
    for (int i = 0; i < 6; i++) {
        record record = {0};
        bptt_internal_team_tasks(i % 2 ? team : NULL, 2 + i % 3, 2 + i / 2, do_task, note_idle, &record);
        CHECK(record.asked >= ASKED && !record.elsewhere);
    }
    bptt_team_free(team);
    return end_of_checks();
}
