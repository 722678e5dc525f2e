from pathlib import Path

import pytest

from charloom.cli import EXTRAS
from charloom.errors import CharloomError, ConfigError, how_to_install, require


def test_a_setting_that_cannot_be_used_is_named():
    with pytest.raises(ConfigError) as caught:
        require(False, "cells", "must be at least 1")
    assert str(caught.value) == "cells must be at least 1"
    assert (caught.value.name, caught.value.reason) == ("cells", "must be at least 1")
    assert isinstance(caught.value, CharloomError)
    assert caught.value.exit_code == 2


def test_a_setting_that_can_be_used_passes():
    require(True, "cells", "must be at least 1")


def test_what_is_missing_is_installed_as_the_readme_says():
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
    for extra in EXTRAS.values():
        command = how_to_install(extra).removesuffix(" in a checkout of Charloom")
        assert f"| `{command}` |" in readme
