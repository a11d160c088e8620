"""`python -m bot`: the same as `binhyen`."""

from bot.cli import main

main()
