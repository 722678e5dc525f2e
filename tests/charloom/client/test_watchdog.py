"""Watchdogs bark once when nobody feeds them, and leave nothing behind."""

import asyncio
import threading
import time

from charloom.client.watchdog import Patience, Watchdog


def test_a_watchdog_barks_once_nobody_feeds_it_and_leaves_with_its_context() -> None:
    barks: list[float] = []
    with Watchdog(lambda: barks.append(time.monotonic()), 1) as dog:
        for _ in range(15):
            time.sleep(0.1)
            fed = time.monotonic()
            dog.feed()
        while not dog.barked and time.monotonic() < fed + 10:
            time.sleep(0.01)
    assert len(barks) == 1
    assert barks[0] >= fed + 1
    with Watchdog(lambda: barks.append(0), 0.3) as quiet:
        pass
    time.sleep(0.5)
    assert not quiet.barked
    assert len(barks) == 1


def test_a_watchdog_is_gone_with_its_context() -> None:
    for _ in range(200):
        with Watchdog(lambda: None, 30):
            pass
        assert not [thread for thread in threading.enumerate() if thread.name == "watchdog"]


def test_a_watchdog_that_rests_expects_nothing_until_it_is_fed() -> None:
    barks: list[float] = []
    with Watchdog(lambda: barks.append(time.monotonic()), 0.3) as dog:
        dog.rest()
        time.sleep(0.5)
        assert not dog.barked
        fed = time.monotonic()
        dog.feed()
        while not dog.barked and time.monotonic() < fed + 10:
            time.sleep(0.01)
    assert len(barks) == 1
    assert barks[0] >= fed + 0.3


def test_patience_that_rests_is_not_lost_until_it_is_renewed() -> None:
    async def main() -> None:
        lost = asyncio.Event()
        with Patience(lost.set, 0.1) as patience:
            patience.rest()
            await asyncio.sleep(0.35)
            assert not patience.lost
            patience.renew()
            await asyncio.wait_for(lost.wait(), 10)

    asyncio.run(main())
