"""A disk that says what was synced and renamed, and in which order."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """Records which files and folders are synced and renamed, in order, and how large they are then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, Path, int]] = []
        self.fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._fsync)
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self._renaming(getattr(os, name)))

    def _fsync(self, descriptor: int) -> None:
        self.fsync(descriptor)
        self.events.append(("sync", self._path(descriptor), os.fstat(descriptor).st_size))

    def _renaming(self, rename: Callable[..., None]) -> Callable[..., None]:
        def recorded(source: Any, target: Any, **more: Any) -> None:
            rename(source, target, **more)
            self.events.append(("rename", Path(target), 0))

        return recorded

    @staticmethod
    def _path(descriptor: int) -> Path:
        if sys.platform != "linux":
            pytest.skip("only Linux names the file of a descriptor")
        return Path(f"/proc/self/fd/{descriptor}").readlink()

    @property
    def order(self) -> list[tuple[str, str]]:
        return [(what, path.name) for what, path, _ in self.events]
