"""Whatever is done, and whatever fails: what is shown is what the model has read."""

from collections.abc import Callable
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from charloom.vocabulary import Vocabulary
from tests.charloom.vocabulary.byte_pairs import BytePairVocabulary
from tests.charloom.vocabulary.kinds import made
from tests.writing.fake import ALPHABET, LETTERS, FakeSession
from writing.writer import FIRST, LINE, SENTENCE, GoneError, RefusedError, Writer

TEXTS = st.text(ALPHABET, min_size=1, max_size=6)


class Writing(RuleBasedStateMachine):
    """Keys in any order."""

    vocabulary: Vocabulary = LETTERS
    likely = tuple(range(LETTERS.size))

    def __init__(self) -> None:
        super().__init__()
        self.talks: list[FakeSession] = []
        self.writer = Writer(self.connect, seed=5, pause=0)

    def connect(self) -> FakeSession:
        self.talks.append(FakeSession(vocabulary=self.vocabulary, likely=self.likely))
        return self.talks[-1]

    def attempt(self, act: Callable[[], object]) -> bool:
        """Whether it could be done; if not, nothing has changed."""
        before, versions = self.writer.text, self.writer.view.versions
        try:
            act()
        except (RefusedError, GoneError):
            assert (self.writer.text, self.writer.view.versions) == (before, versions)
            return False
        return True

    @rule(text=TEXTS)
    def type(self, text: str) -> None:
        before = self.writer.text
        if self.attempt(lambda: self.writer.type(text)):
            assert self.writer.text == before + text
            assert not self.writer.draft.undone

    @rule()
    def type_what_is_unknown(self) -> None:
        assert not self.attempt(lambda: self.writer.type("\ud800"))

    @rule(place=st.integers(0, 9))
    def pick(self, place: int) -> None:
        self.attempt(self.writer.look_ahead)
        shown = self.writer.view.suggestions
        before = self.writer.text
        if self.attempt(lambda: self.writer.pick(place)):
            assert self.writer.text.startswith(before)
            assert self.vocabulary != LETTERS or self.writer.text == before + shown[place].text

    @rule(pattern=st.sampled_from([None, LINE, SENTENCE]), portions=st.integers(1, 5))
    def write_on(self, pattern: object, portions: int) -> None:
        stopped = Event()
        before = self.writer.text
        try:
            for count, _ in enumerate(self.writer.write_on(pattern, stopped), 1):  # type: ignore[arg-type]
                self.what_is_shown_was_read()
                if count == portions:
                    stopped.set()
        except GoneError:
            return
        assert self.writer.text.startswith(before)
        assert self.vocabulary != LETTERS or len(self.writer.text) > len(before)

    @rule()
    def undo_and_redo(self) -> None:
        before = self.writer.draft
        if self.attempt(self.writer.undo):
            self.what_is_shown_was_read()
            assert self.writer.draft.edits == before.edits[:-1]
            if self.attempt(self.writer.redo):
                assert self.writer.draft == before

    @rule(times=st.integers(1, 5))
    def undo(self, times: int) -> None:
        for _ in range(times):
            self.attempt(self.writer.undo)

    @rule()
    def redo(self) -> None:
        self.attempt(self.writer.redo)

    @rule()
    def erase(self) -> None:
        before = self.writer.text
        if self.attempt(self.writer.erase):
            assert self.writer.text == before[:-1]

    @rule(name=st.sampled_from(["", FIRST, "x", "y", "z"]))
    def fork(self, name: str) -> None:
        before = self.writer.draft
        if self.attempt(lambda: self.writer.fork(name)):
            assert self.writer.draft == before
            assert self.writer.view.current == name

    @rule(data=st.data())
    def switch(self, data: st.DataObject) -> None:
        self.writer.switch(data.draw(st.sampled_from(self.writer.view.versions)))

    @rule()
    def the_server_goes(self) -> None:
        self.talks[-1].gone = True

    @rule()
    def reconnect(self) -> None:
        self.writer.reconnect()
        assert not self.writer.view.gone

    @invariant()
    def what_is_shown_was_read(self) -> None:
        talk, view = self.talks[-1], self.writer.view
        assert "".join(edit.text for edit in view.edits) == self.writer.text
        for name, read in talk.branches.items():
            shown = self.writer._drafts[name].text if name else ""
            if not talk.gone:
                assert read == shown, name
        if not talk.gone and self.attempt(self.writer.look_ahead):
            assert talk.branches[view.current] == self.writer.text


