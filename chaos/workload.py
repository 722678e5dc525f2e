"""The workload: requests of every kind; the n-th of a seed is always the same."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LENGTHS = (200, 5000)
LONGEST_PROMPT = 300
FILTERS: tuple[dict[str, Any], ...] = (
    {"top_k": 20},
    {"top_p": 0.9},
    {"min_p": 0.02, "temperature": [0.6, 1.3]},
    {"typical_p": 0.9},
    {"repetition_penalty": 1.1, "penalty_window": 300},
    {"frequency_penalty": 0.2, "presence_penalty": 0.1, "logit_bias": {"e": 0.5}},
    {"forbidden_tokens": ["x"], "top_k": 40},
)
STOPS = ("\n\n\n", "return self", "zzq")


@dataclass(frozen=True)
class WorkloadRequest:
    """One request, of n texts."""

    model: str
    prompt: str
    n: int
    state_interval: int
    """Tokens between two states; 0: none, so that a text is resumed by replay."""
    labels: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of a client's `generate`, beside the prompt."""
        served = {"model": self.model, "state_interval": self.state_interval}
        return {"n": self.n, "labels": self.labels, **served, **self.options}


@dataclass(frozen=True)
class Workload:
    """An endless sequence of requests, by index."""

    seed: int
    models: Mapping[str, Sequence[str]]
    """Each with the labels of which a record has one; with none for a model of continuous text."""
    text: str
    """The text from which prompts are cut."""
    lengths: tuple[int, int] = LENGTHS
    """Fewest and most tokens of a text."""

    def __getitem__(self, number: int) -> WorkloadRequest:
        chance = random.Random(f"{self.seed} {number}")  # noqa: S311
        begins = chance.randrange(len(self.text) - LONGEST_PROMPT)
        options: dict[str, Any] = {
            "max_tokens": chance.randint(*self.lengths),
            "seed": chance.getrandbits(64),
            "temperature": chance.choice([0.0, 0.5, 0.8, 1.0]),
        }
        if chance.random() < 0.5:
            options |= chance.choice(FILTERS)
        if chance.random() < 0.25:
            options |= {"stop": chance.sample(STOPS, 2), "min_tokens": chance.randint(0, 150)}
        model = chance.choice(list(self.models))
        if values := self.models[model]:
            # Most go on to the length of the others, so that there is something to interrupt.
            options["ignore_end"] = chance.random() < 0.7
        return WorkloadRequest(
            model=model,
            prompt=self.text[begins : begins + chance.randint(0, LONGEST_PROMPT)],
            n=chance.choice([1, 1, 1, 1, 2, 3]),
            state_interval=chance.choice([0, chance.randint(50, 800)]),
            labels=(chance.choice(values),) if values else (),
            options=options,
        )
