"""Links carry bytes until they are cut."""

import asyncio

from chaos.proxy import HOST, Link


def test_a_link_carries_until_it_is_cut_and_then_again() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def say(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        return reader, writer

    async def run() -> None:
        server = await asyncio.start_server(echo, HOST, 0)
        link = await Link(server.sockets[0].getsockname()[1]).listen()
        assert not link.cut(), "nobody is connected"
        for _ in range(2):
            reader, writer = await say(link.address)
            assert link.cut()
            assert await reader.read() == b""
            writer.close()
        server.close()
        reader, writer = await asyncio.open_connection(*link.address.split(":"))
        assert await reader.read() == b"", "there is no server, which is told by the end"
        writer.close()
        link.close()

    asyncio.run(asyncio.wait_for(run(), 20))
