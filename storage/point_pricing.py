"""How the registers of points are priced: phases, names of rates, and the residual one.

They have no days: another pricing holds for all that was ever billed of the point. So it follows
the files only where nothing was; else it waits for a second person, as a version of a tariff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from storage.documents import Said, add_document, add_review
from storage.settling import ALL_DAYS, mark_points
from storage.sql import Connection, fetch_rows, load

SQL = load("point_pricing")
KIND: Final = "point_pricing"
"""Of the document by which it waits."""
WITHDRAWN: Final = "the points file says otherwise by now"
"""Why a document ends that no person rejected."""
REJECTED: Final = (
    "points.csv, {0}: phases, rates or residual_rate were rejected (document {1}) and do not "
    "count: write what counts"
)


class Pricing(NamedTuple):
    """`rates`: names of the rate registers with blanks between; `residual_rate`: empty for none."""

    phases: int
    rates: str
    residual_rate: str


class WaitingPricing(NamedTuple):
    """Another pricing that waits. `counts`: what does until then. `owner`: of the file."""

    document: int
    actor: str
    owner: str | None
    point: str
    point_id: int
    counts: Pricing
    told: Pricing


class _Differing(NamedTuple):
    point_id: int
    point: str
    phases: int
    rates: str
    residual_rate: str
    is_same: bool
    is_billed: bool
    document: int | None
    content: Mapping[str, Any] | None
    verdict: str

    @property
    def told(self) -> Pricing:
        return Pricing(self.phases, self.rates, self.residual_rate)

    @property
    def was_told_last(self) -> bool:
        """Whether the last document of the point says the same."""
        return self.content is not None and _pricing_of(self.content) == self.told


class Followed(NamedTuple):
    """`rated_anew`: ids of points that are priced otherwise now. `rejected`: words for each of
    which the files still say what a person rejected."""

    rated_anew: Sequence[int]
    rejected: Sequence[str]


async def follow_files(connection: Connection, actor: str, owner: str | None) -> Followed:
    """Of the staged points: what may follow the files at once, and the others begin to wait.

    `actor`: who asked for it; `owner`: of the points file."""
    await connection.execute(SQL["find_billed"])
    rows = await fetch_rows(connection, SQL["differing"], {"withdrawn": WITHDRAWN})
    rated_anew = []
    rejected = []
    for it in map(_Differing._make, rows):
        is_asked = it.is_billed and not it.is_same
        if it.document is not None and it.verdict == "waits":
            if is_asked and it.was_told_last:
                continue
            said = Said(actor, WITHDRAWN)
            await add_review(connection, it.document, "rejected", said)
        elif is_asked and it.verdict == "rejected" and it.was_told_last:
            rejected.append(REJECTED.format(it.point, it.document))
            continue
        if is_asked:
            said = Said(actor, "the points file says so")
            content = {"point": it.point, **it.told._asdict(), "owner": owner}
            await add_document(connection, KIND, None, said, content, waits=True)
        elif not it.is_same:
            rated_anew.append(it.point_id)
    return Followed(rated_anew, rejected)


async def waiting(connection: Connection, number: int | None = None) -> list[WaitingPricing]:
    """Those that wait, or the one of a document."""
    return [
        WaitingPricing(
            document,
            actor,
            content["owner"],
            content["point"],
            point_id,
            Pricing(*counts),
            _pricing_of(content),
        )
        for document, actor, content, *counts, point_id in await fetch_rows(
            connection, SQL["waiting"], {"number": number}
        )
    ]


async def write(connection: Connection, waits: WaitingPricing) -> None:
    """Let it count; who is billed for the point is settled anew."""
    values = {"point_id": waits.point_id, **waits.told._asdict()}
    await connection.execute(SQL["write"], values)
    await mark_points(connection, {waits.point_id: ALL_DAYS}, "facts")


def _pricing_of(content: Mapping[str, Any]) -> Pricing:
    return Pricing(*(content[name] for name in Pricing._fields))
