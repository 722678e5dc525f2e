"""The command line: options and where they come from, errors, and what is missing."""

import os
import subprocess
import sys
from importlib import import_module
from unittest.mock import patch

import pytest

import charloom
from charloom.cli import COMMANDS, EXTRAS
from charloom.errors import how_to_install
from tests.serving.golden import FOLDER


@pytest.fixture
def bundle_dir():
    """A golden bundle: any will do here, and it is there at once."""
    return FOLDER / "lstm"


def failed(result, *words, code=2):
    """A command must end with this code, a message with these words, and no traceback."""
    message = " ".join(result.stderr.replace("│", " ").split())
    assert result.returncode == code, message
    assert "Traceback" not in message
    for word in words:
        assert word in message
    assert result.stdout == ""


def test_help_lists_the_commands(cli):
    result = cli("--help")
    assert result.returncode == 0
    for name, (_, summary) in COMMANDS.items():
        assert name in result.stdout
        assert summary in result.stdout


def test_version(cli):
    assert cli("--version").stdout.strip() == charloom.__version__


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("nonsense",)])
def test_the_command_line_itself_is_light(python, arguments):
    code = f"""
import sys
from charloom.cli import main
try:
    main({list(arguments)!r})
except SystemExit:
    pass
heavy = {{"torch", "grpc", "onnxruntime", "onnx", "training", "serving", "export"}} & set(sys.modules)
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    result = python("-c", code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli, command):
    result = cli(command, "--help")
    assert result.returncode == 0, result.stderr
    assert f"charloom {command}" in result.stdout


def test_errors_name_the_command_or_option(cli):
    failed(cli("nonsense"), "nonsense", *COMMANDS)
    failed(cli("generate", "--nonsense", 3), "--nonsense")
    failed(cli("generate", "--seed", "x"), "--seed", '"x"')
    failed(cli("serve"), "BUNDLE")


def test_a_setting_out_of_range_is_named_without_a_traceback(cli):
    failed(cli("train", "text.txt", "--out", "run", "--layers", 0), "error: --layers must be 1 to 64, not 0")
    failed(cli("generate", "--bundle", "b", "-n", 0), "error: -n must be at least 1, not 0")
    failed(cli("generate"), "--address, --bundle and --checkpoint exclude each other, and one is needed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--temperature", 0.5, 101), "--temperature must be 0 to 100, not 101"),
        (("--temperature", 0.5, "hot"), '"hot"'),
        (("--logit-bias", "e"), "'e' is not TEXT=BIAS or id:INT=BIAS"),
        (("--logit-bias", "e=hot"), "'e=hot' is not TEXT=BIAS"),
        (("--logit-bias", "e=101"), "--logit-bias must be -100 to 100, not 101"),
        (("--stop-tokens", "id:4294967296"), "--stop-tokens must name tokens by text or by id"),
        (("--penalty-window", 0), "--penalty-window must be 1 to 1024, not 0"),
        (("--min-tokens", 300), "--min-tokens must be at most --max-tokens (256), not 300"),
    ],
)
def test_a_sampling_option_out_of_range_is_named(cli, arguments, words):
    failed(cli("generate", "--bundle", "b", *arguments), words)


def test_a_missing_bundle_is_named_without_a_traceback(cli):
    failed(cli("generate", "--bundle", "nowhere", "--seed", 1), "nowhere/manifest.json", code=1)


@pytest.fixture
def toml(tmp_path):
    """Writes the settings that a command finds in its folder."""

    def write(text, name="charloom.toml"):
        path = tmp_path / "cwd" / name
        path.write_text(text)
        return path

    return write


def used_seed(cli, bundle, *arguments, **env):
    """The text of the seed that won: all sources give one."""
    result = cli("generate", "--bundle", bundle, "--max-tokens", 20, *arguments, **env)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(cli, toml, bundle_dir):
    by_line = {seed: used_seed(cli, bundle_dir, "--seed", seed) for seed in (1, 2, 3)}
    assert len(set(by_line.values())) == 3
    toml("[generate]\nseed = 3\n")
    assert used_seed(cli, bundle_dir) == by_line[3]
    assert used_seed(cli, bundle_dir, CHARLOOM_GENERATE_SEED="2") == by_line[2]
    assert used_seed(cli, bundle_dir, "--seed", 1, CHARLOOM_GENERATE_SEED="2") == by_line[1]


def test_a_temperature_of_minus_zero_is_zero(cli, bundle_dir):
    zero = used_seed(cli, bundle_dir, "--seed", 1, "--temperature", "0")
    assert used_seed(cli, bundle_dir, "--seed", 1, "--temperature=-0.0") == zero


def test_a_bad_value_is_named_with_its_source(cli, toml):
    variable = "CHARLOOM_GENERATE_TEMPERATURE"
    failed(cli("generate", **{variable: "hot"}), f'{variable}: unable to convert "hot"')
    toml('[generate]\ntemperature = "cold"\n')
    failed(cli("generate"), 'charloom.toml [generate] temperature: unable to convert "cold"')


def test_an_unknown_key_of_the_file_is_named_with_the_file(cli, toml):
    toml("[generate]\nnonsense = 1\n")
    failed(cli("generate"), "charloom.toml [generate] nonsense")


@pytest.mark.parametrize("place", ["before", "after"])
def test_another_file_can_be_given(cli, toml, place):
    toml("[generate]\nn = 1\n")
    config = ("--config", toml("[generate]\nn = 0\n", "other.toml"))
    command = ("generate", "--bundle", "b")
    arguments = (*config, *command) if place == "before" else (*command, *config)
    failed(cli(*arguments), "other.toml [generate] n must be at least 1")


def test_a_table_of_another_command_is_left_alone(cli, toml):
    toml("[train]\ncells = 0\n[generate]\nn = 0\n")
    failed(cli("generate", "--bundle", "b"), "charloom.toml [generate] n must be at least 1")


@pytest.mark.parametrize("name", ["missing.toml", "."])
def test_a_file_of_settings_that_cannot_be_read_is_named(cli, name):
    failed(cli("generate", "--config", name), name)


def test_a_malformed_file_of_settings_is_named(cli, toml):
    toml("[generate\n")
    failed(cli("generate"), "charloom.toml")


def test_a_table_of_no_command_is_named(cli, toml):
    toml("[genrate]\nseed = 1\n")
    failed(cli("generate", "--bundle", "b"), "genrate", "charloom.toml")


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
from charloom.cli import main
main({arguments!r})
"""


