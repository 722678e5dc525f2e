"""Requests for text in the wire's form, made from options."""

from typing import Any

import charloom.v1.charloom_pb2 as pb
from charloom.options import GenerateOptions, Token, check

STATE_INTERVAL = 4096
"""Tokens of a long text between two requested states, so that a replay stays short."""


def to_message(
    prompt: str, options: GenerateOptions, n: int = 1, logprobs: int | None = None
) -> pb.GenerateRequest:
    """The request in the wire's form.

    Raises:
        InvalidRequestError: an option has a value that no server takes.
    """
    check(options, n, logprobs)
    fields: dict[str, Any] = dict(vars(options))  # they have the same names on the wire
    for name, tokens in options.named_tokens.items():
        fields[name] = [to_token(token) for token in tokens]
    fields["logit_bias"] = [
        pb.LogitBias(token=token, bias=bias)
        for token, (_, bias) in zip(fields["logit_bias"], options.logit_bias, strict=True)
    ]
    return pb.GenerateRequest(prompt=prompt, n=n, logprobs=logprobs, **fields)


def to_token(token: Token) -> pb.Token:
    """A token's text or id in the wire's form."""
    return pb.Token(text=token) if isinstance(token, str) else pb.Token(id=token)


def shape(
    message: pb.GenerateRequest,
    model: str,
    token_ids: bool,
    state: bytes,
    return_state: bool,
    state_interval: int | None,
    require_exact: bool,
) -> None:
    """Sets the fields of a request that say where it runs and what comes back, as `generate` takes them."""
    message.model, message.token_ids, message.require_exact = model, token_ids, require_exact
    message.state, message.return_state = state, return_state
    message.state_interval = interval(message.max_tokens) if state_interval is None else state_interval


def interval(max_tokens: int) -> int:
    """Tokens between two states of a text of this length; 0 for a short one, which is soon replayed."""
    return STATE_INTERVAL if max_tokens > STATE_INTERVAL else 0
