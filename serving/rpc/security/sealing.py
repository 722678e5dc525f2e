"""Sealing: bytes that a client keeps for a server, and can neither read nor alter.

What is sealed is any bytes. A sealed token is a header, which everybody can read, and the sealed bytes:

    offset  bytes
    0       4       magic: "CLST"
    4       1       format: 1
    5       1       flags: 1 if bound to a caller's identity, else 0
    6       16      id of the master key, ASCII, filled up with zero bytes
    22      16      salt, from which and the master key the subkey is derived (HKDF-SHA256)
    38      12      nonce
    50      8       expiry in unix seconds, big-endian; 0 for never
    58      n       the sealed bytes (AES-256-GCM)
    58 + n  16      tag, which authenticates all before it, and the identity

Until the tag is found right nothing of a token is believed, but for what it takes to look: magic,
format and key id. So a forger can choose between three refusals, and learns nothing by any.
"""

import base64
import logging
import math
import os
import re
import secrets
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from charloom.errors import ConfigError, require
from serving.errors import (
    AlteredStateError,
    ExpiredStateError,
    LargeStateError,
    NewerStateError,
    UnknownKeyError,
)
from serving.rpc.security.config import SealingConfig

logger = logging.getLogger(__name__)

FORMAT = 1
MAGIC = b"CLST"
LAYOUT = struct.Struct(">4sBB16s16s12sQ")
KEY_BYTES, ID_BYTES, SALT_BYTES, NONCE_BYTES, TAG_BYTES = 32, 16, 16, 12, 16
OVERHEAD = LAYOUT.size + TAG_BYTES
"""How many bytes longer a token is than what is sealed in it."""
MAX_BYTES = 2**20
"""Bytes that a token may have; a longer one is refused unread."""
MAX_PAYLOAD = MAX_BYTES - OVERHEAD
SUBKEY_INFO = b"charloom state token 1"
SUBKEYS = 256
"""How many derived subkeys are kept: about as many as processes seal for each other."""
TOKENS_PER_SALT = 2**20
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,16}")


@dataclass(frozen=True)
class Key:
    """A master key."""

    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class Header:
    """What stands before the sealed bytes, in the clear, in this order."""

    bound: bool
    key_id: bytes
    salt: bytes
    nonce: bytes
    expiry: int

    def pack(self) -> bytes:
        """The header's bytes."""
        return LAYOUT.pack(MAGIC, FORMAT, *astuple(self))

    @classmethod
    def unpack(cls, token: bytes) -> Self:
        """Reads a token's header; none of it is authentic yet.

        Raises:
            AlteredStateError: the token begins in no way that a token does.
            NewerStateError: its format is newer than this one.
        """
        if not token.startswith(MAGIC) or len(token) < OVERHEAD:
            raise AlteredStateError("is none that this service gives, or was cut short")
        _, version, flags, *rest = LAYOUT.unpack_from(token)
        if version > FORMAT:
            raise NewerStateError(version, FORMAT)
        if version != FORMAT or flags > 1:
            raise AlteredStateError("is none that this service gives")
        return cls(bool(flags), *rest)


