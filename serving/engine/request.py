"""Requests and streams: what is asked for, and how far it has come. Data only."""

from collections.abc import Iterator, Sequence
from dataclasses import InitVar, dataclass, field
from enum import Enum
from functools import cached_property

import numpy as np

from charloom.burst import Feeds
from charloom.options import (
    MAX_WINDOW,
    GenerateOptions,
    InvalidRequestError,
    Sampling,
    Violation,
    choose_seed,
)
from charloom.vocabulary import CONTEXT, Tokens, UnknownCharacterError, Vocabulary, no_tokens
from serving.engine.choices import Choices, no_choices
from serving.engine.detokenizer import Detokenizer
from serving.engine.snapshot import Snapshot
from serving.engine.stop_checker import StopChecker
from serving.engine.token_rules import FOREVER, TokenRules, no_rules
from serving.errors import ServingError


@dataclass(frozen=True, eq=False)
class Request:
    """One text to generate. The text depends on these fields and the bundle, and on nothing else."""

    prompt: Tokens
    """Token ids [T] that are read first; may be empty."""
    max_tokens: int
    seed: int
    sampling: Sampling = Sampling()
    rules: TokenRules = field(default_factory=no_rules)
    stop: tuple[str, ...] = ()
    min_tokens: int = 0
    """Tokens after which a stop can end the text."""
    logprobs: int | None = None
    """Whether log-probabilities are wanted, and of how many of the likeliest tokens in each place."""
    origin: Snapshot | None = None
    """Where it begins, instead of at the start token."""
    before: int = 0
    """Tokens of the text that were generated on the way to its origin; `max_tokens` includes them."""
    replay: Tokens = field(default_factory=no_tokens)
    """Tokens of the text after those, which the reader has: read, and handed out only if `scored`."""
    scored: bool = False
    returns_state: bool = False
    """Whether a snapshot is wanted at the end."""
    state_interval: int = 0
    """After about how many tokens of the text one is wanted, again and again; 0 for never."""

    @cached_property
    def begin(self) -> int:
        """Position of the first token that is read."""
        return 0 if self.origin is None else self.origin.position

    @cached_property
    def given(self) -> int:
        """How many tokens are read: those of the prompt and of the replay."""
        return len(self.prompt) + len(self.replay)

    def read(self, place: int, count: int) -> Iterator[Tokens]:
        """Token ids that are read from a place on, in two parts; not copied, as texts may share a prompt."""
        yield self.prompt[place : place + count]
        after = place + count - len(self.prompt)
        if after > 0:
            yield self.replay[max(0, after - count) : after]

    @property
    def context(self) -> Tokens:
        """The last tokens before the first that is sent, from which its text is decoded."""
        before = no_tokens() if self.origin is None else self.origin.recent
        replay = no_tokens() if self.scored else self.replay
        return np.concatenate([part[-CONTEXT:] for part in (before, self.prompt, replay)])[-CONTEXT:]

    @cached_property
    def start(self) -> int:
        """Position of the first token of the text."""
        return self.begin + len(self.prompt) - self.before

    @property
    def snapshots(self) -> bool:
        """Whether its state is wanted at all."""
        return self.returns_state or self.state_interval > 0

    @cached_property
    def remembered(self) -> int:
        """How many recent tokens are to be known: for penalties, its own or those of whoever goes on."""
        if self.snapshots:
            return MAX_WINDOW
        return self.sampling.penalty_window if self.sampling.penalises else 0

    @cached_property
    def filtered_until(self) -> int:
        """How many generated tokens need the full graph; after them the plain one is enough."""
        return self.rules.end if self.sampling.plain and self.logprobs is None else FOREVER


def prepare(
    prompt: str, options: GenerateOptions, vocabulary: Vocabulary, logprobs: int | None = None
) -> Request:
    """What the engine is asked where a user asks for this.

    Raises:
        InvalidRequestError: it cannot be had from a model of this vocabulary.
    """
    violations = list(options.violations())
    rules, tokens = no_rules(), no_tokens()
    try:
        if not violations:
            rules = TokenRules.of(options, vocabulary)
    except InvalidRequestError as error:
        violations += error.violations
    try:
        tokens = encode("prompt", prompt, vocabulary, skip=options.skip_unknown)
    except InvalidRequestError as error:
        violations += error.violations
    if violations:
        raise InvalidRequestError(violations)
    return Request(
        prompt=tokens,
        max_tokens=options.max_tokens,
        seed=choose_seed() if options.seed is None else options.seed,
        sampling=options.sampling,
        rules=rules,
        stop=options.stop,
        min_tokens=options.min_tokens,
        logprobs=logprobs,
    )


def encode(field: str, text: str, vocabulary: Vocabulary, *, skip: bool) -> Tokens:
    """The token ids of a text [T]; raises InvalidRequestError for characters that the model has not."""
    if not text:
        return no_tokens()
    try:
        return vocabulary.encode(text, skip_unknown=skip)
    except UnknownCharacterError as error:
        reason = f"has {error}; set skip_unknown to leave them out"
        raise InvalidRequestError([Violation(field, reason)]) from error


