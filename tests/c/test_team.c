/* A team's tasks: the calling thread, which has done its own, is asked to do something else while others still work.
 * Threads that the system does not give, more than a team has, and what they do to signals. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_setattr_default_np */
#endif
#ifndef _WIN32
#include <pthread.h>
#include <signal.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif
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

static double milliseconds(void) {
    struct timespec now = {0}; /* MemorySanitizer does not see what timespec_get writes */
    timespec_get(&now, TIME_UTC);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static void count_task(void *context, const bptt_internal_member *me, int task) {
    atomic_int *tasks = context;
    (void)me;
    atomic_fetch_add(&tasks[task], 1);
}

static void count_member(void *context, const bptt_internal_member *me) {
    atomic_int *members = context;
    atomic_fetch_add(&members[me->rank], 1);
    atomic_fetch_add(&members[BPTT_INTERNAL_MOST_THREADS], me->size);
    bptt_internal_team_wait(me);
}

/* Each task is done once, however many threads are asked for. */
static void check_tasks(bptt_team *team, int size) {
    enum { TASKS = 12 };
    atomic_int tasks[TASKS] = {0};
    bptt_internal_team_tasks(team, size, TASKS, count_task, NULL, tasks);
    for (int i = 0; i < TASKS; i++) CHECK(tasks[i] == 1);
}

/* A body runs once for each of `members`, who know how many they are. */
static void check_body(bptt_team *team, int size, int members) {
    atomic_int calls[BPTT_INTERNAL_MOST_THREADS + 1] = {0};
    bptt_internal_team_run(team, size, count_member, calls);
    for (int i = 0; i < BPTT_INTERNAL_MOST_THREADS; i++) CHECK(calls[i] == (i < members));
    CHECK(calls[BPTT_INTERNAL_MOST_THREADS] == members * members);
}

static void check_sizes(void) {
    bptt_team *team;
    CHECK_STATUS(bptt_team_make(&team), BPTT_OK);
    name_case("members");
    for (int size = 1; size < 5; size++) {
        check_tasks(team, size);
        check_body(team, size, size);
        check_body(NULL, size, size);
    }
    name_case("more threads than a team has");
    check_tasks(team, 1000);
    check_body(team, 1000, BPTT_INTERNAL_MOST_THREADS);
    check_body(team, 2, 2);
    bptt_team_free(team);
}

/* The system gives no thread whose stack would be larger than the address space: those there are do the work. */
static void check_no_threads(void) {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 18)
    pthread_attr_t usual, huge;
    bptt_team *team;
    CHECK_STATUS(bptt_team_make(&team), BPTT_OK);
    name_case("no thread");
    pthread_getattr_default_np(&usual);
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, (size_t)1 << 62);
    CHECK(pthread_setattr_default_np(&huge) == 0);
    check_tasks(team, 4);
    check_body(team, 4, 1);
    check_body(NULL, 4, 1);
    pthread_setattr_default_np(&usual);
    check_body(team, 4, 4);
    pthread_attr_destroy(&usual);
    pthread_attr_destroy(&huge);
    bptt_team_free(team);
#endif
}

#ifndef _WIN32
static int blocks_interrupts(void) {
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    return sigismember(&mask, SIGINT);
}

static void note_mask(void *context, const bptt_internal_member *me) {
    int *blocked = context;
    blocked[me->rank] = blocks_interrupts();
}

static void note_thread(void *context, const bptt_internal_member *me) {
    pthread_t *threads = context;
    threads[me->rank] = pthread_self();
}

/* Every call gets the threads that the team has. */
static void check_same_threads(void) {
    pthread_t threads[2][2];
    bptt_team *team;
    CHECK_STATUS(bptt_team_make(&team), BPTT_OK);
    name_case("the same threads");
    for (int i = 0; i < 2; i++) bptt_internal_team_run(team, 2, note_thread, threads[i]);
    CHECK(pthread_equal(threads[0][1], threads[1][1]) && !pthread_equal(threads[0][0], threads[0][1]));
    bptt_team_free(team);
}

/* Signals come to the calling thread, also after the call, and not to those of the core. */
static void check_signals(void) {
    int blocked[3] = {-1, -1, -1};
    name_case("signals");
    bptt_internal_team_run(NULL, 3, note_mask, blocked);
    CHECK(!blocked[0] && blocked[1] == 1 && blocked[2] == 1);
    CHECK(!blocks_interrupts());
}
#endif

#ifdef __linux__
/* Processors that this process may use: those of the calling thread, one of which is taken away. */
static void check_processors(void) {
    cpu_set_t all, fewer;
    const int before = bptt_internal_processors();
    name_case("processors");
    if (sched_getaffinity(0, sizeof all, &all) || CPU_COUNT(&all) < 2) return;
    fewer = all;
    for (int i = 0; CPU_COUNT(&fewer) == CPU_COUNT(&all); i++) CPU_CLR(i, &fewer);
    CHECK(!sched_setaffinity(0, sizeof fewer, &fewer));
    if (before == CPU_COUNT(&all)) CHECK(bptt_internal_processors() == before - 1);
    CHECK(!sched_setaffinity(0, sizeof all, &all));
    CHECK(bptt_internal_processors() == before);
}
#endif

int main(void) {
    bptt_team *team;
    if (!bptt_isa()) return SKIPPED;
    check_sizes();
    check_no_threads();
#ifdef __linux__
    check_processors();
#endif
#ifndef _WIN32
    check_signals();
    check_same_threads();
#endif
    CHECK_STATUS(bptt_team_make(&team), BPTT_OK);
    for (int i = 0; i < 6; i++) {
        record record = {0};
        const double begin = milliseconds();
        bptt_internal_team_tasks(i % 2 ? team : NULL, 2 + i % 3, 2 + i / 2, do_task, note_idle, &record);
        CHECK(record.asked >= ASKED && !record.elsewhere);
        CHECK(milliseconds() - begin > 10 * ASKED); /* asked every 20 */
    }
    bptt_team_free(team);
    return end_of_checks();
}
