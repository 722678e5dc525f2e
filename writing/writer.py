"""Writing together: versions of a text, of which the model has always read what is shown.

The model is asked first, and the draft follows if it could be done. So it holds whatever fails: the
text of a version is what its branch of the conversation has read, and a server that is gone takes
nothing along. Every version is a branch; the branch without a name stands at the beginning for good,
for versions that must be read anew.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import NamedTuple, Protocol, TypeVar

from charloom.errors import CharloomError
from charloom.options import seed_of
from writing.draft import Draft, Edit

BEGINNING = ""
"""The branch that no version is."""
FIRST = "first"
"""The version that there is from the beginning."""
MAX_CHARACTERS = 20_000
"""Characters that the model writes at one key: somebody may have gone home."""

StopPattern = re.Pattern[str]
LINE = re.compile(r"\n")
WORD_BEGUN = re.compile(r"\s?\S*\Z")
"""The last word, which may go on, with the space before it."""
SENTENCE = re.compile(r"""\S\n(?=\n)|[.!?…]["'”’»)\]]*(?=\s)|[。！？]""")  # noqa: RUF001
"""The marks that end a sentence, once it is sure that a space follows them; or the end of a paragraph."""
STOP_PATTERNS: Mapping[str, StopPattern | None] = {"go": None, "line": LINE, "sentence": SENTENCE}
"""After which match the model stops by itself, for each of the actions that let it write."""

T = TypeVar("T")


class RefusedError(CharloomError):
    """The model could not do it, and stands where it stood."""


class GoneError(CharloomError):
    """The server is gone, and all its branches with it."""


class Suggestion(NamedTuple):
    """A token that may come next."""

    token: int
    text: str
    """For people: of a token that is part of a character, U+FFFD."""
    logprob: float


class WritingSession(Protocol):
    """A conversation, as far as writing needs it. Calls block; each raises RefusedError or GoneError."""

    @property
    def model(self) -> str:
        """The name of the model."""

    def feed(self, text: str, branch: str) -> str:
        """Has the model read a text; gives what that adds to the text of the branch."""

    def choose(self, token: int, branch: str) -> str:
        """Has the model read a token; gives what that adds to the text of the branch."""

    def generate(self, seed: int, branch: str) -> str:
        """Has the model write a few tokens; gives the text that they complete."""

    def rewind(self, characters: int, branch: str) -> None:
        """Takes characters back, and what is unfinished after them."""

    def suggest(self, count: int, branch: str) -> list[Suggestion]:
        """The likeliest next tokens."""

    def fork(self, name: str, branch: str) -> None:
        """Makes a branch that goes on alone from here."""

    def drop(self, branch: str) -> None:
        """Drops a branch."""

    def save(self, branch: str) -> bytes:
        """A state token."""

    def close(self) -> None:
        """Ends it, also while another thread waits for it."""


