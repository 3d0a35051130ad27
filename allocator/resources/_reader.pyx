"""The compiled reader: text, mappings, v1 JSON, entries, and lists of these, as resources.

The text form is Mesos' `name(role):value`, separated by semicolons. `cpus:4` is unreserved, and so
is `cpus(*):4`; `cpus(eng/prod):4` is statically reserved. A value is a number, ranges `[1-2,5-9]`
or a set `{sda,sdb}`. White space may stand around every part, a byte order mark before all.

A v1 JSON object is read as Mesos' `Resources::validate` reads it (`v1.py`); what has a name and a
value alone is read here, reservations, disks, providers and flags there. Numbers that are no plain
decimals, ints or floats are read, and all of them refused, by `fixed.py`.

Names and roles are few and recur, so that what a head such as `cpus(eng/prod)` stands for is kept.
"""

cimport cython
from cpython.ref cimport PyObject
from libc.float cimport DBL_EPSILON
from libc.math cimport fabs, floor
from libc.stdint cimport int64_t

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal

from allocator.errors import ResourceError, shown
from allocator.resources.fixed import MAX_MILLI as _MAX_MILLI, over_large, read_milli
from allocator.resources.identity import (
    RANGES as _RANGES,
    SCALAR as _SCALAR,
    SET as _SET,
    Entry,
    identity_of,
)
from allocator.resources.ranges import MAX_BOUND as _MAX_BOUND, checked, normal, read_bound
from allocator.resources.reservation import STATIC as _STATIC, Reservation
from allocator.resources.v1 import (
    object_in,
    objects_in,
    read_rest,
    read_words,
    refuse_type,
)
from allocator.roles import DEFAULT_ROLE as _DEFAULT_ROLE

cdef extern from "Python.h":
    object PyType_GenericNew(object kind, PyObject *args, PyObject *kwargs)
    object PyUnicode_Substring(object text, Py_ssize_t begin, Py_ssize_t end)
    Py_ssize_t PyUnicode_FindChar(
        object text, Py_UCS4 char, Py_ssize_t begin, Py_ssize_t end, int direction) except -2
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1

#: The type of a value, as an index.
cdef enum Kind:
    IS_SCALAR
    IS_RANGES
    IS_SET

cdef enum:
    #: Lists may hold lists, this deep; a list that holds itself ends here.
    MAX_DEPTH = 8
    #: How many heads, and names, of each type are kept, and how long they may be.
    MOST_KEPT = 1024
    LONGEST_KEPT = 256
    #: Numbers of so many digits, in 1/1000 too, and ends of ranges of so many fit an int64.
    NUMBER_DIGITS = 15
    BOUND_DIGITS = 18
    #: The largest integer that an int64 holds in 1/1000.
    MOST_UNITS = 9223372036854775
    BYTE_ORDER_MARK = 0xFEFF

#: The name of each type, and the v1 field that has its value.
cdef tuple KINDS = (_SCALAR, _RANGES, _SET)
cdef tuple VALUE_FIELDS = ("scalar", "ranges", "set")
#: Fields that tell a v1 resource from a mapping of names to amounts.
cdef tuple TELLING_FIELDS = (
    "type", "role", "reservation", "reservations", "scalar", "ranges", "set")
#: Fields, beside `role`, that make it more than a name and a value.
cdef tuple OTHER_FIELDS = (
    "reservations", "reservation", "disk", "provider_id", "revocable", "shared")


@cython.final
@cython.auto_pickle(False)
cdef class Head:
    """What a head such as `cpus(eng/prod)` stands for, with a value of one type."""

    cdef object identity
    cdef object name
    cdef object kind
    cdef bint plain

    @staticmethod
    cdef Head of(object identity):
        cdef Head head = Head.__new__(Head)
        head.identity = identity
        head.name = identity.name
        head.kind = identity.kind
        head.plain = identity.plain
        return head


#: By type: head of a text → `Head`, and name → `Head` of what has nothing but that name.
cdef list HEADS = [{}, {}, {}]
cdef list BARE_HEADS = [{}, {}, {}]


cdef int keep(dict heads, str key, Head head) except -1:
    if len(key) <= LONGEST_KEPT:
        if len(heads) >= MOST_KEPT:
            heads.clear()
        heads[key] = head
    return 0


