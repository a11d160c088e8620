"""`run.py demo`: a made-up ward in the browser."""

from __future__ import annotations

import asyncio
import os
import sys

import click

from demo.house import run_demo


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--selfcheck", is_flag=True, help="Walk the five steps over HTTP, then exit.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free port.")
@click.option("--host", default="127.0.0.1", show_default=True)
def main(selfcheck: bool, port: int, host: str) -> None:
    """Try it in a browser: a made-up ward, no token, no account."""
    os.umask(0o077)
    sys.exit(asyncio.run(run_demo(host=host, port=port, selfcheck=selfcheck)))


main(prog_name="run.py demo")
