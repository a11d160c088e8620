"""Short public numbers: four characters nobody confuses on the phone."""

from __future__ import annotations

import secrets

_LETTERS = "23456789ACDEFGHJKMNPQRTVWXY"


def new_number(prefix: str, *, length: int = 4) -> str:
    """A random number such as `TB-7K3F`; whoever stores it makes sure it is free."""
    return f"{prefix}-" + "".join(secrets.choice(_LETTERS) for _ in range(length))