class WritingBytes(Writing):
    """The same with tokens that are no characters."""

    vocabulary = BytePairVocabulary()
    likely = tuple(dict.fromkeys(vocabulary.encode("é你🚀 the a.\n\ne\u0301").tolist()))


class WritingLong(Writing):
    """Many more of them."""


class WritingBytesLong(WritingBytes):
    """Many more of them."""


FEW, MANY = (settings(max_examples=cases, stateful_step_count=30) for cases in (20, 150))
Writing.TestCase.settings = WritingBytes.TestCase.settings = FEW
WritingLong.TestCase.settings = WritingBytesLong.TestCase.settings = MANY
TestWriting = Writing.TestCase
TestWritingBytes = WritingBytes.TestCase
TestWritingLong = pytest.mark.slow(WritingLong.TestCase)
TestWritingBytesLong = pytest.mark.slow(WritingBytesLong.TestCase)


def writer(**options: object) -> tuple[Writer, FakeSession]:
    talk = FakeSession(**options)  # type: ignore[arg-type]
    return Writer(lambda: talk, pause=0), talk


def write_on(one: Writer, ending: object) -> None:
    for _ in one.write_on(ending, Event()):  # type: ignore[arg-type]
        pass


def test_a_line_ends_with_its_line() -> None:
    one, talk = writer()
    write_on(one, LINE)
    assert one.text.index("\n") == len(one.text) - 1
    assert talk.branches[FIRST] == one.text
    assert len(one.draft.edits) == 1


def test_the_same_seed_and_the_same_keys_give_the_same_text() -> None:
    texts = []
    for _ in range(2):
        one, _ = writer()
        write_on(one, SENTENCE)
        one.type("a")
        write_on(one, LINE)
        texts.append(one.text)
    assert texts[0] == texts[1]


def test_writing_again_after_undo_gives_another_text() -> None:
    one, _ = writer()
    write_on(one, LINE)
    first = one.text
    one.undo()
    write_on(one, LINE)
    assert one.text != first


def test_what_was_undone_longer_ago_than_the_server_remembers_is_read_anew() -> None:
    one, talk = writer(history=3)
    one.type("a b")
    one.look_ahead()
    one.pick(1)
    for count, _ in enumerate(one.write_on(None, stopped := Event())):
        if count == 1:
            stopped.set()
    assert len(one.text) == 4 + 8
    one.undo()
    assert one.text == "a bb" == talk.branches[FIRST]


def test_a_server_that_remembers_nothing_can_be_written_with() -> None:
    one, talk = writer(history=0)
    write_on(one, SENTENCE)
    one.erase()
    assert talk.branches[FIRST] == one.text


def test_versions_stay_apart() -> None:
    one, _ = writer()
    one.type("a")
    one.fork("other")
    one.type("b")
    one.switch(FIRST)
    assert one.text == "a"
    one.type("c")
    one.switch("other")
    assert one.text == "ab"


def test_what_is_not_saved_is_known() -> None:
    one, _ = writer()
    assert one.view.unsaved == ()
    one.type("a")
    one.fork("other")
    one.saved()
    assert one.view.unsaved == ()
    one.type("b")
    assert one.view.unsaved == ("other",)
    one.undo()
    assert one.view.unsaved == ()


def test_after_reconnecting_each_version_is_read_at_its_turn() -> None:
    talks = [FakeSession(), FakeSession()]
    waiting = iter(talks)
    one = Writer(lambda: next(waiting), pause=0)
    one.type("a")
    one.fork("other")
    one.type("b")
    talks[0].gone = True
    with pytest.raises(GoneError):
        one.type("c")
    assert one.view.gone
    one.reconnect()
    assert talks[1].branches == {"": "", "other": "ab"}
    one.switch(FIRST)
    one.type("c")
    assert talks[1].branches == {"": "", "other": "ab", FIRST: "ac"}


