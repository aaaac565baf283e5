/* POSIX threads: made and joined by the call, a condition variable for the few barriers, no spinning. */
#ifdef __linux__
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

struct bptt_internal_team {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int size;        /* 0 until all threads are made */
    int waiting;     /* members at the barrier */
    unsigned rounds; /* barriers passed */
    bptt_internal_body *body;
    void *context;
};

typedef struct {
    bptt_internal_team *team;
    int rank;
} seat;

static void *work(void *argument) {
    const seat *mine = argument;
    bptt_internal_team *team = mine->team;
    pthread_mutex_lock(&team->lock);
    while (!team->size) pthread_cond_wait(&team->changed, &team->lock);
    const bptt_internal_member me = {team, mine->rank, team->size};
    pthread_mutex_unlock(&team->lock);
    team->body(team->context, &me);
    return NULL;
}

void bptt_internal_team_wait(const bptt_internal_member *me) {
    bptt_internal_team *team = me->team;
    if (me->size == 1) return;
    pthread_mutex_lock(&team->lock);
    const unsigned round = team->rounds;
    if (++team->waiting == team->size) {
        team->waiting = 0;
        team->rounds++;
        pthread_cond_broadcast(&team->changed);
    } else {
        while (round == team->rounds) pthread_cond_wait(&team->changed, &team->lock);
    }
    pthread_mutex_unlock(&team->lock);
}

void bptt_internal_team_run(int size, bptt_internal_body *body, void *context) {
    if (size <= 1) {
        body(context, &(bptt_internal_member){NULL, 0, 1});
        return;
    }
    bptt_internal_team team = {.body = body, .context = context};
    pthread_t threads[BPTT_INTERNAL_MOST_THREADS];
    seat seats[BPTT_INTERNAL_MOST_THREADS];
    int made = 1;
    pthread_mutex_init(&team.lock, NULL);
    pthread_cond_init(&team.changed, NULL);
    for (; made < size && made < BPTT_INTERNAL_MOST_THREADS; made++) {
        seats[made] = (seat){&team, made};
        if (pthread_create(&threads[made], NULL, work, &seats[made])) break;
    }
    pthread_mutex_lock(&team.lock);
    team.size = made;
    pthread_cond_broadcast(&team.changed);
    pthread_mutex_unlock(&team.lock);
    body(context, &(bptt_internal_member){&team, 0, made});
    for (int i = 1; i < made; i++) pthread_join(threads[i], NULL);
    pthread_cond_destroy(&team.changed);
    pthread_mutex_destroy(&team.lock);
}

int bptt_internal_processors(void) {
#ifdef __linux__
    cpu_set_t set; /* those that this process may run on */
    const long n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
#else
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
#endif
    return n < 1 ? 1 : n > BPTT_INTERNAL_MOST_THREADS ? BPTT_INTERNAL_MOST_THREADS : (int)n;
}
