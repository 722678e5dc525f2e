"""Every error that Charloom raises on purpose, each with the exit code of a command it ends.

An error's message names what is wrong and what to do about it; the command line prints it as it
stands, without a traceback.
"""


class CharloomError(Exception):
    """Base of all errors that a user can cause and mend."""

    exit_code = 1


class ConfigError(CharloomError, ValueError):
    """A setting has a value that cannot be used."""

    exit_code = 2

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.name = name
        self.reason = reason


def require(condition: bool, name: str, reason: str) -> None:
    """Raises ConfigError for the setting `name` unless the condition holds."""
    if not condition:
        raise ConfigError(name, reason)


def how_to_install(extra: str) -> str:
    """What to do where the packages of an extra are missing; PyPI has no Charloom of ours."""
    return f"pip install '.[{extra}]' in a checkout of Charloom"
