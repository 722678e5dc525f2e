"""Proof that graphs are the model: run in onnxruntime, compared with torch on real text.

Every precision is scored once, on at most about 16,384 tokens.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from charloom.batch_invariance import BatchInvariance, Subject, check
from charloom.burst import FULL_INPUTS, PLAIN_INPUTS, Feeds, GraphKind, StateSpec, neutral
from charloom.chunk import UNCOUNTED
from charloom.errors import CharloomError
from charloom.execution_class import ExecutionClass, Precision
from charloom.processor import instruction_set
from charloom.score import bits_per_character
from charloom.vocabulary import Tokens
from export.build import BurstGraphs
from export.held_out import HeldOutText
from networks import sampler
from networks.language_model import LanguageModel

Logprobs = npt.NDArray[np.float32]

PIECE = 128
"""K: tokens of a lane that are scored in one burst."""
SCORES = 2**23
"""Scores of a piece by torch at the most, K x B x V: memory does not grow with the vocabulary."""
GREEDY = 500
"""How many tokens are generated greedily."""
PROMPT = 50
"""How many tokens of real text they follow."""
BOUND = 1e-3
"""Largest difference of a log-probability, in nats, that is still called the same model."""


class VerificationError(CharloomError):
    """The graphs do not do what the model does."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"verification failed, no bundle was written: {reason}")


class Session:
    """Burst graphs in onnxruntime on the CPU, with a fixed number of threads."""

    def __init__(self, graphs: BurstGraphs, threads: int) -> None:
        self.sessions = {kind: open_graph(graphs, kind, threads) for kind in graphs.graphs}

    def run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        """Runs one burst."""
        session = self.sessions[kind]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, feeds), strict=True))


