"""`binhyen bench`: what we promise about speed, measured on this machine beside the alternatives.

Absolute times drift with the machine and its other work, so what counts are ratios and counts from one run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import click

from bot.bench_claim import claim_cost
from bot.bench_flood import flood
from bot.bench_inbound import inbound
from bot.bench_kill import kill
from bot.bench_places import places
from bot.bench_process import memory, start
from bot.bench_sending import cpu, rate, throughput
from bot.bench_tools import Bench, Result, Run, scratch
from bot.bench_uploads import uploads

#: What can be measured, by the name that `binhyen bench NAME` takes; a first docstring line says what it is.
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
