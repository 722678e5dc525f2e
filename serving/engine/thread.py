"""The engine's thread: runs bursts while there is work and sleeps while there is none.

It knows when to call `step` and hands on what comes out; it never waits for whoever takes it. While bursts
fail and nobody asks for any, it tries one by itself now and then.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread, get_native_id

from serving.engine.engine import Engine, Report
from serving.errors import DeadError, DrainingError, ServingError
from serving.logs import describe

NAP = 0.5
"""Longest sleep, in seconds: paused streams can pass their deadline without anyone's call."""

FAILURES = 3
"""Bursts in a row that failed, from which on it is the engine that is ill, and no request."""

STUCK = 10.0
"""Seconds after which a burst is not waited for any longer."""

logger = logging.getLogger(__name__)


class EngineThread:
    """Drives one engine; `deliver` is called in this thread with every report."""

    def __init__(self, engine: Engine, deliver: Callable[[Report], None], name: str) -> None:
        self.engine = engine
        self._deliver = deliver
        self._call = Event()  # set by whoever may have made work
        self._stopping = False
        self._asleep = False
        self._progress = time.monotonic()
        self._failures = 0  # bursts in a row
        self._failing_since = 0.0
        self._thread = Thread(target=self._run, name=f"engine-{name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Says that a request, a cancellation or a reader may have made work. Never waits."""
        self._call.set()

    def stop(self) -> None:
        """Ends the thread after its burst; streams that are left end with DrainingError.

        One that is stuck is left behind: nothing ends it but the end of the process.
        """
        self._stopping = True
        self._call.set()
        self._thread.join(STUCK)

    @property
    def alive(self) -> bool:
        """Whether it runs, and will take what comes."""
        return self._thread.is_alive()

    @property
    def failing(self) -> bool:
        """Whether the last bursts failed, each of them."""
        return self._failures >= FAILURES

    def healthy(self, patience: float) -> bool:
        """Whether bursts advance, or nothing is runnable; patience in seconds, with those that fail too."""
        now = time.monotonic()
        advancing = self._asleep or now - self._progress < patience
        hopeless = self.failing and now - self._failing_since >= patience
        return self.alive and advancing and not hopeless

    def _run(self) -> None:
        show_name(self._thread.name)
        try:
            while self._wait_for_work():
                report = self.engine.step()
                self._deliver(report)
                if report.steps or report.failed:
                    self._judge(succeeded=not report.failed)
                elif self._failures:
                    # Whoever is not ready gets no work from which to see that it could do it again.
                    self._judge(succeeded=self.engine.probe())
                self._progress = time.monotonic()
        except Exception as error:
            # A defect in the engine itself. Its streams get their error below, and the health
            # check, which sees that the thread is gone, has the process replaced.
            logger.error("the engine failed: %s", describe(error))  # noqa: TRY400
            self._abandon(DeadError())
        else:
            self._abandon(DrainingError())

    def _abandon(self, error: ServingError) -> None:
        """Tells every stream that there will be no more."""
        try:
            self._deliver(self.engine.abandon(error))
        except Exception as defect:
            # Whoever watches the engine sees that the thread is gone, and tells its streams.
            logger.error("the engine could not tell its streams: %s", describe(defect))  # noqa: TRY400

    def _judge(self, *, succeeded: bool) -> None:
        """Takes note of how a burst ended."""
        if succeeded:
            if self.failing:
                logger.info("bursts succeed again")
            self._failures = 0
            return
        if not self._failures:
            self._failing_since = time.monotonic()
        self._failures += 1
        if self._failures == FAILURES:
            logger.error("%d bursts in a row have failed; not ready until one succeeds", FAILURES)

    def _wait_for_work(self) -> bool:
        """Sleeps until there is work; False once the thread is to end."""
        self._call.clear()  # before it looks: a call from now on cannot be missed
        if not self._stopping and not self.engine.ready:
            self._asleep = True
            self._call.wait(NAP)
            self._progress = time.monotonic()
            self._asleep = False
        return not self._stopping


def show_name(name: str) -> None:
    """Lets `top` and `ps` of Linux show this thread's name, as Python does by itself from 3.14 on."""
    with suppress(OSError):
        Path(f"/proc/self/task/{get_native_id()}/comm").write_text(name[:15])