@pytest.fixture
def without(python):
    """Runs `charloom` where some packages are not installed."""

    def run(packages, *arguments):
        return python("-c", BLOCKED.format(packages=set(packages), arguments=list(map(str, arguments))))

    return run


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("torch", ("train", "text", "--out", "run"), "train"),
        ("safetensors", ("train", "text", "--out", "run"), "train"),
        ("torch", ("export", "run", "--out", "b"), "train"),
        ("onnxruntime", ("serve", "b"), "serve"),
        ("grpc", ("serve", "b"), "client"),
        ("prometheus_client", ("serve", "b"), "serve"),
        ("onnxruntime", ("generate", "--bundle", "b", "--seed", 1), "serve"),
        ("grpc", ("generate", "--address", "localhost:1", "--seed", 1), "client"),
        ("textual", ("write", "--address", "localhost:1"), "write"),
        ("grpc", ("write", "--address", "localhost:1"), "client"),
    ],
)
def test_a_missing_extra_is_named(without, package, arguments, extra):
    assert EXTRAS[package] == extra
    failed(without([package], *arguments), f"needs {package}", how_to_install(extra), code=1)


def test_a_missing_extra_is_named_where_torch_comes_first(cli):
    """In this process, which has torch already; what it imports of ours meanwhile is forgotten again."""
    assert EXTRAS["onnx_ir"] == "export"
    import_module("export.exporter")  # with torch, which can be imported once only
    with patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.partition(".")[0] == "export"]:
            del sys.modules[name]
        sys.modules["onnx_ir"] = None
        result = cli("export", "run", "--out", "b")
    failed(result, "needs onnx_ir", how_to_install("export"), code=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--address and --bundle exclude each other, and one is needed"),
        (("--address", "a:1", "--bundle", "b"), "--address and --bundle exclude each other"),
        (("--bundle", "b", "--model", "m"), "--model is for --address"),
        (("--address", "a:1", "-n", 11), "-n must be 1 to 10, not 11"),
        (("--address", "a:1", "--temperature", -1), "--temperature must be 0 to 100"),
        (("--address", "a:1", "--max-tokens", 9), "--max-tokens"),
    ],
)
def test_what_the_writer_cannot_use_is_named(cli, arguments, said):
    failed(cli("write", *arguments), said)


def test_the_writer_needs_a_terminal(cli):
    failed(cli("write", "--address", "localhost:1"), "write needs a terminal", code=1)


def test_an_unknown_command_is_called_so_with_no_extra_installed(without):
    failed(without(["torch", "grpc", "onnxruntime"], "nonsense"), "nonsense")


def test_a_missing_package_of_no_extra_is_not_hidden(without):
    result = without(["numpy"], "generate", "--bundle", "b", "--seed", 1)
    assert result.returncode == 1
    assert "No module named 'numpy" in result.stderr


def test_generating_from_a_bundle_needs_neither_torch_nor_grpc(without, bundle_dir):
    options = ("generate", "--bundle", bundle_dir, "--seed", 1, "--max-tokens", 10)
    result = without(["torch", "grpc", "prometheus_client"], *options)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout) == 10


@pytest.mark.parametrize("command", ["train", "serve"])
def test_the_help_of_a_command_names_no_other_room(python, command):
    """Its options are those of one package; asking for them loads no other."""
    other = {"train": "serving", "serve": "training"}[command]
    code = f"""
import sys
from charloom.cli import main
try:
    main([{command!r}, "--help"])
except SystemExit:
    pass
sys.exit({other!r} in sys.modules)
"""
    assert python("-c", code).returncode == 0


def test_no_reader_is_no_error(bundle_dir):
    """As in `charloom generate ... | head -c 1`."""
    command = [sys.executable, "-m", "charloom", "generate", "--bundle", bundle_dir, "--seed", "1"]
    with subprocess.Popen(
        [*map(str, command), "--max-tokens", "20000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can be somebody else")
def test_a_folder_that_one_may_not_enter_is_named(in_process, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for module in ("training.run", "serving.engine.executor"):
        import_module(module)  # whose files may be root's alone
    os.seteuid(65534)
    try:
        result = in_process("train", "/dev/null", "--out", closed / "run")
    finally:
        os.seteuid(0)
    failed(result, str(closed), "Permission denied", code=1)
