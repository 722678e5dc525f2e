"""Callers: who may call, and how much of the server each may have.

Tokens are known by their hashes only.
"""

import hmac
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import msgspec

from charloom.errors import ConfigError, require
from charloom.options import InvalidRequestError, Violation
from serving.errors import CallerOverloadedError, UnauthenticatedError
from serving.rpc.security.reloaded import Reloaded

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Names end up in logs, where they had better be one word."""


@dataclass(frozen=True)
class Caller:
    """Who calls, and what they may have."""

    name: str = ""
    max_streams: int | None = None
    """Most texts that are generated for them at the same time."""
    models: frozenset[str] | None = None
    """Names of the models that they may use; None for all."""

    @property
    def identity(self) -> bytes | None:
        """What state tokens are bound to; None for nobody in particular."""
        return self.name.encode() if self.name else None


ANYBODY = Caller()
"""Whoever calls a server that asks for no token."""


class Callers:
    """All who may call; anybody, where no file says who."""

    def __init__(self, tokens: Path | None = None) -> None:
        """Reads the file.

        Raises:
            ConfigError: it cannot be used.
        """
        self._known = Reloaded([tokens], partial(read, tokens)) if tokens else None

    @property
    def known(self) -> bool:
        """Whether callers need a token."""
        return self._known is not None

    def find(self, authorization: str | bytes | None) -> Caller:
        """Who sends this `authorization`.

        Raises:
            UnauthenticatedError: it holds no token that is known.
        """
        if self._known is None:
            return ANYBODY
        scheme, _, token = str(authorization or "").partition(" ")
        self._known.refresh()
        caller = find(self._known.value, token) if scheme.lower() == "bearer" else None
        if caller is None:
            raise UnauthenticatedError
        return caller


def find(known: list[tuple[bytes, Caller]], token: str) -> Caller | None:
    """Whose token it is. It compares with every hash, so the time it takes says nothing of which fits."""
    digest = sha256(token.encode()).digest()
    found = None
    for hashed, caller in known:
        if hmac.compare_digest(hashed, digest):
            found = caller
    return found


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A caller as the file says it."""

    token_sha256: str | list[str]
    max_streams: Annotated[int, msgspec.Meta(ge=1)] | None = None
    models: list[str] | None = None


def read(path: Path) -> list[tuple[bytes, Caller]]:
    """The callers of a file, each with the hash of a token; one with two tokens is there twice.

    Raises:
        ConfigError: it cannot be read, or says what cannot be.
    """
    try:
        entries = msgspec.convert(tomllib.loads(path.read_text("utf-8")), dict[str, Entry])
    except OSError as error:
        raise ConfigError("tokens", f"{path} cannot be read: {error.strerror}") from error
    except msgspec.ValidationError as error:
        raise ConfigError("tokens", f"{path} is no table of callers: {error}") from error
    except ValueError as error:
        # What TOML's parser says may quote the file.
        raise ConfigError("tokens", f"{path} is no TOML in UTF-8") from error
    known: dict[bytes, Caller] = {}
    for name, entry in entries.items():
        require(NAME.fullmatch(name) is not None, "tokens", f"{path}: {name!r} is no name such as web-1")
        models = None if entry.models is None else frozenset(entry.models)
        caller = Caller(name, entry.max_streams, models)
        hashes = [entry.token_sha256] if isinstance(entry.token_sha256, str) else entry.token_sha256
        for hashed in hashes:
            digest = to_digest(hashed, f"{path}: token_sha256 of {name}")
            require(digest not in known, "tokens", f"{path}: {name} has a token that is there already")
            known[digest] = caller
    return list(known.items())


def to_digest(hashed: str, place: str) -> bytes:
    """The hash of a token in bytes; raises ConfigError for what is none."""
    right = re.fullmatch("[0-9a-fA-F]{64}", hashed) is not None
    require(right, "tokens", f"{place} must be a SHA-256 hash, 64 hexadecimal digits")
    digest = bytes.fromhex(hashed)
    require(digest != sha256().digest(), "tokens", f"{place} is the hash of an empty token")
    return digest


class Places:
    """How many streams each caller has."""

    def __init__(self) -> None:
        self.held: Counter[str] = Counter()
        """Streams under way, by the names of their callers."""

    @contextmanager
    def hold(self, caller: Caller, count: int, field: str) -> Iterator[None]:
        """Lets a caller have so many more, for which a field of a request asks.

        Raises:
            CallerOverloadedError: they would have too many.
            InvalidRequestError: they may never have so many.
        """
        limit = caller.max_streams
        if limit is not None and count > limit:
            raise InvalidRequestError([Violation(field, f"must be at most {limit} for you, not {count}")])
        if limit is not None and self.held[caller.name] + count > limit:
            raise CallerOverloadedError(limit)
        self.held[caller.name] += count
        try:
            yield
        finally:
            self.held[caller.name] -= count
            if not self.held[caller.name]:
                del self.held[caller.name]
