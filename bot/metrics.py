"""What `/metrics` tells: how much waits, what became of sends, which channel is down. Counts only, nobody's name."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from conversations.inbound import count_waiting
from db.tables.deliveries import Delivery
from db.tables.reports import Report, ReportState
from deliveries.dispatch import Dispatcher
from deliveries.outcomes import Outcome


class Metrics:
    """The unit's gauges and counters, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._outcomes = Counter(
            "binhyen_deliveries", "What became of attempts to send", ["channel", "state"], registry=self.registry
        )
        self._waiting = Gauge(
            "binhyen_deliveries_waiting", "Deliveries not sent yet", ["channel"], registry=self.registry
        )
        self._unknown = Gauge("binhyen_deliveries_unknown", "Sends whose answer never came", registry=self.registry)
        self._updates = Gauge("binhyen_updates_waiting", "Updates not acted upon yet", registry=self.registry)
        self._reports = Gauge("binhyen_reports_waiting", "Reports nobody has taken", registry=self.registry)
        self._up = Gauge("binhyen_channel_up", "1 while a channel takes messages", ["channel"], registry=self.registry)

    def count(self, outcome: Outcome) -> None:
        """Count what became of one attempt."""
        self._outcomes.labels(outcome.delivery.to.channel, outcome.state).inc()

    async def measure(self, session: AsyncSession, dispatchers: Mapping[str, Dispatcher]) -> None:
        """Read the gauges; every query uses an index over what waits, so the cost does not grow with the past."""
        counted = await session.execute(
            select(Delivery.channel, func.count()).where(text("state = 'pending'")).group_by(Delivery.channel)
        )
        waiting = {row[0]: row[1] for row in counted}
        for channel, dispatcher in dispatchers.items():
            self._waiting.labels(channel).set(waiting.get(channel, 0))
            self._up.labels(channel).set(0 if dispatcher.down else 1)
        unknown = await session.scalar(select(func.count()).where(text("state = 'unknown'")).select_from(Delivery))
        updates = await count_waiting(session)
        reports = await session.scalar(select(func.count()).where(Report.state == ReportState.RECEIVED))
        self._unknown.set(unknown or 0)
        self._updates.set(updates)
        self._reports.set(reports or 0)
