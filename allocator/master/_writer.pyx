"""JSON straight from the records: no dict or list is made on the way.

What is written is compact, on one line, in ASCII, and byte for byte what `json.dumps` makes of the
same values. Resources are integers in 1/1000, which become text by integer arithmetic.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND, PyUnicode_READ
from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from allocator.master.events import entries
from allocator.resources import Resources
from allocator.resources import ranges as _ranges


cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    char *PyOS_double_to_string(
        double value, char code, int precision, int flags, int *kind
    ) except NULL
    int Py_DTSF_ADD_DOT_0

cdef const char *HEX = b"0123456789abcdef"

#: Always there, whatever else is.
cdef tuple FOUR = ("cpus", "gpus", "mem", "disk")

#: What of a TaskInfo is shown as it came, where it is there.
cdef tuple AS_IT_CAME = ("discovery", "container", "health_check")


@cython.final
@cython.auto_pickle(False)
cdef class Writer:
    """Text that grows; all else here writes into one."""

    cdef char *text            # what is written
    cdef Py_ssize_t length     # of it, in bytes
    cdef Py_ssize_t capacity   # for how many bytes there is room

    def __cinit__(self):
        self.capacity = 1 << 12
        self.text = <char *>malloc(self.capacity)
        if self.text == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.text)

    cdef bytes taken(self):
        """Return what is written."""
        return PyBytes_FromStringAndSize(self.text, self.length)

    cdef int room(self, Py_ssize_t n) except -1:
        """See that n more bytes fit. O(1) on average."""
        cdef char *larger
        cdef Py_ssize_t capacity = self.capacity
        if self.length + n <= capacity:
            return 0
        while capacity < self.length + n:
            capacity *= 2
        larger = <char *>realloc(self.text, capacity)
        if larger == NULL:
            raise MemoryError()
        self.text = larger
        self.capacity = capacity
        return 0

    cdef inline int raw(self, bytes text) except -1:
        """Write text that is JSON, or a part of it."""
        cdef Py_ssize_t n = PyBytes_GET_SIZE(text)
        self.room(n)
        memcpy(self.text + self.length, PyBytes_AS_STRING(text), n)
        self.length += n
        return 0

    cdef inline int char(self, char c) except -1:
        self.room(1)
        self.text[self.length] = c
        self.length += 1
        return 0

    # Strings and numbers.

    cdef int string(self, str text) except -1:
        """Write a string in quotes, what is not printable ASCII escaped."""
        cdef Py_ssize_t i
        cdef Py_ssize_t n = PyUnicode_GET_LENGTH(text)
        cdef int kind = PyUnicode_KIND(text)
        cdef void *data = PyUnicode_DATA(text)
        cdef unsigned int c
        self.room(12 * n + 2)  # two escapes of six at the most
        self.text[self.length] = b'"'
        self.length += 1
        for i in range(n):
            c = <unsigned int>PyUnicode_READ(kind, data, i)
            if 32 <= c < 127 and c != 34 and c != 92:
                self.text[self.length] = <char>c
                self.length += 1
            else:
                self.escaped(c)
        self.text[self.length] = b'"'
        self.length += 1
        return 0

    cdef void escaped(self, unsigned int c) noexcept:
        """Write one character that needs it with a backslash; there is room for it."""
        cdef char short = 0
        if c == 34 or c == 92:
            short = <char>c
        elif c == 10:
            short = b"n"
        elif c == 13:
            short = b"r"
        elif c == 9:
            short = b"t"
        elif c == 12:
            short = b"f"
        elif c == 8:
            short = b"b"
        if short:
            self.text[self.length] = b"\\"
            self.text[self.length + 1] = short
            self.length += 2
        elif c < 0x10000:
            self.unit(c)
        else:
            c -= 0x10000
            self.unit(0xD800 + (c >> 10))
            self.unit(0xDC00 + (c & 0x3FF))

    cdef void unit(self, unsigned int c) noexcept:
        """Write one unit of UTF-16."""
        cdef char *place = self.text + self.length
        place[0] = b"\\"
        place[1] = b"u"
        place[2] = HEX[(c >> 12) & 15]
        place[3] = HEX[(c >> 8) & 15]
        place[4] = HEX[(c >> 4) & 15]
        place[5] = HEX[c & 15]
        self.length += 6

    cdef int digits(self, uint64_t number) except -1:
        """Write an integer that is not negative."""
        cdef char found[20]
        cdef int n = 0
        while True:
            found[n] = <char>(48 + number % 10)
            number //= 10
            n += 1
            if not number:
                break
        self.room(n)
        while n:
            n -= 1
            self.text[self.length] = found[n]
            self.length += 1
        return 0

    cdef int fraction(self, uint64_t number, uint64_t one) except -1:
        """Write `number / one`, where `one` is a power of ten, with at least one decimal."""
        cdef uint64_t rest = number % one
        self.digits(number // one)
        self.char(b".")
        while True:
            one //= 10
            self.char(<char>(48 + rest // one))
            rest %= one
            if not rest:
                return 0

    cdef int milli(self, int64_t amount) except -1:
        """Write an amount in 1/1000."""
        if amount < 0:
            self.char(b"-")
            amount = -amount
        return self.fraction(amount, 1000)

    cdef int double(self, double number) except -1:
        """Write a number that reads back as the same; what is not finite as text."""
        cdef double micro = number * 1e6
        cdef uint64_t whole
        cdef char *found
        cdef Py_ssize_t n = 0
        if 1e3 <= micro < 4e15:
            # Times up to 2096 are of this kind, where microseconds tell all numbers apart.
            whole = <uint64_t>(micro + 0.5)
            if <double>whole / 1e6 == number:
                return self.fraction(whole, 1000000)
        if not isfinite(number):
            return self.raw(b'"NaN"' if number != number else
                            b'"Infinity"' if number > 0 else b'"-Infinity"')
        found = PyOS_double_to_string(number, b"r", 0, Py_DTSF_ADD_DOT_0, NULL)
        try:
            while found[n]:
                n += 1
            self.room(n)
            memcpy(self.text + self.length, found, n)
            self.length += n
        finally:
            PyMem_Free(found)
        return 0

    # Values.

    cdef int value(self, object value) except -1:
        """Write JSON of dicts, lists, text and numbers; `Resources` as amounts by name."""
        cdef bint is_first = True
        if isinstance(value, str):
            return self.string(<str>value)
        if isinstance(value, dict):
            return self.mapping(<dict>value)
        if isinstance(value, (list, tuple)):
            self.char(b"[")
            for item in value:
                if not is_first:
                    self.char(b",")
                is_first = False
                self.value(item)
            return self.char(b"]")
        if value is None:
            return self.raw(b"null")
        if isinstance(value, bool):
            return self.raw(b"true" if value else b"false")
        if isinstance(value, float):
            return self.double(value)
        if isinstance(value, int):
            return self.raw(str(value).encode("ascii"))
        if isinstance(value, Resources):
            return self.resources(value)
        raise TypeError(f"{type(value).__name__} is no JSON")

    cdef int mapping(self, dict members) except -1:
        """Write an object."""
        cdef bint is_first = True
        self.char(b"{")
        for name, member in members.items():
            if not is_first:
                self.char(b",")
            is_first = False
            self.string(name)
            self.char(b":")
            self.value(member)
        return self.char(b"}")

    cdef int strings(self, object texts) except -1:
        """Write an array of strings."""
        cdef bint is_first = True
        self.char(b"[")
        for text in texts:
            if not is_first:
                self.char(b",")
            is_first = False
            self.string(text)
        return self.char(b"]")

    cdef inline int flag(self, bint is_so) except -1:
        return self.raw(b"true" if is_so else b"false")

    # Resources.

    cdef int resources(self, object resources) except -1:
        """Write amounts by name, the usual four always."""
        cdef dict plain = resources._plain
        cdef str name
        if resources._special:
            return self.special(resources)
        self.raw(b'{"cpus":')
        self.milli(plain.get("cpus", 0))
        self.raw(b',"gpus":')
        self.milli(plain.get("gpus", 0))
        self.raw(b',"mem":')
        self.milli(plain.get("mem", 0))
        self.raw(b',"disk":')
        self.milli(plain.get("disk", 0))
        for name in sorted(plain.keys() - FOUR):
            self.char(b",")
            self.string(name)
            self.char(b":")
            self.milli(plain[name])
        return self.char(b"}")

    cdef int special(self, object resources) except -1:
        """Write amounts by name where some are not plain: reservations and disks are summed."""
        cdef dict sums = dict.fromkeys(FOUR, 0)
        cdef str name
        sums.update(resources._plain)
        for entry in resources._special.values():
            identity = entry.identity
            name = f"{identity.name}_revocable" if identity.revocable else identity.name
            sums[name] = _sum_of(sums.get(name), entry.value)
        self.char(b"{")
        for position, name in enumerate([*FOUR, *sorted(sums.keys() - FOUR)]):
            if position:
                self.char(b",")
            self.string(name)
            self.char(b":")
            self.amount(sums[name])
        return self.char(b"}")

    cdef int amount(self, object amount) except -1:
        """Write an amount in 1/1000, ranges or a set."""
        if isinstance(amount, int):
            return self.milli(amount)
        if isinstance(amount, tuple):
            return self.string("[" + ", ".join([f"{low}-{high}" for low, high in amount]) + "]")
        return self.string("{" + ", ".join(sorted(amount)) + "}")

    # Records.

    cdef int field(self, bytes name, str text) except -1:
        """Write a member of a name with its comma and colon, and its text."""
        self.raw(name)
        return self.string(text)

    cdef int task(self, object task) except -1:
        """Write a task; all but its state and its statuses is kept with it, as it never changes."""
        cdef bytes fixed = task.fragment
        cdef Py_ssize_t begin = self.length
        cdef bint is_first = True
        if fixed is None:
            self.fixed_part(task)
            task.fragment = PyBytes_FromStringAndSize(self.text + begin, self.length - begin)
        else:
            self.raw(fixed)
        self.field(b',"state":', task.state)
        self.raw(b',"statuses":[')
        for status in (<dict>task.statuses).values():
            if not is_first:
                self.char(b",")
            is_first = False
            self.status(status)
        return self.raw(b"]}")

    cdef int fixed_part(self, object task) except -1:
        """Write what of a task stays as it was launched, without a closing brace."""
        info = task.info
        self.field(b'{"id":', task.id)
        self.field(b',"name":', info.name)
        self.field(b',"framework_id":', task.framework_id)
        self.field(b',"executor_id":', task.executor_id)
        self.field(b',"slave_id":', task.agent_id)
        self.raw(b',"resources":')
        self.resources(task.resources)
        self.field(b',"role":', task.role)
        if info.limits:
            self.raw(b',"limits":')
            limits = {name: each.value for name, each in info.limits.items()}
            self.mapping({name: value for name, value in limits.items() if value is not None})
        user = info.command.get("user") if info.command else None
        if isinstance(user, str):
            self.field(b',"user":', user)
        self.labels(info.labels)
        for name in AS_IT_CAME:
            value = getattr(info, name)
            if value is not None:
                self.char(b",")
                self.string(name)
                self.char(b":")
                self.value(value)
        return 0

    cdef int labels(self, object labels) except -1:
        """Write labels as a member, if there are any."""
        found = labels.get("labels") if labels else None
        if found:
            self.raw(b',"labels":')
            self.value(found)
        return 0

    cdef int status(self, dict status) except -1:
        """Write what `/state` shows of a status."""
        self.field(b'{"state":', status["state"])
        self.raw(b',"timestamp":')
        self.double(status.get("timestamp") or 0.0)
        self.labels(status.get("labels"))
        container = status.get("container_status")
        if container is not None:
            self.raw(b',"container_status":')
            self.value(container)
        healthy = status.get("healthy")
        if healthy is not None:
            self.raw(b',"healthy":')
            self.flag(healthy)
        return self.char(b"}")

    cdef int offer(self, object offer) except -1:
        """Write an open offer."""
        self.field(b'{"id":', offer.id)
        self.field(b',"framework_id":', offer.framework)
        self.field(b',"allocation_info":{"role":', offer.role)
        self.field(b'},"slave_id":', offer.agent)
        self.raw(b',"resources":')
        self.resources(offer.resources)
        return self.char(b"}")

    cdef int agent(self, object agent, object view) except -1:
        """Write an agent without a closing brace; `view` is the engine's, None for one not here."""
        info = agent.info
        self.field(b'{"id":', agent.id)
        self.field(b',"hostname":', agent.hostname)
        self.raw(b',"port":')
        self.value(agent.port)
        self.raw(b',"attributes":')
        self.attributes(info.attributes)
        if info.domain is not None:
            self.raw(b',"domain":')
            self.value(info.domain)
        self.field(b',"pid":', agent.pid or f"slave(1)@{agent.ip}:{agent.port}")
        self.raw(b',"registered_time":')
        self.double(agent.registered_time)
        self.time(b',"reregistered_time":', agent.reregistered_time)
        total = agent.resources if view is None else view.total
        self.raw(b',"resources":')
        self.resources(total)
        if view is not None:
            self.raw(b',"used_resources":')
            self.resources(view.allocated)
            self.raw(b',"offered_resources":')
            self.resources(view.offered)
        self.raw(b',"reserved_resources":')
        self.mapping(by_role(total))
        self.raw(b',"unreserved_resources":')
        self.resources(total.unreserved())
        self.raw(b',"active":')
        self.flag(agent.active and view is not None)
        self.field(b',"deactivated":false,"version":', agent.version)
        self.raw(b',"capabilities":')
        return self.strings([capability.type for capability in info.capabilities or ()])

    cdef int in_full(self, object view) except -1:
        """Write what `/slaves` adds to an agent: its resources in v1 form."""
        total = view.total
        self.raw(b',"reserved_resources_full":')
        self.mapping({role: entries(of_role) for role, of_role in by_role(total).items()})
        self.raw(b',"unreserved_resources_full":')
        self.value(entries(total.unreserved()))
        self.raw(b',"used_resources_full":')
        self.value(entries(view.allocated))
        self.raw(b',"offered_resources_full":')
        return self.value(entries(view.offered))

    cdef int time(self, bytes name, object time) except -1:
        """Write a member for a time, if there is one."""
        if time is not None:
            self.raw(name)
            self.double(time)
        return 0

    cdef int attributes(self, object attributes) except -1:
        """Write v1 attributes by name; the first of a name counts."""
        cdef set seen = set()
        self.char(b"{")
        for attribute in attributes or ():
            name = attribute.get("name")
            if not isinstance(name, str) or name in seen:
                continue
            if seen:
                self.char(b",")
            seen.add(name)
            self.string(name)
            self.char(b":")
            self.value(attribute_value(attribute))
        return self.char(b"}")

    cdef int framework(self, object framework, object used, object offered) except -1:
        """Write a framework up to its lists, without a closing brace."""
        info = framework.info
        self.field(b'{"id":', framework.id)
        self.field(b',"name":', info.name)
        self.field(b',"hostname":', info.hostname or "")
        self.field(b',"webui_url":', info.webui_url or "")
        self.raw(b',"capabilities":')
        self.strings(sorted(framework.capabilities))
        self.raw(b',"active":')
        self.flag(framework.active)
        self.raw(b',"connected":')
        self.flag(framework.connected)
        self.raw(b',"recovered":')
        self.flag(framework.recovered)
        self.field(b',"user":', info.user)
        self.raw(b',"failover_timeout":')
        self.double(framework.failover_timeout)
        self.raw(b',"checkpoint":')
        self.flag(info.checkpoint or False)
        self.raw(b',"registered_time":')
        self.double(framework.registered_time)
        self.raw(b',"unregistered_time":')
        self.double(framework.unregistered_time)
        self.time(b',"reregistered_time":', framework.reregistered_time)
        principal = framework.principal or info.principal
        if principal:
            self.field(b',"principal":', principal)
        self.raw(b',"used_resources":')
        self.resources(used)
        self.raw(b',"offered_resources":')
        self.resources(offered)
        self.raw(b',"resources":')
        self.resources(used + offered)
        self.raw(b',"roles":')
        self.strings(framework.roles)
        self.labels(info.labels)
        self.raw(b',"offer_constraints":')
        constraints = framework.constraints
        return self.value({"role_constraints": constraints} if constraints else {})


