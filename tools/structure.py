"""Writes the table of files in docs/structure.md anew, from the first line of each module's docstring."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = Path("docs/structure.md")
MARK = "<!-- The tables below are made by `make structure`. -->\n"
LEFT_OUT = ("tests/", "charloom/v1/")


def main() -> int:
    """Writes the tables; with --check it only says whether they are those of the code."""
    prose, _, listed = PAGE.read_text("utf-8").partition(MARK)
    tables = "\n".join(table(folder) for folder in folders())
    if sys.argv[1:] == ["--check"]:
        return int(listed.strip() != tables.strip())
    PAGE.write_text(f"{prose}{MARK}\n{tables}", "utf-8")
    return 0


def folders() -> Iterator[Path]:
    """The folders of code, as git lists them."""
    listed = subprocess.run(["git", "ls-files", "*.py"], capture_output=True, text=True, check=True)  # noqa: S607
    files = [Path(name) for name in listed.stdout.splitlines() if not name.startswith(LEFT_OUT)]
    yield from sorted({file.parent for file in files})


def table(folder: Path) -> str:
    """The table of one folder."""
    rows = [f"| {file.name} | {first_line(file)} |" for file in sorted(folder.glob("*.py")) if listed(file)]
    about = first_line(folder / "__init__.py") if (folder / "__init__.py").is_file() else ""
    heading = f"### {folder}/\n\n{about}\n\n" if about else f"### {folder}/\n\n"
    return heading + "\n".join(["| file | what it is |", "| --- | --- |", *rows, ""])


def listed(file: Path) -> bool:
    """Whether a file has a row: not if it only holds a folder's docstring and names."""
    return file.name not in ("__init__.py", "__main__.py")


def first_line(file: Path) -> str:
    """The first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    assert docstring, f"{file} has no docstring"
    return docstring.splitlines()[0].replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
