"""The `export` command: the best checkpoint of a run becomes a verified bundle."""

import sys
from pathlib import Path

import numpy as np
import torch

import charloom
from charloom.bundle import (
    FORMAT,
    GRAPHS,
    MODEL_NAME,
    VOCABULARY,
    Architecture,
    Bundle,
    BundleWriter,
    Manifest,
    TensorInfo,
    to_json,
)
from charloom.burst import GraphKind, StateSpec
from charloom.errors import require
from charloom.vocabulary import Tokens
from export.burst import FullBurst, PlainBurst
from export.onnx_graph import describe, trace
from export.verify import Outcome, verify
from training.checkpoint import Checkpoint, load_checkpoint
from training.step import Step

BURSTS: dict[GraphKind, type[PlainBurst]] = {"plain": PlainBurst, "full": FullBurst}


def export(
    checkpoint: Path,
    /,
    *,
    out: Path,
    name: str | None = None,
    version: str = "1",
    license: str = "",  # noqa: A002
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
    overwrite
        Replace a bundle that is already there.
    """
    name = name or out.name
    usable = "has letters, digits, '.', '_' and '-' alone, up to 63, the first a letter or digit"
    reason = f"{name!r}, by default that of the directory, cannot be used: a name {usable}; give --name"
    require(MODEL_NAME.fullmatch(name) is not None, "name", reason)
    # Verification needs no more, and OpenMP threads that share a core with another program crawl.
    torch.set_num_threads(1)
    say(f"reading {checkpoint}")
    source = load_checkpoint(checkpoint)
    with BundleWriter(out, overwrite=overwrite) as writer:
        bundle, outcome = build(source, writer, name, version, license)
    report(bundle, outcome)


def build(
    source: Checkpoint, writer: BundleWriter, name: str, version: str, license_note: str
) -> tuple[Bundle, Outcome]:
    """Traces, verifies and writes; raises before anything is in its place."""
    model = source.model()
    step = Step(model)
    state = [StateSpec(tensor, "float32", (step.size,)) for tensor in step.state_names]
    say("tracing the burst graphs")
    graphs = {kind: trace(burst(step), model.outputs, state) for kind, burst in BURSTS.items()}
    say("verifying them in onnxruntime")
    outcome = verify(model, graphs, state, held_out(source))
    for kind, data in graphs.items():
        writer.add(GRAPHS[kind], data)
    writer.add(VOCABULARY, to_json(source.vocabulary.to_json()))
    config = model.config
    manifest = Manifest(
        format=FORMAT,
        name=name,
        version=version,
        precision="float32",
        architecture=Architecture(
            config.cell, config.layers, config.cells, config.embedding, model.parameter_count()
        ),
        vocabulary_size=source.vocabulary.size,
        graphs={kind: describe(data, GRAPHS[kind]) for kind, data in graphs.items()},
        state=[TensorInfo(spec.name, spec.dtype, ["B", *spec.shape]) for spec in state],
        padding=outcome.exactness.padding,
        training=source.summary,
        verification=outcome.to_json(),
        files=writer.files,
        created_by=f"charloom {charloom.__version__}",
        license=license_note,
    )
    return writer.commit(manifest), outcome


def held_out(source: Checkpoint) -> Tokens:
    """Token ids [T] of text that the model was not trained on; of any text if there is none."""
    tokens = source.vocabulary.encode(source.held_out, skip_unknown=True)
    return tokens if len(tokens) else np.arange(source.vocabulary.size)


def report(bundle: Bundle, outcome: Outcome) -> None:
    """Says what was found."""
    say(f"{outcome.characters} characters of held-out text: {outcome.nats_per_character:.4f} nats each;")
    say(f"  torch and onnxruntime differ by at most {outcome.largest_difference:.1e} nats (log-probability)")
    say(f"  greedy text equal for {outcome.greedy_equal} of {outcome.greedy_of} tokens")
    say(f"  equal to the bit whatever the {', '.join(outcome.exactness.held)}")
    say(f"wrote {bundle.path}: {bundle.name} {bundle.manifest.version}, {bundle.digest}")


def say(line: str) -> None:
    """Prints a line of progress on standard error."""
    print(f"charloom: {line}", file=sys.stderr)  # noqa: T201