class Sealer:
    """Seals by the first of its keys, opens by each of them."""

    def __init__(self, keys: Sequence[Key], lifetime: float, clock: Callable[[], float] = time.time) -> None:
        self._secrets = {key.id.encode("ascii").ljust(ID_BYTES, b"\0"): key.secret for key in keys}
        self._first = next(iter(self._secrets))
        self._lifetime = lifetime
        self._clock = clock
        # A forger's salts may push others out. That costs those a derivation, a few microseconds.
        self._cipher = lru_cache(SUBKEYS)(self._derive)
        self._salt = b""
        self._sealed = 0

    @classmethod
    def load(cls, config: SealingConfig) -> Self:
        """Takes the keys from where the configuration says.

        Raises:
            ConfigError: there is no key, or one that cannot be used; it names the line.
        """
        return cls(load_keys(config), config.state_lifetime)

    def seal(self, payload: bytes, identity: bytes | None = None) -> bytes:
        """A token of these bytes; if an identity is given, for that caller only.

        Raises:
            LargeStateError: they are more than MAX_PAYLOAD, and the token could not be opened.
        """
        if len(payload) > MAX_PAYLOAD:
            raise LargeStateError(len(payload) + OVERHEAD, MAX_BYTES)
        expiry = math.ceil(self._clock() + self._lifetime) if self._lifetime else 0
        # Why no nonce meets another text under one subkey: a subkey belongs to a salt, and each process
        # draws its own, of 128 bits. Under one salt nonces are random, and so few (2**20 of 96 bits)
        # that two are the same with a chance of 2**-57; after 2**40 tokens it is 2**-37. A counter
        # would make that 0, but a copy of the process, by a fork, would count alike and repeat for sure.
        salt, nonce = self._next_salt(), os.urandom(NONCE_BYTES)
        header = Header(identity is not None, self._first, salt, nonce, expiry).pack()
        return header + self._cipher(self._first, salt).encrypt(nonce, payload, header + (identity or b""))

    def open(self, token: bytes, identity: bytes | None = None) -> bytes:
        """The bytes in a token that was sealed with the same identity, or likewise with none.

        Raises:
            AlteredStateError: it isn't as it was given, or was given to somebody else.
            UnknownKeyError: it names a key that isn't among these.
            NewerStateError: its format is newer than this one.
            ExpiredStateError: it is authentic, and too old.
        """
        if len(token) > MAX_BYTES:
            raise AlteredStateError(f"is longer than {MAX_BYTES} bytes")
        header = Header.unpack(token)
        if header.key_id not in self._secrets:
            raise UnknownKeyError
        payload = self._decrypt(header, token, identity)
        age = self._clock() - header.expiry
        if header.expiry and age >= 0:
            raise ExpiredStateError(age)
        return payload

    def _decrypt(self, header: Header, token: bytes, identity: bytes | None) -> bytes:
        """The sealed bytes, if all is authentic."""
        cipher = self._cipher(header.key_id, header.salt)
        authentic = token[: LAYOUT.size] + (identity or b"")
        try:
            payload = cipher.decrypt(header.nonce, token[LAYOUT.size :], authentic)
        except InvalidTag:
            payload = None
        # The flag tells no identity from an empty one, which add the same bytes.
        if payload is None or header.bound != (identity is not None):
            reason = "was altered, cut short or given to another caller; send it as it came, as that caller"
            raise AlteredStateError(reason)
        return payload

    def _next_salt(self) -> bytes:
        """The salt of the next token: a new one every so many."""
        if self._sealed % TOKENS_PER_SALT == 0:
            self._salt = os.urandom(SALT_BYTES)
        self._sealed += 1
        return self._salt

    def _derive(self, key_id: bytes, salt: bytes) -> AESGCM:
        """The cipher of a salt's subkey."""
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, SUBKEY_INFO).derive(self._secrets[key_id]))


def load_keys(config: SealingConfig) -> list[Key]:
    """The keys of a file or of the lines that it would have, or a random one.

    Raises:
        ConfigError: there is no key, or one that cannot be used.
    """
    if config.state_keys is not None:
        return parse_keys(read(config.state_keys), str(config.state_keys))
    if config.state_key_lines is not None:
        return parse_keys(config.state_key_lines, "state_key_lines")
    logger.warning("no --state-keys: state tokens will not outlive this server, nor open on another one")
    # By its id another server knows that it doesn't have the key; no file can name one like it.
    return [Key("~" + secrets.token_hex(7), os.urandom(KEY_BYTES))]


def read(path: Path) -> str:
    """A key file's text."""
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    except ValueError:
        # Not chained: the cause holds the file's bytes.
        raise ConfigError(str(path), "is no text; it must have a line ID:BASE64 for each key") from None


def parse_keys(text: str, source: str) -> list[Key]:
    """The keys in a text of lines, which comes from `source`.

    Raises:
        ConfigError: a line is no key, or none is; it names the line and never shows it.
    """
    keys: dict[str, Key] = {}
    for place, line in key_lines(text, source):
        key = parse_key(line, place)
        require(key.id not in keys, place, "has the id of an earlier key")
        keys[key.id] = key
    require(bool(keys), source, "has no key; it must have a line ID:BASE64 for each")
    return list(keys.values())


def key_lines(text: str, source: str) -> Iterator[tuple[str, str]]:
    """The lines that are more than a comment, each with the place it stands in."""
    for number, line in enumerate(text.splitlines(), 1):
        if stripped := line.partition("#")[0].strip():
            yield f"{source}, line {number}", stripped


def parse_key(line: str, place: str) -> Key:
    """The key on a line."""
    key_id, colon, encoded = (part.strip() for part in line.partition(":"))
    require(bool(colon), place, "must be ID:BASE64")
    usable = KEY_ID.fullmatch(key_id) is not None
    require(usable, place, "must begin with an id of 1 to 16 letters, digits, dots, dashes and underscores")
    try:
        secret = base64.b64decode(encoded, validate=True)
    except ValueError:
        secret = b""
    require(len(secret) == KEY_BYTES, place, f"must have {KEY_BYTES} bytes in base64 after its id")
    return Key(key_id, secret)