def _sum_of(before, amount):
    """Return two amounts of one name together; `before` may be None."""
    if before is None:
        return amount
    if isinstance(amount, int):
        return before + amount
    if isinstance(amount, tuple):
        return _ranges.union(before, amount)
    return before | amount


def by_role(total):
    """Return the reserved entries of an agent by the role they are reserved to. O(entries)."""
    if not total._special:
        return {}
    reserved = total.reserved()
    roles = dict.fromkeys([entry.role for entry in reserved])
    return {role: reserved.reserved(role) for role in roles}


def attribute_value(attribute):
    """Return the value of a v1 attribute as JSON: a number, or text."""
    if "scalar" in attribute:
        return attribute["scalar"].get("value", 0.0)
    if "ranges" in attribute:
        found = attribute["ranges"].get("range", ())
        return "[" + ", ".join([f"{r['begin']}-{r['end']}" for r in found]) + "]"
    if "set" in attribute:
        return "{" + ", ".join(attribute["set"].get("item", ())) + "}"
    return attribute.get("text", {}).get("value", "")


# What Python calls.


def json_text(value):
    """Return JSON of a value.

    Parameters
    ----------
    value : dict, list, tuple, str, int, float, bool, None or Resources
        Of these in turn; `Resources` are written as amounts by name.

    Returns
    -------
    bytes
        Compact ASCII. Numbers that are not finite are text, as JSON has none. O(length).

    Raises
    ------
    TypeError
        If there is something else in it.

    Examples
    --------
    >>> json_text({"a": [1, 0.5, "u", None], "held": Resources("cpus:0.1")})
    b'{"a":[1,0.5,"u",null],"held":{"cpus":0.1,"gpus":0.0,"mem":0.0,"disk":0.0}}'
    """
    cdef Writer writer = Writer()
    writer.value(value)
    return writer.taken()


