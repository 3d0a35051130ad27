"""Memory that grows and is copied, inline for the modules that cimport this."""

from cpython.mem cimport PyMem_Realloc
from libc.string cimport memcpy


cdef inline void *grown(void *memory, size_t n_bytes) except NULL:
    """Return memory with room for so many bytes; raises `MemoryError`, leaving it as it was."""
    cdef void *larger = PyMem_Realloc(memory, n_bytes)
    if larger == NULL:
        raise MemoryError
    return larger


cdef inline void *duplicate(const void *memory, size_t n_bytes) except? NULL:
    """Return a copy of memory; NULL of none, or of nothing in it."""
    cdef void *twin
    if memory == NULL or n_bytes == 0:
        return NULL
    twin = grown(NULL, n_bytes)
    memcpy(twin, memory, n_bytes)
    return twin
