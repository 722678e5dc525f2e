"""Where options come from, which source wins, and what errors call them."""

from pathlib import Path

import pytest

from charloom.cli import COMMANDS, arguments_of, build_app, take_config
from charloom.errors import ConfigError
from charloom.settings import EXCLUSIVE, GENERAL, Settings, options, variable
from charloom.words import CommandLine
from serving.commands.source import Source
from tests.charloom.test_cli import failed


@pytest.fixture
def taken(tmp_path, monkeypatch):
    """Gives the arguments that a command would get; keyword arguments are environment variables."""
    monkeypatch.chdir(tmp_path)

    def take(*words, **env):
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            config, (command, *rest) = take_config(list(map(str, words)))
            app = build_app(Settings.read(config, tuple(COMMANDS)))
            line = CommandLine.of(arguments_of(app, command))
            words = [command, *line.attached(rest)]
            _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        return bound.arguments

    return take


@pytest.fixture
def toml(tmp_path):
    """Writes charloom.toml, or another file."""

    def write(text, name="charloom.toml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


TRAIN = ("train", "text.txt", "--out", "run")


def test_a_variable_reaches_its_command_alone(taken):
    env = {
        "CHARLOOM_TRAIN_PRECISION": "bfloat16",
        "CHARLOOM_SERVE_TOKENS": "callers.toml",
        "CHARLOOM_TRAIN_OUT": "run",
        "CHARLOOM_EXPORT_OUT": "bundle",
    }
    assert taken("generate", "--bundle", "b", **env)["source"].precision == "auto"
    assert "tokens" not in taken("score", "--bundle", "b", **env)
    assert taken("serve", "b", **env)["calling"].tokens == Path("callers.toml")
    assert taken("train", "text.txt", **env)["out"] == Path("run")
    assert taken("train", "text.txt", **env)["options"].hardware.precision == "bfloat16"
    assert taken("export", "run", **env)["out"] == Path("bundle")


def test_a_variable_without_a_command_is_no_option(taken):
    env = {"CHARLOOM_PRECISION": "nonsense", "CHARLOOM_CELLS": "nonsense", "CHARLOOM_TOP_K": "nonsense"}
    taken(*TRAIN, **env)
    taken("generate", "--bundle", "b", **env)


@pytest.mark.parametrize("command", ["generate", "score", "similar", "write"])
def test_where_a_server_is_holds_for_every_command_that_calls_one(taken, command):
    words = (command, "text") if command == "similar" else (command,)
    got = taken(*words, CHARLOOM_ADDRESS="a:1", CHARLOOM_TLS_ROOT="root.pem", CHARLOOM_TOKEN="sesame")
    holder = got.get("source")
    assert (holder.address if holder else (got["address"],)) == ("a:1",)
    connection = holder.connection if holder else got["connection"]
    assert (connection.tls_root, connection.bearer) == (Path("root.pem"), "sesame")


def test_the_variable_of_a_command_wins_over_the_general_one(taken):
    env = {"CHARLOOM_ADDRESS": "general:1", "CHARLOOM_SCORE_ADDRESS": "own:1"}
    assert taken("score", **env)["source"].address == ("own:1",)
    assert taken("generate", **env)["source"].address == ("general:1",)


def test_what_clients_show_is_not_what_a_server_shows(taken):
    env = {"CHARLOOM_TLS_CERTIFICATE": "mine.pem", "CHARLOOM_TLS_KEY": "mine.key"}
    assert "tls" not in taken("serve", "b", **env)


def test_general_variables_are_options_of_every_command_that_calls_a_server():
    app = build_app(Settings({}))
    for command in ("generate", "score", "similar", "write"):
        names = {one.name for one in options(arguments_of(app, command))}
        assert set(GENERAL) <= names
    known = {
        frozenset(pair)
        for command in COMMANDS
        for names in [{one.name for one in options(arguments_of(app, command))}]
        for pair in EXCLUSIVE
        if set(pair) <= names
    }
    assert known == {frozenset(pair) for pair in EXCLUSIVE}


def test_variables_have_names_of_their_own():
    app = build_app(Settings({}))
    names = [
        variable(command, one.name) for command in COMMANDS for one in options(arguments_of(app, command))
    ]
    assert len(names) == len(set(names))
    assert "CHARLOOM_TRAIN_TEXT" in names
    assert "CHARLOOM_SERVE_MAX_STREAMS" in names


def test_each_source_wins_over_those_after_it(taken, toml):
    toml('[train]\ncells = 3\npreset = "char-rnn"\n')
    cells = "CHARLOOM_TRAIN_CELLS"
    assert taken(*TRAIN, "--cells", 1, **{cells: "2"})["options"].model.cells == 1
    assert taken(*TRAIN, **{cells: "2"})["options"].model.cells == 2
    assert taken(*TRAIN)["options"].model.cells == 3
    assert taken(*TRAIN)["options"].batches.batch == 50


BUNDLE, ADDRESS = (
    "[generate]\nbundle = 'b'\nprecision = 'int8'\n",
    "[generate]\naddress = 'a:1'\nmodel = 'm'\n",
)


def test_of_options_that_exclude_each_other_the_one_of_the_higher_source_stands(taken, toml):
    toml(BUNDLE)
    assert taken("generate", "--address", "a:1")["source"] == Source(address=("a:1",))
    assert taken("generate", CHARLOOM_ADDRESS="a:1")["source"] == Source(address=("a:1",))
    assert taken("generate")["source"] == Source(bundle=Path("b"), precision="int8")
    toml(ADDRESS)
    assert taken("generate", "--bundle", "c")["source"] == Source(bundle=Path("c"))
    assert taken("generate", CHARLOOM_GENERATE_BUNDLE="c")["source"] == Source(bundle=Path("c"))
    assert taken("generate", "--bundle", "c", CHARLOOM_ADDRESS="a:1")["source"] == Source(bundle=Path("c"))
    own = {"CHARLOOM_GENERATE_BUNDLE": "c", "CHARLOOM_ADDRESS": "a:1"}
    assert taken("generate", **own)["source"] == Source(bundle=Path("c"))
    assert taken("generate")["source"] == Source(address=("a:1",), model="m")


def test_a_token_and_its_file_exclude_each_other(taken, toml):
    def connection(*words, **env):
        return taken("generate", "--address", "a:1", *words, **env)["source"].connection

    toml("[generate]\ntoken-file = 'file'\n")
    assert connection().token_file == Path("file")
    assert connection(CHARLOOM_TOKEN="sesame").bearer == "sesame"
    assert connection("--token-file", "other", CHARLOOM_TOKEN="sesame").token_file == Path("other")


def test_keys_in_a_variable_yield_to_a_file_on_the_command_line(taken):
    lines = {"CHARLOOM_SERVE_STATE_KEY_LINES": "a:AAAA\nb:BBBB"}
    assert taken("serve", "b", **lines)["sealing"].state_key_lines == lines["CHARLOOM_SERVE_STATE_KEY_LINES"]
    sealing = taken("serve", "b", "--state-keys", "keys", **lines)["sealing"]
    assert (sealing.state_keys, sealing.state_key_lines) == (Path("keys"), None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--address", "a:1", "--bundle", "b"), "--address, --bundle and --checkpoint exclude each other"),
        (("--bundle", "b", "--model", "m"), "--model is for --address"),
        (("--address", "a:1", "--precision", "int8"), "--precision is for --bundle"),
        (("--address", "a:1", "--device", "cpu"), "--device is for --bundle"),
        (("--bundle", ""), "--bundle is empty"),
        (("--bundle", "b", "--output", ""), "--output is empty"),
        (("--address", "a:1", "--token", "sesame"), "--token: cannot be given on the command line"),
    ],
)
def test_what_does_not_go_together_on_the_command_line_is_refused(cli, arguments, said):
    failed(cli("generate", *arguments), said)


