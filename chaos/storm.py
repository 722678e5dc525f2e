"""A storm: replicas are killed, stopped and terminated, and connections cut, at random moments."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos.proxy import Link
from chaos.replicas import Replica

BLOWS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
STOPPED = (1.0, 6.0)
"""Seconds from SIGSTOP to SIGCONT: some less than the clients' idle timeout, some more."""
DOWNTIME = (0.0, 2.0)
"""Seconds until a replica that ended is started again."""


@dataclass(frozen=True)
class StormConfig:
    """How often the storm strikes."""

    seed: int
    blows: float = 8.0
    """Seconds between two blows to one replica, on average; the first of each comes after half of that."""
    cuts: float = 0.5
    """Seconds between two cuts, on average."""


@dataclass
class Storm:
    """Strikes replicas and links until it is stopped; then every replica runs."""

    config: StormConfig
    replicas: Sequence[Replica]
    links: Sequence[Link]
    struck: "Counter[signal.Signals]" = field(default_factory=Counter)
    cuts: int = 0
    """Links that were cut while somebody was connected."""
    bad_ends: list[int] = field(default_factory=list)
    """Exit codes after SIGTERM that are not 0."""

    def __post_init__(self) -> None:
        self._over = asyncio.Event()

    async def blow(self) -> None:
        """Strikes until `stop` is called."""
        harassing = [self._harass(i, replica) for i, replica in enumerate(self.replicas)]
        await asyncio.gather(self._cut(), *harassing)

    def stop(self) -> None:
        """Ends the storm; `blow` returns once every replica runs."""
        self._over.set()

    async def _cut(self) -> None:
        chance = random.Random(f"{self.config.seed} cuts")  # noqa: S311
        while await self._calm(chance.expovariate(1 / self.config.cuts)):
            self.cuts += chance.choice(self.links).cut()

    async def _harass(self, number: int, replica: Replica) -> None:
        """Strikes one replica with each signal in turn, each round in another order."""
        chance = random.Random(f"{self.config.seed} replica {number}")  # noqa: S311
        calm = self.config.blows / 2
        while True:
            for blow in chance.sample(BLOWS, len(BLOWS)):
                if not await self._calm(calm):
                    return
                await self._strike(replica, blow, chance)
                self.struck[blow] += 1
                calm = chance.expovariate(1 / self.config.blows)

    async def _strike(self, replica: Replica, blow: signal.Signals, chance: random.Random) -> None:
        """Strikes once, and sees to it that the replica comes back."""
        replica.send(blow)
        if blow == signal.SIGSTOP:
            await asyncio.sleep(chance.uniform(*STOPPED))
            replica.send(signal.SIGCONT)
            return
        code = await replica.ended()
        if blow == signal.SIGTERM and code:
            self.bad_ends.append(code)
        await asyncio.sleep(chance.uniform(*DOWNTIME))
        await replica.start()

    async def _calm(self, seconds: float) -> bool:
        """Waits for some seconds; False once the storm is over."""
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            return True
        return False