cdef Head bare_head(str name, Kind kind):
    """Return what a name alone stands for. O(1) where it recurs."""
    cdef dict heads = <dict>BARE_HEADS[kind]
    cdef Head head = heads.get(name)
    if head is None:
        head = Head.of(identity_of(name, KINDS[kind]))
        keep(heads, name, head)
    return head


# Where entries go.


@cython.auto_pickle(False)
cdef class Entries:
    """A list of the entries that were read."""

    cdef list found

    def __cinit__(self):
        self.found = []

    cdef int take(self, Head head, object value, object disk) except -1:
        """Take an entry in by its parts."""
        self.found.append(made(Entry, head.identity, value, disk))
        return 0

    cdef int take_entry(self, object entry) except -1:
        """Take in an entry that is there already."""
        self.found.append(entry)
        return 0


@cython.final
@cython.auto_pickle(False)
cdef class Sum(Entries):
    """The sum of the entries that were read: what `Resources` is made of (invariants 1 to 4)."""

    cdef object entry_kind  # the class `Resource`
    cdef dict plain
    cdef dict special
    cdef dict totals  # `plain` itself as long as no other scalar is there
    cdef dict kinds  # name → kind

    def __cinit__(self):
        self.plain = self.totals = {}
        self.special = {}
        self.kinds = {}

    cdef int take(self, Head head, object value, object disk) except -1:
        self.check_kind(head)
        if not value:
            return 0
        if head.plain:
            return self.add_plain(head.name, value)
        return self.add_special(made(self.entry_kind, head.identity, value, disk))

    cdef int take_entry(self, object entry) except -1:
        cdef Head head = Head.of(entry._identity)
        self.check_kind(head)
        if not entry._value:
            return 0
        if head.plain:
            return self.add_plain(head.name, entry._value)
        return self.add_special(self.entry_kind._of(entry))

    cdef int check_kind(self, Head head) except -1:
        kind = self.kinds.get(head.name)
        if kind is None:
            self.kinds[head.name] = head.kind
        elif kind != head.kind:
            raise ResourceError(f"{shown(head.name)} is both {kind} and {head.kind}")
        return 0

    cdef int add_plain(self, object name, object milli) except -1:
        if self.totals is self.plain:
            add_amount(self.plain, name, milli)
        else:
            add_amount(self.totals, name, milli)
            self.plain[name] = self.plain.get(name, 0) + milli
        return 0

    cdef int add_special(self, object entry) except -1:
        identity = entry._identity
        mine = self.special.get(identity)
        self.special[identity] = entry if mine is None else mine._plus(entry)
        if isinstance(entry._value, int) and not (mine is not None and identity.shared):
            if self.totals is self.plain:
                self.totals = self.plain.copy()
            add_amount(self.totals, identity.name, entry._value)
        return 0


cdef object made(object kind, object identity, object value, object disk):
    """Return one copy of an entry of class `kind`, unchecked."""
    entry = PyType_GenericNew(kind, NULL, NULL)
    entry._identity = identity
    entry._value = value
    entry._disk = disk
    entry._copies = 1
    if kind is not Entry:
        entry._canonical = None
    return entry


cdef int add_amount(dict totals, object name, object milli) except -1:
    """Add a positive amount to a name's total, which may not exceed 2**63 - 1."""
    before = totals.get(name)
    total = milli if before is None else before + milli
    if total > _MAX_MILLI:
        raise over_large(name, total)
    totals[name] = total
    return 0


def read_entries(source):
    """Return the entries that `source` stands for, in its order, empty amounts included.

    Raises
    ------
    ResourceError
        Naming what is malformed, or is no resource at all. O(size).
    """
    cdef Entries entries = Entries()
    read(source, 0, entries)
    return entries.found


def read_sum(source, entry_kind):
    """Return the plain scalars, other entries and totals that make `Resources` of `source`.

    `entry_kind` is the class `Resource`, of which the other entries are.

    Raises
    ------
    ResourceError
        As `read_entries`, or the entries do not go together. O(size).
    """
    cdef Sum sum = Sum()
    sum.entry_kind = entry_kind
    read(source, 0, sum)
    return sum.plain, sum.special, sum.totals


