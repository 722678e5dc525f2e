"""`python -m training` is `charloom train`."""

import sys

from charloom.cli import main

main(["train", *sys.argv[1:]])
