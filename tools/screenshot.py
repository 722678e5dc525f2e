"""Draws the README's picture of `charloom write`: keys that are pressed, and the screen after them.

make screenshot BUNDLE=build/demo/bundle
"""

import asyncio
import re
import sys
from pathlib import Path

from textual.pilot import Pilot

from writing.app import WriteApp
from writing.main import WritingFlags
from writing.own_server import OwnServer
from writing.session import begin
from writing.writer import Writer

PICTURE = Path("docs/write.svg")
SIZE = (84, 17)
SEED = 4
FONTS = re.compile(r"@font-face\s*\{[^}]*\}\s*")
"""Fonts from elsewhere: the picture is to need nothing but itself."""
FLAGS = WritingFlags(temperature=0.5)


async def main(bundle: Path) -> None:
    """Presses the keys of a story that is begun, forked and gone on with."""
    with OwnServer(bundle) as server:
        writer = Writer(lambda: begin(server.address(), "", b"", "", FLAGS), seed=SEED, pause=0)
        app = WriteApp(writer)
        async with app.run_test(size=SIZE) as pilot:
            await written(pilot, *typed("The import statement "), "ctrl+e")
            await written(pilot, "ctrl+f", "enter")
            await written(pilot, *typed(" If a module "), "ctrl+e")
            await written(pilot, *typed(" A class"))
            picture = app.export_screenshot(title="charloom write", simplify=True)
            PICTURE.write_text(FONTS.sub("", picture), encoding="utf-8")
            app.exit()


def typed(text: str) -> list[str]:
    """The keys of a text."""
    return ["space" if character == " " else character for character in text]


async def written(pilot: Pilot[None], *keys: str) -> None:
    """Presses keys, and waits until all is done that they ask for."""
    await pilot.press(*keys)
    await pilot.pause(4)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
