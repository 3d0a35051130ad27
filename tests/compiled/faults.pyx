"""Memory that runs out: lets chosen allocations of the package's compiled modules fail.

Python lets everybody put an allocator before its own (`PyMem_SetAllocator`). The one here looks who
asks: a request that comes straight from a compiled module of the package counts, and fails if its
number is up; all others, those of Python itself among them, are passed on. So what is tested is
the code that is shipped, and costs nothing there.
"""

cdef extern from *:
    """
    #include <dlfcn.h>
    #include <execinfo.h>
    #include <string.h>

    static PyMemAllocatorEx faults_original;
    static char faults_package[4096];  /* the folder whose modules' requests count */
    static long long faults_first = 0; /* number of the first request that fails */
    static long long faults_last = 0;  /* number of the last one */
    static long long faults_seen = 0;  /* requests so far */

    /* Whether the request comes from the package: Python's own frames and those here left out. */
    static int faults_is_counted(void) {
        void *frames[8];
        Dl_info here, info;
        int i, n = backtrace(frames, 8);
        dladdr((void *)faults_is_counted, &here);
        for (i = 0; i < n; i++) {
            if (!dladdr(frames[i], &info) || info.dli_fname == NULL) return 0;
            if (info.dli_fbase == here.dli_fbase) continue;
            if (info.dli_sname != NULL && strncmp(info.dli_sname, "PyMem_", 6) == 0) continue;
            return strncmp(info.dli_fname, faults_package, strlen(faults_package)) == 0;
        }
        return 0;
    }

    static int faults_fails(void) {
        if (!faults_is_counted()) return 0;
        faults_seen++;
        return faults_first <= faults_seen && faults_seen <= faults_last;
    }

    static void *faults_malloc(void *ctx, size_t size) {
        return faults_fails() ? NULL : faults_original.malloc(faults_original.ctx, size);
    }

    static void *faults_calloc(void *ctx, size_t n, size_t size) {
        return faults_fails() ? NULL : faults_original.calloc(faults_original.ctx, n, size);
    }

    static void *faults_realloc(void *ctx, void *memory, size_t size) {
        return faults_fails() ? NULL : faults_original.realloc(faults_original.ctx, memory, size);
    }

    static void faults_free(void *ctx, void *memory) {
        faults_original.free(faults_original.ctx, memory);
    }

    static void faults_begin(const char *package, long long first, long long last) {
        PyMemAllocatorEx faulty = {
            NULL, faults_malloc, faults_calloc, faults_realloc, faults_free};
        strncpy(faults_package, package, sizeof(faults_package) - 1);
        faults_first = first;
        faults_last = last;
        faults_seen = 0;
        PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &faults_original);
        PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &faulty);
    }

    static long long faults_end(void) {
        PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &faults_original);
        return faults_seen;
    }
    """
    void faults_begin(const char *package, long long first, long long last)
    long long faults_end()

import os.path

import allocator

cdef bytes PACKAGE = os.path.join(os.path.dirname(allocator.__file__), "").encode()


class Faults:
    """A stretch of code in which some allocations of compiled modules fail.

    Parameters
    ----------
    first : int
        Number of the first that fails, counted from 1; 0 for none.
    n : int
        How many fail, one after the other.

    Attributes
    ----------
    n_seen : int
        How many there were, once the stretch has ended.
    """

    def __init__(self, first=0, n=1):
        self.first = first
        self.n = n
        self.n_seen = 0

    def __enter__(self):
        faults_begin(PACKAGE, self.first, self.first + self.n - 1 if self.first else 0)
        return self

    def __exit__(self, *error):
        self.n_seen = faults_end()
