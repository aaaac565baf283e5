/* A team: threads that wait between runs, awake for a moment before they sleep. */
#include "base/threads_system.h"

#include <stdatomic.h>
#include <stdlib.h>

enum {
    PATIENT = 1000000, /* nanoseconds that a thread waits awake if its last wait was shorter: a training loop's pause */
    IMPATIENT = 50000, /* and if it was longer: the others are not about to come, or do not have a processor */
    LOOKS = 32,        /* at the word between two looks at the clock */
    IDLE = 20,         /* milliseconds between two calls of what the calling thread does while it waits for tasks */
    SIZE_BITS = 7,     /* of a job's word: the members of the run */
    TASKS_BITS = 5,    /* and its tasks, 0: one body for all */
    INSIDE = 1 << BPTT_INTERNAL_MOST_TASKS, /* of the tasks' word: a member within a task */
    TASKS_LEFT = INSIDE - 1                 /* and a bit for each task that nobody took */
};

typedef struct {
    struct bptt_team *team;
    int rank;
    unsigned seen;                            /* the word of the last run before the thread was made */
    double waited_for_job, waited_for_others; /* nanoseconds of its last waits */
} seat;                                       /* one thread's place in the team */

struct bptt_team {
    system_lock lock;
    system_condition changed;
    atomic_uint job;     /* number of the run, and behind it the numbers of its tasks and of its members */
    atomic_uint tasks;   /* those left, and members within one: 0 where all are done */
    atomic_uint rounds;  /* barriers passed */
    atomic_int waiting;  /* members at the barrier */
    atomic_int sleeping; /* threads that wait for `changed` */
    atomic_int awake;    /* whether threads wait awake before they sleep */
    atomic_llong holder; /* the process whose run is on; 0: none */
    int64_t process;     /* that made the threads */
    int processors;
    int made; /* threads, the calling one included */
    bptt_internal_body *body;
    bptt_internal_task *task;
    void *context;
    system_thread threads[BPTT_INTERNAL_MOST_THREADS];
    seat seats[BPTT_INTERNAL_MOST_THREADS];
};

