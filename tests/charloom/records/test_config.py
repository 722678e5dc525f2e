"""How records are divided is checked where it is said, and comes back from JSON."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import pytest
from cyclopts import App, Parameter

from charloom.errors import ConfigError
from charloom.records import RecordsConfig


@pytest.mark.parametrize(
    ("word", "delimiter"),
    [
        ("none", ""),
        ("lines", ""),
        ("paragraphs", ""),
        ("<|endoftext|>", "<|endoftext|>"),
        (r"\n---\n", "\n---\n"),
        (r"\0", "\0"),
        (r"a\\n\tb", "a\\n\tb"),
        ("\n\n\n", "\n\n\n"),
        ("---", "---"),
    ],
)
def test_a_delimiter_is_written_with_escapes(word: str, delimiter: str) -> None:
    config = RecordsConfig(records=word)
    assert config.delimiter == delimiter
    assert config.divides == (word != "none")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"records": ""}, "records is empty"),
        ({"records": "line"}, "is lines meant?"),
        ({"records": "Lines"}, "is lines meant?"),
        ({"records": "newlines"}, "is lines meant?"),
        ({"records": "paragraph"}, "is paragraphs meant?"),
        ({"records": "None"}, "is none meant?"),
        ({"records": r"\s"}, r"records has \\s, which is none of the escapes"),
        ({"records": "a\\"}, r"records has \\, which is none of the escapes"),
        ({"records": r"\r\n"}, r"every line end is read as \\n"),
        ({"records": "\r\n"}, r"every line end is read as \\n"),
        ({"label_column": ("kind",)}, "label_column needs text_column"),
        ({"records": "lines", "label_column": ("kind",)}, "label_column needs text_column"),
        ({"records": "lines", "text_column": "text"}, "records must be none where text_column reads tables"),
        ({"text_column": "text", "label_column": ("",)}, "label_column is empty"),
        ({"text_column": "text", "label_column": ("a", "a")}, "label_column names a column twice"),
        ({"text_column": "text", "label_column": ("text",)}, "or the text's own"),
    ],
)
def test_what_cannot_be_meant_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        RecordsConfig(**options)


def test_json_brings_it_back() -> None:
    config = RecordsConfig(text_column="text", label_column=("a", "b"))
    read = json.loads(json.dumps(asdict(config)))
    assert RecordsConfig(**read | {"label_column": tuple(read["label_column"])}) == config


@pytest.mark.parametrize(
    ("words", "config"),
    [
        ((), RecordsConfig()),
        (("--records=---",), RecordsConfig(records="---")),
        (
            ("--text-column", "t", "--label-column", "a", "b"),
            RecordsConfig(text_column="t", label_column=("a", "b")),
        ),
        (
            ("--text-column", "t", "--label-column", "a", "--label-column", "b"),
            RecordsConfig(text_column="t", label_column=("a", "b")),
        ),
    ],
)
def test_its_fields_are_options(words: tuple[str, ...], config: RecordsConfig) -> None:
    app = App(default_parameter=Parameter(consume_multiple=True))

    @app.default
    def command(*, options: Annotated[RecordsConfig, Parameter(name="*")] = config) -> RecordsConfig:
        return options

    assert app(words, exit_on_error=False, result_action="return_value") == config
