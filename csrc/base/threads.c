/* A team: threads that wait between runs, awake for a moment before they sleep. */
#include "base/threads_system.h"

#include <stdatomic.h>
#include <stdlib.h>

enum {
    AWAKE = 100000, /* nanoseconds that a thread waits awake: waking one that sleeps can take as long */
    LOOKS = 32,     /* at the word between two looks at the clock */
    SIZE_BITS = 8   /* of a job's word: the members of the run */
};

typedef struct {
    struct bptt_team *team;
    int rank;
    unsigned seen; /* the word of the last run before the thread was made */
} seat;            /* one thread's place in the team */

struct bptt_team {
    system_lock lock;
    system_condition changed;
    atomic_uint job;     /* number of the run, and behind it the number of its members */
    atomic_uint rounds;  /* barriers passed */
    atomic_int waiting;  /* members at the barrier */
    atomic_int sleeping; /* threads that wait for `changed` */
    atomic_int awake;    /* whether threads wait awake before they sleep */
    atomic_llong holder; /* the process whose run is on; 0: none */
    int64_t process;     /* that made the threads */
    int processors;
    int made; /* threads, the calling one included */
    bptt_internal_body *body;
    void *context;
    system_thread threads[BPTT_INTERNAL_MOST_THREADS];
    seat seats[BPTT_INTERNAL_MOST_THREADS];
};

/* A team without threads. Who holds it stays: others may be looking at that. */
static void begin_team(struct bptt_team *team) {
    atomic_store(&team->job, 0);
    atomic_store(&team->rounds, 0);
    atomic_store(&team->waiting, 0);
    atomic_store(&team->sleeping, 0);
    atomic_store(&team->awake, 0);
    system_begin(&team->lock, &team->changed);
    team->processors = bptt_internal_processors();
    team->process = system_process();
    team->made = 1;
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

/* Waits awake for a while; returns whether the word changed. */
static int changes_soon(atomic_uint *word, unsigned old) {
    const double begin = system_nanoseconds();
    for (int i = 1; atomic_load(word) == old; i++) {
        const double waited = i % LOOKS ? 0 : system_nanoseconds() - begin;
        if (waited < 0 || waited > AWAKE) return 0; /* below 0: somebody set the clock back */
        system_pause();
    }
    return 1;
}

/* Returns when the word is no longer `old`. */
static void wait_for_change(struct bptt_team *team, atomic_uint *word, unsigned old) {
    if (atomic_load(&team->awake) && changes_soon(word, old)) return;
    atomic_fetch_add(&team->sleeping, 1);
    system_acquire(&team->lock);
    while (atomic_load(word) == old) system_wait(&team->changed, &team->lock);
    system_release(&team->lock);
    atomic_fetch_sub(&team->sleeping, 1);
}

/* A thread either counts as sleeping before this looks, or it sees the new word before it sleeps. */
static void change(struct bptt_team *team, atomic_uint *word, unsigned value) {
    atomic_store(word, value);
    if (!atomic_load(&team->sleeping)) return;
    system_acquire(&team->lock);
    system_wake(&team->changed);
    system_release(&team->lock);
}

int bptt_internal_team_lost(const bptt_internal_member *me) {
    return me->size > 1 && me->team->process != system_process();
}

void bptt_internal_team_wait(const bptt_internal_member *me) {
    struct bptt_team *team = me->team;
    if (me->size == 1 || bptt_internal_team_lost(me)) return;
    const unsigned round = atomic_load(&team->rounds);
    if (atomic_fetch_add(&team->waiting, 1) + 1 == me->size) {
        atomic_store(&team->waiting, 0);
        change(team, &team->rounds, round + 1);
    } else {
        wait_for_change(team, &team->rounds, round);
    }
}

/* ---- threads ------------------------------------------------------------------------------------------- */

static SYSTEM_THREAD run_member(void *argument) {
    const seat *mine = argument;
    struct bptt_team *team = mine->team;
    for (unsigned seen = mine->seen;;) {
        wait_for_change(team, &team->job, seen);
        seen = atomic_load(&team->job);
        const int size = (int)(seen & ((1u << SIZE_BITS) - 1));
        if (!size) return 0;
        if (mine->rank >= size) continue;
        const bptt_internal_member me = {team, mine->rank, size};
        team->body(team->context, &me);
        bptt_internal_team_wait(&me);
    }
}

/* Makes threads until there are that many, or as many as the system gives. */
static void grow(struct bptt_team *team, int size) {
    for (; team->made < size; team->made++) {
        seat *mine = &team->seats[team->made];
        *mine = (seat){team, team->made, atomic_load(&team->job)};
        if (!system_start(&team->threads[team->made], run_member, mine)) break;
    }
}

/* The word of the next run, of that many members; 0 members: the threads end. */
static unsigned next_job(const struct bptt_team *team, int size) {
    return ((atomic_load(&team->job) >> SIZE_BITS) + 1) << SIZE_BITS | (unsigned)size;
}

static void end_team(struct bptt_team *team) {
    if (team->process != system_process()) return; /* there is nobody to join, and the lock may be held for ever */
    change(team, &team->job, next_job(team, 0));
    for (int i = 1; i < team->made; i++) system_join(team->threads[i]);
    system_end(&team->lock, &team->changed);
}

static void run(struct bptt_team *team, int size, bptt_internal_body *body, void *context) {
    grow(team, size);
    const bptt_internal_member me = {team, 0, size < team->made ? size : team->made};
    team->body = body;
    team->context = context;
    /* where there are more members than processors, a thread that waits awake keeps another from its work */
    atomic_store(&team->awake, me.size <= team->processors);
    change(team, &team->job, next_job(team, me.size));
    body(context, &me);
    bptt_internal_team_wait(&me);
}

/* Whether the team is free for a run: it serves one caller at a time. A run that was on in the parent when this process
 * was forked is over here, and so are the threads. */
static int claim(struct bptt_team *team) {
    const int64_t mine = system_process();
    long long holder = atomic_load(&team->holder);
    if (holder == mine || !atomic_compare_exchange_strong(&team->holder, &holder, mine)) return 0;
    if (team->process != mine) begin_team(team);
    return 1;
}

void bptt_internal_team_run(struct bptt_team *team, int size, bptt_internal_body *body, void *context) {
    size = size < BPTT_INTERNAL_MOST_THREADS ? size : BPTT_INTERNAL_MOST_THREADS;
    if (size <= 1) {
        body(context, &(bptt_internal_member){NULL, 0, 1});
    } else if (team && claim(team)) {
        run(team, size, body, context);
        atomic_store(&team->holder, 0);
    } else {
        struct bptt_team own;
        begin_team(&own);
        run(&own, size, body, context);
        end_team(&own);
    }
}

int bptt_internal_processors(void) {
    const int n = system_processors();
    return n < 1 ? 1 : n > BPTT_INTERNAL_MOST_THREADS ? BPTT_INTERNAL_MOST_THREADS : n;
}

/* ---- teams that callers keep --------------------------------------------------------------------------- */

bptt_status bptt_team_make(bptt_team **team) {
    if (!team) return BPTT_ERROR_NULL;
    *team = malloc(sizeof **team);
    if (!*team) return BPTT_ERROR_MEMORY;
    atomic_init(&(*team)->holder, 0);
    begin_team(*team);
    return BPTT_OK;
}

void bptt_team_free(bptt_team *team) {
    if (!team) return;
    end_team(team);
    free(team);
}
