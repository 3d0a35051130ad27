"""How a request is refused: with an HTTP status and one line that says what was wrong."""

from __future__ import annotations

from typing import Final

from allocator.errors import AllocatorError

BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
METHOD_NOT_ALLOWED: Final = 405
NOT_ACCEPTABLE: Final = 406
CONFLICT: Final = 409
TOO_LARGE: Final = 413
UNSUPPORTED_MEDIA_TYPE: Final = 415
NOT_IMPLEMENTED: Final = 501
UNAVAILABLE: Final = 503


class CallRefused(AllocatorError):
    """A request that is refused, and changes nothing.

    Parameters
    ----------
    status : int
        The HTTP status.
    text : str
        One line for a person, which names what was wrong.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class MethodNotAllowed(CallRefused):
    """A request with a method that its path does not have.

    Parameters
    ----------
    *methods : str
        Those that it has.
    """

    def __init__(self, *methods: str) -> None:
        super().__init__(METHOD_NOT_ALLOWED, f"only {' and '.join(methods)} here")
        self.methods = methods
