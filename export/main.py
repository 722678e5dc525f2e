"""The `export` command: the best checkpoint of a run becomes a verified bundle."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from cyclopts import Parameter

import charloom
from charloom.bundle import (
    FORMAT,
    MODEL_NAME,
    VOCABULARY,
    Architecture,
    Bundle,
    BundleWriter,
    Manifest,
    Precision,
    TensorInfo,
    Variant,
    graph_file,
    to_json,
)
from charloom.burst import GraphKind, StateSpec
from charloom.errors import ConfigError, require
from charloom.processor import multiplies_bytes
from charloom.vocabulary import Tokens
from export.burst import BURSTS
from export.onnx_graph import describe, trace
from export.quantize import Int8
from export.verify import Outcome, Verifier
from networks.recurrent import RecurrentModel
from networks.step import Float32, Numbers, Step
from training.checkpoint import Checkpoint, load_checkpoint

NUMBERS: dict[Precision, type[Numbers]] = {"float32": Float32, "int8": Int8}
MOST_COST = 0.005
Graphs = dict[GraphKind, bytes]


def export(
    checkpoint: Path,
    /,
    *,
    out: Path,
    name: str | None = None,
    version: str = "1",
    license: str = "",  # noqa: A002
    precision: Annotated[tuple[Precision, ...], Parameter(consume_multiple=True)] = ("float32",),
    most_cost: float = MOST_COST,
    overwrite: bool = False,
) -> None:
    """Export a checkpoint to an ONNX bundle and verify it against the model.

    Parameters
    ----------
    checkpoint
        A run, meaning its best checkpoint, or one checkpoint.
    out
        Directory of the bundle; it appears only if every check passes.
    name
        Name under which the model is served; that of the directory if absent.
    version
        Version of the model.
    license
        What the manifest says about the use of the text and the model.
    precision
        Numbers of the products: float32, int8 (2 to 3 times as fast, and all but as good), or both.
    most_cost
        Nats a token of held-out text that int8 may cost; above it the export fails.
    overwrite
        Replace a bundle that is already there.
    """
    name = name or out.name
    usable = "has letters, digits, '.', '_' and '-' alone, up to 63, the first a letter or digit"
    reason = f"{name!r}, by default that of the directory, cannot be used: a name {usable}; give --name"
    require(MODEL_NAME.fullmatch(name) is not None, "name", reason)
    require(most_cost >= 0, "most-cost", "must be at least 0 nats")
    if "int8" in precision and not multiplies_bytes():
        raise ConfigError(
            "precision", "int8 cannot be verified here: this processor has no VNNI; export on one that has"
        )
    # Verification needs no more, and OpenMP threads that share a core with another program crawl.
    torch.set_num_threads(1)
    say(f"reading {checkpoint}")
    source = load_checkpoint(checkpoint)
    with BundleWriter(out, overwrite=overwrite) as writer:
        exporter = Exporter(source, writer, most_cost)
        bundle = exporter.export(dict.fromkeys(precision), name, version, license)
    say(f"wrote {bundle.path}: {bundle.name} {bundle.manifest.version}, {bundle.digest}")


class Exporter:
    """Traces, verifies and writes the graphs of one checkpoint."""

    def __init__(self, source: Checkpoint, writer: BundleWriter, most_cost: float) -> None:
        self.source = source
        self.writer = writer
        self.most_cost = most_cost
        self.model = source.model()
        self.verifier = Verifier(self.model, held_out(source))

    def export(self, precisions: Iterable[Precision], name: str, version: str, license_note: str) -> Bundle:
        """Writes a bundle; raises before anything is in its place."""
        by_float, graphs, state = self._float()
        variants: dict[Precision, Variant] = {}
        for precision in precisions:
            if precision == "float32":
                variants[precision] = self._add(graphs, state, by_float)
            else:
                variants[precision] = self._int8(by_float)
        self.writer.add(VOCABULARY, to_json(self.source.vocabulary.to_json()))
        config = self.model.config
        manifest = Manifest(
            format=FORMAT,
            name=name,
            version=version,
            architecture=Architecture(
                config.cell, config.layers, config.cells, config.embedding, self.model.parameter_count()
            ),
            vocabulary_size=self.source.vocabulary.size,
            precisions=variants,
            training=self.source.summary,
            files=self.writer.files,
            created_by=f"charloom {charloom.__version__}",
            license=license_note,
        )
        return self.writer.commit(manifest)

    def _float(self) -> tuple[Outcome, Graphs, list[StateSpec]]:
        """The graphs of float32: they vouch for the others, whether they are written or not."""
        graphs, state = self._trace("float32")
        outcome = self.verifier.verify_float(graphs, state)
        difference = outcome.comparison["largest_logprob_difference"]
        say(f"float32: {outcome.nats_per_token:.4f} nats a token over {outcome.tokens} of held-out text;")
        say(f"  torch and onnxruntime differ by at most {difference:.1e} nats (log-probability)")
        say(f"  greedy text equal for {outcome.comparison['greedy_tokens_equal']} tokens")
        say(f"  equal to the bit whatever the {', '.join(outcome.exactness.held)}")
        return outcome, graphs, state

    def _int8(self, by_float: Outcome) -> Variant:
        graphs, state = self._trace("int8")
        outcome = self.verifier.verify_int8(graphs, state, by_float, self.most_cost)
        cost = outcome.comparison["cost_in_nats_per_token"]
        say(f"int8: {outcome.nats_per_token:.4f} nats a token, {cost:+.5f} to float32;")
        say(f"  equal to the bit whatever the {', '.join(outcome.exactness.held)}")
        return self._add(graphs, state, outcome)

    def _trace(self, precision: Precision) -> tuple[Graphs, list[StateSpec]]:
        say(f"tracing and verifying the burst graphs in {precision}")
        step = Step(self.model, NUMBERS[precision]())
        return trace_all(step, self.model), step.specs

    def _add(self, graphs: Graphs, state: list[StateSpec], outcome: Outcome) -> Variant:
        files = {kind: graph_file(outcome.precision, kind) for kind in graphs}
        for kind, data in graphs.items():
            self.writer.add(files[kind], data)
        return Variant(
            graphs={kind: describe(data, files[kind]) for kind, data in graphs.items()},
            state=[TensorInfo(spec.name, spec.dtype, ["B", *spec.shape], spec.initial) for spec in state],
            verification=outcome.to_json(),
        )


def trace_all(step: Step, model: RecurrentModel) -> Graphs:
    """All burst graphs of one step."""
    return {kind: trace(burst(step), model.outputs, step.specs) for kind, burst in BURSTS.items()}


def held_out(source: Checkpoint) -> Tokens:
    """Token ids [T] of text that the model was not trained on; of any text if there is none."""
    tokens = source.vocabulary.encode(source.held_out, skip_unknown=True)
    return tokens if len(tokens) else np.arange(source.vocabulary.size)


def say(line: str) -> None:
    """Prints a line of progress on standard error."""
    print(f"charloom: {line}", file=sys.stderr)  # noqa: T201
