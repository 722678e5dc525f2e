"""The table of files in docs/structure.md is that of the code."""

import sys

import pytest

from tests.conftest import ROOT
from tools import structure


@pytest.fixture
def check(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["structure", "--check"])
    return structure.main


def test_every_file_is_listed_with_what_it_is(check):
    assert check() == 0, "run make structure"


def test_another_first_line_is_noticed(check, monkeypatch):
    monkeypatch.setattr(structure, "first_line", lambda file: f"What {file.name} is.")
    assert check() == 1
