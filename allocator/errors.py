"""Every refusal of this package, under one root.

The policy: a refused call names the value that was wrong and leaves everything exactly as it
was. Errors about an absent thing are also `LookupError`, errors about a bad value also
`ValueError`, so that callers who do not know this package can catch them in the usual way.
However long the value is, a message shows at most 200 characters of it: it goes through `shown`,
or `cut` where it is text already.
"""

#: How much of an offending value an error message shows.
_SHOWN_CHARS = 200


def shown(value: object) -> str:
    """Return `value` as an error message shows it: its repr, cut short, whatever it is."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:  # a value that cannot even be shown must not hide the refusal
        text = f"<{type(value).__name__}>"
    return cut(text)


def cut(value: object) -> str:
    """Return the text of `value`, such as a name or resources, cut short for an error message."""
    text = str(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def check_built(error: ModuleNotFoundError) -> None:
    """Raise `ImportError`, saying how to build it, if the missing module is a compiled one."""
    if str(error.name).startswith("allocator.") and str(error.name).rpartition(".")[2][0] == "_":
        raise ImportError(
            f"the compiled module {error.name} is missing; build it with"
            " `pip install --no-build-isolation -e .`",
            name=error.name,
        ) from error


class AllocatorError(Exception):
    """The root of all errors raised by this package."""


class InvalidValue(AllocatorError, ValueError):
    """An option, id, weight, number or time that cannot be accepted."""


class InvalidRole(InvalidValue):
    """A role path that is not a well-formed path of names."""


class ResourceError(InvalidValue):
    """A malformed resource, or arithmetic that resources do not allow."""


class QuotaError(InvalidValue):
    """A guarantee or limit that contradicts another one on its path."""


class ConstraintError(InvalidValue):
    """Malformed offer constraints."""


class FairnessError(InvalidValue):
    """Capacity, demands, weights or bounds of which no division makes sense."""


class SnapshotError(InvalidValue):
    """A snapshot that cannot be restored."""


class AuditError(InvalidValue):
    """An audit log that cannot be replayed: malformed, cut off, or of another version."""


class NotAllowed(AllocatorError):
    """A call that the present state rules out, such as a recovery after agents came."""


class UnknownAgent(AllocatorError, LookupError):
    """No agent has this id."""


class UnknownFramework(AllocatorError, LookupError):
    """No framework has this id."""


class UnknownRole(AllocatorError, LookupError):
    """No role of this path exists, or the framework is not subscribed to it."""


class UnknownClient(AllocatorError, LookupError):
    """No client of this path is in the sorter."""


class DuplicateAgent(AllocatorError, ValueError):
    """An agent of this id is there already."""


class DuplicateFramework(AllocatorError, ValueError):
    """A framework of this id is there already."""


class DuplicateClient(AllocatorError, ValueError):
    """A client of this path is in the sorter already."""


class OfferGone(AllocatorError, LookupError):
    """The offer is no longer open: answered, rescinded, emptied, or its agent or framework left."""
