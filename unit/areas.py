"""Areas of the ward: a tree, found by folded name."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables.establishments import Area
from texts.folding import fold


async def add_area(session: AsyncSession, name: str, *, parent_id: int | None = None) -> Area:
    """Add an area, or return the one of that name."""
    folded = fold(name)
    area: Area | None = await session.scalar(
        select(Area).where(
            Area.folded == folded, Area.parent_id.is_(None) if parent_id is None else Area.parent_id == parent_id
        )
    )
    if area is None:
        area = Area(name=name.strip(), folded=folded, parent_id=parent_id)
        session.add(area)
        await session.flush()
    return area


async def present_areas(session: AsyncSession) -> list[Area]:
    """Every area that has no successor, in the order they were added."""
    return list(await session.scalars(select(Area).where(Area.successor_id.is_(None)).order_by(Area.id)))


async def area_name(session: AsyncSession, area_id: int | None) -> str:
    """The name of an area; empty when there is none."""
    area = await session.get(Area, area_id) if area_id is not None else None
    return area.name if area else ""
