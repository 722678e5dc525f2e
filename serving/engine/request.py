"""Requests and streams: what is asked for, and how far it has come. Data only."""

from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

import numpy as np

from charloom.burst import Feeds
from charloom.options import GenerateOptions, InvalidRequestError, Sampling, Violation, choose_seed
from charloom.vocabulary import CharacterVocabulary, Tokens, UnknownCharacterError, no_tokens
from serving.engine.choices import Choices, no_choices
from serving.engine.outbox import Outbox
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

    @cached_property
    def filtered_until(self) -> int:
        """Generated tokens after which the plain graph gives it all."""
        return self.rules.end if self.sampling.plain and self.logprobs is None else FOREVER


def prepare(
    prompt: str, options: GenerateOptions, vocabulary: CharacterVocabulary, logprobs: int | None = None
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
        tokens = vocabulary.encode(prompt, skip_unknown=options.skip_unknown)
    except UnknownCharacterError as error:
        violations.append(Violation("prompt", f"has {error}; set skip_unknown to leave them out"))
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
    last: int
    """The token it feeds next; the start token at first."""
    deadline: float | None = None
    """On the clock of `time.monotonic`, seconds."""
    position: int = 0
    """Tokens chosen so far, those of the prompt included."""
    recent: Tokens = field(default_factory=no_tokens)
    """The newest of them, as many as penalties ask for."""
    slot: int | None = None
    """Its place in the state pool while it runs."""
    siblings: list["Stream"] = field(default_factory=list)
    """Streams of the same prompt, which wait until this one has read it."""
    inherited: Feeds | None = None
    """The state to begin with instead of zeros, [1, ...] each; forgotten once it has a slot."""
    outbox: Outbox = field(init=False)
    released: int = 0
    """Generated tokens handed out."""
    consumed: int = 0
    """Generated tokens that the reader has taken."""
    cancelled: bool = False

    def __post_init__(self) -> None:
        request = self.request
        self.outbox = Outbox(request.stop, request.rules.stop, request.min_tokens)

    @property
    def prompt_left(self) -> int:
        """Tokens of the prompt that are still to be read."""
        return max(0, len(self.request.prompt) - self.position)

    @property
    def generated(self) -> int:
        """Tokens generated so far; below 0 by those of the prompt that are still to be read."""
        return self.position - len(self.request.prompt)

    @property
    def steps_left(self) -> int:
        """Steps until the text has its full length, or siblings get the state after their prompt."""
        return self.prompt_left if self.siblings else self.request.max_tokens - self.generated

    def advance(self, chosen: Tokens) -> None:
        """Takes note of the tokens [T] that a burst chose, read ones among them."""
        self.position += len(chosen)
        self.last = int(chosen[-1]) if len(chosen) else self.last
        sampling = self.request.sampling
        if sampling.penalises:
            self.recent = np.concatenate([self.recent, chosen])[-sampling.penalty_window :]

    def inherit(self, elder: "Stream", state: Feeds) -> None:
        """Begins where a stream of the same prompt has read it, with the state after it."""
        self.last, self.position, self.recent = elder.last, elder.position, elder.recent
        self.inherited = state


@dataclass(frozen=True, eq=False)
class Update:
    """What one burst, or an error, brought for one stream."""

    stream: Stream
    text: str = ""
    choices: Choices = field(default_factory=no_choices)
    position: int = 0
    """Tokens of the prompt read and of text handed out so far."""
    finish: Finish | None = None
    error: ServingError | None = None

    @property
    def final(self) -> bool:
        """Whether the stream ends with it."""
        return self.finish is not None or self.error is not None