class Finish(Enum):
    """How a text ended."""

    LENGTH = "length"
    STOP = "stop"


@dataclass(eq=False)
class Stream:
    """One request on its way through the engine.

    The engine's thread alone changes it, but for two fields: whoever reads the text counts
    `consumed` up, and may set `cancelled`.
    """

    request: Request
    vocabulary: InitVar[Vocabulary]
    deadline: float | None = None
    """On the clock of `time.monotonic`, seconds."""
    last: int = field(init=False)
    """The token it feeds next; the start token at first."""
    position: int = 0
    """Tokens chosen so far, those read included."""
    recent: Tokens = field(default_factory=no_tokens)
    """The newest of them, as many as are to be remembered."""
    slot: int | None = None
    """Its place in the state pool while it runs."""
    siblings: list["Stream"] = field(default_factory=list)
    """Streams of the same prompt, which wait until this one has read it."""
    inherited: Feeds | None = None
    """The state to begin with instead of a fresh one, [1, ...] each; forgotten once it has a slot."""
    detokenizer: Detokenizer = field(init=False)
    released: int = 0
    """Tokens of the text that its reader has, or that were handed out."""
    consumed: int = 0
    """Those that the reader has taken."""
    saved: int = 0
    """Those that were handed out when its state last was."""
    anchor: "Anchor | None" = None
    """From where its state at an earlier token can be had."""
    cancelled: bool = False

    def __post_init__(self, vocabulary: Vocabulary) -> None:
        request = self.request
        self.last = vocabulary.start
        self.released = request.before + (0 if request.scored else len(request.replay))
        self.consumed = self.saved = self.released
        stops = StopChecker(request.stop, request.rules.stop)
        decoder = vocabulary.decoder(request.context)
        self.detokenizer = Detokenizer(decoder, stops, request.min_tokens, self.released)
        if request.origin is not None:
            self.go_on(request.origin)

    @property
    def forced_left(self) -> int:
        """Tokens that are still to be read."""
        return max(0, self.request.begin + self.request.given - self.position)

    @property
    def generated(self) -> int:
        """Tokens of the text so far; below 0 by those of the prompt that are still to be read."""
        return self.position - self.request.start

    @property
    def visible(self) -> int:
        """Position after the last token that was handed out."""
        return self.request.start + self.released

    @property
    def steps_left(self) -> int:
        """Steps until the text has its full length, or siblings get the state after their prompt."""
        return self.forced_left if self.siblings else self.request.max_tokens - self.generated

    @property
    def ends_exactly(self) -> bool:
        """Whether its state is needed after its last step."""
        return bool(self.siblings) or self.request.returns_state

    @property
    def may_turn_back(self) -> bool:
        """Whether its state may be needed after an earlier token than its last."""
        return self.request.snapshots and bool(self.request.stop or self.request.rules.stop)

    def due(self, *, final: bool) -> bool:
        """Whether its state is to be handed out with what is released."""
        if final:
            return self.request.returns_state
        interval = self.request.state_interval
        return 0 < interval <= self.released - self.saved

    def snapshot(self, state: Feeds) -> Snapshot:
        """Where it stands, its state being this."""
        return Snapshot(state, self.last, self.position, self.recent)

    def advance(self, chosen: Tokens) -> None:
        """Takes note of the tokens [T] that a burst chose, read ones among them."""
        self.position += len(chosen)
        self.last = int(chosen[-1]) if len(chosen) else self.last
        self.recent = newest(self.request.remembered, self.recent, chosen)
        if self.anchor is not None:
            self.anchor.chosen.append(chosen)

    def go_on(self, snapshot: Snapshot) -> None:
        """Begins, or goes on, where a snapshot says."""
        self.last, self.position, self.recent = snapshot.last, snapshot.position, snapshot.recent
        self.inherited = snapshot.state


@dataclass(frozen=True, eq=False)
class Anchor:
    """Where a stream stood before some burst, and what it has chosen since."""

    snapshot: Snapshot
    chosen: list[Tokens] = field(default_factory=list)

    def until(self, position: int) -> Tokens:
        """The tokens that lead from it to a position."""
        tokens = np.concatenate([no_tokens(), *self.chosen])
        return tokens[: position - self.snapshot.position]


def newest(count: int, *tokens: Tokens) -> Tokens:
    """The last so many of some tokens."""
    return np.concatenate(tokens)[-count:] if count else no_tokens()


@dataclass(frozen=True, eq=False)
class Update:
    """What one burst, or an error, brought for one stream."""

    stream: Stream
    texts: Sequence[str] = ()
    """The text that each of the tokens completes [T]."""
    choices: Choices = field(default_factory=no_choices)
    position: int = 0
    """Tokens of the prompt read and of text handed out so far."""
    finish: Finish | None = None
    error: ServingError | None = None
    snapshot: Snapshot | None = None
    """Where the stream stands, at `position` or, in an update that was merged of several, before."""

    @cached_property
    def text(self) -> str:
        """The text of the tokens."""
        return "".join(self.texts)

    @property
    def final(self) -> bool:
        """Whether the stream ends with it."""
        return self.finish is not None or self.error is not None
