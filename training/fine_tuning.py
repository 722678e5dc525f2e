"""Fine-tuning: the vocabulary of a run that begins with the tokens of a trained model.

A run that is resumed gets its own vocabulary back in the same way: joined to the text's once more, it stays
what it is.
"""

from pathlib import Path

from charloom.errors import CharloomError, require
from charloom.tokens_config import TokensConfig, VocabularyOrigin
from charloom.vocabulary import (
    NO_SPECIAL,
    LabelError,
    SpecialTokens,
    Vocabulary,
    VocabularyBuilder,
    VocabularyError,
    vocabulary_builder,
)
from training.checkpoint import load_checkpoint

NAMED = 10
"""Tokens that a message names, at the most."""


class TransferError(CharloomError):
    """A model cannot begin with the weights, or the tokens, of another one."""

    exit_code = 12


class JoinedBuilder:
    """Makes a vocabulary of a model's tokens and of those of a text."""

    def __init__(self, text: VocabularyBuilder, model: Vocabulary, origin: VocabularyOrigin) -> None:
        """Takes what makes the vocabulary of the text alone."""
        self.text = text
        self.model = model
        self.origin: VocabularyOrigin = origin

    def put(self, piece: str) -> None:
        """See VocabularyBuilder."""
        self.text.put(piece)

    def finish(self) -> None:
        """See VocabularyBuilder."""
        self.text.finish()

    def build(self, special: SpecialTokens = NO_SPECIAL) -> Vocabulary:
        """See VocabularyBuilder.

        Raises:
            TransferError: the tokens of the two cannot be joined, or those of the model do not suffice.
        """
        return joined(self.model, self.text.build(special), self.origin)


def run_vocabulary_builder(start: Path | None, config: TokensConfig) -> VocabularyBuilder:
    """Returns what makes the vocabulary of a run.

    Args:
        start: the checkpoint, or run, that the run begins with or goes on from; None for a new model.
        config: what the tokens of the text are, and which of them and of the model's the run has.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: a new model is to have tokens of another one.
        MissingTokenizersError: tokens are byte pairs, whose library is not installed.
    """
    given = start is not None or config.vocabulary == "union"
    require(given, "vocabulary", "is for --init-from: a new model has the tokens of its text")
    builder = vocabulary_builder(config)
    return (
        builder
        if start is None
        else JoinedBuilder(builder, load_checkpoint(start).vocabulary, config.vocabulary)
    )


def joined(model: Vocabulary, text: Vocabulary, origin: VocabularyOrigin) -> Vocabulary:
    """Joins the vocabularies of a model and of a text; the ids of the model's ordinary tokens stay.

    Where tokens of the kind cannot be added to, `union` keeps the model's. Special tokens are always those
    of both: without its end and its labels, no record could be read.

    Raises:
        TransferError: the kinds differ; the text has no end or label where the model has one; or `old` has no
            token for a part of the text, not even an unknown token.
    """
    if origin == "new":
        return text
    if model.kind != text.kind:
        raise TransferError(
            f"the model has tokens of the kind {model.kind}, and the text is read as {text.kind}: "
            "they cannot be joined; --vocabulary new trains with those of the text alone"
        )
    special = joined_special(model.ids.special, text.ids.special)
    try:
        wider = model.extended(text)
    except VocabularyError as error:
        raise TransferError(f"{error}: --vocabulary new trains with those of the text alone") from error
    if wider is None:
        return model.with_special(special)
    if origin == "union":
        return wider.with_special(special)
    lacking = range(model.ids.ordinary, wider.ids.ordinary)
    if lacking and not special.unknown:
        named = ", ".join(repr(wider.token_text(token)) for token in lacking[:NAMED])
        more = f" and {len(lacking) - NAMED:,} more" if len(lacking) > NAMED else ""
        raise TransferError(
            f"the text has tokens that the model lacks, and it has no unknown token for them: {named}{more}; "
            "--vocabulary union adds them, --min-count 2 or more adds an unknown token"
        )
    return model.with_special(special)


def joined_special(model: SpecialTokens, text: SpecialTokens) -> SpecialTokens:
    """Joins special tokens.

    Raises:
        TransferError: the text has no end or label where the model has one.
    """
    if model.end and not text.end:
        raise TransferError(
            "the model is one of records, and the text is read as a single one: divide it with --records or "
            "--text-column, or begin with the tokens of the text alone, --vocabulary new"
        )
    try:
        return model.joined(text)
    except LabelError as error:
        raise TransferError(
            f"the model's records have labels, and those of the text have {error}: name its column with "
            "--label-column, or begin with the tokens of the text alone, --vocabulary new"
        ) from error