@dataclass(frozen=True)
class View:
    """What there is to see; it never changes, so that another thread may show it."""

    model: str = ""
    before: str = ""
    """The text before all edits; those of before a state are known if its text is."""
    edits: tuple[Edit, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    versions: tuple[str, ...] = (FIRST,)
    current: str = FIRST
    unsaved: tuple[str, ...] = ()
    """Versions that would be lost."""
    gone: bool = False
    """Whether there is no server."""


class Writer:
    """Everything that keys can do to a text."""

    def __init__(
        self,
        connect: Callable[[], WritingSession],
        before: str = "",
        *,
        suggestions: int = 9,
        seed: int = 0,
        pause: float = 0.05,
    ) -> None:
        """Takes what begins conversations, all at the same place, and the text before it if it is known.

        The first few tokens are written with the seed, the next with the next; between them is
        a pause of so many seconds, for the eyes.

        Raises:
            GoneError, RefusedError: there is no conversation.
        """
        self._connect, self._count, self._seed, self._pause = connect, suggestions, seed, pause
        self._before, self._current, self._written = before, FIRST, 0
        self._drafts: dict[str, Draft] = {FIRST: Draft()}
        self._suggestions: tuple[Suggestion, ...] = ()
        self._saved = {""}
        self._has_words = False
        """Whether the model has tokens of several characters."""
        self._word, self._word_length = "", 0
        """The word that you are typing, and how many characters it has as the model read it."""
        self._begin()

    @property
    def draft(self) -> Draft:
        """The current version."""
        return self._drafts[self._current]

    @property
    def text(self) -> str:
        """All of the current version."""
        return self._before + self.draft.text

    @property
    def view(self) -> View:
        """What there is to see."""
        return View(
            model=self._session.model,
            before=self._before,
            edits=self.draft.edits,
            suggestions=self._suggestions,
            versions=tuple(self._drafts),
            current=self._current,
            unsaved=tuple(name for name, draft in self._drafts.items() if draft.text not in self._saved),
            gone=self._gone,
        )

    def type(self, text: str) -> None:
        """Adds your text; a word that you are typing is read anew as a whole, since it may be one token."""
        typed, added, replaced = self._ask(lambda: self._type(text))
        self._follow(self.draft.retyped(replaced, added))
        match = WORD_BEGUN.search(typed)
        word = match.group() if match else ""
        self._word = word if added.endswith(word) else typed
        self._word_length = len(word) if added.endswith(word) else len(added)

    def pick(self, place: int) -> None:
        """Adds the suggestion at a place, from 0; half a character is shown once its other half is added."""
        if place >= len(self._suggestions):
            raise RefusedError("there is no such suggestion")
        token = self._suggestions[place].token
        added = self._ask(lambda: self._session.choose(token, self._branch()))
        self._picked.add(self._current)
        self._follow(self.draft.added(added, "model"))

    def write_on(self, pattern: StopPattern | None, stopped: Event) -> Iterator[None]:
        """Lets the model write until a match, or until it is stopped; yields whenever there is more."""
        begun, text, excess = self.draft, "", None
        while len(text) < MAX_CHARACTERS and excess is None and not stopped.is_set():
            text += self._ask(self._write)
            self._follow(begun.added(text, "model"))
            excess = beyond(pattern, text)
            if excess:
                self._take_back(begun.added(text[:-excess], "model"))
            yield
            if excess is None:
                stopped.wait(self._pause)
        self._take_back(self.draft)

    def undo(self) -> None:
        """Takes the last step back, yours or the model's."""
        if not self.draft.edits:
            raise RefusedError("there is nothing to undo")
        self._take_back(self.draft.back())

    def erase(self) -> None:
        """Takes the last character back."""
        if not self.draft.edits:
            raise RefusedError("there is nothing to erase")
        self._take_back(self.draft.erased())

    def redo(self) -> None:
        """Adds the step again that was undone last."""
        if not self.draft.undone:
            raise RefusedError("there is nothing to redo")
        self._ask(lambda: self._feed(self.draft.undone[-1].text))
        self._follow(self.draft.forth())

    def fork(self, name: str) -> None:
        """Keeps this version as it is, and goes on in a new one of this name."""
        if not name or name in self._drafts:
            raise RefusedError(f"there is a version {name!r} already" if name else "a version needs a name")
        self._ask(lambda: self._session.fork(name, self._branch()))
        self._branches.add(name)
        if self._current in self._picked:
            self._picked.add(name)
        self._drafts[name] = self.draft
        self._current = name

    def switch(self, name: str) -> None:
        """Goes on in another version."""
        assert name in self._drafts, "one of those that are shown"
        self._current, self._suggestions, self._word = name, (), ""

    def look_ahead(self) -> None:
        """Finds out what may come next."""
        self._suggestions = tuple(self._ask(lambda: self._session.suggest(self._count, self._branch())))
        self._has_words = self._has_words or any(len(one.text) > 1 for one in self._suggestions)

    def state(self) -> bytes:
        """A state token of the current version."""
        return self._ask(lambda: self._session.save(self._branch()))

    def saved(self) -> None:
        """Takes note that the current version is safe."""
        self._saved.add(self.draft.text)

    def reconnect(self) -> None:
        """Begins a new conversation, which reads again what is shown; other versions, at their turn."""
        self._session.close()
        self._word = ""
        self._begin()
        self._ask(self._branch)

    def close(self) -> None:
        """Ends it, also while another thread waits for it."""
        self._session.close()

    def _begin(self) -> None:
        self._session = self._connect()
        self._branches: set[str] = set()
        self._picked: set[str] = set()
        """Versions whose last token was picked, and may be half a character."""
        self._gone = False

    def _ask(self, call: Callable[[], T]) -> T:
        """Does a call of the conversation, and notes if there is nobody any more."""
        try:
            return call()
        except GoneError:
            self._gone = True
            raise

    def _follow(self, draft: Draft) -> None:
        """Stands where the model stands."""
        self._drafts[self._current], self._suggestions, self._word = draft, (), ""

    def _branch(self) -> str:
        """The branch of the current version, which has read its text."""
        if self._current not in self._branches:
            self._read(self.draft)
        return self._current

    def _read(self, draft: Draft) -> None:
        """Makes the branch of the current version from the beginning."""
        self._session.fork(self._current, BEGINNING)
        try:
            read = self._session.feed(draft.text, self._current) if draft.text else ""
        except RefusedError:
            self._session.drop(self._current)
            raise
        if read != draft.text:
            self._session.drop(self._current)
            raise RefusedError("the model has no tokens for what would stay")
        self._branches.add(self._current)

    def _type(self, text: str) -> tuple[str, str, int]:
        """Has the model read a text, and with it the word that it goes on with.

        Gives both, what they add to the text, and how many characters of it they replace.
        """
        branch = self._branch()
        if self._word and self._has_words and self._current not in self._picked:
            word, length = self._word, self._word_length
            try:
                self._session.rewind(length, branch)
            except RefusedError:  # the model wrote some of it, or it is longer ago than the server remembers
                return text, self._feed(text), 0
            try:
                return word + text, self._session.feed(word + text, branch), length
            except RefusedError:
                self._session.feed(word, branch)
                raise
        return text, self._feed(text), 0

    def _feed(self, text: str) -> str:
        """Has the model read a text, in place of the rest of a character that was picked."""
        branch = self._branch()
        if self._current in self._picked:
            self._session.rewind(0, branch)
            self._picked.discard(self._current)
        return self._session.feed(text, branch)

    def _write(self) -> str:
        """The text of the model's next few tokens."""
        seed = seed_of(self._seed, self._written)
        self._written += 1
        return self._session.generate(seed, self._branch())

    def _take_back(self, draft: Draft) -> None:
        """Stands at an earlier draft, after a whole character."""
        self._ask(lambda: self._go_back(draft))
        self._picked.discard(self._current)
        self._follow(draft)

    def _go_back(self, draft: Draft) -> None:
        branch = self._branch()
        try:
            self._session.rewind(len(self.draft.text) - len(draft.text), branch)
        except RefusedError:  # longer ago than the server remembers
            self._session.drop(branch)
            self._branches.discard(branch)
            try:
                self._read(draft)
            except RefusedError:  # what would stay of a token is no text that the model knows
                self._read(self.draft)
                raise


def beyond(pattern: StopPattern | None, text: str) -> int | None:
    """How many characters of a text lie beyond the first match; None if there is none."""
    found = pattern.search(text) if pattern else None
    return len(text) - found.end() if found else None
