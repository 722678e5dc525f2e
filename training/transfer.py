"""Transfer: a new model that begins with the weights of a trained one.

Between different vocabularies, what belongs to a shared token is copied. A token that is new is fed as random
numbers, and scored so that it takes next to nothing from the others.
"""

import math
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from charloom.vocabulary import Vocabulary
from networks.config import NetworkConfig
from networks.language_model import LanguageModel
from training.checkpoint import Checkpoint
from training.fine_tuning import TransferError

COST = 0.005
"""Nats that new tokens add to the loss on a text without them, at the most."""


@torch.no_grad()
def transfer(checkpoint: Checkpoint, model: LanguageModel, vocabulary: Vocabulary) -> str:
    """Copies a checkpoint's weights into a new model, and says in words what it copied.

    Raises:
        TransferError: the models have different architectures.
    """
    theirs, ours = checkpoint.config, model.config
    if theirs != ours:
        raise TransferError(
            f"{checkpoint.name} has {architecture(theirs)}, this run {architecture(ours)}: "
            "weights pass between equal architectures only"
        )
    source = checkpoint.model()
    rows = {
        "inputs": shared_ids(fed_tokens(checkpoint.vocabulary), fed_tokens(vocabulary)),
        "outputs": shared_ids(scored_tokens(checkpoint.vocabulary), scored_tokens(vocabulary)),
    }
    axes = model.vocabulary_axes
    for name, parameter in model.named_parameters():
        value = source.get_parameter(name).to(parameter)
        if name in axes:
            axis, tokens = axes[name]
            from_rows, to_rows = (ids.to(parameter.device) for ids in rows[tokens])
            parameter.index_copy_(axis, to_rows, value.index_select(axis, from_rows))
            if tokens == "outputs":
                start_improbable(parameter, axis, to_rows)
        else:
            parameter.copy_(value)
    if checkpoint.vocabulary == vocabulary:
        return f"starting from {checkpoint.name}, with the same vocabulary"
    return f"starting from {checkpoint.name}: {changes(checkpoint.vocabulary, vocabulary)}"


def start_improbable(parameter: Tensor, axis: int, kept: Tensor) -> None:
    """Makes every token that is not among the kept ones score as their mean, less a constant.

    The mean of V scores lies at least log V below the logarithm of the sum of their exponentials, whatever
    the context (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models"). So n
    new tokens add at most log(1 + n exp(-c) / V) nats to a loss, and c is what makes that COST.
    """
    fresh = torch.ones(parameter.shape[axis], dtype=torch.bool, device=parameter.device)
    fresh[kept] = False
    places = fresh.nonzero()[:, 0]
    if not len(places) or not len(kept):
        return
    mean = parameter.index_select(axis, kept).mean(axis, keepdim=True)
    if parameter.dim() == 1:  # the bias of the scores
        mean -= max(0.0, math.log(len(places) / len(kept) / math.expm1(COST)))
    shape = list(parameter.shape)
    shape[axis] = len(places)
    parameter.index_copy_(axis, places, mean.expand(shape))


def changes(old: Vocabulary, new: Vocabulary) -> str:
    """Says how many tokens of a vocabulary another one keeps, how many it adds, and how many it drops."""
    said = counted("token", scored_tokens(old), scored_tokens(new))
    before, after = (vocabulary.ids.fed[1:] for vocabulary in (old, new))  # without the start token
    return f"{said}; of labels {counted('value', before, after)}" if before or after else said


def counted(noun: str, old: Sequence[Hashable], new: Sequence[Hashable]) -> str:
    """Says how many of some things are kept, added and dropped."""
    kept = len(set(old) & set(new))
    return f"{kept:,} {noun}{'s'[: kept != 1]} kept, {len(new) - kept:,} added, {len(old) - kept:,} dropped"


def scored_tokens(vocabulary: Vocabulary) -> list[Hashable]:
    """Returns what identifies each token that has a score [V], in all vocabularies."""
    ordinary = ((vocabulary.kind, entry) for entry in vocabulary.entries)
    return [*ordinary, *vocabulary.ids.scored]


def fed_tokens(vocabulary: Vocabulary) -> list[Hashable]:
    """Returns what identifies each token that can be fed, in all vocabularies."""
    return [*scored_tokens(vocabulary), *vocabulary.ids.fed]


def shared_ids(old: list[Hashable], new: list[Hashable]) -> tuple[Tensor, Tensor]:
    """Returns the places of what is in both lists, in the old and in the new one."""
    places = {token: place for place, token in enumerate(old)}
    pairs = [(places[token], place) for place, token in enumerate(new) if token in places]
    both = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def architecture(config: NetworkConfig) -> str:
    """Writes a network's kind and options, such as `recurrent, cell lstm, layers 2`."""
    return ", ".join([config.kind, *(f"{name} {value}" for name, value in vars(config).items())])
