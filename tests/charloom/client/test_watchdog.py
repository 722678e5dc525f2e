"""Watchdogs bark once when nobody feeds them, and leave nothing behind."""

import asyncio
import threading
import time

from charloom.client.watchdog import AsyncWatchdog, Watchdog


def test_a_watchdog_barks_once_nobody_feeds_it_and_leaves_with_its_context() -> None:
    barks: list[float] = []
    with Watchdog(lambda: barks.append(time.monotonic()), 1) as dog:
        for _ in range(15):
            time.sleep(0.1)
            fed = time.monotonic()
            dog.feed()
        while not dog.expired and time.monotonic() < fed + 10:
            time.sleep(0.01)
    assert len(barks) == 1
    assert barks[0] >= fed + 1
    with Watchdog(lambda: barks.append(0), 0.3) as quiet:
        pass
    time.sleep(0.5)
    assert not quiet.expired
    assert len(barks) == 1


def test_a_watchdog_is_gone_with_its_context() -> None:
    for _ in range(200):
        with Watchdog(lambda: None, 30):
            pass
        assert not [thread for thread in threading.enumerate() if thread.name == "watchdog"]


def test_a_watchdog_that_rests_expects_nothing_until_it_is_fed() -> None:
    barks: list[float] = []
    with Watchdog(lambda: barks.append(time.monotonic()), 0.3) as dog:
        dog.pause()
        time.sleep(0.5)
        assert not dog.expired
        fed = time.monotonic()
        dog.feed()
        while not dog.expired and time.monotonic() < fed + 10:
            time.sleep(0.01)
    assert len(barks) == 1
    assert barks[0] >= fed + 0.3


def test_a_paused_watchdog_of_an_event_loop_expires_only_after_it_is_fed() -> None:
    async def main() -> None:
        expired = asyncio.Event()
        with AsyncWatchdog(expired.set, 0.1) as watchdog:
            watchdog.pause()
            await asyncio.sleep(0.35)
            assert not watchdog.expired
            watchdog.feed()
            await asyncio.wait_for(expired.wait(), 10)

    asyncio.run(main())
