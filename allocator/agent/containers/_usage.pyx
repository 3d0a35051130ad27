"""What a container uses, read from the files of its cgroups, which stay open.

The parsing is compiled, so that a reading costs little more than what the kernel takes to write.
"""

cimport cython
from libc.stdlib cimport strtoull
from libc.string cimport strlen, strstr
from posix.unistd cimport close, pread
from libc.errno cimport EINTR, errno

import math
import os

cdef enum:
    #: Longer than any file that is read at once; `memory.stat` has some 3 KB.
    BUFFER_BYTES = 16384

#: What memory limits above are none: v1 shows the largest whole number of pages.
cdef unsigned long long _NO_LIMIT = 1ull << 60

cdef double _TICK_SECONDS = 1.0 / os.sysconf("SC_CLK_TCK")

#: Key in the file → name of the statistic.
_V1_MEMORY = (
    (b"\ntotal_rss ", ("mem_rss_bytes", "mem_anon_bytes")),
    (b"\ntotal_cache ", ("mem_cache_bytes", "mem_file_bytes")),
    (b"\ntotal_mapped_file ", ("mem_mapped_file_bytes",)),
    (b"\ntotal_swap ", ("mem_swap_bytes",)),
    (b"\ntotal_unevictable ", ("mem_unevictable_bytes",)),
)
_V2_MEMORY = (
    (b"\nanon ", ("mem_rss_bytes", "mem_anon_bytes")),
    (b"\nfile ", ("mem_cache_bytes", "mem_file_bytes")),
    (b"\nfile_mapped ", ("mem_mapped_file_bytes",)),
    (b"\nunevictable ", ("mem_unevictable_bytes",)),
)


cdef ssize_t _pread(int fd, char *buffer, size_t size, ssize_t offset) except -1:
    """Read from a place, and end what was read with a NUL."""
    cdef ssize_t n
    while True:
        n = pread(fd, buffer, size, offset)
        if n >= 0:
            buffer[n] = 0
            return n
        if errno != EINTR:
            raise OSError(errno, os.strerror(errno))


cdef unsigned long long _number(int fd, char *buffer) except? 0xFFFF_FFFF_FFFF_FFFF:
    """Return the number that a file holds; the largest for `max`."""
    _pread(fd, buffer, 64, 0)
    if buffer[0] == b"m":
        return 0x7FFF_FFFF_FFFF_FFFF
    return strtoull(buffer, NULL, 10)


cdef inline long long _value(const char *text, const char *key) noexcept nogil:
    """Return the number after a key, which has the end of the line before and a space; or −1."""
    cdef const char *found = strstr(text, key)
    if found == NULL:
        return -1
    return <long long>strtoull(found + strlen(key), NULL, 10)


