/* What a team of threads asks of the operating system, by Windows or by POSIX. For threads.c alone. */
#ifndef BPTT_BASE_THREADS_SYSTEM_H
#define BPTT_BASE_THREADS_SYSTEM_H
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include <time.h>

#include "base/threads.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <process.h>
#include <windows.h>

typedef SRWLOCK system_lock;
typedef CONDITION_VARIABLE system_condition;
typedef HANDLE system_thread;
#define SYSTEM_THREAD unsigned __stdcall

LOCAL void system_begin(system_lock *lock, system_condition *changed) {
    InitializeSRWLock(lock);
    InitializeConditionVariable(changed);
}
LOCAL void system_acquire(system_lock *lock) { AcquireSRWLockExclusive(lock); }
LOCAL void system_release(system_lock *lock) { ReleaseSRWLockExclusive(lock); }
/* returns whether it was woken within so many milliseconds; 0: however long it takes */
LOCAL int system_wait(system_condition *changed, system_lock *lock, int most) {
    return SleepConditionVariableSRW(changed, lock, most ? (DWORD)most : INFINITE, 0);
}
LOCAL void system_wake(system_condition *changed) { WakeAllConditionVariable(changed); }
LOCAL void system_end(system_lock *lock, system_condition *changed) { (void)lock, (void)changed; }

LOCAL int system_start(system_thread *thread, unsigned(__stdcall *body)(void *), void *argument) {
    *thread = (HANDLE)_beginthreadex(NULL, 0, body, argument, 0, NULL);
    return *thread != NULL;
}
LOCAL void system_join(system_thread thread) {
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}

LOCAL int64_t system_process(void) { return 1; } /* there is no fork */

/* processors that this process may run on; the masks are 0 where it runs in several groups of 64 */
LOCAL int system_processors(void) {
    DWORD_PTR mine = 0, all = 0;
    int n = 0;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &mine, &all)) return 1;
    for (; mine; mine &= mine - 1) n++;
    return n ? n : (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
}

#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

typedef pthread_mutex_t system_lock;
typedef pthread_cond_t system_condition;
typedef pthread_t system_thread;
#define SYSTEM_THREAD void *

LOCAL void system_begin(system_lock *lock, system_condition *changed) {
    pthread_mutex_init(lock, NULL);
    pthread_cond_init(changed, NULL);
}
LOCAL void system_acquire(system_lock *lock) { pthread_mutex_lock(lock); }
LOCAL void system_release(system_lock *lock) { pthread_mutex_unlock(lock); }
/* returns whether it was woken within so many milliseconds; 0: however long it takes */
LOCAL int system_wait(system_condition *changed, system_lock *lock, int most) {
    struct timespec end = {0}; /* MemorySanitizer does not know what timespec_get writes */
    if (!most) return !pthread_cond_wait(changed, lock);
    timespec_get(&end, TIME_UTC);
    const long long nanoseconds = end.tv_nsec + most * 1000000LL;
    end.tv_sec += (time_t)(nanoseconds / 1000000000);
    end.tv_nsec = (long)(nanoseconds % 1000000000);
    return !pthread_cond_timedwait(changed, lock, &end);
}
LOCAL void system_wake(system_condition *changed) { pthread_cond_broadcast(changed); }
LOCAL void system_end(system_lock *lock, system_condition *changed) {
    pthread_cond_destroy(changed);
    pthread_mutex_destroy(lock);
}

/* Signals go to the threads of the program: its handlers expect their own. */
LOCAL int system_start(system_thread *thread, void *(*body)(void *), void *argument) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(thread, NULL, body, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !failed;
}
LOCAL void system_join(system_thread thread) { pthread_join(thread, NULL); }

LOCAL int64_t system_process(void) { return getpid(); }

LOCAL int system_processors(void) {
#ifdef __linux__
    cpu_set_t set; /* processors that this process may run on; a set holds 1024 at most */
    if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}
#endif

/* the time of day, which may be set back */
LOCAL double system_nanoseconds(void) {
    struct timespec now = {0};
    timespec_get(&now, TIME_UTC);
    return 1e9 * (double)now.tv_sec + (double)now.tv_nsec;
}

/* a moment's rest of a thread that waits awake */
LOCAL void system_pause(void) {
#if defined(_MSC_VER)
    YieldProcessor();
#elif defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
#endif
