"""Runs a command that ends with whoever started it, even by a kill: then its standard input ends."""

import os
import signal
import sys
from threading import Thread

from charloom.cli import main


def watch() -> None:
    """Ends this process as soon as standard input ends."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    Thread(target=watch, name="watch", daemon=True).start()
    main(sys.argv[1:])
