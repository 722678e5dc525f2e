"""The engine's thread: runs bursts while there is work, and sleeps while there is none.

While bursts fail and no request asks for one, it runs a probe now and then, to notice a recovery.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread, get_native_id

from serving.engine.engine import Engine, StepReport
from serving.errors import DrainingError, EngineDeadError, ServingError
from serving.logs import describe

MAX_SLEEP = 0.5
"""Longest sleep in seconds: the deadline of a paused stream can pass without anyone's call."""

MAX_FAILURES = 3
"""Consecutive bursts that fail before the engine, rather than some request, counts as broken."""

JOIN_TIMEOUT = 10.0
"""Seconds that `stop` waits for a burst to end."""

logger = logging.getLogger(__name__)


class EngineThread:
    """Drives one engine; `deliver` is called in this thread with every report, and must not block."""

    def __init__(self, engine: Engine, deliver: Callable[[StepReport], None], name: str) -> None:
        self.engine = engine
        self._deliver = deliver
        self._work = Event()  # set by whoever may have made work
        self._stopping = False
        self._asleep = False
        self._progress = time.monotonic()
        self._failures = 0  # consecutive
        self._failing_since = 0.0
        self._thread = Thread(target=self._run, name=f"engine-{name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Wakes the thread, as a request, an abort or a reader may have made work. Never blocks."""
        self._work.set()

    def stop(self) -> None:
        """Ends the thread after its burst; streams that are left end with DrainingError.

        One that is stuck is left behind: nothing ends it but the end of the process.
        """
        self._stopping = True
        self._work.set()
        self._thread.join(JOIN_TIMEOUT)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def failing(self) -> bool:
        """Whether the last bursts failed, each of them."""
        return self._failures >= MAX_FAILURES

    def healthy(self, patience: float) -> bool:
        """Returns whether bursts advance, or there is no work.

        Args:
            patience: seconds that one burst may take, or that bursts may go on failing.
        """
        now = time.monotonic()
        advancing = self._asleep or now - self._progress < patience
        broken = self.failing and now - self._failing_since >= patience
        return self.alive and advancing and not broken

    def _run(self) -> None:
        show_name(self._thread.name)
        try:
            while self._wait_for_work():
                report = self.engine.step()
                self._deliver(report)
                if report.steps or report.failed:
                    self._count_failures(succeeded=not report.failed)
                elif self._failures:
                    # An engine that is not ready gets no requests from which to notice that it recovered.
                    self._count_failures(succeeded=self.engine.probe())
                self._progress = time.monotonic()
        except Exception as error:
            # A defect in the engine itself. Its streams get their error below, and the health
            # check, which sees that the thread is gone, has the process replaced.
            logger.error("the engine failed: %s", describe(error))  # noqa: TRY400
            self._abandon(EngineDeadError())
        else:
            self._abandon(DrainingError())

    def _abandon(self, error: ServingError) -> None:
        """Ends every stream with an error."""
        try:
            self._deliver(self.engine.abandon(error))
        except Exception as defect:
            # The health check sees that the thread is gone, and fails the streams.
            logger.error("the engine could not end its streams: %s", describe(defect))  # noqa: TRY400

    def _count_failures(self, *, succeeded: bool) -> None:
        """Counts the bursts that failed since the last that succeeded."""
        if succeeded:
            if self.failing:
                logger.info("bursts succeed again")
            self._failures = 0
            return
        if not self._failures:
            self._failing_since = time.monotonic()
        self._failures += 1
        if self._failures == MAX_FAILURES:
            logger.error("%d bursts in a row have failed; not ready until one succeeds", MAX_FAILURES)

    def _wait_for_work(self) -> bool:
        """Sleeps until there may be work; returns False once the thread is to end."""
        self._work.clear()  # before it looks: a call from now on cannot be missed
        if not self._stopping and not self.engine.ready:
            self._asleep = True
            self._work.wait(MAX_SLEEP)
            self._progress = time.monotonic()
            self._asleep = False
        return not self._stopping


def show_name(name: str) -> None:
    """Shows this thread's name in Linux's `top` and `ps`, as Python does by itself from 3.14 on."""
    with suppress(OSError):
        Path(f"/proc/self/task/{get_native_id()}/comm").write_text(name[:15])
