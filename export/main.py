"""The `export` command: the best checkpoint of a run becomes a verified bundle.

What builds graphs is imported when it does, so that `--help` is quick.
"""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from charloom.errors import ConfigError, require
from charloom.execution_class import Precision
from charloom.processor import multiplies_bytes
from charloom.ranges import check_arguments

MAX_COST = 0.005


def export(
    checkpoint: Path,
    /,
    *,
    out: Path,
    name: str | None = None,
    version: str = "1",
    license: str = "",  # noqa: A002
    precision: tuple[Precision, ...] = ("float32",),
    max_cost: Annotated[float, Meta(ge=0)] = MAX_COST,
    novelty: tuple[Path, ...] = (),
    overwrite: bool = False,
) -> None:
    """Export a checkpoint to an ONNX bundle and verify it against the model.

    Args:
        checkpoint: Folder of a run, for its best checkpoint, or of one checkpoint.
        out: Directory of the bundle; it appears only if every check passes.
        name: Name under which the model is served, if it is not that of the directory.
        version: Version of the model.
        license: What the manifest says about the use of the text and the model.
        precision: Precisions of the bundle; int8 is 2 to 3 times as fast as float32, and all but as good.
        max_cost: Nats a token of held-out text that int8 may cost; above it the export fails.
        novelty: Text of the training: files, folders or patterns, as for `charloom train`. A filter of its
            records is stored, by which `charloom generate --count --novel` leaves out copies of them.
        overwrite: Replace a bundle that is already there.
    """
    import torch

    from charloom.bundle import BundleWriter
    from charloom.manifest import MODEL_NAME
    from charloom.texts import found_texts
    from export.exporter import Exporter, say
    from export.training_filter import TrainingFilter
    from training.checkpoint import load_checkpoint

    check_arguments(export, max_cost=max_cost)
    name = name or out.name
    usable = "has letters, digits, '.', '_' and '-' alone, up to 63, the first a letter or digit"
    reason = f"{name!r}, by default that of the directory, cannot be used: a name {usable}; give --name"
    require(MODEL_NAME.fullmatch(name) is not None, "name", reason)
    if "int8" in precision and not multiplies_bytes():
        raise ConfigError(
            "precision", "int8 cannot be verified here: this processor has no VNNI; export on one that has"
        )
    # Verification needs no more, and OpenMP threads that share a core with another program crawl.
    torch.set_num_threads(1)
    say(f"reading {checkpoint}")
    source = load_checkpoint(checkpoint)
    training_text = None
    if novelty:
        with found_texts(novelty, out) as texts:
            training_text = TrainingFilter.of(texts, source.summary["text"], source.vocabulary)
        say(f"novelty filter: {training_text}")
    with BundleWriter(out, overwrite=overwrite) as writer:
        exporter = Exporter(source, max_cost, novelty=training_text)
        bundle = exporter.export(writer, dict.fromkeys(precision), name, version, license)
    say(f"wrote {bundle.path}: {bundle.name} {bundle.manifest.version}, {bundle.digest}")
