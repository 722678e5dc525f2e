import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.printable import printable

# Joined emoji, a Persian word with a joiner, ideographic and unbroken spaces, a direction mark.
SCRIPTS = "👩\u200d👩\u200d👧 می\u200cخواهم\u3000\u00a0\u202f\u200f\u00ad\ue000"  # noqa: RUF001


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é🧵 text", "plain é🧵 text"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[2J\x07\r\x00", r"\x1b[2J\x07\r\x00"),
        ("\x85\x9b\x7f", r"\x85\x9b\x7f"),
        ("\u202eexe.txt\u2066", r"\u202eexe.txt\u2066"),
        ("caf\udce9", r"caf\udce9"),
        ("\u2028\u2029", r"\u2028\u2029"),
        (SCRIPTS, SCRIPTS),
    ],
)
def test_what_steers_a_terminal_is_escaped_and_what_people_read_stays(text, shown):
    assert printable(text) == shown


def test_a_text_keeps_its_lines():
    assert printable("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"


def test_nothing_goes_unseen_in_a_name():
    assert printable("\u00a0\u200d\ue000\n", strict=True) == r"\xa0\u200d\ue000\n"
    assert printable(" é☃", strict=True) == " é☃"


@given(st.text(st.characters()), st.booleans())
def test_no_text_tells_a_terminal_what_to_do(text, strict):
    shown = printable(text, keep="\n", strict=strict)
    assert not [c for c in shown if c != "\n" and (c < " " or "\x7f" <= c <= "\x9f")]
    assert shown.count("\n") == text.count("\n")
    shown.encode("utf-8")  # no surrogate is left
    assert shown.isprintable() or not strict or "\n" in shown
