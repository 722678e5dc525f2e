"""From a checkpoint to a bundle: verified and written to disk, or as it is, in memory."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import charloom
from charloom.bundle import Bundle, BundleWriter, to_json
from charloom.execution_class import Precision
from charloom.manifest import (
    FORMAT,
    MODEL_NAME,
    NOVELTY,
    VOCABULARY,
    Architecture,
    Manifest,
    Variant,
    describe_file,
)
from export.build import BurstGraphs, build_graphs
from export.held_out import HeldOutText
from export.step import STEP_BUILDERS, StepBuilders
from export.training_filter import TrainingFilter
from export.verify import Outcome, Verifier
from networks.language_model import LanguageModel
from training.checkpoint import Checkpoint, load_checkpoint


@dataclass
class Contents:
    """What a bundle of a checkpoint will hold: the files beside the manifest, and what it says."""

    source: Checkpoint
    model: LanguageModel
    name: str
    version: str = "1"
    license: str = ""
    novelty: TrainingFilter | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    variants: dict[Precision, Variant] = field(default_factory=dict)

    def add(self, graphs: BurstGraphs, verification: Mapping[str, Any]) -> None:
        """Adds the graphs of a precision."""
        self.files |= graphs.files
        self.variants[graphs.precision] = graphs.variant(verification)

    def manifest(self) -> Manifest:
        """The manifest, once all precisions are added."""
        vocabulary, config = self.source.vocabulary, self.source.config
        self.files[VOCABULARY] = to_json(vocabulary.to_json())
        if self.novelty is not None:
            self.files[NOVELTY] = self.novelty.file
        return Manifest(
            format=FORMAT,
            name=self.name,
            version=self.version,
            architecture=Architecture(
                **config.to_json(),
                parameters=self.model.parameter_count(),
                description=config.description,
            ),
            vocabulary_size=vocabulary.size,
            precisions=self.variants,
            embedding=list(self.model.embedding_state),
            training=self.source.summary,
            files={name: describe_file(data) for name, data in self.files.items()},
            created_by=f"charloom {charloom.__version__}",
            license=self.license,
            novelty=None if self.novelty is None else self.novelty.about,
        )


class Exporter:
    """Builds, verifies and writes the graphs of one checkpoint."""

    def __init__(
        self,
        source: Checkpoint,
        max_cost: float,
        builders: StepBuilders = STEP_BUILDERS,
        novelty: TrainingFilter | None = None,
    ) -> None:
        """Prepares an export.

        Args:
            source: the checkpoint.
            max_cost: nats a token that int8 may cost.
            builders: what builds the step of each kind of network.
            novelty: the filter of the training text's records, if the bundle is to have it.
        """
        self.source = source
        self.max_cost = max_cost
        self.builders = builders
        self.novelty = novelty
        self.model = source.model()
        text = HeldOutText.of(source.held_out, source.vocabulary)
        self.verifier = Verifier(self.model, text, source.vocabulary.unknown)

    def export(
        self,
        writer: BundleWriter,
        precisions: Iterable[Precision],
        name: str,
        version: str = "1",
        license_note: str = "",
    ) -> Bundle:
        """Writes a bundle; raises before anything is in its place.

        Raises:
            VerificationError: the graphs are not the model, or int8 costs too much.
            BatchInvarianceError: a stream's bits depend on what runs beside it.
            BundleError: it cannot be written.
        """
        contents = Contents(self.source, self.model, name, version, license_note, self.novelty)
        graphs = self._build("float32")
        by_float = self._verify_float(graphs)
        for precision in precisions:
            if precision == "float32":
                contents.add(graphs, by_float.to_json())
            else:
                by_bytes = self._build(precision)
                contents.add(by_bytes, self._verify_int8(by_bytes, by_float).to_json())
        manifest = contents.manifest()
        for file, data in contents.files.items():
            writer.add(file, data)
        return writer.commit(manifest)

    def _build(self, precision: Precision) -> BurstGraphs:
        return build_graphs(self.model, precision, self.builders, self.source.vocabulary.unknown)

    def _verify_float(self, graphs: BurstGraphs) -> Outcome:
        """The graphs of float32 vouch for the others, whether they are written or not."""
        say("verifying the burst graphs in float32")
        outcome = self.verifier.verify_float(graphs)
        difference = outcome.comparison["largest_logprob_difference"]
        say(
            f"float32: {outcome.nats_per_token:.4f} nats a token ({outcome.bits_per_character:.3f} bits a "
            f"character) over {outcome.tokens} of held-out text;"
        )
        say(f"  torch and onnxruntime differ by at most {difference:.1e} nats (log-probability)")
        say(f"  greedy text equal for {outcome.comparison['greedy_tokens_equal']} tokens")
        say(f"  equal to the bit whatever the {', '.join(outcome.exactness.held)}")
        return outcome

    def _verify_int8(self, graphs: BurstGraphs, by_float: Outcome) -> Outcome:
        say("verifying the burst graphs in int8")
        outcome = self.verifier.verify_int8(graphs, by_float, self.max_cost)
        cost = outcome.comparison["cost_in_nats_per_token"]
        say(
            f"int8: {outcome.nats_per_token:.4f} nats a token ({outcome.bits_per_character:.3f} bits a "
            f"character), {cost:+.5f} nats to float32;"
        )
        say(f"  equal to the bit whatever the {', '.join(outcome.exactness.held)}")
        return outcome


def build_bundle(checkpoint: Path, precisions: Iterable[Precision] = ("float32",)) -> Bundle:
    """The bundle of a run, meaning its best checkpoint, or of one checkpoint: unverified, in memory.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    source = load_checkpoint(checkpoint)
    model = source.model()
    name = checkpoint.name if MODEL_NAME.fullmatch(checkpoint.name) else "checkpoint"
    contents = Contents(source, model, name)
    for precision in precisions:
        contents.add(build_graphs(model, precision, unknown=source.vocabulary.unknown), {})
    return Bundle.in_memory(checkpoint, contents.manifest(), contents.files)


def say(line: str) -> None:
    """Prints a line of progress on standard error."""
    print(f"charloom: {line}", file=sys.stderr)  # noqa: T201
