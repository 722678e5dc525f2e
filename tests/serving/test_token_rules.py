"""What a request says of single tokens, against a vocabulary; and all that is wrong with it at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.options import GenerateOptions, InvalidRequestError
from charloom.vocabulary import CharacterVocabulary
from serving.engine.request import prepare
from serving.engine.token_rules import TokenRules

LETTERS = CharacterVocabulary("abcd")
NAMES = st.lists(st.integers(0, 3) | st.sampled_from("abcd"), max_size=5)


def ids(names) -> set[int]:
    return {LETTERS.find(name) if isinstance(name, str) else name for name in names}


@given(allowed=NAMES, forbidden=NAMES, stop=NAMES, min_tokens=st.integers(0, 2))
def test_some_token_can_always_be_chosen_or_the_request_is_refused(
    allowed, forbidden, stop, min_tokens
) -> None:
    options = GenerateOptions(
        allowed_tokens=allowed, forbidden_tokens=forbidden, stop_tokens=stop, min_tokens=min_tokens
    )
    left = (ids(allowed) or {0, 1, 2, 3}) - ids(forbidden)
    at_first = left - ids(stop) if min_tokens else left
    if not at_first:
        with pytest.raises(InvalidRequestError) as caught:
            TokenRules.of(options, LETTERS)
        [violation] = caught.value.violations
        assert violation.field == ("min_tokens" if left else "forbidden_tokens")
        return
    rules = TokenRules.of(options, LETTERS)
    assert {t for t in range(4) if rules.allowed is None or rules.allowed[t]} == left
    assert set(rules.stop) == ids(stop)
    assert set(rules.biased.tolist()) == (ids(stop) if min_tokens else set())
    assert set(rules.until.tolist()) <= {min_tokens}


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("allowed_tokens", ("a", "e"), "names 'e', which is none of the model's 4 tokens"),
        ("allowed_tokens", ("ab",), "names 'ab'"),
        ("forbidden_tokens", ("",), "names ''"),
        ("stop_tokens", (4,), "names 4"),
        ("stop_tokens", ("x" * 10_000,), "names 'xxx"),
        ("logit_bias", {5: 1.0}, "names 5"),
        ("logit_bias", {"a": 1.0, 0: 2.0}, "names a token twice"),
    ],
)
def test_a_name_of_no_token_is_refused(field, value, reason) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        TokenRules.of(GenerateOptions(**{field: value}), LETTERS)
    [violation] = caught.value.violations
    assert violation.field == field
    assert violation.reason.startswith(reason)
    assert len(violation.reason) < 100


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        prepare("a%", GenerateOptions(top_p=2, seed=-1), LETTERS)
    assert [v.field for v in caught.value.violations] == ["top_p", "seed", "prompt"]
    with pytest.raises(InvalidRequestError) as caught:
        prepare("a%", GenerateOptions(stop_tokens="%", allowed_tokens=9), LETTERS)
    assert [v.field for v in caught.value.violations] == ["allowed_tokens", "stop_tokens", "prompt"]
