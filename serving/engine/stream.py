"""Streams: one request on its way through the engine, token by token."""

from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from charloom.vocabulary import Tokens, Vocabulary, no_tokens
from serving.engine.detokenizer import Detokenizer
from serving.engine.request import Request
from serving.engine.snapshot import Labels, Snapshot, State
from serving.engine.stop_checker import StopChecker

if TYPE_CHECKING:
    from serving.engine.text_series import TextSeries


@dataclass(eq=False)
class Stream:
    """How far a request has come.

    Only the engine's thread changes it, but for two fields: the reader of the text increases `consumed`, and
    may set `aborted`.
    """

    request: Request
    vocabulary: InitVar[Vocabulary]
    deadline: float | None = None
    """Seconds on the clock of `time.monotonic`."""
    index: int = 0
    """Index of its text in its series."""
    series: "TextSeries | None" = None
    """The series that its text belongs to, if any."""
    seed: int = -1
    """That of its text: its request's, unless another one is named here."""
    start_token: int = field(init=False)
    last: int = field(init=False)
    """The token it feeds next; the start token at first."""
    position: int = 0
    """Tokens chosen so far, forced and sampled, ends of records included."""
    recent: Tokens = field(default_factory=no_tokens)
    """The newest of them in its record: int64 [W], W up to `Request.remembered`."""
    labels: Labels = field(init=False)
    """The tokens of its records' labels."""
    slot: int | None = None
    """Its slot of the runner while it runs."""
    children: list["Stream"] = field(default_factory=list)
    """The other streams of its request, which start from its state once it has read their prompt."""
    origin: State | None = None
    """The state to start from instead of the fresh one of its labels; dropped once it has a slot."""
    detokenizer: Detokenizer = field(init=False)
    released: int = 0
    """Tokens of the text that its client has, or that were handed out."""
    consumed: int = 0
    """Those that the reader has taken."""
    held: list[Tokens] = field(default_factory=list)
    """Tokens [T] of each burst since the last that was released, in a series whose texts come whole."""
    saved: int = 0
    """Those that were handed out when its last snapshot was taken."""
    anchor: "Anchor | None" = None
    """The earlier token at which its anchor slot stands."""
    aborted: bool = False
    """Whether it was aborted by itself; `gone` says whether it was at all."""

    def __post_init__(self, vocabulary: Vocabulary) -> None:
        request = self.request
        self.seed = request.seed if self.seed < 0 else self.seed
        self.start_token = self.last = vocabulary.start
        self.labels = request.labels
        self.released = request.before + (0 if request.scored else len(request.replay))
        self.consumed = self.saved = self.released
        stops = stop_checker(request, vocabulary) if self.series is None else self.series.stops
        decoder = vocabulary.decoder(of_last_record(request.context, vocabulary.end))
        self.detokenizer = Detokenizer(decoder, stops, request.min_tokens, self.released)
        if request.origin is not None:
            self.start_from(request.origin)

    @property
    def owner(self) -> "Stream | TextSeries":
        """What was submitted with one reader and is aborted as one: its series, or itself."""
        return self if self.series is None else self.series

    @property
    def gone(self) -> bool:
        """Whether it was aborted, by itself or with its series."""
        return self.aborted or (self.series is not None and self.series.aborted)

    @property
    def unread(self) -> int:
        """Tokens that its reader has not taken; in a series, on the average of those that run."""
        return self.released - self.consumed if self.series is None else self.series.unread

    @property
    def forks(self) -> bool:
        """Whether other streams wait for its state after the prompt."""
        return bool(self.children) or (self.series is not None and self.series.needs_state)

    @property
    def forced_left(self) -> int:
        """Tokens that are still to be read."""
        return max(0, self.request.begin + self.request.forced - self.position)

    @property
    def generated(self) -> int:
        """Tokens of the text so far; negative while that many of the prompt are still to be read."""
        return self.position - self.request.start

    @property
    def visible(self) -> int:
        """Position after the last token that was handed out."""
        return self.request.start + self.released

    @property
    def steps_left(self) -> int:
        """Steps until the text has its full length, or children get the state after their prompt."""
        return self.forced_left if self.forks else self.request.max_tokens - self.generated

    @property
    def ends_exactly(self) -> bool:
        """Whether its state is needed after its last step."""
        return self.forks or self.request.returns_state

    @property
    def needs_anchor(self) -> bool:
        """Whether its state may be needed at an earlier token than its last: a stop cuts tokens off."""
        return self.request.snapshots and bool(self.request.stop or self.request.rules.stop)

    def due(self, *, final: bool) -> bool:
        """Returns whether a snapshot is to be handed out with what is released."""
        if final:
            return self.request.returns_state
        interval = self.request.state_interval
        return 0 < interval <= self.released - self.saved

    def advance(self, chosen: Tokens) -> None:
        """Appends the tokens [T] that a burst chose, forced ones included."""
        self.position += len(chosen)
        self.last = int(chosen[-1]) if len(chosen) else self.last
        if self.request.remembered:
            self.recent = newest(self.request.remembered, self.recent, chosen)
        if self.anchor is not None:
            self.anchor.chosen.append(chosen)

    def release(self, count: int) -> None:
        """Counts tokens of the text as handed out."""
        self.released += count
        if self.series is not None:
            self.series.released += count

    def consume(self, count: int, *, final: bool) -> None:
        """Counts tokens as taken by the reader, who calls it; `final` says that they are the last."""
        self.consumed += count
        if self.series is not None:
            self.series.consumed += count + final

    def begin_record(self, position: int) -> None:
        """Goes on at the beginning of the next record, at this position; its slot has the fresh state."""
        self.last, self.position, self.recent = self.start_token, position, no_tokens()

    def start_from(self, snapshot: Snapshot) -> None:
        """Starts, or goes on, at a snapshot."""
        self.last, self.position, self.recent = snapshot.last, snapshot.position, snapshot.recent
        self.labels = snapshot.labels
        self.origin = snapshot.state

    def snapshot(self, state: State) -> Snapshot:
        """Returns the snapshot at its last token, at which it has this state."""
        return Snapshot(state, self.last, self.position, self.recent, self.labels)

    def set_anchor(self) -> None:
        """Remembers its last token, at which its anchor slot has its state."""
        self.anchor = Anchor(self.last, self.position, self.recent)


@dataclass(frozen=True, eq=False)
class Anchor:
    """The token of a stream before some burst, and the tokens chosen since."""

    last: int
    position: int
    recent: Tokens
    chosen: list[Tokens] = field(default_factory=list)

    def until(self, position: int) -> Tokens:
        """Returns the tokens [T] that lead from it to a position."""
        tokens = np.concatenate([no_tokens(), *self.chosen])
        return tokens[: position - self.position]


def stop_checker(request: Request, vocabulary: Vocabulary) -> StopChecker:
    """Returns what finds the end of a request's text; a scored one has none before its length."""
    return StopChecker(request.stop, request.rules.stop, None if request.scored else vocabulary.end)


def of_last_record(tokens: Tokens, end: int | None) -> Tokens:
    """Returns the tokens [T] after the last end of a record; all if there is none."""
    ends = np.flatnonzero(tokens == end) if end is not None and len(tokens) else no_tokens()
    return tokens[ends[-1] + 1 :] if len(ends) else tokens


def newest(count: int, *tokens: Tokens) -> Tokens:
    """Returns the last `count` of consecutive tokens [T]."""
    return np.concatenate(tokens)[-count:] if count else no_tokens()
