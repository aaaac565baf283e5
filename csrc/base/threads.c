/* A team of threads: made and joined by the call, a condition variable for the few barriers, no spinning. */
#include "base/threads_system.h"

struct bptt_internal_team {
    system_lock lock;
    system_condition changed;
    int size;        /* 0 until all threads are made */
    int waiting;     /* members at the barrier */
    unsigned rounds; /* barriers passed */
    int64_t process; /* that made the threads */
    bptt_internal_body *body;
    void *context;
};

typedef struct {
    bptt_internal_team *team;
    int rank;
} seat; /* one thread's place in the team */

static SYSTEM_THREAD run_member(void *argument) {
    const seat *mine = argument;
    bptt_internal_team *team = mine->team;
    system_acquire(&team->lock);
    while (!team->size) system_wait(&team->changed, &team->lock);
    const bptt_internal_member me = {team, mine->rank, team->size};
    system_release(&team->lock);
    team->body(team->context, &me);
    return 0;
}

int bptt_internal_team_lost(const bptt_internal_member *me) {
    return me->size > 1 && me->team->process != system_process();
}

void bptt_internal_team_wait(const bptt_internal_member *me) {
    bptt_internal_team *team = me->team;
    if (me->size == 1 || bptt_internal_team_lost(me)) return;
    system_acquire(&team->lock);
    const unsigned round = team->rounds;
    if (++team->waiting == team->size) {
        team->waiting = 0;
        team->rounds++;
        system_wake(&team->changed);
    } else {
        while (round == team->rounds) system_wait(&team->changed, &team->lock);
    }
    system_release(&team->lock);
}

void bptt_internal_team_run(int size, bptt_internal_body *body, void *context) {
    if (size <= 1) {
        body(context, &(bptt_internal_member){NULL, 0, 1});
        return;
    }
    bptt_internal_team team = {.lock = SYSTEM_LOCK,
                               .changed = SYSTEM_CONDITION,
                               .process = system_process(),
                               .body = body,
                               .context = context};
    system_thread threads[BPTT_INTERNAL_MOST_THREADS];
    seat seats[BPTT_INTERNAL_MOST_THREADS];
    int made = 1;
    for (; made < size && made < BPTT_INTERNAL_MOST_THREADS; made++) {
        seats[made] = (seat){&team, made};
        if (!system_start(&threads[made], run_member, &seats[made])) break;
    }
    system_acquire(&team.lock);
    team.size = made;
    system_wake(&team.changed);
    system_release(&team.lock);
    const bptt_internal_member me = {&team, 0, made};
    body(context, &me);
    if (bptt_internal_team_lost(&me)) return; /* there is nobody to join, and the lock may be held for ever */
    for (int i = 1; i < made; i++) system_join(threads[i]);
    system_end(&team.lock, &team.changed);
}

int bptt_internal_processors(void) {
    const int n = system_processors();
    return n < 1 ? 1 : n > BPTT_INTERNAL_MOST_THREADS ? BPTT_INTERNAL_MOST_THREADS : n;
}
