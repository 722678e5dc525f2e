"""Transfer: a new model that begins with the weights of a trained one.

Between different vocabularies, what belongs to a shared token is copied, and what belongs to
a new one keeps its random beginning.
"""

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
    old, new = shared_ids(checkpoint.vocabulary, vocabulary)
    rows = {
        "inputs": (
            torch.cat([old, torch.tensor([checkpoint.vocabulary.start])]),
            torch.cat([new, torch.tensor([vocabulary.start])]),
        ),
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


def shared_ids(old: Vocabulary, new: Vocabulary) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the ids of the tokens in both vocabularies, in the old and the new one; none between kinds."""
    places = {entry: place for place, entry in enumerate(old.entries)} if old.kind == new.kind else {}
    pairs = [(places[entry], place) for place, entry in enumerate(new.entries) if entry in places]
    both = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def architecture(config: NetworkConfig) -> str:
    """Writes a network's kind and options, such as `recurrent, cell lstm, layers 2`."""
    return ", ".join([config.kind, *(f"{name} {value}" for name, value in vars(config).items())])
