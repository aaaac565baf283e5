/* Preloaded by tests/fail_malloc.py: lets one allocation, or one start of a thread, by NumPy or the core fail.
 *
 * Counted are calls that come from the code of these two; all others go on as ever, so that the interpreter lives. Of
 * NumPy only those under the GIL count: without it, some of its loops crash when they get no memory. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#define NUMPY "_multiarray_umath"
#define CORE "_core."

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static int (*has_gil)(void);
static atomic_int armed;
static atomic_long calls, failing; /* since it was armed; the number of the one that fails, from 1 */

/* Lets the n-th call from now on fail; 0: counts only. */
void faults_arm(long n) {
    has_gil = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Check");
    atomic_store(&calls, 0);
    atomic_store(&failing, n);
    atomic_store(&armed, 1);
}

/* Returns how many calls there were. */
long faults_disarm(void) {
    atomic_store(&armed, 0);
    return atomic_load(&calls);
}

static int begins_with(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

static int is_watched(const void *code) {
    Dl_info info;
    if (!dladdr(code, &info) || !info.dli_fname) return 0;
    const char *slash = strrchr(info.dli_fname, '/'), *name = slash ? slash + 1 : info.dli_fname;
    return begins_with(name, CORE) || (begins_with(name, NUMPY) && has_gil());
}

/* Whether this call, which came from there, is to fail. */
static int fails(const void *from) {
    if (!atomic_load(&armed) || !is_watched(from)) return 0;
    return atomic_fetch_add(&calls, 1) + 1 == atomic_load(&failing);
}

#define FAILS fails(__builtin_return_address(0))

void *malloc(size_t size) { return FAILS ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) { return FAILS ? NULL : __libc_calloc(count, size); }

void *realloc(void *memory, size_t size) { return FAILS ? NULL : __libc_realloc(memory, size); }

void *aligned_alloc(size_t alignment, size_t size) { return FAILS ? NULL : __libc_memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
    *memory = FAILS ? NULL : __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
    static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (FAILS) return EAGAIN;
    if (!next)
        next =
            (int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *))dlsym(RTLD_NEXT, "pthread_create");
    return next(thread, attributes, body, argument);
}
