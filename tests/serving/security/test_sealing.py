"""A sealed token opens as it was given, by whom it was given to, in its time; else it is refused by type."""

import base64
import hmac
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.rpc import code_pb2
from hypothesis import assume, given
from hypothesis import strategies as st

from charloom.errors import CharloomError, ConfigError
from serving.errors import (
    AlteredStateError,
    ExpiredStateError,
    LargeStateError,
    NewerStateError,
    StateTokenError,
    UnknownKeyError,
)
from serving.rpc.security import sealing
from serving.rpc.security.config import SealingConfig
from serving.rpc.security.sealing import (
    LAYOUT,
    MAX_BYTES,
    MAX_PAYLOAD,
    OVERHEAD,
    Key,
    Sealer,
    load_keys,
    parse_keys,
)
from serving.rpc.status import CODES

PAYLOADS = st.binary(max_size=300)
IDENTITIES = st.none() | st.binary(max_size=20)
OLD, NEW = Key("2026-10", bytes(range(32))), Key("2026-11", bytes(range(32, 64)))
NOW = 1_800_000_000.0
FORMAT_AT, FLAGS_AT, KEY_AT, SALT_AT, NONCE_AT, EXPIRY_AT = 4, 5, 6, 22, 38, 50


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def sealer(*keys: Key, lifetime: float = 60.0, clock: Clock | None = None) -> Sealer:
    return Sealer(keys or (NEW,), lifetime, clock or Clock())


def refusal(token: bytes, by: Sealer, identity: bytes | None = None) -> type[StateTokenError]:
    """The type of error that opening a token gives."""
    with pytest.raises(StateTokenError) as caught:
        by.open(token, identity)
    return type(caught.value)


def encoded(key: Key) -> str:
    return base64.b64encode(key.secret).decode()


def line(key: Key) -> str:
    return f"{key.id}:{encoded(key)}"


# What opens


@given(PAYLOADS, IDENTITIES)
def test_what_is_sealed_opens_for_the_same_identity(payload: bytes, identity: bytes | None) -> None:
    token = sealer().seal(payload, identity)
    assert len(token) == len(payload) + OVERHEAD
    assert sealer().open(token, identity) == payload


@given(PAYLOADS, IDENTITIES, IDENTITIES)
def test_another_identity_is_refused(payload: bytes, mine: bytes | None, other: bytes | None) -> None:
    assume(mine != other)
    assert refusal(sealer().seal(payload, mine), sealer(), other) is AlteredStateError


def test_an_identity_is_not_in_its_token() -> None:
    assert b"somebody" not in sealer().seal(b"text", b"somebody")


def test_the_same_bytes_are_never_sealed_alike() -> None:
    mine = sealer()
    tokens = [mine.seal(b"text") for _ in range(1000)]
    assert len({token[SALT_AT:EXPIRY_AT] for token in tokens}) == 1000
    assert len({token[SALT_AT:NONCE_AT] for token in tokens}) == 1
    assert sealer().seal(b"text")[SALT_AT:NONCE_AT] != tokens[0][SALT_AT:NONCE_AT]


def test_a_salt_is_for_so_many_tokens_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "TOKENS_PER_SALT", 3)
    monkeypatch.setattr(sealing, "SUBKEYS", 2)
    mine = sealer()
    tokens = [mine.seal(b"text") for _ in range(10)]
    assert [len({token[SALT_AT:NONCE_AT] for token in tokens[i:]}) for i in (0, 3, 9)] == [4, 3, 1]
    assert all(mine.open(token) == b"text" for token in tokens * 2)


def test_the_largest_payload_opens() -> None:
    token = sealer().seal(bytes(MAX_PAYLOAD))
    assert len(token) == MAX_BYTES
    assert sealer().open(token) == bytes(MAX_PAYLOAD)


def test_what_could_not_be_opened_is_not_sealed() -> None:
    with pytest.raises(LargeStateError, match=f"{MAX_BYTES + 1} bytes"):
        sealer().seal(bytes(MAX_PAYLOAD + 1))
    assert CODES[LargeStateError] == code_pb2.FAILED_PRECONDITION


# What does not