@cython.auto_pickle(False)
@cython.final
cdef class Files:
    """The files of one container, opened at once and closed by `close`.

    Parameters
    ----------
    root : Root
        The agent's cgroups.
    name : str
        Of the container's.
    cpus_limit : float
        What is shown as such; infinite: nothing.

    Raises
    ------
    OSError
        One is not there.
    """

    #: −1: not open.
    cdef int cpu_stat, cpuacct_stat, memory_current, memory_stat, memory_limit, memory_swap
    cdef int pids, procs
    #: Where `cgroup.procs` is to be opened anew at each reading (v1 alone): the kernel keeps an
    #: old list for descriptors that stay open.
    cdef int procs_folder
    cdef object procs_name
    cdef bint is_v2
    cdef object cpus_limit
    #: The most that was ever read: what is shown never falls. Seconds.
    cdef double user_seconds, system_seconds

    def __cinit__(self):
        self.cpu_stat = self.cpuacct_stat = self.memory_current = self.memory_stat = -1
        self.memory_limit = self.memory_swap = self.pids = self.procs = -1
        self.procs_folder = -1

    def __init__(self, root, str name, double cpus_limit):
        cgroups = root.cgroups
        self.is_v2 = cgroups.kind == "v2"
        self.cpus_limit = None if math.isinf(cpus_limit) else cpus_limit

        def opened(str controller, str file):
            index = cgroups.of(controller) if controller else len(root.folders) - 1
            flags = os.O_RDONLY | os.O_CLOEXEC
            return os.open(f"{name}/{file}", flags, dir_fd=root.folders[index])

        try:
            self.cpu_stat = opened("cpu", "cpu.stat")
            self.memory_stat = opened("memory", "memory.stat")
            self.pids = opened("pids", "pids.current")
            if self.is_v2:
                self.memory_current = opened("memory", "memory.current")
                self.memory_limit = opened("memory", "memory.max")
                try:
                    self.memory_swap = opened("memory", "memory.swap.current")
                except FileNotFoundError:
                    pass  # a kernel without swap
            else:
                self.cpuacct_stat = opened("cpuacct", "cpuacct.stat")
                self.memory_current = opened("memory", "memory.usage_in_bytes")
                self.memory_limit = opened("memory", "memory.limit_in_bytes")
            if cgroups.unified is None:
                self.procs_folder = root.folders[cgroups.of("pids")]
                self.procs_name = f"{name}/cgroup.procs"
            else:
                self.procs = opened("", "cgroup.procs")
        except BaseException:
            self.close()
            raise

    def close(self):
        """Close all; nothing can be read any more. O(1)."""
        cdef int *fds[8]
        cdef int i
        fds[0] = &self.cpu_stat
        fds[1] = &self.cpuacct_stat
        fds[2] = &self.memory_current
        fds[3] = &self.memory_stat
        fds[4] = &self.memory_limit
        fds[5] = &self.memory_swap
        fds[6] = &self.pids
        fds[7] = &self.procs
        for i in range(8):
            if fds[i][0] >= 0:
                close(fds[i][0])
                fds[i][0] = -1

    def __dealloc__(self):
        self.close()

    def set_cpus_limit(self, double cpus_limit):
        """Show another limit from now on; infinite: none."""
        self.cpus_limit = None if math.isinf(cpus_limit) else cpus_limit

    def read(self, double timestamp):
        """Return the container's statistics, as they are now. O(1) files, O(processes) bytes.

        Raises
        ------
        OSError
            The container is gone.
        """
        cdef char lines[BUFFER_BYTES + 2]
        cdef char *buffer = &lines[1]
        cdef dict found = {"timestamp": timestamp}
        cdef unsigned long long number
        lines[0] = b"\n"  # so that each line has one before it
        found["processes"] = self._processes(buffer)
        found["threads"] = _number(self.pids, buffer)
        if self.is_v2:
            self._read_cpu_v2(lines, found)
        else:
            self._read_cpu_v1(lines, found)
        if self.cpus_limit is not None:
            found["cpus_limit"] = self.cpus_limit
        found["mem_total_bytes"] = _number(self.memory_current, buffer)
        number = _number(self.memory_limit, buffer)
        if number < _NO_LIMIT:
            found["mem_limit_bytes"] = number
        _pread(self.memory_stat, buffer, BUFFER_BYTES, 0)
        self._read_memory(lines, found)
        if self.memory_swap >= 0:
            found["mem_swap_bytes"] = _number(self.memory_swap, buffer)
        return found

    cdef long _processes(self, char *buffer) except -1:
        """Count the lines of `cgroup.procs`."""
        cdef int fd = self.procs
        cdef long n_lines = 0
        cdef ssize_t n, offset = 0, i
        if self.procs_name is not None:
            fd = os.open(self.procs_name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.procs_folder)
        try:
            while True:
                n = _pread(fd, buffer, BUFFER_BYTES, offset)
                if n == 0:
                    return n_lines
                offset += n
                for i in range(n):
                    n_lines += buffer[i] == b"\n"
        finally:
            if fd != self.procs:
                close(fd)

    cdef int _set_times(self, double user, double system, dict found) except -1:
        self.user_seconds = max(self.user_seconds, user)
        self.system_seconds = max(self.system_seconds, system)
        found["cpus_user_time_secs"] = self.user_seconds
        found["cpus_system_time_secs"] = self.system_seconds
        return 0

    cdef int _set_periods(self, const char *text, const char *time, double unit,
                          dict found) except -1:
        cdef long long n = _value(text, b"\nnr_periods ")
        if n >= 0:
            found["cpus_nr_periods"] = n
            found["cpus_nr_throttled"] = _value(text, b"\nnr_throttled ")
            found["cpus_throttled_time_secs"] = _value(text, time) * unit
        return 0

    cdef int _read_cpu_v1(self, char *lines, dict found) except -1:
        _pread(self.cpuacct_stat, lines + 1, BUFFER_BYTES, 0)
        self._set_times(
            _value(lines, b"\nuser ") * _TICK_SECONDS,
            _value(lines, b"\nsystem ") * _TICK_SECONDS,
            found,
        )
        _pread(self.cpu_stat, lines + 1, BUFFER_BYTES, 0)
        return self._set_periods(lines, b"\nthrottled_time ", 1e-9, found)

    cdef int _read_cpu_v2(self, char *lines, dict found) except -1:
        _pread(self.cpu_stat, lines + 1, BUFFER_BYTES, 0)
        self._set_times(
            _value(lines, b"\nuser_usec ") * 1e-6, _value(lines, b"\nsystem_usec ") * 1e-6, found
        )
        return self._set_periods(lines, b"\nthrottled_usec ", 1e-6, found)

    cdef int _read_memory(self, const char *text, dict found) except -1:
        cdef long long number
        for key, names in _V2_MEMORY if self.is_v2 else _V1_MEMORY:
            number = _value(text, key)
            if number >= 0:
                for name in names:
                    found[name] = number
        return 0
