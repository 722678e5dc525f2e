"""Defaults: what the options that are left open become, by the size of the training text.

How long a run is, is left to `training/schedule.py`; here it is the size of the model and how much
of it is dropped. Only sizes decide, so the same text and options give the same model anywhere.
"""

import math
from dataclasses import asdict, dataclass, fields, replace

from networks.recurrent import ModelConfig, RecurrentModel
from training.data.corpus import Corpus
from training.options import Options
from training.regularisation import RegularisationConfig

SHORT, SMALL, USUAL = 200_000, 128, 256
"""A text of fewer characters than SHORT gets layers of SMALL cells, any other one layers of USUAL cells."""

STRONGEST = RegularisationConfig(
    dropout=0.25, input_dropout=0.1, output_dropout=0.4, token_dropout=0.0, weight_dropout=0.5
)
"""What is dropped where a wide model could learn the text by heart."""

WIDE = 384
"""Cells of a layer that can spare as much; of fewer, less is dropped, and by more than in proportion."""

FREE, TIGHT = 1 / 30, 3.0
"""Parameters a character up to which nothing is dropped, and from which on STRONGEST holds."""


@dataclass(frozen=True)
class Settled:
    """Options of which none is open, and why those that were are what they are."""

    options: Options
    reason: str
    """In a line; empty where nothing was open."""


def settled(options: Options, corpus: Corpus) -> Settled:
    """Fills in what is open, for the training part of a text."""
    vocabulary = corpus.vocabulary
    return settle(options, corpus.characters[0], vocabulary.inputs, vocabulary.size)


def settle(options: Options, characters: int, inputs: int, outputs: int) -> Settled:
    """Fills in what is open, for a training text of so many characters.

    `inputs` counts the tokens that can be fed, `outputs` those that can be chosen.
    """
    model = replace(options.model, cells=options.model.cells or cells_for(characters))
    parameters = RecurrentModel.size(model, inputs, outputs)
    ratio = parameters / max(1, characters)
    regularisation = filled(options.regularisation, ratio, model)
    chosen = [f"{model.cells} cells"] if model != options.model else []
    chosen += [
        f"{option.name.replace('_', ' ')} {getattr(regularisation, option.name):g}"
        for option in fields(regularisation)
        if getattr(options.regularisation, option.name) is None
    ]
    return Settled(
        replace(options, model=model, regularisation=regularisation),
        f"chosen for {ratio:.2g} parameters a character of training text: {', '.join(chosen)}"
        if chosen
        else "",
    )


def cells_for(characters: int) -> int:
    """Cells of a layer for a text of so many characters."""
    return SMALL if characters < SHORT else USUAL


def filled(config: RegularisationConfig, ratio: float, model: ModelConfig) -> RegularisationConfig:
    """The rates that suit a model of so many parameters a character, where they are open."""
    rate = config.dropout
    if rate is None:
        share = strength(ratio) * min(1.0, model.cells / WIDE) ** 1.5
        suited = {name: round(share * most, 2) for name, most in asdict(STRONGEST).items()}
    else:
        suited = {"input_dropout": rate, "output_dropout": rate, "token_dropout": 0.0, "weight_dropout": 0.0}
    if not model.embedding:
        suited["input_dropout"] = 0.0  # of a one-hot input it would be whole characters
    return replace(config, **{name: value for name, value in suited.items() if getattr(config, name) is None})


def strength(ratio: float) -> float:
    """From 0 to 1, how much a model of so many parameters a character needs to be held back.

    It rises with the logarithm: what a run overfits by grows far slower than the model does.
    """
    return min(1.0, max(0.0, math.log(ratio / FREE) / math.log(TIGHT / FREE)))
