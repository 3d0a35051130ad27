"""Memory that grows and is copied, inline for the modules that cimport this."""

from cpython.mem cimport PyMem_Calloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.string cimport memcpy


cdef inline void *grown(void *memory, size_t n_bytes) except NULL:
    """Return memory with room for so many bytes; raises `MemoryError`, leaving it as it was."""
    cdef void *larger = PyMem_Realloc(memory, n_bytes)
    if larger == NULL:
        raise MemoryError
    return larger


cdef inline void *zeroed(size_t n, size_t n_bytes) except NULL:
    """Return memory of zeros for n records of so many bytes."""
    cdef void *memory = PyMem_Calloc(n, n_bytes)
    if memory == NULL:
        raise MemoryError
    return memory


cdef inline void *duplicate(const void *memory, size_t n_bytes) except? NULL:
    """Return a copy of memory; NULL of none, or of nothing in it."""
    cdef void *twin
    if memory == NULL or n_bytes == 0:
        return NULL
    twin = grown(NULL, n_bytes)
    memcpy(twin, memory, n_bytes)
    return twin


cdef inline PyObject *owned(object value) noexcept:
    """Return a reference to an object that a C record owns from now on."""
    Py_INCREF(value)
    return <PyObject *>value
