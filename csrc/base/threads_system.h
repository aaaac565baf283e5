/* What a team of threads asks of the operating system, by Windows or by POSIX. For threads.c alone. */
#ifndef BPTT_BASE_THREADS_SYSTEM_H
#define BPTT_BASE_THREADS_SYSTEM_H
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "base/threads.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <process.h>
#include <windows.h>

typedef SRWLOCK system_lock;
typedef CONDITION_VARIABLE system_condition;
typedef HANDLE system_thread;
#define SYSTEM_LOCK SRWLOCK_INIT
#define SYSTEM_CONDITION CONDITION_VARIABLE_INIT
#define SYSTEM_THREAD unsigned __stdcall

LOCAL void system_acquire(system_lock *lock) { AcquireSRWLockExclusive(lock); }
LOCAL void system_release(system_lock *lock) { ReleaseSRWLockExclusive(lock); }
LOCAL void system_wait(system_condition *changed, system_lock *lock) {
    SleepConditionVariableSRW(changed, lock, INFINITE, 0);
}
LOCAL void system_wake(system_condition *changed) { WakeAllConditionVariable(changed); }
LOCAL void system_end(system_lock *lock, system_condition *changed) { (void)lock, (void)changed; }

LOCAL int system_start(system_thread *thread, unsigned(__stdcall *body)(void *), void *argument) {
    *thread = (HANDLE)_beginthreadex(NULL, 0, body, argument, 0, NULL);
    return *thread != NULL;
}
LOCAL int64_t system_process(void) { return 0; } /* there is no fork */

LOCAL void system_join(system_thread thread) {
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}

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
#include <unistd.h>

typedef pthread_mutex_t system_lock;
typedef pthread_cond_t system_condition;
typedef pthread_t system_thread;
#define SYSTEM_LOCK PTHREAD_MUTEX_INITIALIZER
#define SYSTEM_CONDITION PTHREAD_COND_INITIALIZER
#define SYSTEM_THREAD void *

LOCAL void system_acquire(system_lock *lock) { pthread_mutex_lock(lock); }
LOCAL void system_release(system_lock *lock) { pthread_mutex_unlock(lock); }
LOCAL void system_wait(system_condition *changed, system_lock *lock) { pthread_cond_wait(changed, lock); }
LOCAL void system_wake(system_condition *changed) { pthread_cond_broadcast(changed); }
LOCAL void system_end(system_lock *lock, system_condition *changed) {
    pthread_cond_destroy(changed);
    pthread_mutex_destroy(lock);
}

LOCAL int system_start(system_thread *thread, void *(*body)(void *), void *argument) {
    return pthread_create(thread, NULL, body, argument) == 0;
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
#endif
