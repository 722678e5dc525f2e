"""Names: a public class has one meaning in the project, and files, classes and functions use the glossary."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = (
    "charloom", "networks", "training", "export", "serving", "writing", "benchmarks", "chaos", "tools"
)  # fmt: skip
GENERATED = ROOT / "charloom" / "v1"
NOT_IN_GLOSSARY = {
    "account", "appointments", "asking", "board", "choices", "desk", "heed", "heirs", "house", "life",
    "logbook", "paper", "parcel", "protocol", "rooms", "siblings", "silence", "story", "walls", "ways",
    "wish",
}  # fmt: skip
"""Words that stand for something else in the field, or for nothing; CONTRIBUTING.md has those to use."""


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (path for path in (ROOT / package).rglob("*.py") if GENERATED not in path.parents)


def definitions(path: Path) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def words(name: str) -> set[str]:
    """The words of a name in snake_case or CamelCase; TensorBoard, a program's name, is one."""
    name = name.replace("TensorBoard", "Tensorboard")
    return set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_"))


def test_a_public_class_has_a_name_of_its_own() -> None:
    places = defaultdict(set)
    for path in sources():
        for node in definitions(path):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(f"{path.relative_to(ROOT)}:{node.lineno}")
    double = {name: sorted(where) for name, where in places.items() if len(where) > 1}
    assert double == {}


@pytest.mark.parametrize(
    ("name", "parts"),
    [("list_ways", {"list", "ways"}), ("StoryError", {"story", "error"}), ("always", {"always"})],
)
def test_words_of_names(name: str, parts: set[str]) -> None:
    assert words(name) == parts


def test_names_use_the_glossary() -> None:
    names = {path.stem for path in sources()}
    names |= {node.name for path in sources() for node in definitions(path)}
    assert {name for name in names if words(name) & NOT_IN_GLOSSARY} == set()
