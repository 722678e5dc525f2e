"""Requests for text as they go over the wire, made of options."""

from typing import Any

import charloom.v1.charloom_pb2 as pb
from charloom.options import GenerateOptions, Token, check


def to_message(
    prompt: str, options: GenerateOptions, n: int = 1, logprobs: int | None = None
) -> pb.GenerateRequest:
    """The request as it goes over the wire.

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
    """A token's name as it goes over the wire."""
    return pb.Token(text=token) if isinstance(token, str) else pb.Token(id=token)
