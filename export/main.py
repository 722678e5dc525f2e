"""The `export` command: the best checkpoint of a run becomes a verified bundle."""

from pathlib import Path
from typing import Annotated

import torch
from cyclopts import Parameter

from charloom.bundle import MODEL_NAME, BundleWriter, Precision
from charloom.errors import ConfigError, require
from charloom.processor import multiplies_bytes
from export.exporter import Exporter, say
from training.checkpoint import load_checkpoint

MOST_COST = 0.005


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
        exporter = Exporter(source, most_cost)
        bundle = exporter.export(writer, dict.fromkeys(precision), name, version, license)
    say(f"wrote {bundle.path}: {bundle.name} {bundle.manifest.version}, {bundle.digest}")
