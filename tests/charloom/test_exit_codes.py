"""docs/exit-codes.md has every code that an error of ours can end a command with."""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import charloom
import export
import serving
import training
from charloom.errors import CharloomError
from tests.conftest import ROOT

BY_SIGNALS = {0, 129, 130, 141, 143}
"""Codes that are no error's own."""


def all_errors(base: type[CharloomError]) -> Iterator[type[CharloomError]]:
    yield base
    for error in base.__subclasses__():
        yield from all_errors(error)


def test_every_exit_code_is_documented_and_no_other() -> None:
    for package in (charloom, training, export, serving):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    said = (ROOT / "docs" / "exit-codes.md").read_text("utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", said, re.MULTILINE)}
    used = {error.exit_code for error in all_errors(CharloomError)}
    assert documented == used | BY_SIGNALS
