"""Token rules: what a request says of single tokens, resolved against a model's vocabulary.

They have the form in which a burst takes them; how they act is the graph's.
"""

import reprlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from charloom.options import GenerateOptions, InvalidRequestError, Token, Violation
from charloom.vocabulary import Tokens, Vocabulary, no_tokens

FOREVER = 2**62
"""Generated tokens that no stream ever has."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TokenRules:
    """N biases, which of the V tokens may be chosen at all, and which S end a text."""

    biased: Tokens
    """int64 [N]"""
    bias: npt.NDArray[np.float32]
    """float32 [N]: added to their scores ..."""
    until: npt.NDArray[np.int64]
    """int64 [N]: ... until this many tokens are generated."""
    allowed: Mask | None
    """bool [V]; None if all are."""
    stop: tuple[int, ...]
    """[S]"""

    @classmethod
    def of(cls, options: GenerateOptions, vocabulary: Vocabulary) -> "TokenRules":
        """The rules that a request's options make.

        Raises:
            InvalidRequestError: a name is no token of the model, or no token is left to choose.
        """
        ids = resolve(options, vocabulary)
        biased, stop = ids["logit_bias"].tolist(), ids["stop_tokens"].tolist()
        early = dict.fromkeys(stop, options.min_tokens)  # ruled out until the text is long enough
        if vocabulary.end is not None:
            early[vocabulary.end] = FOREVER if options.ignore_end else options.min_tokens
        early = {token: until for token, until in early.items() if until}
        early_field = "min_tokens" if options.min_tokens else "ignore_end"
        allowed, forbidden = ids["allowed_tokens"], ids["forbidden_tokens"]
        return cls(
            biased=np.array([*biased, *early], np.int64),
            bias=np.array([*(bias for _, bias in options.logit_bias), *(-np.inf for _ in early)], np.float32),
            until=np.array([*(FOREVER for _ in biased), *early.values()], np.int64),
            allowed=choosable(allowed, forbidden, [*early], early_field, vocabulary),
            stop=tuple(stop),
        )

    @cached_property
    def end(self) -> int:
        """Generated tokens after which they no longer bear on what is chosen."""
        return int(self.until.max(initial=0)) if self.allowed is None else FOREVER


def no_rules() -> TokenRules:
    """The rules of a request that names no token."""
    return TokenRules(no_tokens(), np.empty(0, np.float32), np.empty(0, np.int64), None, ())


def resolve(options: GenerateOptions, vocabulary: Vocabulary) -> dict[str, Tokens]:
    """The ids of the tokens that each field names; raises InvalidRequestError for any that is none."""
    ids: dict[str, Tokens] = {}
    violations = []
    for field, tokens in options.named_tokens.items():
        found = [find(token, vocabulary) for token in tokens]
        if None in found:
            stranger = reprlib.repr(tokens[found.index(None)])
            reason = f"names {stranger}, which is none of the model's {vocabulary.size} tokens"
            violations.append(Violation(field, reason))
        elif field == "logit_bias" and len(set(found)) < len(found):
            violations.append(Violation(field, "names a token twice"))
        ids[field] = np.array([token for token in found if token is not None], np.int64)
    if violations:
        raise InvalidRequestError(violations)
    return ids


def find(token: Token, vocabulary: Vocabulary) -> int | None:
    """The id of a token that is named by id or by text, if there is such a token."""
    if isinstance(token, str):
        return vocabulary.find(token)
    return token if 0 <= token < vocabulary.size else None


def choosable(
    allowed: Tokens, forbidden: Tokens, early: list[int], early_field: str, vocabulary: Vocabulary
) -> Mask | None:
    """Which tokens [V] may be chosen, None for all; `early` may not be at first.

    The end of a record may come whatever is allowed, unless it is forbidden by its own id.

    Raises:
        InvalidRequestError: there is none; `early_field` is the one that says how long some may not.
    """
    mask = np.full(vocabulary.size, not len(allowed))
    mask[allowed] = True
    if vocabulary.end is not None:
        mask[vocabulary.end] = True
    mask[forbidden] = False
    sampled = mask.copy()
    if vocabulary.unknown is not None:
        sampled[vocabulary.unknown] = False
    if not sampled.any():
        raise InvalidRequestError([Violation("forbidden_tokens", "leaves no token to choose")])
    sampled[early] = False
    if not sampled.any():
        reason = "leaves no token to choose: all that may be would end the text"
        raise InvalidRequestError([Violation(early_field, reason)])
    return None if mask.all() else mask
