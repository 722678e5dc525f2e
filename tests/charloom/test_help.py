"""Help pages: what they show, and what they do without."""

import json
import re

import pytest

from charloom.cli import COMMANDS, build_app
from charloom.help import default_shown, labelled
from charloom.settings import Settings, options

HEAVY = {"torch", "numpy", "onnx", "onnx_ir", "onnxruntime", "optuna", "grpc", "textual", "sqlalchemy"}
IMPORTED = """
import json, sys
from charloom.cli import main
for words in {all_words!r}:
    try:
        main(words)
    except SystemExit as end:
        assert end.code == 0
json.dump(sorted({{name.partition(".")[0] for name in sys.modules}}), sys.stderr)
"""


@pytest.fixture(scope="module")
def arguments():
    """All options of a command by its name."""
    app = build_app(Settings({}))
    return lambda command: list(options(app[command].assemble_argument_collection(parse_docstring=True)))


def test_help_imports_nothing_that_takes_long(python):
    words = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    result = python("-c", IMPORTED.format(all_words=words))
    assert result.returncode == 0, result.stderr
    assert HEAVY.isdisjoint(json.loads(result.stderr))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_every_option_with_a_text_its_range_and_a_plain_default(cli, arguments, command):
    result = cli(command, "--help")
    assert result.returncode == 0, result.stderr
    text = " ".join(result.stdout.replace("│", " ").split())
    for option in arguments(command):
        if option.show:
            assert option.name in text
            assert len(option.parameter.help or "") > 15, option.name
            assert "\n\n" not in option.parameter.help
    assert not re.search(r"--(no|empty)-", text)
    assert not re.search(r"\[default: ?[(\[\"]|\[default: (False|None)?\]", text)
    assert not re.search(r"\b[a-z]+_[a-z_]+\b", text.replace("charloom.toml", "")), "no names of fields"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", "--layers INT Recurrent layers. [1 to 64] [default: 2]"),
        ("train", "[at least 0 and finite] [default: 0.5 0.8 1]"),
        ("generate", "[above 0 and at most 1] [default: 1]"),
        ("export", "[choices: float32, int8] [default: float32]"),
        ("serve", "[0 to 65535] [default: 50051]"),
        ("write", "Likeliest next tokens to show. [1 to 10] [default: 9]"),
    ],
)
def test_ranges_and_defaults_are_shown(cli, command, words):
    assert words in " ".join(cli(command, "--help").stdout.replace("│", " ").split())


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("train", "charloom train TEXT... --out PATH [OPTIONS]"),
        ("score", "charloom score [FILES...] [OPTIONS]"),
        ("serve", "charloom serve BUNDLE... [OPTIONS]"),
        ("generate", "charloom generate [OPTIONS]"),
    ],
)
def test_usage_has_first_what_a_command_needs(cli, command, usage):
    assert cli(command, "--help").stdout.splitlines()[0] == f"Usage: {usage}"


def test_help_says_where_else_options_come_from(cli):
    text = " ".join(cli("score", "--help").stdout.split())
    assert "--address as CHARLOOM_SCORE_ADDRESS" in text
    assert "CHARLOOM_TOKEN_FILE" in text
    assert "CHARLOOM_TOKEN" not in cli("train", "--help").stdout
    assert "--out as CHARLOOM_TRAIN_OUT" in " ".join(cli("train", "--help").stdout.split())


def test_a_secret_is_no_option_of_the_help(cli):
    assert "--state-key-lines" not in cli("serve", "--help").stdout
    assert "--token " not in cli("generate", "--help").stdout


@pytest.mark.parametrize(
    ("default", "shown"),
    [
        *((empty, None) for empty in (None, False, "", ())),
        ((0.5, 1.0), "0.5 1"),
        (("a",), "a"),
        (600.0, "600"),
        (4 * 2**20, "4194304"),
        ("auto", "auto"),
    ],
)
def test_defaults_without_the_marks_of_python(default, shown):
    assert default_shown(default) == shown


def test_an_option_that_is_needed_is_labelled_with_what_it_takes(arguments):
    needed = {labelled(one) for one in arguments("sweep") if one.required}
    assert needed == {"TEXT...", "--out PATH"}