cdef int read(object source, int depth, Entries into) except -1:
    """Read whatever stands for resources."""
    if isinstance(source, str):
        return read_any_text(str.__str__(source), depth, into)
    if type(source) is dict:
        return read_object(<dict>source, source, into)
    if not isinstance(source, (list, tuple)):
        if isinstance(source, Entry):
            return into.take_entry(source)
        if isinstance(source, Mapping):
            return read_object(dict(source), source, into)
        if isinstance(source, (bytes, bytearray, memoryview)) or not isinstance(source, Iterable):
            raise ResourceError(f"{shown(source)} is not resources")
    if depth > MAX_DEPTH:
        raise ResourceError(f"{shown(source)}: lists within lists are too deep")
    for item in source:
        read(item, depth + 1, into)
    return 0


cdef int read_object(dict given, object source, Entries into) except -1:
    """Read a v1 JSON object, or a mapping of names to amounts, with the items of `given`."""
    if tells_v1(given):
        return read_v1(given, source, into)
    return read_amounts(given, into)


# Text. A part of it is given by where it begins and ends.


cdef int read_any_text(str text, int depth, Entries into) except -1:
    """Read the text form or JSON."""
    cdef Py_ssize_t begin = 0
    cdef Py_ssize_t end = len(text)
    if end and text[0] == BYTE_ORDER_MARK:
        begin = 1
    while begin < end and text[begin].isspace():
        begin += 1
    if begin < end and text[begin] in u"[{":
        return read(decoded(PyUnicode_Substring(text, begin, end)), depth + 1, into)
    while begin < end:
        begin = read_segment(text, begin, end, into) + 1
    return 0


cdef object decoded(str text):
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=refuse_constant)
    except RecursionError:
        raise ResourceError(f"{shown(text)}: JSON nested too deep") from None
    except (ValueError, ArithmeticError) as error:
        raise ResourceError(f"{shown(text)}: malformed JSON ({error})") from None


def refuse_constant(word):
    """Refuse what Python's JSON has beyond the standard's: NaN and the infinities."""
    raise ValueError(f"{word} is not a number")


cdef Py_ssize_t read_segment(str text, Py_ssize_t begin, Py_ssize_t limit, Entries into) except -1:
    """Read `name(role):value`, which ends at a semicolon or at the limit; return where."""
    cdef Py_ssize_t stop = find(text, u";", begin, limit)
    cdef Py_ssize_t end = stop
    cdef Py_ssize_t colon
    strip(text, &begin, &end)
    if begin < end:  # an empty segment is skipped
        colon = find(text, u":", begin, end)
        if colon == end:
            raise not_of_the_form(PyUnicode_Substring(text, begin, end))
        read_parts(text, begin, colon, end, into)
    return stop


cdef int read_parts(
    str text, Py_ssize_t begin, Py_ssize_t colon, Py_ssize_t end, Entries into
) except -1:
    """Read a segment whose head ends at the colon."""
    cdef Py_ssize_t head_end = colon
    cdef Py_ssize_t value_begin = colon + 1
    cdef Kind kind
    cdef Head head
    cdef str key
    strip(text, &begin, &head_end)
    strip(text, &value_begin, &end)
    kind = type_at(text, value_begin, end)
    key = PyUnicode_Substring(text, begin, head_end)
    head = (<dict>HEADS[kind]).get(key)
    if head is None:
        name, role = parts_of_head(key, PyUnicode_Substring(text, begin, end))
    try:
        value = read_value(text, value_begin, end, kind)
        if head is None:
            stack = () if role == _DEFAULT_ROLE else (Reservation(_STATIC, role),)
            head = Head.of(identity_of(name, KINDS[kind], stack))
            keep(<dict>HEADS[kind], key, head)
    except ResourceError as error:
        segment = PyUnicode_Substring(text, begin, end)
        raise ResourceError(f"resource {shown(segment)}: {error}") from None
    return into.take(head, value, None)


