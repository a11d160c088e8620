"""`python -m bot`: the same as `binhyen`."""

from commands.cli import main

main()
