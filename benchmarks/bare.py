"""The bare engine under a load: the same requests as a server gets, stepped in this process.

What the server's rate is compared with. It knows neither gRPC nor processes.
"""

import time

from benchmarks.load import Ask, Load
from serving.engine.config import SchedulerConfig
from serving.engine.engine import Engine
from serving.engine.request import Request
from serving.engine.stream import Stream
from serving.model import Model


def bare_rate(model: Model, load: Load) -> float:
    """Tokens a second that the engine generates."""
    engine = model.engine(SchedulerConfig())
    users = {}
    for user in range(load.streams):
        asks = load.requests(user)
        users[submit(engine, next(asks))] = asks
    began = now = time.perf_counter()
    counts_from = began if load.tokens else began + load.ramp
    tokens = 0
    while not engine.empty and (load.tokens or now < counts_from + load.seconds):
        updates = engine.step().updates
        now = time.perf_counter()
        for update in updates:
            assert update.error is None, "nothing can go wrong here"
            update.stream.consumed = update.stream.released
            tokens += len(update.sampled) if now >= counts_from else 0
            if update.final:
                asks = users.pop(update.stream)
                if not load.tokens:
                    users[submit(engine, next(asks))] = asks
    return tokens / (now - counts_from)


def submit(engine: Engine, ask: Ask) -> Stream:
    """Lets one request in."""
    return engine.submit(Request(engine.vocabulary.encode(ask.prompt), ask.max_tokens, ask.seed))
