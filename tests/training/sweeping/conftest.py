"""Studies on a file of SQLite, as two processes open them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.sweeping.space import Space
from training.sweeping.study import Study, StudyConfig, open_study

SPACE = Space.parse(["cells=16,32", "learning-rate=1e-4..1e-2:log"])


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Study]:
    """Opens the same study anew, with some of its settings changed."""

    def study(terms: dict[str, Any] | None = None, **config: Any) -> Study:
        return open_study(StudyConfig(**config), SPACE, 1, tmp_path, terms or {"text": "abc"})

    return study
