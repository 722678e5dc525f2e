"""Requests: what the engine is asked to generate, and how a user's options become one. Data only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from charloom.options import (
    MAX_WINDOW,
    GenerateOptions,
    InvalidRequestError,
    Sampling,
    Violation,
    choose_seed,
)
from charloom.vocabulary import CONTEXT, LabelError, Tokens, UnknownCharacterError, Vocabulary, no_tokens
from serving.engine.snapshot import Labels, Snapshot
from serving.engine.token_rules import FOREVER, TokenRules, no_rules


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
    """Number of alternatives whose log-probabilities are returned at each position; None for none at all,
    0 for those of the sampled tokens alone."""
    labels: Labels = ()
    """The tokens of its records' labels; an origin has its own."""
    ranks: bool = False
    """Whether the rank of each token is returned too; the model's bundle must have ranks."""
    origin: Snapshot | None = None
    """Where the stream starts, instead of in the fresh state of its labels."""
    before: int = 0
    """Tokens of the text that were generated before its origin; `max_tokens` includes them."""
    replay: Tokens = field(default_factory=no_tokens)
    """Tokens [T] of the text after those, which the client has already: read, and returned only if
    `scored`."""
    scored: bool = False
    returns_state: bool = False
    """Whether a snapshot is returned at the end."""
    state_interval: int = 0
    """Tokens of the text after about which a snapshot is returned, repeatedly; 0 for never."""
    notes: tuple[str, ...] = ()
    """What whoever asked should know, though nothing is wrong with it."""

    @cached_property
    def begin(self) -> int:
        """Position of the first token that is read."""
        return 0 if self.origin is None else self.origin.position

    @cached_property
    def forced(self) -> int:
        """Number of tokens that are read: those of the prompt and of the replay."""
        return len(self.prompt) + len(self.replay)

    def read(self, offset: int, count: int) -> Iterator[Tokens]:
        """Yields the token ids that are read from an offset on, in up to two parts.

        They are not copied, since texts may share a prompt.
        """
        yield self.prompt[offset : offset + count]
        after = offset + count - len(self.prompt)
        if after > 0:
            yield self.replay[max(0, after - count) : after]

    @cached_property
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
        """Whether any snapshot is returned."""
        return self.returns_state or self.state_interval > 0

    @cached_property
    def remembered(self) -> int:
        """Number of recent tokens to keep: for its own penalties, or those of a text that resumes it."""
        if self.snapshots:
            return MAX_WINDOW
        return self.sampling.penalty_window if self.sampling.penalises else 0

    @cached_property
    def filtered_until(self) -> int:
        """Number of generated tokens that need the full graph; after them the plain one is enough."""
        return self.rules.end if self.sampling.plain and self.logprobs is None else FOREVER


def prepare(
    prompt: str,
    options: GenerateOptions,
    vocabulary: Vocabulary,
    logprobs: int | None = None,
    *,
    labels: Labels = (),
    delimiter: str | None = None,
) -> Request:
    """Makes the request for a prompt and a user's options; draws a seed if the options have none.

    Args:
        prompt: the text to continue.
        options: how to generate.
        vocabulary: the model's.
        logprobs: see Request.
        labels: see Request.
        delimiter: what is between the model's records, if anything is; no prompt can have it.

    Raises:
        InvalidRequestError: an option or the prompt cannot be used with this vocabulary.
    """
    violations = list(options.violations())
    rules, tokens = no_rules(), no_tokens()
    try:
        if not violations:
            rules = TokenRules.of(options, vocabulary)
    except InvalidRequestError as error:
        violations += error.violations
    try:
        tokens = encode("prompt", prompt, vocabulary, delimiter, skip=options.skip_unknown)
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
        labels=labels,
        notes=tuple(idle_stops(options.stop, vocabulary, delimiter)),
    )


def idle_stops(stops: Sequence[str], vocabulary: Vocabulary, delimiter: str | None) -> Iterator[str]:
    """Yields a sentence about each stop string that no text of the model can hold, and why."""
    for stop in stops:
        lacking = dict.fromkeys(character for character in stop if not vocabulary.writes(character))
        if delimiter is not None and delimiter in stop:
            yield f"the stop {stop!r} never ends a text: no record of this model holds {delimiter!r}"
        elif lacking:
            listed = ", ".join(map(repr, lacking))
            yield f"the stop {stop!r} never ends a text: the model's vocabulary lacks {listed}"


def find_labels(labels: Sequence[str], vocabulary: Vocabulary) -> Labels:
    """Returns the tokens of a record's labels.

    Raises:
        InvalidRequestError: a value is none that the model knows, or there are too few or too many.
    """
    try:
        return tuple(vocabulary.ids.label_ids(labels))
    except LabelError as error:
        raise InvalidRequestError([Violation("labels", f"cannot be used: {error}")]) from error


def encode(
    field: str, text: str, vocabulary: Vocabulary, delimiter: str | None = None, *, skip: bool
) -> Tokens:
    """Returns the token ids of a text [T].

    Raises:
        InvalidRequestError: it has unknown characters, or the delimiter of the model's records.
    """
    if not text:
        return no_tokens()
    if delimiter is not None and delimiter in text:
        reason = f"has {delimiter!r}, which comes between the model's records and is part of none"
        raise InvalidRequestError([Violation(field, f"{reason}: give one record at a time, without it")])
    try:
        return vocabulary.encode(text, skip_unknown=skip)
    except UnknownCharacterError as error:
        reason = f"has {error}; set skip_unknown to leave them out"
        raise InvalidRequestError([Violation(field, reason)]) from error
