# What modules that link nothing import: the core's functions in the table of bptt_capsule.h.

from cpython.pycapsule cimport PyCapsule_New

cdef extern from *:
    """
    #define BPTT_LINKED
    #include "bptt_capsule.h"
    #define BPTT_ADDRESS(name) bptt_##name,
    static const bptt_table bptt_own_table = {sizeof(bptt_table), BPTT_ABI, BPTT_FUNCTIONS(BPTT_ADDRESS)};
    #define bptt_own_table_address ((void *)&bptt_own_table)
    """
    void *bptt_own_table_address
    const char *BPTT_CAPSULE

_C_API = PyCapsule_New(bptt_own_table_address, BPTT_CAPSULE, NULL)
