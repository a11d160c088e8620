"""A thief with a copy of the database and without its key, who knows statistics and our source.

He reads every table there is, whatever it is called, and follows from the rows of a report, and from the rows of a
person, whatever equals: values, foreign keys, instants (also those a fixed time apart), the transaction that wrote a
row. Then he compares what he found of every report with what he found of every person: by order, by times, by sizes,
by number. Nothing here names a column, so that one added tomorrow is tried as well.
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, MetaData, text

#: Rows are not followed through these: half the unit's rows hang on them.
HUBS = {"officers", "officer_chats", "shifts", "invitations", "notices", "broadcasts", "areas", "groups"}
#: Times our code adds to an instant; both of two such columns give the instant away.
APART = [timedelta(), *(timedelta(days=days) for days in (1, 3, 60, 90)), timedelta(seconds=90)]
_ALL_APART = sorted({sign * apart.total_seconds() for apart in APART for sign in (1, -1)})
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{6,}")
_DEEP, _EDGE = 3, 150
_SOME = 8
_CROWD = 40
_FILE, _SAMPLE = 20, 200

Node = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Row:
    """A row as the thief sees it: where it lies in its table, who wrote it (PostgreSQL), and its cells."""

    place: int
    writer: int | None
    cells: dict[str, Any]


@dataclass(slots=True)
class Loot:
    """A stolen database: rows in the order they lie in, and which columns refer to which."""

    tables: dict[str, list[Row]] = field(default_factory=dict)
    refers: list[tuple[str, str, str, str]] = field(default_factory=list)
    #: Tables of SQLite that number their rows by themselves, in the order they came.
    numbered: set[str] = field(default_factory=set)

    _sorted: dict[tuple[str, str | None], list[int]] = field(default_factory=dict)

    def rows(self, table: str) -> list[Row]:
        return self.tables.get(table, [])

    def standing(self, table: str, column: str | None, value: int) -> float:
        """Where a number stands among all of its column (None: the writers), from 0 to 1."""
        if (table, column) not in self._sorted:
            found = [row.writer if column is None else row.cells.get(column) for row in self.tables[table]]
            self._sorted[table, column] = sorted(number for number in found if isinstance(number, int))
        numbers = self._sorted[table, column]
        return (bisect_left(numbers, value) + bisect_right(numbers, value)) / 2 / len(numbers)

    def counts(self, table: str, column: str) -> bool:
        """Whether a column of numbers may say in what order rows came: it says more than yes or no."""
        self.standing(table, column, 0)
        return len(set(self._sorted[table, column])) >= _SOME


def steal(connection: Connection) -> Loot:
    """Everything there is, by a plain SELECT for each table: in the order of row numbers, or of the heap."""
    found = MetaData()
    found.reflect(connection)
    loot = Loot()
    sqlite = connection.dialect.name == "sqlite"
    for table in found.sorted_tables:
        hidden = "NULL" if sqlite else "xmin::text"
        rows = connection.execute(text(f'SELECT {hidden} AS "the writer", * FROM "{table.name}"')).mappings()  # noqa: S608
        loot.tables[table.name] = [
            Row(place, int(row["the writer"]) if row["the writer"] else None, _cells(row))
            for place, row in enumerate(rows)
        ]
        for key in table.foreign_keys:
            loot.refers.append((table.name, key.parent.name, key.column.table.name, key.column.name))
        if sqlite and _is_numbered(connection, table.name):
            loot.numbered.add(table.name)
    return loot


def _cells(row: Any) -> dict[str, Any]:
    cells = {name: value for name, value in row.items() if name != "the writer"}
    return {name: bytes(value) if isinstance(value, memoryview) else value for name, value in cells.items()}


def _is_numbered(connection: Connection, table: str) -> bool:
    """Whether a row has a number besides its own key, or a key that was counted."""
    columns = list(connection.execute(text(f'PRAGMA table_info("{table}")')).mappings())
    keys = [column for column in columns if column["pk"]]
    if len(keys) == 1 and keys[0]["type"].upper() == "INTEGER":
        ids = [row[0] for row in connection.execute(text(f'SELECT "{keys[0]["name"]}" FROM "{table}"'))]  # noqa: S608
        return bool(ids) and max(ids) < 2**40
    made = connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = :table"), {"table": table})
    return "WITHOUT ROWID" not in str(made).upper()


# --- what a cell says -----------------------------------------------------------------------------------------------


def instants(value: Any) -> list[datetime]:
    """Every instant in a cell: a time, one in the middle of a text, or a number of seconds or less since 1970."""
    match value:
        case datetime():
            return [value if value.tzinfo else value.replace(tzinfo=UTC)]
        case str():
            return [at for found in _INSTANT.findall(value) if (at := _parsed(found)) is not None]
        case bool():
            return []
        case int() | float():
            return [
                datetime.fromtimestamp(value / unit, UTC) for unit in (1, 10**3, 10**6) if 1.7e9 < value / unit < 2.2e9
            ]
        case _:
            return []


def _parsed(found: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(found)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def is_day(at: datetime) -> bool:
    return (at.hour, at.minute, at.second, at.microsecond) == (0, 0, 0, 0)


def is_hour(at: datetime) -> bool:
    return (at.minute, at.second, at.microsecond) == (0, 0, 0)


def _tokens(value: Any) -> Iterator[object]:
    match value:
        case bool() | datetime():
            return
        case int() if value > 1000:
            yield str(value)
        case bytes() if len(value) >= 8:
            yield value
        case str():
            yield from {value, *_TOKEN.findall(value)} if len(value) >= 6 else ()


def _in_file(loot: Loot) -> Iterator[tuple[int, list[Node]]]:
    """Rows that may have come one with the other, for there are as many: all of a table, or those alike in a column
    of few values. Each comes with how many there are."""
    for table, rows in loot.tables.items():
        if table in HUBS or len(rows) < _FILE:
            continue
        columns = rows[0].cells
        alike = {(column, str(row.cells.get(column))) for column in columns for row in rows[:_SAMPLE]}
        few = {column for column in columns if sum(1 for other, _ in alike if other == column) <= 3}
        yield len(rows), [(table, number) for number in range(len(rows))]
        for column, value in sorted(alike):
            nodes = [(table, number) for number, row in enumerate(rows) if str(row.cells.get(column)) == value]
            if column in few and _FILE <= len(nodes) < len(rows):
                yield len(nodes), nodes


# --- following ------------------------------------------------------------------------------------------------------


class Trail:
    """What hangs together."""

    def __init__(self, loot: Loot, roots: set[Node]) -> None:
        self._loot = loot
        self._knots: dict[object, set[Node]] = defaultdict(set)
        self._of: dict[Node, set[object]] = defaultdict(set)
        self._tie()
        self._drop_crowds(roots)

    def _tie(self) -> None:
        for table, rows in self._loot.tables.items():
            for number, row in enumerate(rows):
                if table not in HUBS:
                    for knot in self._knots_of(table, row):
                        self._knots[knot].add((table, number))

        for kind, nodes in _in_file(self._loot):
            for nth, node in enumerate(nodes):
                self._knots["nth", kind, nth].add(node)

    def _knots_of(self, table: str, row: Row) -> Iterator[object]:
        if row.writer is not None:
            yield "writer", row.writer
        for value in row.cells.values():
            for at in instants(value):
                yield from (("at", at - apart) for apart in APART if not is_day(at - apart))
            yield from (("value", token) for token in _tokens(value))
        for of, column, to, key in self._loot.refers:
            if of == table and to not in HUBS:
                yield "row", to, row.cells[column]
            if to == table:
                yield "row", to, row.cells[key]

    def _drop_crowds(self, roots: set[Node]) -> None:
        known = {
            token
            for table in HUBS
            for row in self._loot.rows(table)
            for v in row.cells.values()
            for token in _tokens(v)
        }
        for knot, nodes in self._knots.items():
            crowd = len(nodes) > _CROWD or len(nodes & roots) > 3
            if len(nodes) > 1 and not crowd and not (knot[0] == "value" and knot[1] in known):  # type: ignore[index]
                for node in nodes:
                    self._of[node].add(knot)

    def warmth(self, root: Node) -> dict[Node, float]:
        """How closely every row hangs on one: warmth that spreads over the knots, the more the fewer share a knot."""
        warm: dict[Node, float] = {root: 1.0}
        edge = dict(warm)
        for _ in range(_DEEP):
            spread: dict[Node, float] = defaultdict(float)
            for node, heat in sorted(edge.items(), key=lambda item: -item[1])[:_EDGE]:
                knots = self._of[node]
                whole = sum(1 / len(self._knots[knot]) for knot in knots)
                for knot in knots:
                    others = self._knots[knot]
                    share = heat / len(others) / whole / (len(others) - 1)
                    for other in others:
                        if other != node:
                            spread[other] += share
            for node, heat in spread.items():
                warm[node] = warm.get(node, 0.0) + heat
            edge = spread
        return warm


def own(warmths: dict[Node, dict[Node, float]]) -> dict[Node, set[Node]]:
    """The rows that hang on each root more closely than on all others together."""
    total: dict[Node, float] = defaultdict(float)
    for warm in warmths.values():
        for node, heat in warm.items():
            total[node] += heat
    return {
        root: {root, *(node for node, heat in warm.items() if heat > total[node] / 2)} for root, warm in warmths.items()
    }


# --- comparing ------------------------------------------------------------------------------------------------------

#: What a strategy knows of reports and persons: numbers, one or several each.
Known = dict[Node, list[float]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One way to tell, and for how many reports it named the right person."""

    strategy: str
    hits: int
    of: int
    #: How near the right persons were besides, where that can be said: minus the decimal logarithm of the chance.
    surprise: float = 0.0