def test_an_empty_folder_is_not_the_current_one(cli):
    failed(cli("train", "text.txt", "--out", ""), "--out is empty")
    failed(cli("export", "run", CHARLOOM_EXPORT_OUT=""), "CHARLOOM_EXPORT_OUT is empty")


def test_a_value_out_of_range_is_named_by_where_it_came_from(cli, tmp_path):
    folder = tmp_path / "cwd"
    words = ("train", "text.txt", "--out", "run")
    reason = "must be 1 to 64, not 65"
    failed(cli(*words, "--layers", 65), f"error: --layers {reason}")
    failed(cli(*words, CHARLOOM_TRAIN_LAYERS="65"), f"error: CHARLOOM_TRAIN_LAYERS {reason}")
    (folder / "charloom.toml").write_text("[train]\nlayers = 65\n")
    failed(cli(*words), f"error: charloom.toml [train] layers {reason}")
    (folder / "charloom.toml").rename(folder / "other.toml")
    failed(cli(*words, CHARLOOM_CONFIG="other.toml"), f"error: other.toml [train] layers {reason}")


def test_errors_between_options_name_each_by_where_it_came_from(cli):
    pair = "--tls-certificate and CHARLOOM_TLS_KEY need each other"
    failed(cli("generate", "--address", "a:1", CHARLOOM_TLS_KEY="key.pem"), pair)
    failed(
        cli("serve", "b", CHARLOOM_SERVE_STATE_KEY_LINES="x"), "CHARLOOM_SERVE_STATE_KEY_LINES, line 1 must"
    )
    limits = ("--default-tokens", 5, "--max-tokens", 3)
    failed(cli("serve", "b", *limits), "--max-tokens must be at least --default-tokens (5), not 3")


