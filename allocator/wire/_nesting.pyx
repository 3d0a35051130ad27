"""How deep JSON is nested, without reading it."""

cimport cython


@cython.boundscheck(False)
def depth_of(const unsigned char[:] text):
    """Return how many arrays and objects of a JSON text stand within one another at the most.

    Brackets within strings do not count. What is no JSON has some depth as well. O(length).

    Examples
    --------
    >>> depth_of(b'{"a": [[], "]["]}')
    3
    """
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t n = text.shape[0]
    cdef Py_ssize_t depth = 0
    cdef Py_ssize_t deepest = 0
    cdef bint in_string = False
    cdef unsigned char c
    while i < n:
        c = text[i]
        if in_string:
            if c == 92:  # a backslash: the next does not count
                i += 1
            elif c == 34:
                in_string = False
        elif c == 34:
            in_string = True
        elif c == 91 or c == 123:
            depth += 1
            if depth > deepest:
                deepest = depth
        elif c == 93 or c == 125:
            depth -= 1
        i += 1
    return deepest