def _features(loot: Loot, rows_of: dict[Node, set[Node]]) -> dict[tuple[str, str], Known]:
    """By (kind, where): order, time, size and number of the rows of each; what few have is left out."""
    features: dict[tuple[str, str], Known] = defaultdict(lambda: defaultdict(list))
    for root, nodes in rows_of.items():
        for table, number in nodes:
            row = loot.tables[table][number]
            features["order", table][root].append(row.place / len(loot.tables[table]))
            if row.writer is not None:
                features["order", f"{table} (writer)"][root].append(loot.standing(table, None, row.writer))
            for column, value in row.cells.items():
                for kind, found in _numbers(loot, table, column, value):
                    features[kind, f"{table}.{column}"][root].append(found)
        for table in {table for table, _ in nodes}:
            features["number", table][root].append(sum(1 for other, _ in nodes if other == table))
    return {
        key: {root: sorted({min(values), max(values)}) for root, values in known.items()}
        for key, known in features.items()
        if len(known) >= _SOME
    }


def _numbers(loot: Loot, table: str, column: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, bytes | str) and len(value) > 20:
        yield "size", len(value)
    for at in instants(value):
        yield "time", at.timestamp()
    if isinstance(value, int) and not isinstance(value, bool) and loot.counts(table, column):
        yield "order", loot.standing(table, column, value)


