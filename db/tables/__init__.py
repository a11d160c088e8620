"""Every table, so that the metadata is whole wherever one of them is imported."""

from db.tables import (
    broadcasts,
    conversations,
    deliveries,
    digests,
    establishments,
    inbound,
    officers,
    reports,
    sealing,
    standing,
    troubles,
    web,
)

__all__ = [
    "broadcasts",
    "conversations",
    "deliveries",
    "digests",
    "establishments",
    "inbound",
    "officers",
    "reports",
    "sealing",
    "standing",
    "troubles",
    "web",
]
