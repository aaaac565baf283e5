# Locks after a fork: the child has only the thread that forked, so nobody would ever release what others held.

cdef object lock_owners = weakref.WeakValueDictionary()  # {id: network or stream}


cdef object new_lock(object owner):
    """A reentrant lock for a stream, which is remembered."""
    lock_owners[id(owner)] = owner
    return threading.RLock()


cdef bint held_elsewhere(object lock) except -1:
    """Whether another thread holds a lock; None is that of an object whose __init__ has not come so far."""
    if lock is None:
        return False
    if lock.acquire(False):
        lock.release()
        return False
    return True


def free_locks():
    """In the child of a fork: gives a new lock to what another thread held. Its call is over there, unfinished; one of
    this thread goes on."""
    for owner in list(lock_owners.values()):
        if isinstance(owner, Network) and held_elsewhere((<Network>owner).lock):
            (<Network>owner).lock = CallLock()
            (<Network>owner).busy = False
        elif isinstance(owner, Stream) and held_elsewhere((<Stream>owner).lock):
            (<Stream>owner).use_lock(threading.RLock())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=free_locks)