def _by_order(reports: Known, people: Known) -> Iterator[tuple[str, dict[Node, Node]]]:
    """The first report is the first person's, and so on; by their first and by their last rows."""
    for one, other in ((min, min), (max, max), (min, max)):
        yield f"{one.__name__}/{other.__name__}", dict(zip(_sorted(reports, one), _sorted(people, other), strict=False))


def _sorted(known: Known, which: Callable[[Iterable[float]], float]) -> list[Node]:
    return sorted(known, key=lambda node: which(known[node]))


def _distances(reports: Known, people: Known, apart: float) -> dict[Node, dict[Node, float]]:
    """How far each report is from each person."""
    return {
        report: {person: min(abs(a - b - apart) for a in values for b in theirs) for person, theirs in people.items()}
        for report, values in reports.items()
    }


def _nearest(distances: dict[Node, dict[Node, float]], chance: random.Random) -> dict[Node, Node]:
    guesses = {}
    for report, far in distances.items():
        best = min(far.values())
        guesses[report] = chance.choice([person for person, distance in far.items() if distance == best])
    return guesses


def _surprise(distances: dict[Node, dict[Node, float]], truth: dict[Node, Node]) -> float:
    """How unlikely it is that the right persons are so near, were all equally likely (Fisher's sum of logarithms)."""
    told, count = 0.0, 0
    for report, far in distances.items():
        right = far.get(truth[report]) if report in truth else None
        if right is not None:
            nearer = sum(distance < right for distance in far.values())
            as_near = sum(distance == right for distance in far.values())
            told -= math.log((nearer + as_near / 2) / len(far))
            count += 1
    # The tail of a sum of `count` exponentials is that of a Poisson number.
    logs = [-told + k * math.log(told) - math.lgamma(k + 1) for k in range(count)] if told > count else [0.0]
    return max(0.0, -max(logs) / math.log(10) - math.log10(max(1, count)))


