"""Proof that a graph is the model: run in onnxruntime, compared with torch on real text.

It knows the burst contract and both runtimes, and nothing of how the graph was made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from charloom.burst import PLAIN_INPUTS, Feeds, GraphKind, StateSpec, neutral
from charloom.errors import CharloomError
from charloom.exactness import Exactness, Subject, check
from charloom.execution_class import ExecutionClass, instruction_set
from charloom.vocabulary import Tokens
from training.model import RecurrentModel

Logprobs = npt.NDArray[np.float32]

SCORED = 2000
"""T: how many characters of real text are scored."""
GREEDY = 500
"""How many tokens are generated greedily."""
PROMPT = 50
"""How many characters of real text they follow."""
BOUND = 1e-3
"""Largest difference of a log-probability, in nats, that is still called the same model."""


class VerificationError(CharloomError):
    """The graph does not do what the model does."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"verification failed, no bundle was written: {reason}")


class Session:
    """A bundle's graphs in onnxruntime on the CPU, with a fixed number of threads."""

    def __init__(self, graphs: Mapping[GraphKind, bytes], threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.sessions = {
            kind: onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            for kind, data in graphs.items()
        }

    def run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs one burst."""
        session = self.sessions[kind]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))


@dataclass(frozen=True)
class Outcome:
    """What was measured; goes into the manifest."""

    characters: int
    nats_per_character: float
    largest_difference: float
    greedy_equal: int
    greedy_of: int
    exactness: Exactness
    execution_class: ExecutionClass

    def to_json(self) -> dict[str, Any]:
        """As a manifest holds it."""
        return {
            "execution_class": str(self.execution_class),
            "characters_scored": self.characters,
            "nats_per_character": round(self.nats_per_character, 4),
            "largest_logprob_difference": self.largest_difference,
            "greedy_tokens_equal": f"{self.greedy_equal} of {self.greedy_of}",
            "equal_to_the_bit": list(self.exactness.held),
            "padding": self.exactness.padding,
        }


def verify(
    model: RecurrentModel,
    graphs: Mapping[GraphKind, bytes],
    state: list[StateSpec],
    text: Tokens,
) -> Outcome:
    """Compares the graphs with the model along `text`, token ids [T], and checks exactness.

    Raises:
        VerificationError: log-probabilities or greedy texts differ by more than rounding can.
        ExactnessError: an equality of promise 1 does not hold.
    """
    start = model.outputs
    text = np.resize(text, SCORED)  # a short text is repeated
    session = Session(graphs, threads=2)
    scored = score_graph(session, state, text, start)
    difference = float(np.abs(scored - score_model(model, text, start)).max())
    if not difference <= BOUND:
        raise VerificationError(f"log-probabilities differ by up to {difference:.2g} nats (bound {BOUND:g})")
    equal = compare_greedy(model, session, state, text[:PROMPT], difference)
    single = Session(graphs, threads=1)
    subject = Subject(session.run, model.outputs, start, tuple(state), {"thread count": single.run})
    exactness = check(subject, text)
    return Outcome(
        characters=len(text),
        nats_per_character=float(-scored.mean()),
        largest_difference=difference,
        greedy_equal=equal,
        greedy_of=GREEDY,
        exactness=exactness,
        execution_class=ExecutionClass(
            precision="float32",
            provider="cpu",
            runtime=f"onnxruntime-{onnxruntime.__version__}",
            instruction_set=instruction_set(),
            padding=exactness.padding,
        ),
    )


def burst_of_one(state: list[StateSpec], forced: Tokens, steps: int, start: int) -> Feeds:
    """A burst of one fresh greedy row that reads `forced` and then goes on to `steps` tokens."""
    feeds = neutral(PLAIN_INPUTS, B=1, K=steps)
    feeds["last"][:] = start
    feeds["forced"][: len(forced), 0] = forced
    feeds["forced_len"][:] = len(forced)
    feeds["steps"][:] = steps
    feeds["temperature"][:] = 0
    return feeds | {spec.name: spec.zeros(1) for spec in state}


def score_graph(session: Session, state: list[StateSpec], text: Tokens, start: int) -> Logprobs:
    """Log-probability [T] of every token of a text, by the graph."""
    return session.run("plain", burst_of_one(state, text, len(text), start))["logprob"][:, 0]


@torch.inference_mode()
def score_model(model: RecurrentModel, text: Tokens, start: int) -> Logprobs:
    """Log-probability [T] of every token of a text, by the model's fused kernels."""
    fed = torch.from_numpy(np.concatenate([[start], text[:-1]]))[:, None]  # [T, 1]
    scores, _ = model(fed, model.initial_state(1))
    logprobs = torch.log_softmax(scores[:, 0], -1)  # [T, V]
    return logprobs[torch.arange(len(text)), torch.from_numpy(text)].numpy()


@torch.inference_mode()
def compare_greedy(
    model: RecurrentModel, session: Session, state: list[StateSpec], prompt: Tokens, difference: float
) -> int:
    """How many greedy tokens agree before the first that may not: two candidates too close to call.

    Raises:
        VerificationError: the texts part where the model is clear about the best token.
    """
    start = model.outputs
    chosen = session.run("plain", burst_of_one(state, prompt, len(prompt) + GREEDY, start))["chosen"][:, 0]
    fed = torch.from_numpy(np.concatenate([[start], chosen[:-1]]))[:, None]
    scores, _ = model(fed, model.initial_state(1))  # [T, 1, V]
    for place in range(len(prompt), len(chosen)):
        row = scores[place, 0]  # [V]
        if int(row.argmax()) == chosen[place]:
            continue
        # Each of the two scores may be off by the difference, in opposite directions.
        if float(row.max() - row[chosen[place]]) > 2 * difference:
            raise VerificationError(f"greedy text parts from the model's at token {place - len(prompt)}")
        return place - len(prompt)
    return GREEDY
