"""What an interrupted training would go on from is kept until the next training of that person has saved something
itself.

A training that begins anew first moves what is there aside. Once it has saved a state of its own, the old one is
removed; when it ends before that, in whatever way, the old one is put back. Each step can be interrupted and done
again.
"""

from __future__ import annotations

from easyphoto.storage import files
from easyphoto.storage.folders import (
    EARLIER_WHOLE,
    JOB,
    LATENTS,
    PHASES,
    PHOTOS,
    PROCESSED,
    QUEUED,
    REFERENCE,
    SCORES,
    STATE,
    TEMPLATES,
    VALIDATION,
    WEIGHTS,
    JobFolder,
)

RESUMABLE = (STATE, JOB, SCORES, LATENTS, REFERENCE, WEIGHTS, PROCESSED, VALIDATION, PHASES, PHOTOS, TEMPLATES, QUEUED)
"""All that a resumed training needs, the state first."""
_FORGOTTEN = "forgotten"


def set_aside(job: JobFolder) -> None:
    """Move what is there aside. The caller holds the folder and has called :func:`settle`. Raises OSError."""
    job.earlier.mkdir()
    for name in RESUMABLE:
        if (job.path / name).exists():
            (job.path / name).rename(job.earlier / name)
    (job.earlier / EARLIER_WHOLE).touch()


def settle(job: JobFolder) -> None:
    """Decide which state counts: the new training's if it has one, else the earlier one. Raises OSError.

    While the mark is there, what lies outside is the new training's; without the mark, everything belongs to the
    earlier one.
    """
    files.remove(job.path / _FORGOTTEN)
    if not job.earlier.is_dir():
        return
    mark = job.earlier / EARLIER_WHOLE
    if mark.exists():
        if job.state.exists():
            forget(job)
            return
        for name in RESUMABLE:
            files.remove(job.path / name)
        mark.unlink()
    for name in RESUMABLE:
        if (job.earlier / name).exists():
            (job.earlier / name).rename(job.path / name)
    files.remove(job.earlier)


def forget(job: JobFolder) -> None:
    """Remove the earlier state, because the new training has saved one. Raises OSError."""
    if job.earlier.is_dir():
        job.earlier.rename(job.path / _FORGOTTEN)
        files.remove(job.path / _FORGOTTEN)
