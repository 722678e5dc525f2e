"""Malformed requests, from wrong fields to bytes that are no HTTP: each must be refused, without a leak."""

import asyncio
from collections.abc import Callable

import grpc
import grpc.aio

import charloom.v1.charloom_pb2 as pb

METHOD = "/charloom.v1.CharloomService/Generate"
WRONG = (
    pb.GenerateRequest(model="gru", top_p=2.0),
    pb.GenerateRequest(model="gru", max_tokens=2**32 - 1),
    pb.GenerateRequest(model="gru", prompt="\N{SNOWMAN}" * 1000),
    pb.GenerateRequest(model="gru", n=100_000),
    pb.GenerateRequest(model="gru", replay=[10**6] * 10_000, seed=1),
    pb.GenerateRequest(model="gru", resume=True),
    pb.GenerateRequest(model="gru", state=b"CLST" + b"\x01" * 500, resume=True),
    pb.GenerateRequest(model="gru", state=bytes(100_000)),
    pb.GenerateRequest(model="gru", logit_bias=[pb.LogitBias(bias=1.0)] * 400),
    pb.GenerateRequest(model="none of them"),
)
"""Well-formed messages with impossible fields."""
GARBAGE = (b"\xff" * 1000, b"\x0a\xff\xff\xff\xff\x0f", b"\x12" * 100_000, bytes(5 * 2**20))
"""Bytes in place of messages; the last one is larger than gRPC takes."""
NO_HTTP = (b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01" + bytes(500), b"")
"""Bytes in place of a connection; the second is the beginning of one."""

PIECES = len(WRONG) + len(GARBAGE) + len(NO_HTTP)


async def talk(address: str) -> int:
    """Sends all of them; gives how many were not refused."""
    taken = 0
    async with grpc.aio.insecure_channel(address) as channel:
        for message in WRONG:
            taken += not await refused(channel, message.SerializeToString())
        for garbage in GARBAGE:
            taken += not await refused(channel, garbage)
    for opening in NO_HTTP:
        await hang_up(address, opening)
    return taken


async def refused(channel: grpc.aio.Channel, message: bytes) -> bool:
    """Whether a message is refused as malformed."""
    raw: Callable[[bytes], bytes] = bytes
    call = channel.unary_stream(METHOD, request_serializer=raw, response_deserializer=raw)(message)
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    call.cancel()
    return False


async def hang_up(address: str, opening: bytes) -> None:
    """Connects, sends some bytes and aborts."""
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(opening)
    await asyncio.sleep(0.05)
    writer.transport.abort()