cdef tuple parts_of_head(str head, str segment):
    """Return the name and the role of `name(role)`, or of a name alone."""
    name, opening, rest = head.partition("(")
    role, closing, beyond = rest.partition(")")
    if ")" in name or "(" in role or beyond or (opening and not closing):
        raise not_of_the_form(segment)
    name = name.strip()
    if not is_word(name, 0, len(name)):
        raise ResourceError(f"resource {shown(segment)}: {shown(name)} is not a name")
    return name, role.strip() if opening else _DEFAULT_ROLE


cdef object not_of_the_form(str segment):
    return ResourceError(f"resource {shown(segment)}: not of the form name(role):value")


cdef inline Kind type_at(str text, Py_ssize_t begin, Py_ssize_t end):
    """Return the type of a value, which its first character tells."""
    if begin < end and text[begin] == u"[":
        return IS_RANGES
    return IS_SET if begin < end and text[begin] == u"{" else IS_SCALAR


cdef object read_value(str text, Py_ssize_t begin, Py_ssize_t end, Kind kind):
    """Return the value that a text such as `4`, `[1-2]` or `{a,b}` stands for."""
    cdef int64_t milli
    if kind == IS_RANGES:
        return read_ranges(text, begin, end)
    if kind == IS_SET:
        return frozenset(read_set(text, begin, end))
    milli = plain_decimal(text, begin, end)
    return milli if milli >= 0 else read_milli(PyUnicode_Substring(text, begin, end))


cdef object read_ranges(str text, Py_ssize_t begin, Py_ssize_t end):
    """Return the ranges that a text in brackets stands for, in their one form."""
    cdef list pairs = []
    cdef Py_ssize_t comma
    open_items(text, u"]", &begin, &end)
    while begin < end:
        comma = find(text, u",", begin, end)
        pairs.append(read_range(text, begin, comma))
        begin = comma + 1
        if begin == end:
            pairs.append(read_range(text, end, end))  # refused: nothing follows the comma
    return normal(pairs) if len(pairs) > 1 else tuple(pairs)


cdef tuple read_range(str text, Py_ssize_t begin, Py_ssize_t end):
    """Return the pair that `begin-end` stands for."""
    cdef Py_ssize_t dash, first_end, last_begin
    cdef int64_t first, last
    strip(text, &begin, &end)
    dash = first_end = find(text, u"-", begin, end)
    if dash == end:
        item = PyUnicode_Substring(text, begin, end)
        raise ResourceError(f"{shown(item)} is not a range begin-end")
    last_begin = dash + 1
    strip(text, &begin, &first_end)
    strip(text, &last_begin, &end)
    first = plain_bound(text, begin, first_end)
    last = plain_bound(text, last_begin, end)
    if 0 <= first <= last:
        return first, last
    return checked(
        read_bound(PyUnicode_Substring(text, begin, first_end)),
        read_bound(PyUnicode_Substring(text, last_begin, end)))


cdef int64_t plain_bound(str text, Py_ssize_t begin, Py_ssize_t end) except? -1:
    """Return an end of a range, −1 unless it is written in few digits."""
    cdef int64_t bound = 0
    cdef Py_ssize_t i
    cdef int digit
    if not begin < end <= begin + BOUND_DIGITS:
        return -1
    for i in range(begin, end):
        digit = digit_at(text, i)
        if digit < 0:
            return -1
        bound = 10 * bound + digit
    return bound


cdef inline int digit_at(str text, Py_ssize_t i) except? -1:
    """Return an ASCII digit's value, −1 of any other character."""
    cdef Py_UCS4 char = text[i]
    return <int>char - <int>u"0" if u"0" <= char <= u"9" else -1


cdef list read_set(str text, Py_ssize_t begin, Py_ssize_t end):
    """Return the words that a text in braces stands for."""
    cdef list words = []
    cdef Py_ssize_t comma, word_end
    open_items(text, u"}", &begin, &end)
    while begin < end:
        comma = word_end = find(text, u",", begin, end)
        strip(text, &begin, &word_end)
        words.append(checked_word(text, begin, word_end))
        begin = comma + 1
        if begin == end:
            words.append(checked_word(text, end, end))  # refused: nothing follows the comma
    return words


cdef object checked_word(str text, Py_ssize_t begin, Py_ssize_t end):
    word = PyUnicode_Substring(text, begin, end)
    if not is_word(text, begin, end):
        raise ResourceError(f"{shown(word)} is not a word of a set")
    return word


