"""When to try again: not for ever, not at once, not all together, and as the server asks."""

import grpc
from hypothesis import given
from hypothesis import strategies as st

from charloom.client.retries import RETRYABLE, Retries, RetryConfig

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@given(attempts=st.integers(1, 20), chance=st.floats(0, 1))
def test_gives_up_after_so_many_failures_in_a_row(attempts: int, chance: float) -> None:
    retries = Retries(RetryConfig(max_attempts=attempts, initial_backoff=0.1, max_backoff=2), lambda: chance)
    delays = [retries.delay(UNAVAILABLE, None) for _ in range(attempts)]
    assert delays[-1] is None
    assert None not in delays[:-1]
    for count, delay in enumerate(delays[:-1]):
        full = min(2, 0.1 * 2**count)
        assert delay is not None
        assert full / 2 <= delay <= full
    retries.reset()
    assert (retries.delay(UNAVAILABLE, None) is None) == (attempts == 1)


def test_waits_as_long_as_the_server_asks_but_not_for_ever() -> None:
    retries = Retries(RetryConfig(initial_backoff=0.01, max_retry_after=3), lambda: 1.0)
    assert retries.delay(UNAVAILABLE, 1.5) == 1.5
    assert retries.delay(UNAVAILABLE, 3600) == 3
    assert retries.delay(UNAVAILABLE, 0.001) == 0.04


def test_what_the_request_itself_is_to_blame_for_is_not_tried_again() -> None:
    hopeless = {code for code in grpc.StatusCode if code not in RETRYABLE}
    assert hopeless >= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DEADLINE_EXCEEDED}
    for code in hopeless:
        assert Retries(RetryConfig()).delay(code, None) is None
