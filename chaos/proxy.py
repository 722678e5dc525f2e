"""A TCP proxy: ports that lead to a server's, whose connections can be cut.

It carries bytes and knows nothing of what they mean.
"""

import asyncio
from typing import Self

CHUNK = 2**16
HOST = "127.0.0.1"


class Link:
    """A port of loopback that leads to another."""

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
        """Breaks off its connections, with what is on its way in them; False if there was none."""
        was_open = bool(self._open)
        for transport in tuple(self._open):
            transport.abort()
        return was_open

    def close(self) -> None:
        """Listens no longer, and cuts."""
        self._server.close()
        self.cut()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carries one connection until either side ends it."""
        try:
            there, back = await asyncio.open_connection(HOST, self.to)
        except OSError:  # the server is not there; who connected is told by the end of the connection
            writer.transport.abort()
            return
        ends = {writer.transport, back.transport}
        self._open |= ends
        ways = [asyncio.ensure_future(pump(reader, back)), asyncio.ensure_future(pump(there, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for transport in ends:
            transport.abort()
        await asyncio.gather(*ways)
        self._open -= ends


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carries bytes one way until there are no more."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except OSError:  # cut
        return
