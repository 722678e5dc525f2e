"""What is asked again after a call broke off: never a token twice, never one left out."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import charloom.v1.charloom_pb2 as pb
from charloom.client.journal import Journal

START = pb.Start(model="m", bundle_digest="sha256:d", execution_class="int8/cpu", seed=2**64 - 1, exact=True)


def journal(**asked: Any) -> Journal:
    return Journal(pb.GenerateRequest(prompt="The ", token_ids=True, max_tokens=100, **asked))


def part(tokens: list[int], position: int, state: int | None = None, **more: Any) -> pb.GenerateResponse:
    response = pb.GenerateResponse(token_ids=tokens, position=position, **more)
    if state is not None:
        response.state.CopyFrom(pb.State(token=f"state {state}".encode(), position=state))
    return response


def test_before_anything_was_heard_the_request_is_asked_again() -> None:
    book = journal(n=3)
    assert list(book.remaining()) == [(None, book.request)]
    book.take(0, pb.GenerateResponse(start=START))
    ((index, again),) = book.remaining()
    assert index is None
    assert (again.seed, again.n, again.prompt) == (START.seed, 3, "The ")
    assert again.bundle_digest == "sha256:d"
    assert not again.execution_class, "nothing was generated there yet"


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.booleans(), st.integers(0, 9)), max_size=20)
)
def test_each_text_goes_on_after_its_last_token(
    parts: list[tuple[int, int, bool, int]],
) -> None:
    book = journal(n=3)
    book.take(0, pb.GenerateResponse(start=START))
    heard: dict[int, list[int]] = {0: [], 1: [], 2: []}
    states: dict[int, int] = {}
    for index, count, saved, back in parts:
        tokens = [1000 * index + len(heard[index]) + i for i in range(count)]
        heard[index] += tokens
        position = 4 + len(heard[index])
        if saved:
            states[index] = max(states.get(index, 4), position - min(back, count))
        book.take(index, part(tokens, position, states[index] if saved else None))
    if not (any(heard.values()) or states):
        return
    rest = dict(book.remaining())
    assert rest.keys() == {0, 1, 2}
    for index, message in rest.items():
        assert index is not None
        assert message.token_ids
        assert message.bundle_digest == "sha256:d"
        if index in states:
            assert message.state == f"state {states[index]}".encode()
            assert message.resume
            assert list(message.replay) == heard[index][states[index] - 4 :]
            assert not message.prompt
            assert not message.HasField("seed")
        else:
            assert list(message.replay) == heard[index]
            assert message.seed == (START.seed + index) % 2**64
            assert not message.HasField("n")
            assert message.prompt == "The "
        assert message.execution_class == ("int8/cpu" if message.replay else "")


def test_what_is_complete_is_not_asked_for() -> None:
    book = journal(n=2)
    book.take(0, pb.GenerateResponse(start=START))
    book.take(1, part([5], 5, finish=pb.Finish()))
    assert [index for index, _ in book.remaining()] == [0]
    book.take(0, part([6], 5, finish=pb.Finish()))
    assert list(book.remaining()) == []


def test_a_state_can_be_dropped_but_not_the_tokens_before_it() -> None:
    book = journal()
    book.take(0, pb.GenerateResponse(start=START))
    book.take(0, part([1, 2, 3], 7, state=6))
    ((_, message),) = book.remaining()
    assert list(message.replay) == [3]
    assert book.drop_states()
    ((_, message),) = book.remaining()
    assert list(message.replay) == [1, 2, 3]
    assert not message.state
    assert message.seed == START.seed
    assert not book.drop_states()


def test_what_goes_on_with_a_state_of_the_user_keeps_it() -> None:
    book = Journal(pb.GenerateRequest(state=b"mine", resume=True, token_ids=True))
    book.take(0, pb.GenerateResponse(start=START))
    book.take(0, part([1, 2], 50))
    ((_, message),) = book.remaining()
    assert (message.state, message.resume, list(message.replay)) == (b"mine", True, [1, 2])
    assert not message.HasField("seed"), "the state has its own"
