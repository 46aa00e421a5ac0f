"""What a service serves, where, for whom, and within which limits."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vitrina.errors import InputError, shown

KEY_VARIABLE = "VITRINA_API_KEY"
ENCODER_NAME = "vitrina"
"""Name of the encoder in the requests; the name of a classifier must be another."""

_SHORTEST_KEY = 16
_CLASSIFIER_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Limits:
    """Bounds of what one worker accepts.

    Attributes
    ----------
    body_bytes : int
        Bytes of a request's body.
    titles : int
        Titles of a request.
    title_length : int
        Characters of a title.
    requests : int
        Requests that are worked on at the same time. Further ones are refused at once.
    """

    body_bytes: int = 8 * 2**20
    titles: int = 4_096
    title_length: int = 10_000
    requests: int = 32


@dataclass(frozen=True)
class ServiceOptions:
    """The options of a service.

    Attributes
    ----------
    encoder : Path
        Folder of the encoder.
    classifiers : mapping of str to Path
        Folders of classifiers by their names in requests. Each has the service's encoder.
    index : Path, optional
        Folder of an index of the encoder.
    catalogue : str, optional
        Table of products to search instead of an index. Its index is built when the service starts
        and at each reload.
    product_column, title_column : str
        Columns of `catalogue`.
    labels : Path, optional
        Label file. With it, the titles of `catalogue` can be labelled on the page /label.
    host : str
        Address to listen at. Any but that of this machine alone needs a key.
    port : int
        0 takes a free one.
    key_file : Path, optional
        File with one key a line. The environment variable VITRINA_API_KEY adds one.
    workers : int
        Number of processes.
    threads : int, optional
        Threads of each worker that compute; by default, the processors divided among the workers.
    limits : Limits
    quiet : bool
        Log warnings only, no requests.
    """

    encoder: Path
    classifiers: Mapping[str, Path] = field(default_factory=dict)
    index: Path | None = None
    catalogue: str | None = None
    product_column: str = "product_id"
    title_column: str = "title"
    labels: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    key_file: Path | None = None
    workers: int = 1
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)
    quiet: bool = False

    def check(self) -> None:
        """Raise InputError if options don't fit together, or a key is missing."""
        if self.index is not None and self.catalogue is not None:
            raise InputError("give an `index` or a `catalogue` to search, not both")
        if self.labels is not None and self.catalogue is None:
            raise InputError("`labels` needs a `catalogue`, whose titles are labelled")
        if self.labels is not None and self.workers > 1:
            raise InputError("`labels` needs `workers` 1, so that no two people get one title")
        for name in self.classifiers:
            if not _CLASSIFIER_NAME.fullmatch(name) or name == ENCODER_NAME:
                raise InputError(
                    f"`classifier`: '{shown(name)}' can't be a name; give up to 64 letters, digits "
                    f"and -_., and another name than {ENCODER_NAME}"
                )
        self.key_digests()

    def key_digests(self) -> frozenset[bytes]:
        """Read the keys, and return their SHA-256; none if every local process may ask.

        Raises
        ------
        InputError
            If the file can't be read, a key is too short, or there is none although other machines
            can reach the service.
        """
        keys = [os.environ[KEY_VARIABLE]] if os.environ.get(KEY_VARIABLE) else []
        where = KEY_VARIABLE
        if self.key_file is not None:
            keys += _lines(self.key_file)
            where = str(self.key_file)
        for key in keys:
            if len(key) < _SHORTEST_KEY or not (key.isascii() and key.isprintable()):
                raise InputError(
                    f"{where}: a key has fewer than {_SHORTEST_KEY} characters, or some that a "
                    "header can't hold; make one with: openssl rand -hex 32"
                )
        if not keys and not is_loopback(self.host):
            raise InputError(
                f"`host` is '{shown(self.host)}', which other machines can reach; set a key in the "
                f"environment variable {KEY_VARIABLE}, or give a `key_file`"
            )
        return frozenset(hashlib.sha256(key.encode()).digest() for key in keys)


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    return all(ipaddress.ip_address(address).is_loopback for address in _addresses(host, 0))


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address, but doesn't listen yet.

    Raises
    ------
    InputError
        If the address is unknown or taken.
    """
    address = _addresses(host, port)[0]
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"`port` {port} of {host} can't be used ({os.strerror(error.errno or 0).lower()}); "
            "give another"
        ) from None
    return listener


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InputError(
            f"`host` is '{shown(host)}', which is no address of this machine; give one, such as "
            "127.0.0.1"
        ) from None
    return [str(entry[4][0]).partition("%")[0] for entry in found]


def _lines(file: Path) -> list[str]:
    """The lines of a file, without blank ones and comments."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"{file}: can't be read ({reason.lower()}); check `key_file`") from None
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise InputError(f"{file}: has no key; write one a line")
    return keys
