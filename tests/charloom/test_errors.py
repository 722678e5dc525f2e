import pytest

from charloom.errors import CharloomError, ConfigError, require


def test_a_setting_that_cannot_be_used_is_named():
    with pytest.raises(ConfigError) as caught:
        require(False, "cells", "must be at least 1")
    assert str(caught.value) == "cells must be at least 1"
    assert (caught.value.name, caught.value.reason) == ("cells", "must be at least 1")
    assert isinstance(caught.value, CharloomError)
    assert caught.value.exit_code == 2


def test_a_setting_that_can_be_used_passes():
    require(True, "cells", "must be at least 1")
