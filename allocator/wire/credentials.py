"""Who somebody is: principals with hashed secrets, and how a request tells its own.

A secret is kept as scrypt makes it (RFC 7914), written as in the PHC string format:
`$scrypt$ln=14,r=8,p=1$SALT$HASH`, base64 without padding.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets as secrets_module
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from allocator.errors import InvalidValue

LN, R, P = 14, 8, 1
MAX_LN: Final = 20
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32

_PHC: Final = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)


class Secret(NamedTuple):
    """A hashed secret and what it was hashed with."""

    ln: int
    r: int
    p: int
    salt: bytes
    hash: bytes

    def matches(self, secret: bytes) -> bool:
        """Tell whether a secret is this one, in a time that does not tell how nearly."""
        return hmac.compare_digest(
            _scrypt(secret, self.salt, self.ln, self.r, self.p, len(self.hash)), self.hash
        )


def _scrypt(secret: bytes, salt: bytes, ln: int, r: int, p: int, length: int) -> bytes:
    n = 1 << ln
    # OpenSSL needs 128·n·r bytes, and a little more.
    memory = 128 * r * (n + p + 2) + (1 << 20)
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=length)


def hashed(secret: str) -> str:
    """Return a secret as a credentials file keeps it, with a salt of its own."""
    salt = secrets_module.token_bytes(_SALT_BYTES)
    digest = _scrypt(secret.encode(), salt, LN, R, P, _HASH_BYTES)
    return f"$scrypt$ln={LN},r={R},p={P}${_unpadded(salt)}${_unpadded(digest)}"


def read_secret(text: object) -> Secret:
    """Return what `hashed` wrote.

    Raises
    ------
    InvalidValue
        It is no such text, which is not repeated: it may be a secret in the clear.
    """
    match = _PHC.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidValue("not a scrypt hash such as `allocator credentials PRINCIPAL` prints")
    ln, r, p = (int(number) for number in match.groups()[:3])
    try:
        salt, digest = (_padded(part) for part in match.groups()[3:])
    except binascii.Error:
        raise InvalidValue("a scrypt hash whose base64 is malformed") from None
    if not (1 <= ln <= MAX_LN and 1 <= r <= 32 and 1 <= p <= 16 and len(digest) >= 16):
        raise InvalidValue(f"a scrypt hash with ln={ln}, r={r}, p={p}: ln is at most {MAX_LN}")
    return Secret(ln, r, p, salt, digest)


def _unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")


def _padded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


class Credentials:
    """The principals that are let in, and their secrets.

    Parameters
    ----------
    secrets : mapping of str to Secret
    """

    def __init__(self, secrets: Mapping[str, Secret]) -> None:
        self._secrets = dict(secrets)
        #: Compared with where there is no such principal, so that this takes as long.
        self._nobody = Secret(LN, R, P, bytes(_SALT_BYTES), bytes(_HASH_BYTES))
        #: Principal → keyed digest of the secret that it last proved to have: an scrypt costs some
        #: 50 ms, and is needed once for each.
        self._proven: dict[str, bytes] = {}
        self._key = secrets_module.token_bytes(32)

    @classmethod
    def read(cls, path: str | Path) -> Credentials:
        """Read a credentials file.

        Raises
        ------
        OSError
            It cannot be read.
        InvalidValue
            Others can read it, it is malformed, or a secret is not hashed.
        """
        content = _read_private(Path(path))
        entries = content.get("credentials") if isinstance(content, dict) else None
        if not isinstance(entries, list):
            raise InvalidValue(f'{path}: is not {{"credentials":[{{"principal","secret"}}]}}')
        found: dict[str, Secret] = {}
        for entry in entries:
            principal = entry.get("principal") if isinstance(entry, dict) else None
            if not isinstance(principal, str) or not principal or ":" in principal:
                raise InvalidValue(f"{path}: a principal is text without colons")
            if principal in found:
                raise InvalidValue(f"{path}: principal {principal!r} is there twice")
            try:
                found[principal] = read_secret(entry.get("secret"))
            except InvalidValue as error:
                raise InvalidValue(f"{path}: the secret of {principal!r} is {error}") from None
        return cls(found)

    def proven(self, claim: Claim) -> bool:
        """Tell whether a claim was proved before. O(length of the secret)."""
        digest = self._proven.get(claim.principal, b"")
        return hmac.compare_digest(digest, self._digest(claim))

    def prove(self, claim: Claim) -> bool:
        """Tell whether a claim holds. Takes an scrypt (some 50 ms) whoever is named."""
        known = self._secrets.get(claim.principal)
        if not (known or self._nobody).matches(claim.secret) or known is None:
            return False
        self._proven[claim.principal] = self._digest(claim)
        return True

    def _digest(self, claim: Claim) -> bytes:
        return hmac.digest(self._key, claim.secret, "sha256")


class Claim(NamedTuple):
    """Who a request says that it comes from, and what it brings to prove it."""

    principal: str
    secret: bytes


def read_claim(authorization: str | None) -> Claim | None:
    """Return what an `Authorization` header claims; None if there is none, or no sense in it.

    `Basic` and `Bearer` are both followed by the base64 of `principal:secret`.
    """
    if authorization is None:
        return None
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() not in ("basic", "bearer"):
        return None
    try:
        principal, colon, secret = base64.b64decode(token.strip(), validate=True).partition(b":")
        return Claim(principal.decode(), secret) if colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def authorization(principal: str, secret: str) -> str:
    """Return the header value by which somebody proves to be a principal.

    Examples
    --------
    >>> read_claim(authorization("ops", "s3cret"))
    Claim(principal='ops', secret=b's3cret')
    """
    return "Basic " + base64.b64encode(f"{principal}:{secret}".encode()).decode("ascii")


def read_credential(path: str | Path) -> Claim:
    """Read the file in which an agent or a client keeps its own credential, in the clear.

    Raises
    ------
    OSError
        It cannot be read.
    InvalidValue
        Others can read it, or it is not `{"principal": …, "secret": …}`.
    """
    content = _read_private(Path(path))
    principal = content.get("principal") if isinstance(content, dict) else None
    secret = content.get("secret") if isinstance(content, dict) else None
    if not isinstance(principal, str) or not isinstance(secret, str) or ":" in principal:
        raise InvalidValue(f'{path}: is not {{"principal": …, "secret": …}}')
    return Claim(principal, secret.encode())


def own_headers(credential: str | Path | None) -> dict[str, str]:
    """Return the headers by which an agent or a client proves who it is, out of its own file.

    None without a file. Raises as `read_credential` does.
    """
    if credential is None:
        return {}
    claim = read_credential(credential)
    return {"Authorization": authorization(claim.principal, claim.secret.decode())}


def _read_private(file: Path) -> Any:
    """Return the JSON of a file that nobody else can read."""
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidValue(f"{file}: others can read it; chmod 600 {file}")
    try:
        return msgspec.json.decode(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{file}: {error}") from None