/* A team without threads. Who holds it stays: others may be looking at that. */
static void begin_team(struct bptt_team *team) {
    atomic_store(&team->job, 0);
    atomic_store(&team->tasks, 0);
    atomic_store(&team->rounds, 0);
    atomic_store(&team->waiting, 0);
    atomic_store(&team->sleeping, 0);
    atomic_store(&team->awake, 0);
    system_begin(&team->lock, &team->changed);
    team->processors = bptt_internal_processors();
    team->process = system_process();
    team->made = 1;
    team->seats[0] = (seat){.team = team};
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

/* Waits awake for so many nanoseconds; returns whether the word changed. */
static int changes_within(double patience, atomic_uint *word, unsigned old) {
    const double begin = system_nanoseconds();
    for (int i = 1; atomic_load(word) == old; i++) {
        const double waited = i % LOOKS ? 0 : system_nanoseconds() - begin;
        if (waited < 0 || waited > patience) return 0; /* below 0: somebody set the clock back */
        system_pause();
    }
    return 1;
}

static void sleep_until_changed(struct bptt_team *team, atomic_uint *word, unsigned old, int most) {
    atomic_fetch_add(&team->sleeping, 1);
    system_acquire(&team->lock);
    while (atomic_load(word) == old && system_wait(&team->changed, &team->lock, most)) continue;
    system_release(&team->lock);
    atomic_fetch_sub(&team->sleeping, 1);
}

/* Returns when the word is no longer `old`, or after `most` milliseconds of sleep (0: not before). *last: how long the
 * last such wait took, in nanoseconds. */
static void wait_for_change(struct bptt_team *team, atomic_uint *word, unsigned old, double *last, int most) {
    if (atomic_load(word) != old) return;
    const double begin = system_nanoseconds(), patience = *last < PATIENT ? PATIENT : IMPATIENT;
    if (!atomic_load(&team->awake) || !changes_within(patience, word, old)) sleep_until_changed(team, word, old, most);
    *last = system_nanoseconds() - begin;
}

/* After a change of a word: a thread either counts as sleeping before this looks, or it sees the new word before it
 * sleeps. */
static void wake(struct bptt_team *team) {
    if (!atomic_load(&team->sleeping)) return;
    system_acquire(&team->lock);
    system_wake(&team->changed);
    system_release(&team->lock);
}

static void change(struct bptt_team *team, atomic_uint *word, unsigned value) {
    atomic_store(word, value);
    wake(team);
}

int bptt_internal_team_lost(const bptt_internal_member *me) { return me->size > 1 && me->process != system_process(); }

void bptt_internal_team_wait(const bptt_internal_member *me) {
    struct bptt_team *team = me->team;
    if (me->size == 1 || bptt_internal_team_lost(me)) return;
    const unsigned round = atomic_load(&team->rounds);
    if (atomic_fetch_add(&team->waiting, 1) + 1 == me->size) {
        atomic_store(&team->waiting, 0);
        change(team, &team->rounds, round + 1);
    } else {
        wait_for_change(team, &team->rounds, round, &team->seats[me->rank].waited_for_others, 0);
    }
}

/* ---- tasks --------------------------------------------------------------------------------------------- */

/* Of the bits in `left` the first from `start` on, or the first of all. */
static int first_left(unsigned left, int start) {
    int bit = left >> start ? start : 0;
    while (!(left >> bit & 1)) bit++;
    return bit;
}

/* Does tasks until none is left, from task `start` on. Only a member within a task may look at the run: the next run
 * waits for it. */
static void work_on_tasks(const bptt_internal_member *me, int start) {
    struct bptt_team *team = me->team;
    for (unsigned word = atomic_load(&team->tasks); word & TASKS_LEFT;) {
        const int task = first_left(word & TASKS_LEFT, start);
        if (!atomic_compare_exchange_strong(&team->tasks, &word, word - (1u << task) + INSIDE)) continue;
        team->task(team->context, me, task);
        if (bptt_internal_team_lost(me)) return; /* a thread that the child lacks may hold the lock */
        word = atomic_fetch_sub(&team->tasks, INSIDE) - INSIDE;
        if (!word) wake(team);
    }
}

/* Returns when all tasks are done. The calling thread waits, and calls idle now and then. */
static void wait_for_tasks(const bptt_internal_member *me, bptt_internal_body *idle, void *context) {
    struct bptt_team *team = me->team;
    for (unsigned word; (word = atomic_load(&team->tasks)) && !bptt_internal_team_lost(me);) {
        wait_for_change(team, &team->tasks, word, &team->seats[me->rank].waited_for_others, IDLE);
        if (idle && atomic_load(&team->tasks)) idle(context, me);
    }
}

/* ---- threads ------------------------------------------------------------------------------------------- */

static SYSTEM_THREAD run_member(void *argument) {
    seat *mine = argument;
    struct bptt_team *team = mine->team;
    for (unsigned seen = mine->seen;;) {
        wait_for_change(team, &team->job, seen, &mine->waited_for_job, 0);
        seen = atomic_load(&team->job);
        const int size = (int)(seen & ((1u << SIZE_BITS) - 1)),
                  tasks = (int)(seen >> SIZE_BITS & ((1u << TASKS_BITS) - 1));
        if (!size) return 0;
        if (mine->rank >= size) continue;
        const bptt_internal_member me = {team, mine->rank, size, team->process};
        if (tasks) {
            work_on_tasks(&me, me.rank * tasks / size);
        } else {
            team->body(team->context, &me);
            bptt_internal_team_wait(&me);
        }
    }
}

/* Makes threads until there are that many, or as many as the system gives. */
static void grow(struct bptt_team *team, int size) {
    for (; team->made < size; team->made++) {
        seat *mine = &team->seats[team->made];
        *mine = (seat){.team = team, .rank = team->made, .seen = atomic_load(&team->job)};
        if (!system_start(&team->threads[team->made], run_member, mine)) break;
    }
}

/* The word of the next run; 0 members: the threads end. */
static unsigned next_job(const struct bptt_team *team, int size, int tasks) {
    const unsigned number = (atomic_load(&team->job) >> (SIZE_BITS + TASKS_BITS)) + 1;
    return (number << TASKS_BITS | (unsigned)tasks) << SIZE_BITS | (unsigned)size;
}

static void end_team(struct bptt_team *team) {
    if (team->process != system_process()) return; /* there is nobody to join, and the lock may be held for ever */
    change(team, &team->job, next_job(team, 0, 0));
    for (int i = 1; i < team->made; i++) system_join(team->threads[i]);
    system_end(&team->lock, &team->changed);
}

/* Begins a run of as many members as there are, at most `size`; returns the calling thread's place in it. */
static bptt_internal_member begin_run(struct bptt_team *team, int size, int tasks, void *context) {
    grow(team, size);
    const bptt_internal_member me = {team, 0, size < team->made ? size : team->made, team->process};
    team->context = context;
    /* where there are more members than processors, a thread that waits awake keeps another from its work */
    atomic_store(&team->awake, me.size <= team->processors);
    atomic_store(&team->tasks, (1u << tasks) - 1);
    change(team, &team->job, next_job(team, me.size, tasks));
    return me;
}

static void run_body(struct bptt_team *team, int size, bptt_internal_body *body, void *context) {
    team->body = body;
    const bptt_internal_member me = begin_run(team, size, 0, context);
    body(context, &me);
    bptt_internal_team_wait(&me);
}

static void run_tasks(struct bptt_team *team, int size, int tasks, bptt_internal_task *task, bptt_internal_body *idle,
                      void *context) {
    team->task = task;
    const bptt_internal_member me = begin_run(team, size, tasks, context);
    work_on_tasks(&me, 0);
    wait_for_tasks(&me, idle, context);
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

/* The team where it is free, otherwise one that is made here in `own`; a team is released as it was claimed. */
static struct bptt_team *claim_or_make(struct bptt_team *team, struct bptt_team *own) {
    if (team && claim(team)) return team;
    begin_team(own);
    return own;
}

static void release(struct bptt_team *team, struct bptt_team *own) {
    if (team == own) end_team(own);
    else atomic_store(&team->holder, 0);
}

static int at_most(int threads) { return threads < BPTT_INTERNAL_MOST_THREADS ? threads : BPTT_INTERNAL_MOST_THREADS; }

static const bptt_internal_member alone = {.size = 1};

void bptt_internal_team_run(struct bptt_team *team, int size, bptt_internal_body *body, void *context) {
    struct bptt_team own;
    if (size <= 1) {
        body(context, &alone);
        return;
    }
    team = claim_or_make(team, &own);
    run_body(team, at_most(size), body, context);
    release(team, &own);
}

void bptt_internal_team_tasks(struct bptt_team *team, int size, int tasks, bptt_internal_task *task,
                              bptt_internal_body *idle, void *context) {
    struct bptt_team own;
    if (size <= 1) {
        for (int i = 0; i < tasks; i++) task(context, &alone, i);
        return;
    }
    team = claim_or_make(team, &own);
    run_tasks(team, at_most(size), tasks, task, idle, context);
    release(team, &own);
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