def tasks_text(tasks):
    """Return tasks as JSON objects with commas between them. O(length)."""
    cdef Writer writer = Writer()
    for task in tasks:
        if writer.length:
            writer.char(b",")
        writer.task(task)
    return writer.taken()


def offers_text(offers):
    """Return open offers as JSON objects with commas between them. O(length)."""
    cdef Writer writer = Writer()
    for offer in offers:
        if writer.length:
            writer.char(b",")
        writer.offer(offer)
    return writer.taken()


def agents_text(agents, views, bint in_full=False):
    """Return agents as JSON objects with commas between them.

    Parameters
    ----------
    agents : iterable of Agent
    views : mapping
        Id → what the engine knows of the agent; one that it does not know is waited for.
    in_full : bool
        Whether resources are there in v1 form, too.

    Returns
    -------
    bytes
        O(length).
    """
    cdef Writer writer = Writer()
    for agent in agents:
        if writer.length:
            writer.char(b",")
        view = views.get(agent.id)
        writer.agent(agent, view)
        if in_full and view is not None:
            writer.in_full(view)
        writer.char(b"}")
    return writer.taken()


def framework_text(framework, used, offered):
    """Return a framework as JSON up to its lists, without a closing brace. O(length)."""
    cdef Writer writer = Writer()
    writer.framework(framework, used, offered)
    return writer.taken()
