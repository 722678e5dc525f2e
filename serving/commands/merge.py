"""The `merge` command: what the shards of `charloom generate --count --shard` made becomes one output."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from serving.commands.output import OutputError


def merge(
    shards: Annotated[tuple[Path, ...], Parameter(negative=())],
    /,
    *,
    output: Path,
    overwrite: bool = False,
) -> None:
    """Merge the records that all shards of a job made, byte for byte as one machine would have made them.

    Args:
        shards: Folders of all shards, in any order, such as out.jsonl.shard-*-of-8.
        output: File to write, of the same suffix as that of the shards; for .parquet a folder of parts.
        overwrite: Replace an output that is there.
    """
    from serving.offline.merge import Merge  # numpy, which --help can do without

    try:
        Merge(shards, output, overwrite=overwrite).run()
    except OSError as error:
        raise OutputError(f"cannot write {error.filename or output}: {error.strerror or error}") from error