def test_an_error_of_the_api_names_its_option_on_the_command_line(cli, bundle_dir):
    result = cli("generate", "--bundle", bundle_dir, "--seed", 1, "--prompt", "\N{SNOWMAN}")
    failed(result, "--prompt has", "--skip-unknown")
    assert "skip_unknown" not in result.stderr


def test_lists_take_several_values_from_every_source(taken, toml):
    def temperatures(*words, **env):
        return taken(*TRAIN, *words, **env)["options"].preview.preview_temperatures

    assert temperatures("--preview-temperatures", 0.5, 0.8) == (0.5, 0.8)
    assert temperatures("--preview-temperatures", 0.5, "--preview-temperatures", 0.8) == (0.5, 0.8)
    assert temperatures(CHARLOOM_TRAIN_PREVIEW_TEMPERATURES="0.5  0.8") == (0.5, 0.8)
    toml("[train]\npreview-temperatures = [0.5, 0.8]\n")
    assert temperatures() == (0.5, 0.8)
    assert taken("export", "r", "--out", "b", "--precision", "float32", "int8")["precision"] == (
        "float32",
        "int8",
    )
    assert taken("sweep", "t", "--out", "s", "--vary", "a=1", "b=2")["vary"] == ("a=1", "b=2")


def test_a_list_in_a_variable_is_written_as_in_a_shell(taken, cli):
    def stop(text):
        got = taken("generate", "--bundle", "b", CHARLOOM_GENERATE_STOP=text)
        return got["options"].stop if "options" in got else ()

    assert stop("a b") == ("a", "b")
    assert stop("'the end' \"it's\" -- ###") == ("the end", "it's", "--", "###")
    assert stop("") == ()
    failed(cli("generate", CHARLOOM_GENERATE_STOP="it's"), "CHARLOOM_GENERATE_STOP is no list of words")
    assert taken("serve", CHARLOOM_SERVE_BUNDLE="one 'and two'")["bundle"] == [Path("one"), Path("and two")]


def test_addresses_come_one_at_a_time_as_files_may_follow(taken):
    got = taken("score", "--address", "a:1", "file.txt", "--address", "b:1", "more.txt")
    assert got["source"].address == ("a:1", "b:1")
    assert got["files"] == (Path("file.txt"), Path("more.txt"))


def test_a_list_without_a_value_is_refused(cli):
    failed(cli("generate", "--bundle", "b", "--allowed-tokens"), "--allowed-tokens needs a value")


def test_a_flag_can_be_unset(taken, toml):
    toml("[generate]\nskip-unknown = true\n")
    assert taken("generate", "--bundle", "b")["options"].skip_unknown
    got = taken("generate", "--bundle", "b", "--skip-unknown=false")
    assert not got["options"].skip_unknown


def test_a_table_that_is_no_table_is_named(cli, tmp_path):
    (tmp_path / "cwd" / "charloom.toml").write_text("generate = 1\n")
    failed(cli("generate"), "charloom.toml has 'generate' as a value")


def test_a_file_of_settings_has_a_name():
    with pytest.raises(ConfigError, match="--config needs the name of a file"):
        take_config(["generate", "--config"])


def test_the_file_of_the_command_line_wins_over_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("CHARLOOM_CONFIG", "a.toml")
    assert take_config(["generate", "-n", "3"]) == (Path("a.toml"), ["generate", "-n", "3"])
    assert take_config(["--config=b.toml", "generate"]) == (Path("b.toml"), ["generate"])
    assert take_config(["generate", "--config", "b.toml", "-n"]) == (Path("b.toml"), ["generate", "-n"])


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("top_k", "--top-k"),
        ("n", "--n"),
        ("tls_key or tls_certificate", "--tls-key or --tls-certificate"),
        ("max_tokens, line 3", "--max-tokens, line 3"),
        ("nonsense", "nonsense"),
        ("dir/top_k", "dir/top_k"),
        ("/seed", "/seed"),
    ],
)
def test_names_of_fields_become_those_of_options(field, said):
    settings = Settings({})
    app = build_app(settings)
    app.parse_args(["generate", "--bundle", "b"], exit_on_error=False, print_error=False)
    assert settings.name(field) == said


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("must be at most max_tokens (256)", "must be at most --max-tokens (256)"),
        ("set skip_unknown to leave them out", "set --skip-unknown to leave them out"),
        ("/data/max_tokens/x cannot be read", "/data/max_tokens/x cannot be read"),
        ("'max_tokens' is no token", "'max_tokens' is no token"),
        ("the prompt has 3 tokens", "the prompt has 3 tokens"),
        ("max_nonsense", "max_nonsense"),
    ],
)
def test_messages_are_reworded_where_a_field_is_meant(message, said):
    settings = Settings({})
    app = build_app(settings)
    app.parse_args(["generate", "--bundle", "b"], exit_on_error=False, print_error=False)
    assert settings.reworded(message) == said
