"""Values that begin with a dash."""

import pytest

from charloom.cli import arguments_of, build_app
from charloom.settings import Settings
from charloom.words import CommandLine, wants_help


@pytest.fixture(scope="module")
def line():
    """The options of a command by its name."""
    app = build_app(Settings({}))
    return lambda command: CommandLine.of(arguments_of(app, command))


@pytest.mark.parametrize(
    ("words", "attached"),
    [
        (["--prompt", "- 5 eggs"], ["--prompt=- 5 eggs"]),
        (["--prompt", "--"], ["--prompt=--"]),
        (["--prompt", "-5"], ["--prompt=-5"]),
        (["--prompt", "--x", "--seed", "1"], ["--prompt=--x", "--seed", "1"]),
        (["--prompt", "a", "-b"], ["--prompt", "a", "-b"]),
        (["--prompt=a", "-b"], ["--prompt=a", "-b"]),
        (["--stop", "--", "-", "b", "-c"], ["--stop=--", "--stop=-", "b", "--stop=-c"]),
        (["--stop", "a", "-b", "--seed", "-1"], ["--stop", "a", "--stop=-b", "--seed", "-1"]),
        (["--stop=a", "-b"], ["--stop=a", "--stop=-b"]),
        (["--logit-bias", "-=3", "e=-1"], ["--logit-bias=-=3", "e=-1"]),
        (["--output", "-x"], ["--output=-x"]),
    ],
)
def test_a_value_with_a_dash_is_attached_to_its_option(line, words, attached):
    assert line("generate").attached(words) == attached


@pytest.mark.parametrize(
    "words",
    [
        ["--prompt", "--seed", "1"],
        ["--prompt", "--seed=1"],
        ["--prompt", "-n", "3"],
        ["--prompt", "-n3"],
        ["--stop", "a", "-n3"],
        ["--prompt", "--help"],
        ["--stop", "a", "--tempreature", "3"],
        ["--temperature", "-0.5"],
        ["--top-k", "--x"],
        ["--tls", "-x"],
        ["--device", "-x"],
    ],
)
def test_an_option_stays_one_and_numbers_are_the_parsers(line, words):
    assert line("generate").attached(words) == words


def test_after_the_end_of_options_nothing_is_touched(line):
    assert line("score").attached(["--prompt", "a", "--", "--prompt", "-x"]) == [
        "--prompt", "a", "--", "--prompt", "-x"
    ]  # fmt: skip
    assert line("export").attached(["--precision", "int8", "--", "-run"]) == [
        "--precision",
        "int8",
        "--",
        "-run",
    ]


def test_an_address_takes_one_value(line):
    assert line("score").attached(["--address", "a:1", "-x"]) == ["--address", "a:1", "-x"]


def test_help_is_asked_for_before_the_end_of_options():
    assert wants_help(["text", "-h"])
    assert wants_help(["--help", "--", "x"])
    assert not wants_help(["--", "--help"])
    assert not wants_help(["--prompt=--help"])


def test_a_prompt_of_the_command_line_reaches_the_model(cli, bundle_dir):
    common = ("generate", "--bundle", bundle_dir, "--seed", 1, "--max-tokens", 5, "--skip-unknown")
    dashed = cli(*common, "--prompt", "- 5 eggs", "--stop", "--", "-")
    assert dashed.returncode == 0, dashed.stderr
    assert dashed.stdout == cli(*common, "--prompt=- 5 eggs", "--stop=--", "--stop=-").stdout
