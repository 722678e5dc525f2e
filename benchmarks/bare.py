"""The bare engine under a load: the requests that a server gets, stepped in this process, for comparison."""

import time

from benchmarks.load import Load, LoadRequest
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
        requests = load.requests(user)
        users[submit(engine, next(requests))] = requests
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
                requests = users.pop(update.stream)
                if not load.tokens:
                    users[submit(engine, next(requests))] = requests
    return tokens / (now - counts_from)


def submit(engine: Engine, request: LoadRequest) -> Stream:
    """Submits one request."""
    prompt = engine.vocabulary.encode(request.prompt)
    return engine.submit(Request(prompt, request.max_tokens, request.seed))
