"""Defaults: what the options that are left open become, by the size of the training text.

The size of the model and its dropout are chosen here; the number of epochs in `training/schedule.py`.
Only sizes decide, so the same text and options give the same model on every machine.
"""

import math
from dataclasses import asdict, dataclass, replace

from networks.config import NetworkConfig
from networks.registry import NETWORKS, NetworkRegistry
from training.config import RegularisationConfig
from training.data.corpus import Corpus
from training.options import Options

FREE, TIGHT = 1 / 30, 3.0
"""Parameters a character up to which nothing is dropped, and from which on the most is."""


@dataclass(frozen=True)
class Settled:
    """Options of which none is open, and why those that were are what they are."""

    options: Options
    reason: str
    """One line; empty where nothing was open."""


def settled(options: Options, corpus: Corpus, networks: NetworkRegistry = NETWORKS) -> Settled:
    """Fills in the open options for the training part of a text."""
    vocabulary = corpus.vocabulary
    return settle(options, corpus.characters[0], vocabulary.inputs, vocabulary.size, networks)


def settle(
    options: Options, characters: int, inputs: int, outputs: int, networks: NetworkRegistry = NETWORKS
) -> Settled:
    """Fills in the open options for a training text of so many characters.

    Args:
        options: options of which some may be open.
        characters: length of the training text.
        inputs: number of tokens that can be fed.
        outputs: number of tokens that can be chosen.
        networks: the kinds of network that there are.
    """
    model = options.model.sized(characters)
    ratio = networks.size(model, inputs, outputs) / max(1, characters)
    regularisation = filled(options.regularisation, ratio, model)
    before = asdict(options.model)
    chosen = [f"{value} {name}" for name, value in asdict(model).items() if value != before[name]]
    chosen += [
        f"{name.replace('_', ' ')} {getattr(regularisation, name):g}"
        for name, rate in asdict(options.regularisation).items()
        if rate is None
    ]
    return Settled(
        replace(options, model=model, regularisation=regularisation),
        f"chosen for {ratio:.2g} parameters a character of training text: {', '.join(chosen)}"
        if chosen
        else "",
    )


def filled(config: RegularisationConfig, ratio: float, model: NetworkConfig) -> RegularisationConfig:
    """Fills in open rates for a model of `ratio` parameters a character."""
    rate = config.dropout
    suited = model.suited_dropout(strength(ratio)) if rate is None else model.uniform_dropout(rate)
    open_rates = [name for name, value in asdict(config).items() if value is None]
    return replace(config, **{name: getattr(suited, name) for name in open_rates})


def strength(ratio: float) -> float:
    """Returns from 0 to 1 how much dropout a model of `ratio` parameters a character needs.

    It rises with the logarithm: what a run overfits by grows far slower than the model does.
    """
    return min(1.0, max(0.0, math.log(ratio / FREE) / math.log(TIGHT / FREE)))