cdef int open_items(str text, Py_UCS4 closing, Py_ssize_t *begin, Py_ssize_t *end) except -1:
    """Go within brackets or braces, the first of which is there."""
    if text[end[0] - 1] != closing:
        value = PyUnicode_Substring(text, begin[0], end[0])
        raise ResourceError(f"{shown(value)} does not end with {chr(closing)!r}")
    begin[0] += 1
    end[0] -= 1
    return strip(text, begin, end)


cdef inline Py_ssize_t find(str text, Py_UCS4 char, Py_ssize_t begin, Py_ssize_t end) except -1:
    """Return where a character stands, the end if nowhere."""
    cdef Py_ssize_t found = PyUnicode_FindChar(text, char, begin, end, 1)
    return end if found < 0 else found


cdef inline int strip(str text, Py_ssize_t *begin, Py_ssize_t *end) except -1:
    """Leave out white space at both ends."""
    while begin[0] < end[0] and text[begin[0]].isspace():
        begin[0] += 1
    while begin[0] < end[0] and text[end[0] - 1].isspace():
        end[0] -= 1
    return 0


cdef bint is_word(str text, Py_ssize_t begin, Py_ssize_t end) except -1:
    """Tell whether it can stand as a name or set element in this syntax, as `text.is_word` does."""
    cdef Py_ssize_t i
    cdef Py_UCS4 char
    for i in range(begin, end):
        char = text[i]
        if char in u"()[]{}:;,\"" or char == BYTE_ORDER_MARK or char.isspace():
            return False
    return begin < end


# Mappings of names to amounts, and numbers.


cdef int read_amounts(dict amounts, Entries into) except -1:
    """Read a mapping of names to numbers, or to texts of values."""
    cdef Py_ssize_t begin, end
    cdef Kind kind
    cdef str word, text
    for name, amount in amounts.items():
        if not isinstance(name, str) or not is_word(str.__str__(name), 0, len(name)):
            raise ResourceError(f"{shown(name)} is not a resource name")
        word = str.__str__(name)  # of a subclass, its text
        kind = IS_SCALAR
        try:
            if isinstance(amount, str):
                text = str.__str__(amount)
                begin, end = 0, len(text)
                strip(text, &begin, &end)
                kind = type_at(text, begin, end)
                value = read_value(text, begin, end, kind)
            else:
                value = read_number(amount)
        except ResourceError as error:
            raise ResourceError(f"resource {shown(name)}: {error}") from None
        into.take(bare_head(word, kind), value, None)
    return 0


cdef object read_number(object number):
    """Return a number, or the text of one, as an amount in 1/1000, as `read_milli` does."""
    cdef int64_t milli = -1
    cdef Py_ssize_t begin = 0
    cdef Py_ssize_t end
    if type(number) is int:
        milli = milli_of_int(number)
    elif type(number) is float:
        milli = milli_of_float(number)
    elif type(number) is str:
        end = len(<str>number)
        strip(<str>number, &begin, &end)
        milli = plain_decimal(<str>number, begin, end)
    return milli if milli >= 0 else read_milli(number)


cdef int64_t plain_decimal(str text, Py_ssize_t begin, Py_ssize_t end) except? -1:
    """Return an amount in 1/1000, −1 unless it is an accepted one without much ado.

    That is digits, not too many, and then perhaps a point and digits, rounded half up.
    """
    cdef int64_t milli = 0
    cdef int64_t unit = 100  # what the next decimal counts; from the fourth on they round
    cdef bint is_zero, is_rounded = False
    cdef Py_ssize_t i = begin
    cdef int digit
    while i < end and digit_at(text, i) >= 0:
        if i - begin == NUMBER_DIGITS:
            return -1
        milli = 10 * milli + digit_at(text, i)
        i += 1
    if i == begin:
        return -1
    is_zero = milli == 0
    milli *= 1000
    if i < end and text[i] == u".":
        i += 1
        while i < end and digit_at(text, i) >= 0:
            digit = digit_at(text, i)
            is_zero = is_zero and digit == 0
            if unit:
                milli += unit * digit
                unit //= 10
            elif not is_rounded:
                milli += digit >= 5
                is_rounded = True
            i += 1
    return -1 if i < end or (milli == 0 and not is_zero) else milli