def expected_of_flip(position: int) -> set[type[StateTokenError]]:
    """What a flipped bit may give: of a header, only format and key id are looked at as they stand."""
    if position == FORMAT_AT:
        return {NewerStateError, AlteredStateError}  # 1 with its only bit flipped is 0
    return {UnknownKeyError} if KEY_AT <= position < SALT_AT else {AlteredStateError}


@pytest.mark.parametrize("identity", [None, b"", b"me"])
def test_every_flipped_bit_is_refused(identity: bytes | None) -> None:
    mine = sealer()
    token = mine.seal(b"a state", identity)
    for bit in range(8 * len(token)):
        altered = bytearray(token)
        altered[bit // 8] ^= 1 << bit % 8
        assert refusal(bytes(altered), mine, identity) in expected_of_flip(bit // 8)


@given(PAYLOADS, st.data())
def test_altered_tokens_are_refused(payload: bytes, data: st.DataObject) -> None:
    mine = sealer()
    token = mine.seal(payload)
    cut = data.draw(st.integers(0, len(token) - 1))
    assert refusal(token[:cut], mine) is AlteredStateError
    assert refusal(token[len(token) - cut :], mine) is AlteredStateError
    assert refusal(token + data.draw(st.binary(min_size=1, max_size=40)), mine) is AlteredStateError
    assert refusal(token + token, mine) is AlteredStateError


@given(PAYLOADS, PAYLOADS, st.booleans(), st.data())
def test_spliced_tokens_are_refused(one: bytes, two: bytes, same: bool, data: st.DataObject) -> None:
    mine = sealer()
    first, second = mine.seal(one), (mine if same else sealer()).seal(two)
    begin = data.draw(st.integers(0, len(first)))
    end = data.draw(st.integers(0, len(second)))
    for spliced, refusals in (
        (first[:begin] + second[begin:], {AlteredStateError}),
        # Here anything may come to stand in the place of the format and of the key's id.
        (first[:begin] + second[end:], {AlteredStateError, NewerStateError, UnknownKeyError}),
    ):
        if spliced not in (first, second):
            assert refusal(spliced, mine) in refusals


def test_a_key_id_altered_to_that_of_another_key_is_refused() -> None:
    mine = sealer(NEW, OLD)
    token = mine.seal(b"text")
    swapped = token[:KEY_AT] + OLD.id.encode().ljust(16, b"\0") + token[SALT_AT:]
    assert refusal(swapped, mine) is AlteredStateError


@given(st.binary(max_size=200), st.sampled_from([0, 4, 5, 6, 22, 38, 50, 58]), st.integers(0, 255))
def test_any_bytes_give_a_typed_error(noise: bytes, kept: int, version: int) -> None:
    mine = sealer()
    token = mine.seal(b"text")[:kept] + noise
    assert issubclass(refusal(token, mine, b"me"), StateTokenError)
    assert issubclass(refusal(token[:4] + bytes([version]) + token[5:], mine), StateTokenError)


def test_a_token_that_is_too_long_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = sealer()
    token = mine.seal(bytes(MAX_PAYLOAD)) + b"\0"
    monkeypatch.delattr(sealing.Header, "unpack")
    with pytest.raises(AlteredStateError, match="longer than 1048576 bytes"):
        mine.open(token)


def test_a_newer_format_is_called_so() -> None:
    token = bytearray(sealer().seal(b"text"))
    token[FORMAT_AT] = 7
    with pytest.raises(NewerStateError, match=r"format 7 .* up to 1"):
        sealer().open(bytes(token))


def test_a_forged_salt_gives_one_refusal_and_the_cache_stays_bounded() -> None:
    mine = sealer()
    token = mine.seal(b"text")
    for _ in range(2 * sealing.SUBKEYS):
        forged = token[:SALT_AT] + os.urandom(16) + token[NONCE_AT:]
        assert refusal(forged, mine) is AlteredStateError
    assert mine._cipher.cache_info().currsize <= sealing.SUBKEYS
    assert mine.open(token) == b"text"


# Time


@given(st.floats(0.001, 1e9), st.floats(0, 1e9))
def test_a_token_opens_for_its_lifetime_and_less_than_a_second_more(lifetime: float, age: float) -> None:
    clock = Clock()
    mine = sealer(lifetime=lifetime, clock=clock)
    token = mine.seal(b"text")
    clock.now += age
    if age < lifetime:
        assert mine.open(token) == b"text"
    elif age >= lifetime + 1:
        assert refusal(token, mine) is ExpiredStateError


def test_a_token_without_an_expiry_never_expires() -> None:
    clock = Clock()
    mine = sealer(lifetime=0, clock=clock)
    token = mine.seal(b"text")
    assert token[EXPIRY_AT : LAYOUT.size] == bytes(8)
    clock.now *= 1000
    assert mine.open(token) == b"text"


def test_an_altered_expiry_is_not_believed() -> None:
    clock = Clock()
    token = sealer(clock=clock).seal(b"text")
    for seconds in (0, 1, int(NOW) - 1, 2**64 - 1):
        altered = token[:EXPIRY_AT] + seconds.to_bytes(8, "big") + token[LAYOUT.size :]
        assert refusal(altered, sealer(clock=clock)) is AlteredStateError
    clock.now += 3600
    altered = token[:EXPIRY_AT] + bytes(8) + token[LAYOUT.size :]
    assert refusal(altered, sealer(clock=clock)) is AlteredStateError


def test_who_has_no_right_to_a_token_is_not_told_that_it_expired() -> None:
    clock = Clock()
    mine = sealer(clock=clock)
    token = mine.seal(b"text", b"me")
    clock.now += 3600
    assert refusal(token, mine, b"you") is AlteredStateError
    with pytest.raises(ExpiredStateError, match="expired 3540 s ago"):
        mine.open(token, b"me")


# Keys


def test_keys_are_rotated() -> None:
    token = sealer(OLD).seal(b"text")
    assert sealer(OLD, NEW).open(token) == b"text"
    both = sealer(NEW, OLD)
    assert both.open(token) == b"text"
    assert sealer(NEW).open(both.seal(b"text")) == b"text"
    assert refusal(token, sealer(NEW)) is UnknownKeyError


def test_processes_with_the_same_keys_open_each_others_tokens(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{line(NEW)}\n{line(OLD)}\n")
    one = Sealer.load(SealingConfig(tmp_path / "keys"))
    two = Sealer.load(SealingConfig(state_key_lines=line(NEW)))
    assert two.open(one.seal(b"text", b"me"), b"me") == b"text"
    assert one.open(two.seal(b"text")) == b"text"


def test_processes_with_random_keys_do_not(caplog: pytest.LogCaptureFixture) -> None:
    one, two = (Sealer.load(SealingConfig()) for _ in range(2))
    assert one.open(one.seal(b"text")) == b"text"
    assert refusal(one.seal(b"text"), two) is UnknownKeyError
    assert len(caplog.messages) == 2
    assert "will not outlive this server" in caplog.messages[0]


def test_keys_stand_one_a_line_among_comments() -> None:
    text = f"# the keys\n\n{line(NEW)}\n  {OLD.id} : {encoded(OLD)}  # until December\r\n#\n"
    assert parse_keys(text, "keys") == [NEW, OLD]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (encoded(OLD), "must be ID:BASE64"),
        (f":{encoded(OLD)}", "must begin with an id of 1 to 16"),
        (f"{'i' * 17}:{encoded(OLD)}", "must begin with an id of 1 to 16"),
        (f"~mine:{encoded(OLD)}", "must begin with an id of 1 to 16"),
        (f"ключ:{encoded(OLD)}", "must begin with an id of 1 to 16"),
        (f"old:{encoded(OLD)[:-4]}", "must have 32 bytes in base64"),
        (f"old:{encoded(OLD)}AAAA", "must have 32 bytes in base64"),
        (f"old:{encoded(OLD)[:-1]}", "must have 32 bytes in base64"),
        (f"old:{encoded(OLD)[:-1]}é", "must have 32 bytes in base64"),
        (f"old:{encoded(OLD)[:20]} {encoded(OLD)[20:]}", "must have 32 bytes in base64"),
        ("old:", "must have 32 bytes in base64"),
        (f"{NEW.id}:{encoded(OLD)}", "has the id of an earlier key"),
    ],
)
def test_an_unusable_line_is_named_and_not_shown(wrong: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"^keys, line 3 {reason}") as caught:
        parse_keys(f"# keys\n{line(NEW)}\n{wrong}\n", "keys")
    assert encoded(OLD)[:8] not in str(caught.value)
    assert isinstance(caught.value, CharloomError)


@pytest.mark.parametrize("content", [b"", b"# none\n\n", b"\xff\xfe", None])
def test_a_file_without_a_key_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_keys(SealingConfig(path))
    assert str(caught.value).startswith(str(path))


def test_no_lines_are_no_random_key() -> None:
    with pytest.raises(ConfigError, match="state_key_lines has no key"):
        load_keys(SealingConfig(state_key_lines=""))


def test_a_file_and_lines_are_too_much(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="state_keys and state_key_lines exclude each other"):
        SealingConfig(tmp_path / "keys", line(NEW))


def test_keys_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    mine = sealer(NEW, OLD)
    mine.open(mine.seal(b"text"))
    shown = f"{mine!r} {NEW!r} {OLD} {mine._cipher!r} {caplog.text}"
    for key in (NEW, OLD):
        assert encoded(key) not in shown
        assert repr(key.secret) not in shown
        assert key.secret.hex() not in shown
    assert "2026-11" in repr(NEW)


# The format


def subkey(secret: bytes, salt: bytes) -> bytes:
    """HKDF-SHA256 of 32 bytes, as RFC 5869 writes it."""
    extracted = hmac.digest(salt, secret, "sha256")
    return hmac.digest(extracted, b"charloom state token 1\x01", "sha256")


@pytest.mark.parametrize("identity", [None, b"me"])
def test_a_token_is_laid_out_as_documented(identity: bytes | None) -> None:
    token = sealer().seal(b"a state", identity)
    assert token[:FLAGS_AT] == b"CLST\x01"
    assert token[FLAGS_AT] == (identity is not None)
    assert token[KEY_AT:SALT_AT] == b"2026-11" + bytes(9)
    assert int.from_bytes(token[EXPIRY_AT:58], "big") == NOW + 60
    cipher = AESGCM(subkey(NEW.secret, token[SALT_AT:NONCE_AT]))
    opened = cipher.decrypt(token[NONCE_AT:EXPIRY_AT], token[58:], token[:58] + (identity or b""))
    assert opened == b"a state"
    assert OVERHEAD == 74


KNOWN = (
    "434c53540101323032362d3131000000000000000000000102030405060708090a0b0c0d0e0f101112131415161718"
    "191a1b000000006b49d23c1635679934c46ca8f2593420d1cad1ffe9578a80ffba9f1d1272c02e77f491cb702a96"
)
"""Sealed once by format 1: key NEW, salt 00 to 0f, nonce 10 to 1b, expiry NOW + 60, for `me`."""


def test_a_token_of_long_ago_still_opens() -> None:
    assert sealer().open(bytes.fromhex(KNOWN), b"me") == b"To be, or not to be"


# What it is set by


def leaves(kind: type[StateTokenError]) -> Iterator[type[StateTokenError]]:
    """The kinds of error that are raised."""
    below = kind.__subclasses__()
    yield from [kind] if not below else [leaf for one in below for leaf in leaves(one)]


def test_every_refusal_has_its_status() -> None:
    assert {kind: CODES[kind] for kind in leaves(StateTokenError)} == {
        AlteredStateError: code_pb2.INVALID_ARGUMENT,
        ExpiredStateError: code_pb2.FAILED_PRECONDITION,
        UnknownKeyError: code_pb2.FAILED_PRECONDITION,
        NewerStateError: code_pb2.FAILED_PRECONDITION,
    }


@pytest.mark.parametrize("lifetime", [-1.0, float("nan"), float("inf"), 2.0**33])
def test_an_unusable_lifetime_is_refused(lifetime: float) -> None:
    with pytest.raises(ConfigError, match="state_lifetime"):
        SealingConfig(state_lifetime=lifetime)


def test_the_lines_of_a_configuration_are_not_shown() -> None:
    assert encoded(NEW) not in repr(SealingConfig(state_key_lines=line(NEW)))
