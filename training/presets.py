"""Presets: named sets of options that stand in for defaults.

An option given on the command line, in the environment or in a file wins over its preset.
"""

from typing import Any, Literal

from training.options import DefaultNetwork

PresetName = Literal["char-rnn", "thorough"]

PRESETS: dict[str, dict[str, Any]] = {
    "char-rnn": {
        **DefaultNetwork.presets["char-rnn"],
        "dropout": 0.0,
        "batch": 50,
        "length": 50,
        "start_rate": 0.0,
        "optimizer": "rmsprop",
        "learning_rate": 2e-3,
        "alpha": 0.95,
        "clip": 0.1,
        "clip_by": "value",
        "schedule": "epochs",
        "decay": 0.97,
        "decay_after": 10,
        "epochs": 50,
        "patience": 0,
        "train_fraction": 0.95,
        "validation_fraction": 0.05,
    },
    "thorough": {
        **DefaultNetwork.presets["thorough"],
        "batch": 32,
        "length": 64,
        "learning_rate": 3e-3,
        "weight_decay": 0.03,
        "epochs": 65,
        "max_minutes": 55.0,
    },
}
"""Preset to the options it sets. char-rnn's are the defaults of its train.lua, which clips the sum over the
50 characters of a chunk at 5, where the gradient here is their mean; thorough takes an hour in
place of minutes, and leaves what to drop to the size of the text."""
