"""The report of a chaos test: figures, and the demands on them."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

from chaos.outcome import print_outcome
from chaos.readers import Readers
from chaos.storm import BLOWS, Storm


@dataclass(frozen=True)
class Demands:
    """What must have happened at least, for the test to prove anything."""

    streams: int = 500
    interrupted: int = 100
    by_state: int = 30
    by_replay: int = 30


@dataclass(frozen=True)
class ChaosReport:
    """A chaos test, once it is over."""

    demands: Demands
    load: Readers
    storm: Storm
    compared: int
    """Texts that were compared with the undisturbed ones ..."""
    compared_bytes: int
    """... and their bytes in UTF-8."""
    other: list[int]
    """Indices of the requests of which a text, a token or an ending differs."""
    in_process: int
    """Texts that were compared with those of this process as well."""
    in_use: int
    """Slots and waiting places in use once the clients were gone."""
    tracebacks: int
    """Tracebacks in the servers' logs."""
    seconds: float
    """Length of the storm."""

    def print(self) -> None:
        """Prints what happened, and what failed."""
        print_outcome(self._figures(), list(self.failures()))

    def _figures(self) -> Iterator[tuple[str, str]]:
        load = self.load
        struck = {blow: self.storm.struck[blow] for blow in BLOWS}
        yield "seconds of storm", f"{self.seconds:.0f}"
        for blow, count in struck.items():
            yield f"replicas struck by {signal.Signals(blow).name}", f"{count}"
        yield "connections cut by the proxy", f"{self.storm.cuts:,}"
        yield "streams asked for", f"{len(load.received) + len(load.lost):,}"
        yield "asked again, since no replica took them", f"{load.refused:,}"
        yield "streams interrupted in mid-text", f"{load.interrupted:,}"
        yield "streams that went on by state (times)", f"{len(load.by_state):,} ({sum(load.by_state):,})"
        yield "streams that went on by replay (times)", f"{len(load.by_replay):,} ({sum(load.by_replay):,})"
        yield "texts compared with undisturbed ones", f"{self.compared:,}"
        yield "their bytes", f"{self.compared_bytes:,}"
        yield "of them compared with a third opinion, of this process", f"{self.in_process:,}"
        yield "streams that differ", f"{len(self.other):,}"
        yield "streams that were lost", f"{len(load.lost):,}"
        yield "slots in use once clients were gone", f"{self.in_use:,}"

    def failures(self) -> Iterator[str]:
        """The demands that were not met, in words."""
        load, demands = self.load, self.demands
        for what, found, least in (
            ("streams", len(load.received), demands.streams),
            ("interrupted streams", load.interrupted, demands.interrupted),
            ("streams that went on by state", len(load.by_state), demands.by_state),
            ("streams that went on by replay", len(load.by_replay), demands.by_replay),
            ("cuts", self.storm.cuts, 1),
            *((blow.name, self.storm.struck[blow], 1) for blow in BLOWS),
        ):
            if found < least:
                yield f"{what}: {found}, and {least} are demanded"
        for number, reason in load.lost.items():
            yield f"stream {number} was lost: {reason}"
        for number in self.other:
            yield f"stream {number} is not the undisturbed one: {load.workload[number]}"
        for what, found in (
            ("slots in use once clients were gone", self.in_use),
            ("streams that are said not to be exact", load.inexact),
            ("exit codes after SIGTERM other than 0", len(self.storm.bad_ends)),
            ("tracebacks in what the servers said", self.tracebacks),
        ):
            if found:
                yield f"{what}: {found}"