def test_the_text_before_a_state_is_shown_and_stays() -> None:
    one = Writer(FakeSession, "before ", pause=0)
    one.type("a")
    assert one.text == "before a"
    one.undo()
    with pytest.raises(RefusedError, match="nothing to undo"):
        one.undo()
    with pytest.raises(RefusedError, match="nothing to erase"):
        one.erase()
    assert one.text == "before "


@given(st.lists(TEXTS, min_size=1, max_size=12))
@settings(deadline=None)
def test_words_are_undone_one_by_one(texts: list[str]) -> None:
    one, _ = writer(history=1000)
    for text in texts:
        one.type(text)
    for step in one.draft.edits[1:]:
        assert not step.text[0].isspace()
    while one.draft.edits:
        one.undo()
    while one.draft.undone:
        one.redo()
    assert one.text == "".join(texts)


def test_a_character_is_picked_byte_by_byte_and_what_is_typed_takes_the_place_of_its_rest() -> None:
    vocabulary = BytePairVocabulary([])
    talk = FakeSession(vocabulary=vocabulary, likely=tuple("é".encode()))
    one = Writer(lambda: talk, pause=0)
    for place in (0, 1, 0):
        one.look_ahead()
        one.pick(place)
    assert one.text == "é"
    assert len(one.draft.edits) == 1
    one.type("b")
    assert one.text == talk.branches[FIRST] == "éb"
    one.erase()
    one.erase()
    assert one.text == talk.branches[FIRST] == ""


def test_what_would_leave_a_text_that_the_model_does_not_know_is_refused() -> None:
    talk = FakeSession(vocabulary=BytePairVocabulary([b"word"], b" ."))
    one = Writer(lambda: talk, pause=0)
    one.type("word. word")
    with pytest.raises(RefusedError, match="unknown"):
        one.erase()
    assert one.text == talk.branches[FIRST] == "word. word"
    one.undo()
    assert one.text == talk.branches[FIRST] == ""


def test_a_token_is_taken_back_in_part() -> None:
    vocabulary = BytePairVocabulary([b"and. So"])
    talk = FakeSession(vocabulary=vocabulary, likely=(256,))
    one = Writer(lambda: talk, pause=0)
    write_on(one, SENTENCE)
    assert one.text == talk.branches[FIRST] == "and."
    one.erase()
    assert one.text == talk.branches[FIRST] == "and"


@pytest.mark.parametrize("kind", ["words", "lower-words", "bpe", "smiles", "bytes"])
def test_a_word_is_read_as_one_however_many_keys_it_takes(kind):
    vocabulary = made(kind)
    session = FakeSession(
        history=99, vocabulary=vocabulary, likely=tuple(range(vocabulary.ids.ordinary))[-9:]
    )
    writer = Writer(lambda: session, pause=0)
    writer.look_ahead()
    text = "The café sat; it was closed"
    for key in text:
        writer.type(key)
        assert writer.text == session.branches[FIRST]
    known = vocabulary.encode(text)
    assert session.tokens[FIRST].tolist() == known.tolist()
    assert writer.text == vocabulary.decode(known)
    if kind != "words":
        return
    writer.type(" xyz")
    assert writer.text == f"{vocabulary.decode(known)}\ufffd"
    writer.type(" cat")
    assert writer.text == f"{vocabulary.decode(known)}\ufffd cat"
    writer.undo()
    assert writer.text == session.branches[FIRST]
    assert not writer.text.endswith("cat")


def test_going_back_into_a_word_that_no_tokens_make_is_refused():
    session = FakeSession(history=99, vocabulary=made("words"))
    writer = Writer(lambda: session, pause=0)
    writer.type("The cat")
    with pytest.raises(RefusedError, match="no tokens"):
        writer.erase()
    assert writer.text == session.branches[FIRST] == "The cat"
