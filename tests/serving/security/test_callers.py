import hmac
from hashlib import sha256

import pytest

from charloom.errors import ConfigError
from charloom.options import InvalidRequestError
from serving.errors import CallerOverloadedError, UnauthenticatedError
from serving.rpc.security import callers as module
from serving.rpc.security.callers import ANYBODY, Caller, Callers, Places


def hashed(token):
    return sha256(token.encode()).hexdigest()


@pytest.fixture
def write(tmp_path):
    """Writes a file of callers."""
    path = tmp_path / "callers.toml"

    def write(text):
        path.write_text(text)
        return path

    return write


def test_anybody_may_call_where_no_file_says_who():
    callers = Callers()
    assert not callers.known
    assert callers.find(None) == callers.find("Bearer whatever") == ANYBODY
    assert Caller("", None, None) == ANYBODY


def test_a_token_tells_who_calls_and_what_they_may(write):
    path = write(f"""
[alice]
token_sha256 = "{hashed("sesame")}"

[web-1]
token_sha256 = ["{hashed("old")}", "{hashed("new").upper()}"]
max_streams = 3
models = ["small"]
""")
    callers = Callers(path)
    assert callers.known
    assert callers.find("Bearer sesame") == callers.find("bearer sesame") == Caller("alice")
    web = Caller("web-1", 3, frozenset({"small"}))
    assert callers.find("Bearer old") == callers.find("Bearer new") == web


def test_a_missing_and_a_wrong_token_get_the_same_answer(write):
    callers = Callers(write(f'[alice]\ntoken_sha256 = "{hashed("sesame")}"\n'))
    messages = set()
    for given in (
        None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic sesame", "sesame", b"Bearer sesame",
        "Bearer sesame ", "Bearer  sesame", f"Bearer {hashed('sesame')}",
        "Bearers sesame", "Bear sesame", "Bearersesame", "X-Bearer sesame", "Bearer:sesame",
    ):  # fmt: skip
        with pytest.raises(UnauthenticatedError) as caught:
            callers.find(given)
        messages.add(str(caught.value))
    assert len(messages) == 1


def test_every_hash_is_compared_whichever_fits(write, monkeypatch):
    names = "abcde"
    callers = Callers(write("".join(f'[{name}]\ntoken_sha256 = "{hashed(name)}"\n' for name in names)))
    compared = []

    def compare(first, second):
        compared.append(first)
        return hmac.compare_digest(first, second)

    monkeypatch.setattr(module, "hmac", type("Hmac", (), {"compare_digest": staticmethod(compare)}))
    for token in names:
        assert callers.find(f"Bearer {token}").name == token
        assert len(compared) == len(names)
        compared.clear()
    with pytest.raises(UnauthenticatedError):
        callers.find("Bearer other")
    assert len(compared) == len(names)


def test_callers_come_and_go_with_the_file(write, caplog):
    path = write(f'[alice]\ntoken_sha256 = "{hashed("sesame")}"\n')
    callers = Callers(path)
    write(f'[bob]\ntoken_sha256 = "{hashed("bobs")}"\n')
    assert callers.find("Bearer bobs").name == "bob"
    with pytest.raises(UnauthenticatedError):
        callers.find("Bearer sesame")
    write("[bob\n")
    assert callers.find("Bearer bobs").name == "bob"
    assert "is no TOML in UTF-8; what was read before stays in use" in caplog.text
    write("")
    with pytest.raises(UnauthenticatedError):
        callers.find("Bearer bobs")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sesame\n", "is no TOML in UTF-8"),
        ('alice = "sesame"\n', "is no table of callers: Expected `object`, got `str`"),
        ("[alice]\n", "is no table of callers: Object missing required field `token_sha256`"),
        ('[alice]\ntoken = "sesame"\n', "is no table of callers: Object contains unknown field `token`"),
        ('[alice]\ntoken_sha256 = "sesame"\n', "token_sha256 of alice must be a SHA-256 hash, 64 hex"),
        (f'[alice]\ntoken_sha256 = "{hashed("")}"\n', "of alice is the hash of an empty token"),
        (f'["a b"]\ntoken_sha256 = "{hashed("a")}"\n', "'a b' is no name such as web-1"),
        (
            f'[a]\ntoken_sha256 = "{hashed("a")}"\n[b]\ntoken_sha256 = "{hashed("a")}"\n',
            "b has a token that is there already",
        ),
        (f'[a]\ntoken_sha256 = "{hashed("a")}"\nmax_streams = 0\n', "Expected `int` >= 1"),
        (f'[a]\ntoken_sha256 = "{hashed("a")}"\nmodels = "small"\n', "Expected `array | null`, got `str`"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(write, text, words):
    with pytest.raises(ConfigError) as caught:
        Callers(write(text))
    assert str(caught.value).startswith("tokens ")
    assert words in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"tokens .*none\.toml cannot be read: No such file"):
        Callers(tmp_path / "none.toml")


def test_places_are_counted_by_caller():
    places = Places()
    alice, bob = Caller("alice", max_streams=3), Caller("bob", max_streams=1)
    with places.hold(alice, 2, "n"):
        with places.hold(alice, 1, "n"), places.hold(bob, 1, "n"):
            with (
                pytest.raises(CallerOverloadedError, match="all of the 3 streams") as caught,
                places.hold(alice, 1, "n"),
            ):
                pass
            assert caught.value.retry_after > 0
        with places.hold(alice, 1, "n"):
            pass
    with places.hold(alice, 3, "n"), places.hold(ANYBODY, 10**9, "n"):
        pass
    with (
        pytest.raises(InvalidRequestError, match="n must be at most 3 for you, not 4"),
        places.hold(alice, 4, "n"),
    ):
        pass
