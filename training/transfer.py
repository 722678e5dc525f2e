"""Transfer: a new model that begins with the weights of a trained one.

Between different vocabularies, what belongs to a shared token is copied, and what belongs to
a new one keeps its random beginning.
"""

from collections.abc import Hashable

import torch

from charloom.errors import CharloomError
from charloom.vocabulary import Vocabulary
from networks.config import NetworkConfig
from networks.language_model import LanguageModel
from training.checkpoint import Checkpoint


class TransferError(CharloomError):
    """The weights do not fit the model."""

    exit_code = 12


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
    old, new = shared_ids(scored_tokens(checkpoint.vocabulary), scored_tokens(vocabulary))
    rows = {
        "inputs": shared_ids(fed_tokens(checkpoint.vocabulary), fed_tokens(vocabulary)),
        "outputs": (old, new),
    }
    axes = model.vocabulary_axes
    for name, parameter in model.named_parameters():
        value = source.get_parameter(name).to(parameter)
        if name in axes:
            axis, tokens = axes[name]
            from_rows, to_rows = (ids.to(parameter.device) for ids in rows[tokens])
            parameter.index_copy_(axis, to_rows, value.index_select(axis, from_rows))
        else:
            parameter.copy_(value)
    if checkpoint.vocabulary == vocabulary:
        return f"starting from {checkpoint.name}, with the same vocabulary"
    return (
        f"starting from {checkpoint.name}: {len(new)} token{'s'[: len(new) != 1]} shared, "
        f"{vocabulary.size - len(new)} new, {checkpoint.vocabulary.size - len(old)} of its own dropped"
    )


def scored_tokens(vocabulary: Vocabulary) -> list[Hashable]:
    """Returns what identifies each token that has a score [V], in all vocabularies."""
    ordinary = ((vocabulary.kind, entry) for entry in vocabulary.entries)
    return [*ordinary, *vocabulary.ids.scored]


def fed_tokens(vocabulary: Vocabulary) -> list[Hashable]:
    """Returns what identifies each token that can be fed, in all vocabularies."""
    return [*scored_tokens(vocabulary), *vocabulary.ids.fed]


def shared_ids(old: list[Hashable], new: list[Hashable]) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the places of what is in both lists, in the old and in the new one."""
    places = {token: place for place, token in enumerate(old)}
    pairs = [(places[token], place) for place, token in enumerate(new) if token in places]
    both = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def architecture(config: NetworkConfig) -> str:
    """Writes a network's kind and options, such as `recurrent, cell lstm, layers 2`."""
    return ", ".join([config.kind, *(f"{name} {value}" for name, value in vars(config).items())])