cdef int64_t milli_of_int(object number) except? -1:
    """Return an integer in 1/1000, −1 if that is no amount."""
    cdef int overflow = 0
    cdef long long units = PyLong_AsLongLongAndOverflow(number, &overflow)
    return -1 if overflow or not 0 <= units <= MOST_UNITS else 1000 * <int64_t>units


cdef int64_t milli_of_float(double number) noexcept:
    """Return a float's shortest decimal in 1/1000, −1 where its digits must be looked at.

    It is within half a unit in its last place of that decimal, and so is the product of its own:
    within that of a half thousandth the digits decide. Integers are their decimals.
    """
    cdef double milli = 1000 * number
    cdef double whole = floor(milli)
    cdef double rounded = whole + (milli - whole >= 0.5)
    if not 0 <= milli < 2.0**52:
        return -1
    if fabs(milli - whole - 0.5) <= 2 * DBL_EPSILON * milli and number != floor(number):
        return -1
    return -1 if rounded == 0 and number != 0 else <int64_t>rounded


# v1 JSON.


def is_v1(given):
    """Tell a v1 resource from a mapping of names to amounts. O(1) for a dict."""
    return tells_v1(as_dict(given))


cdef bint tells_v1(dict given) except -1:
    """Do as `is_v1`."""
    cdef bint is_named = isinstance(given.get("name"), str)
    for field in TELLING_FIELDS:
        if field in given and (is_named or isinstance(given[field], Mapping)):
            return True
    return False


cdef int read_v1(dict given, object source, Entries into) except -1:
    """Read the v1 JSON object `source`, whose items are in `given`."""
    cdef Kind kind
    cdef str word
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise ResourceError(f"resource {shown(source)}: its 'name' must be a non-empty text")
    word = str.__str__(name)  # of a subclass, its text
    disk = None
    try:
        kind = type_of(given)
        value = read_v1_value(given, kind)
        if is_bare(given):
            head = bare_head(word, kind)
        else:
            identity, disk = read_rest(given, word, KINDS[kind])
            head = Head.of(identity)
    except ResourceError as error:
        raise ResourceError(f"resource {shown(name)}: {error}") from None
    return into.take(head, value, disk)


cdef bint is_bare(dict given) except -1:
    """Tell whether it has nothing but a name and a value."""
    role = given.get("role")
    if role is not None and not (type(role) is str and role == _DEFAULT_ROLE):
        return False
    for field in OTHER_FIELDS:
        if given.get(field) is not None:
            return False
    return True


cdef Kind type_of(dict given) except *:
    """Return the type, which exactly one value must be given for and which may go unsaid."""
    cdef Kind kind = IS_SCALAR
    cdef int n_given = 0
    cdef int i
    for i in range(3):
        if given.get(VALUE_FIELDS[i]) is not None:
            kind = <Kind>i
            n_given += 1
    said = given.get("type")
    if n_given != 1 or (said is not None and said != KINDS[kind]):
        refuse_type(given)
    return kind


cdef object read_v1_value(dict given, Kind kind):
    """Return the value of an object of this type."""
    field = VALUE_FIELDS[kind]
    body = given[field]
    if type(body) is not dict:
        body = dict(object_in(given, field))
    if kind == IS_SCALAR:
        return read_number((<dict>body).get("value"))
    if kind == IS_RANGES:
        return read_v1_ranges(<dict>body)
    return read_words(body)


cdef object read_v1_ranges(dict body):
    """Return the ranges of a v1 value, in their one form."""
    cdef list pairs = []
    for item in objects_in(body, "range"):
        pairs.append(v1_range(as_dict(item)))
    return normal(pairs) if len(pairs) > 1 else tuple(pairs)


cdef tuple v1_range(dict item):
    first, last = item.get("begin"), item.get("end")
    if type(first) is int and type(last) is int and 0 <= first <= last <= _MAX_BOUND:
        return first, last
    return checked(
        read_bound(first) if isinstance(first, str) else first,
        read_bound(last) if isinstance(last, str) else last)


cdef dict as_dict(object mapping):
    return mapping if type(mapping) is dict else dict(mapping)
