# The lock of a network.

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define BPTT_HAS_GIL 0
    #else
    #define BPTT_HAS_GIL 1
    #endif
    """
    const bint HAS_GIL "BPTT_HAS_GIL"


cdef class CallLock:
    """A reentrant lock, as threading.RLock, that tells at once whether anybody holds it: acquire() or `with` to take
    it, release() to give it back."""

    cdef object take, give  # methods of the RLock: to look them up would take longer than a small step
    cdef int64_t held  # how often it is held; changed under the GIL

    def __cinit__(self):
        lock = threading.RLock()
        self.take, self.give = lock.acquire, lock.release

    cdef bint is_free(self) noexcept:
        """Whether a call that keeps the GIL to its end may go without the lock. Nobody takes it meanwhile; a thread
        that has it already and waits for the GIL has not begun yet."""
        return HAS_GIL and self.held == 0

    cdef int hold(self) except -1:
        self.take()
        if HAS_GIL:
            self.held += 1
        return 0

    cdef int let_go(self) except -1:
        self.give()  # an error where another thread holds it
        if HAS_GIL:
            self.held -= 1
        return 0

    def acquire(self, blocking=True, timeout=-1):
        """Take the lock; False if another thread has it and did not release it in time."""
        taken = self.take(blocking, timeout)
        if HAS_GIL and taken:
            self.held += 1
        return taken

    def release(self):
        """Give the lock back; a RuntimeError in a thread that does not hold it."""
        self.let_go()

    def __enter__(self):
        self.hold()
        return True

    def __exit__(self, *_):
        self.let_go()
