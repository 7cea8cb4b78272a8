"""Who sits for which face: user ids in the order of the faces, or each with the number of its face."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from easyphoto.errors import InvalidRequest, NotFound
from easyphoto.people import Person
from easyphoto.service.requests import NOBODY

LAST_FACE = 100
_PLACED = re.compile(r"(.+)@(\d{1,9})", re.ASCII | re.DOTALL)


def seated(user_ids: Sequence[str], look_up: Callable[[str], Person]) -> tuple[Person | None, ...]:
    """Who sits for each face, from left to right; None leaves a face alone.

    ``ann@2`` puts Ann into the second face from the left, and ``none@2`` leaves it alone; somebody who is called so in
    full goes first. Those without a number take the faces that are left, in their order. Raises :class:`NotFound` for
    somebody who isn't there and :class:`InvalidRequest` where a number is none of a face or two want the same.
    """
    seats: dict[int, Person | None] = {}
    waiting: list[Person | None] = []
    for name in user_ids:
        person, face = _placed(name, look_up)
        if face is None:
            waiting.append(person)
        elif face in seats:
            raise InvalidRequest("Two people can't take face {face}: give one of them another.", face=face)
        else:
            seats[face] = person
    free = 1
    for person in waiting:
        while free in seats:
            free += 1
        seats[free] = person
    return tuple(seats.get(face) for face in range(1, max(seats, default=0) + 1))


def places(user_ids: Sequence[str], people: Sequence[Person | None]) -> bool:
    """Whether any of the user ids says by its number which face it is meant for."""
    names = {person.user_id for person in people if person is not None}
    return any(_PLACED.fullmatch(name) is not None and name not in names for name in user_ids)


def _placed(name: str, look_up: Callable[[str], Person]) -> tuple[Person | None, int | None]:
    if name == NOBODY:
        return None, None
    found = _PLACED.fullmatch(name)
    try:
        return look_up(name), None
    except (NotFound, InvalidRequest):
        if found is None:
            raise
    face = int(found[2])
    if not 1 <= face <= LAST_FACE:
        raise InvalidRequest(
            "{name!r} names no face: the faces are counted from the left, from 1 to {last}.", name=name, last=LAST_FACE
        )
    return None if found[1] == NOBODY else look_up(found[1]), face
