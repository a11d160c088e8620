"""`run.py bench`: what we promise about speed, measured on this machine beside the alternatives.

Absolute times drift with the machine and its other work, so what counts are ratios and counts from one run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

import click

from bench.claim import claim_cost
from bench.flood import flood
from bench.inbound import inbound
from bench.kill.torment import kill
from bench.places import places
from bench.process import memory, start
from bench.sending import cpu, rate, throughput
from bench.tools import Bench, Result, Run, scratch
from bench.uploads import uploads

#: What can be measured, by the name that `run.py bench NAME` takes; a first docstring line says what it is.
BENCHES: dict[str, Bench] = {
    "rate": rate,
    "cpu": cpu,
    "throughput": throughput,
    "uploads": uploads,
    "claim": claim_cost,
    "places": places,
    "memory": memory,
    "start": start,
    "inbound": inbound,
    "flood": flood,
    "kill": kill,
}
_VERDICTS: Mapping[bool | None, str] = {True: "ok", False: "below goal", None: ""}


def bench(*, quick: bool, only: Sequence[str]) -> int:
    """Measure, and print a line for each result: name, measured, goal, verdict.

    Args:
        quick: Smaller sizes and one repetition, for a first look.
        only: Names from BENCHES; none means all.

    Returns: 0, also when a goal is missed, which is a fact and no failure; 2 for a name nobody knows.
    """
    if unknown := [name for name in only if name not in BENCHES]:
        click.echo(f"no such bench: {', '.join(unknown)}; there are {', '.join(BENCHES)}", err=True)
        return 2
    for name in only or BENCHES:
        began = time.monotonic()
        with scratch() as folder:
            for result in BENCHES[name](Run(quick, folder)):
                click.echo(line(result))
        click.echo(f"  ({name}: {time.monotonic() - began:.0f} s)")
    return 0


def line(result: Result) -> str:
    """A result in columns, for people and for grep."""
    return f"{result.name:<38} {result.measured:<34} {result.goal:<10} {_VERDICTS[result.is_met]}".rstrip()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Fewer repetitions and smaller tables.")
@click.argument("names", nargs=-1)
def main(quick: bool, names: tuple[str, ...]) -> None:
    """Measure speed and safety beside a peer; prints ratios."""
    sys.exit(bench(quick=quick, only=names))


if __name__ == "__main__":
    main(prog_name="run.py bench")