def open_graph(graphs: BurstGraphs, kind: GraphKind, threads: int) -> onnxruntime.InferenceSession:
    """One graph on the CPU, its weights handed over from memory."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    tensors = {name: graphs.weights.tensors[name] for name in graphs.weights_of[kind]}
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(tensor) for tensor in tensors.values()]
    options.add_external_initializers(list(tensors), values)
    return onnxruntime.InferenceSession(graphs.graphs[kind], options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Outcome:
    """What was measured of the graphs of one precision; goes into the manifest."""

    precision: Precision
    tokens: int
    nats_per_token: float
    bits_per_character: float
    comparison: dict[str, Any]
    """With the model itself, or of int8 with float32."""
    exactness: BatchInvariance

    def to_json(self) -> dict[str, Any]:
        """As a manifest holds it."""
        held = ExecutionClass(
            precision=self.precision,
            provider="cpu",
            runtime=f"onnxruntime-{onnxruntime.__version__}",
            instruction_set=instruction_set(),
            padding=self.exactness.padding,
        )
        return {
            "execution_class": str(held),
            "tokens_scored": self.tokens,
            "nats_per_token": round(self.nats_per_token, 5),
            "bits_per_character": round(self.bits_per_character, 5),
            **self.comparison,
            "equal_to_the_bit": list(self.exactness.held),
            "padding": self.exactness.padding,
        }


class Verifier:
    """Checks the graphs of a model against it, and those of int8 against those of float32."""

    def __init__(self, model: LanguageModel, text: HeldOutText, unknown: int | None = None) -> None:
        """Takes a model and what to compare it on.

        Args:
            model: the model.
            text: text that it was not trained on.
            unknown: the token that is never sampled, if there is one.
        """
        self.model = model
        self.unknown = unknown
        self.text = text

    def verify_float(self, graphs: BurstGraphs) -> Outcome:
        """Compares the graphs with the model and checks exactness.

        Raises:
            VerificationError: log-probabilities or greedy texts differ by more than rounding can.
            BatchInvarianceError: an equality of promise 1 does not hold.
        """
        session = Session(graphs, threads=2)
        scored = score_graph(session, graphs.state, self.model.outputs, self.text)
        difference = float(np.abs(scored - score_model(self.model, self.text)).max())
        if not difference <= BOUND:
            raise VerificationError(
                f"log-probabilities differ by up to {difference:.2g} nats (bound {BOUND:g})"
            )
        prompt = self.text.tokens[:PROMPT]
        equal = compare_greedy(self.model, session, graphs.state, prompt, difference, self.unknown)
        comparison = {
            "largest_logprob_difference": difference,
            "greedy_tokens_equal": f"{equal} of {GREEDY}",
        }
        return self._outcome(session, graphs, scored, comparison)

    def verify_int8(self, graphs: BurstGraphs, by_float: Outcome, max_cost: float) -> Outcome:
        """Measures what int8 costs and checks exactness.

        Raises:
            VerificationError: it costs more than `max_cost` nats a token.
            BatchInvarianceError: an equality of promise 1 does not hold.
        """
        session = Session(graphs, threads=2)
        scored = score_graph(session, graphs.state, self.model.outputs, self.text)
        cost = -float(scored.mean(dtype=np.float64)) - by_float.nats_per_token
        if not cost <= max_cost:
            raise VerificationError(
                f"int8 costs {cost:.4f} nats a token of held-out text, above {max_cost:g}; "
                "export in float32, or allow it with --max-cost"
            )
        comparison = {"cost_in_nats_per_token": round(cost, 6)}
        return self._outcome(session, graphs, scored, comparison)

    def _outcome(
        self, session: Session, graphs: BurstGraphs, scored: Logprobs, comparison: dict[str, Any]
    ) -> Outcome:
        single = Session(graphs, threads=1)
        size = self.model.outputs
        subject = Subject(session.run, size, size, tuple(graphs.state), others={"thread count": single.run})
        nats = -float(scored.mean(dtype=np.float64))
        bits = bits_per_character(nats * self.text.tokens_per_character, 1)
        exactness = check(subject, self.text.tokens)
        return Outcome(graphs.precision, scored.size, nats, bits, comparison, exactness)


def score_graph(session: Session, state: list[StateSpec], size: int, text: HeldOutText) -> Logprobs:
    """Log-probability of every token that counts in a text [n], by the graph."""
    scored = []
    for chunk in text.chunks:
        rows = chunk.targets.shape[1]
        memory = {spec.name: spec.initial_rows(rows) for spec in state}
        forced, counted, last = chunk.forced, chunk.counted, chunk.inputs[0]
        for begin in range(0, len(forced), PIECE):
            piece = forced[begin : begin + PIECE]
            feeds = neutral(FULL_INPUTS, B=rows, K=len(piece), V=size, W=1, N=1)
            feeds |= {"last": last, "forced": piece}
            feeds["forced_len"][:] = feeds["steps"][:] = len(piece)
            outputs = session.run("full", feeds | memory)
            memory = {spec.name: outputs[spec.output] for spec in state}
            last = piece[-1]
            scored.append(outputs["logprob"][counted[begin : begin + PIECE]])
    return np.concatenate(scored)


@torch.inference_mode()
def score_model(model: LanguageModel, text: HeldOutText) -> Logprobs:
    """Log-probability of every token that counts in a text [n], by the model's fused kernels."""
    scored = []
    for chunk in text.chunks:
        state = model.initial_state(chunk.inputs.shape[1])
        inputs, targets = torch.from_numpy(chunk.inputs), torch.from_numpy(chunk.targets)
        piece = max(1, min(PIECE, SCORES // (inputs.shape[1] * model.outputs)))
        for begin in range(0, len(inputs), piece):
            scores, state = model(inputs[begin : begin + piece], state)
            wanted = targets[begin : begin + piece]
            logprobs = torch.log_softmax(scores, -1)  # [K, B, V]
            of_wanted = logprobs.gather(2, wanted.clamp(min=0)[..., None])[..., 0]
            scored.append(of_wanted[wanted != UNCOUNTED].numpy())
    return np.concatenate(scored)


@torch.inference_mode()
def compare_greedy(
    model: LanguageModel,
    session: Session,
    state: list[StateSpec],
    prompt: Tokens,
    difference: float,
    unknown: int | None = None,
) -> int:
    """How many greedy tokens agree before the first that may not: two candidates too close to call.

    Raises:
        VerificationError: the texts part where the model is clear about the best token.
    """
    start = model.outputs
    feeds = neutral(PLAIN_INPUTS, B=1, K=len(prompt) + GREEDY)
    feeds["last"][:] = start
    feeds["forced"][: len(prompt), 0] = prompt
    feeds["forced_len"][:] = len(prompt)
    feeds["temperature"][:] = 0
    feeds |= {spec.name: spec.initial_rows(1) for spec in state}
    chosen = session.run("plain", feeds)["chosen"][:, 0]
    fed = torch.from_numpy(np.concatenate([[start], chosen[:-1]]))[:, None]
    scores, _ = model(fed, model.initial_state(1))  # [T, 1, V]
    scores = scores if unknown is None else sampler.exclude(scores, unknown)
    for place in range(len(prompt), len(chosen)):
        row = scores[place, 0]  # [V]
        if int(row.argmax()) == chosen[place]:
            continue
        # Each of the two scores may be off by the difference, in opposite directions.
        if float(row.max() - row[chosen[place]]) > 2 * difference:
            raise VerificationError(f"greedy text parts from the model's at token {place - len(prompt)}")
        return place - len(prompt)
    return GREEDY
