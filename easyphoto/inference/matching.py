"""Who takes the place of which face where likeness decides it."""

from __future__ import annotations

from collections.abc import Sequence

from easyphoto.ports import Embedding


def matched(faces: Sequence[Embedding], people: Sequence[Embedding | None]) -> list[int | None]:
    """For each face the index of its person: the pair that is most alike first, and nobody twice. None where no person
    is left. A person without a vector, or with one of another embedder, gets no face."""
    pairs = [
        (float(face @ person), i, j)
        for i, face in enumerate(faces)
        for j, person in enumerate(people)
        if person is not None and face.shape == person.shape
    ]
    found: list[int | None] = [None] * len(faces)
    for _, i, j in sorted(pairs, key=lambda pair: -pair[0]):
        if found[i] is None and j not in found:
            found[i] = j
    return found
