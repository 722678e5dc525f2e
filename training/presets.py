"""Presets: named sets of options that stand in for defaults.

An option given on the command line, in the environment or in a file wins over its preset.
"""

from typing import Any, Literal

PresetName = Literal["char-rnn"]

PRESETS: dict[str, dict[str, Any]] = {
    "char-rnn": {
        "cell": "lstm",
        "layers": 2,
        "cells": 128,
        "embedding": 0,
        "dropout": 0.0,
        "batch": 50,
        "length": 50,
        "start_rate": 0.0,
        "optimizer": "rmsprop",
        "learning_rate": 2e-3,
        "alpha": 0.95,
        "clip": 5.0,
        "clip_by": "value",
        "schedule": "epochs",
        "decay": 0.97,
        "decay_after": 10,
        "epochs": 50,
        "patience": 0,
        "train_fraction": 0.95,
        "validation_fraction": 0.05,
    },
}
"""Preset to the options it sets; char-rnn's are the defaults of its train.lua."""
