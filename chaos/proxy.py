"""A TCP proxy: ports that forward to a server's, and whose connections can be cut."""

import asyncio
from typing import Self

CHUNK = 2**16
HOST = "127.0.0.1"


class Link:
    """A port of loopback that forwards to another."""

    def __init__(self, to: int) -> None:
        self.to = to
        self._open: set[asyncio.WriteTransport] = set()

    async def listen(self) -> Self:
        """Opens the port."""
        self._server = await asyncio.start_server(self._carry, HOST, 0)
        return self

    @property
    def address(self) -> str:
        """HOST:PORT where it listens."""
        return f"{HOST}:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> bool:
        """Aborts its connections, with the bytes on their way; False if there was none."""
        was_open = bool(self._open)
        for transport in tuple(self._open):
            transport.abort()
        return was_open

    def close(self) -> None:
        """Stops listening, and cuts."""
        self._server.close()
        self.cut()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards one connection until either side ends it."""
        try:
            there, back = await asyncio.open_connection(HOST, self.to)
        except OSError:  # the server is gone; the client sees its connection end
            writer.transport.abort()
            return
        ends = {writer.transport, back.transport}
        self._open |= ends
        pumps = [asyncio.ensure_future(pump(reader, back)), asyncio.ensure_future(pump(there, writer))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for transport in ends:
            transport.abort()
        await asyncio.gather(*pumps)
        self._open -= ends


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forwards the bytes of one direction until there are no more."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except OSError:  # cut
        return
