"""A verdict on a server that kept nothing, and on one that kept something of everything."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from chaos.samples import Sample
from chaos.verdict import Verdict


@pytest.fixture
def verdict() -> Verdict:
    quiet = Sample(0, 100, 20, 14, 0, 0, "20 python")
    busy = [Sample(i, 150, 22, 30, 64, 10, "22 python") for i in range(40)]
    return Verdict(1, busy, quiet, quiet, texts=9, came=9, refused=3, unexpected=0, nonsense=8,
                   accepted=0, tracebacks=0)  # fmt: skip


def growing(verdict: Verdict, mib: float) -> Verdict:
    samples = [replace(one, memory=100 + mib * i / 20) for i, one in enumerate(verdict.samples)]
    return replace(verdict, samples=samples)


def test_who_keeps_nothing_passes(verdict: Verdict) -> None:
    assert not list(verdict.failures())
    assert not list(growing(verdict, 10).failures())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: growing(v, 40), "memory grew"),
        (lambda v: replace(v, after=replace(v.after, files=15)), "files: 15"),
        (lambda v: replace(v, after=replace(v.after, threads=21)), "threads: 21"),
        (lambda v: replace(v, after=replace(v.after, active=1)), "slots in use"),
        (lambda v: replace(v, refused=0), "nobody was refused"),
        (lambda v: replace(v, accepted=1), "nonsense"),
    ],
)
def test_who_keeps_something_does_not(
    verdict: Verdict, change: Callable[[Verdict], Verdict], said: str
) -> None:
    (failure,) = change(verdict).failures()
    assert said in failure