def attack(loot: Loot, reports: Sequence[Node], people: Sequence[Node], truth: dict[Node, Node]) -> list[Finding]:
    """Try everything. `people` are the persons of whom it is known that they reported, as roots of their rows."""
    chance = random.Random(7)
    trail = Trail(loot, {*reports, *people})
    of_reports = {root: trail.warmth(root) for root in reports}
    of_people = {root: trail.warmth(root) for root in people}
    findings: list[Finding] = []
    votes: dict[Node, dict[Node, int]] = defaultdict(lambda: defaultdict(int))

    def tried(strategy: str, guesses: dict[Node, Node], surprise: float = 0.0) -> None:
        right = sum(truth.get(report) == person for report, person in guesses.items())
        findings.append(Finding(strategy, right, len(guesses), surprise))
        for report, person in guesses.items():
            votes[report][person] += 1

    cold = _cold(of_reports, of_people)
    tried("hanging together", _nearest(cold, chance), _surprise(cold, truth))
    theirs = _features(loot, own(of_people))
    for (kind, where), known in _features(loot, own(of_reports)).items():
        for (_, there), people_known in ((key, known) for key, known in theirs.items() if key[0] == kind):
            name = f"{kind} of {where} and {there}"
            for how, guesses in _by_order(known, people_known) if kind == "order" else ():
                tried(f"{name}, {how}", guesses)
            for apart in _ALL_APART if kind == "time" else (0,):
                distances = _distances(known, people_known, apart)
                tried(f"{name}, {apart:.0f} apart", _nearest(distances, chance), _surprise(distances, truth))
    tried("all of it together", {r: max(of, key=lambda person: of[person]) for r, of in votes.items()})
    return findings


def _cold(
    of_reports: dict[Node, dict[Node, float]], of_people: dict[Node, dict[Node, float]]
) -> dict[Node, dict[Node, float]]:
    """How far each report is from each person: the less warmth they share, the farther."""
    return {
        report: {
            person: -sum(heat * theirs[node] for node, heat in warm.items() if node in theirs)
            for person, theirs in of_people.items()
        }
        for report, warm in of_reports.items()
    }


def chance_bound(of: int, people: int, strategies: int, *, doubt: float) -> int:
    """So many right guesses nobody has by chance, however many strategies are tried."""
    limit, share = doubt / max(1, strategies), 1 / max(1, people)
    tail, hits = 1.0, 0
    while tail > limit and hits <= of:
        tail -= math.comb(of, hits) * share**hits * (1 - share) ** (of - hits)
        hits += 1
    return hits
