"""The output of a job: it appears under its name once it is whole."""

from pathlib import Path

from charloom.files import remove, sync_folder
from serving.offline.folder import PARTS, PROGRESS, RECORDS, REPLACED, JobFolderError
from serving.offline.parts import write_parts


def check_free(output: Path, *, overwrite: bool) -> None:
    """Checks that nothing would be lost.

    Raises:
        JobFolderError: something is there already, or something that is never replaced.
    """
    if not output.exists():
        return
    if not overwrite:
        raise JobFolderError(f"{output} exists already: choose another --output, or pass --overwrite")
    parts = output.is_dir() and all(path.match("part-*.parquet") for path in output.iterdir())
    if not (output.is_file() or (parts and output.suffix.lower() == ".parquet")):
        raise JobFolderError(f"{output} is neither a file nor a folder of parts, so it is not replaced")


def unpublished(folder: Path, output: Path) -> Path:
    """What of a folder gets the name of the output: its records, or the parts that are made of them."""
    parquet = output.suffix.lower() == ".parquet"
    records = folder / RECORDS
    return folder / PARTS if parquet and not records.exists() else records


def publish(folder: Path, output: Path) -> None:
    """Puts the records of a folder under the name of the output, and deletes the folder.

    If it is interrupted it can be called again.

    Raises:
        OSError: it cannot be done, for example because the disk is full.
    """
    made = unpublished(folder, output)
    if output.suffix.lower() == ".parquet" and made.name == RECORDS:
        write_parts(made, folder / PARTS)
        sync_folder(folder / PARTS)
        made.unlink()
        made = unpublished(folder, output)
    if made.exists():
        if output.is_dir():  # which nothing can be renamed to
            remove(folder / REPLACED)
            output.rename(folder / REPLACED)
        made.replace(output)
        sync_folder(output.parent)
    for path in folder.iterdir():
        if path.name != PROGRESS:  # which says until the end that all is done
            remove(path)
    remove(folder)
