"""What a service needs before it serves: an address of its own, who may come in, and how."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from pathlib import Path

from allocator.errors import InvalidValue
from allocator.wire.credentials import Credentials


def read_credentials(file: Path | None, ip: str, danger: str) -> Credentials | None:
    """Return who is let in; None for all, as there may be on loopback alone.

    Parameters
    ----------
    file : Path or None
    ip : str
        Where the service listens.
    danger : str
        What anybody could do, such as "could read all".

    Raises
    ------
    InvalidValue, OSError
        The address or the file cannot be read, or all would be let in from anywhere.
    """
    try:
        is_loopback = ipaddress.ip_address(ip).is_loopback
    except ValueError:
        raise InvalidValue(f"--ip {ip}: is no IP address") from None
    if file is not None:
        return Credentials.read(file)
    if not is_loopback:
        raise InvalidValue(
            f"--ip {ip}: whoever reaches it {danger}; give --credentials FILE "
            "(`allocator credentials PRINCIPAL` makes its entries), or an address of loopback"
        )
    return None


def read_tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return what encrypts connections, None if nothing does.

    Raises
    ------
    InvalidValue, OSError
        Only one is given, or one cannot be read, or they do not belong together.
    """
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise InvalidValue("--tls-cert and --tls-key are given together")
    for file in (cert, key):
        file.open("rb").close()  # an error of it names the file
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        raise InvalidValue(f"{cert}, {key}: {error.reason or error}") from None
    return context


def bind(ip: str, port: int, backlog: int) -> socket.socket:
    """Return a socket that has its address, and that nobody else can have; raises `OSError`."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ip, port))
        # Two may have bound the same port; only one can listen.
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{error.strerror}: {ip}:{port}") from None
    return listener
