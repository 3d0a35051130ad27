"""What an executor proves by that it is the one of its container."""

from __future__ import annotations

import base64
import hashlib
import hmac

from allocator.wire.credentials import read_claim


class Tokens:
    """Makes tokens, and knows its own, after a restart too.

    Parameters
    ----------
    key : bytes
        Nobody else's.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, container_id: str) -> str:
        """Return the token of a container.

        Examples
        --------
        >>> tokens = Tokens(b"key")
        >>> tokens.container(f"Bearer {tokens.token('c1')}")
        'c1'
        """
        proof = self._proof(container_id)
        return base64.b64encode(f"{container_id}:{proof}".encode()).decode("ascii")

    def container(self, authorization: str | None) -> str | None:
        """Return the container whose token an `Authorization` header has; None if it has none."""
        claim = read_claim(authorization)
        if claim is None:
            return None
        is_proof = hmac.compare_digest(claim.secret, self._proof(claim.principal).encode())
        return claim.principal if is_proof else None

    def _proof(self, container_id: str) -> str:
        return hmac.new(self._key, container_id.encode(), hashlib.sha256).hexdigest()
