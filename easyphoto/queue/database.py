"""The queue's database: one SQLite file that every program on a data folder reads and writes.

A text that came over HTTP, or a file name, may hold half a surrogate pair, no text for SQLite: JSON escapes it.

It is written ahead (WAL), so that a program that is killed between two writes leaves the last whole state. A file that
is damaged is set aside and a new one begun: what waited in it is lost, the program is not.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from easyphoto import events
from easyphoto.errors import StorageFailed, TooBusy
from easyphoto.events import Event
from easyphoto.jobs import State
from easyphoto.messages import Message

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FILE = "queue.sqlite3"
DAMAGED = "damaged-"
FORMAT = 1
BUSY = 15.0
"""Seconds that a write waits for that of another program."""
_BESIDE = ("-wal", "-shm")
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL, uses TEXT NOT NULL, payload TEXT NOT NULL,
  pictures TEXT NOT NULL, bytes INTEGER NOT NULL, lane TEXT NOT NULL, state TEXT NOT NULL, rank REAL NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0, fruitless INTEGER NOT NULL DEFAULT 0, begun INTEGER NOT NULL DEFAULT 0,
  cancel INTEGER NOT NULL DEFAULT 0, runner TEXT NOT NULL DEFAULT '', result TEXT, at REAL NOT NULL, ended REAL,
  version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS events (
  job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, number INTEGER NOT NULL, kind TEXT NOT NULL,
  line TEXT NOT NULL, PRIMARY KEY (job, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO counters VALUES ('version', 0), ('removed', 0), ('paused', 0);
CREATE INDEX IF NOT EXISTS jobs_by_version ON jobs(version);
"""
_COLUMNS = (
    "id, kind, subject, uses, payload, pictures, bytes, lane, state, rank, attempt, begun, cancel, runner, result, at"
)
_FRUIT = ("portrayed", "template_failed", "validated")
"""Events that say that something came of an attempt."""


@dataclass(frozen=True)
class JobRow:
    """A job as it stands in the database.

    ``pictures`` are (path below the job's folder, whether it was given as a file) or, for a file that could not be
    kept, (its absolute path, True). ``rank`` orders those that wait; ``begun`` is the number of the last event before
    the last attempt.
    """

    id: str
    kind: str
    subject: str
    uses: tuple[str, ...]
    payload: dict[str, Any]
    pictures: tuple[tuple[str, bool], ...]
    bytes: int
    lane: str
    state: State
    rank: float
    attempt: int
    begun: int
    cancel: bool
    runner: str
    result: dict[str, Any] | None
    at: float

    @property
    def ended(self) -> bool:
        return self.state not in ("queued", "running")


@dataclass(frozen=True)
class Caps:
    """The most that may wait: jobs of a lane, and bytes of their pictures; ``besides``: jobs that wait outside of the
    database."""

    jobs: int
    bytes: int
    besides: int = 0


class QueueStore:
    """The database in ``folder``, which is made with the first job. Safe for threads and for several programs.

    Reading from a folder without one finds nothing. Writing raises :class:`StorageFailed` in one sentence. ``lost`` is
    told the sentence about a damaged file that was set aside, or about one that can't be read.
    """

    def __init__(self, folder: Path, lost: Callable[[str], None] = lambda sentence: None) -> None:
        self.folder = folder
        self.path = folder / FILE
        self._lost = lost
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._told = ""

    # --- jobs --------------------------------------------------------------------------------------------------------

    def add(self, row: JobRow, caps: Caps, told: Sequence[Event] = ()) -> None:
        """Put a job in. :class:`TooBusy` when too much waits already."""
        with self._writing() as base:
            waiting, held = base.execute(
                "SELECT count(*), coalesce(sum(bytes), 0) FROM jobs WHERE state = 'queued' AND lane = ?", (row.lane,)
            ).fetchone()
            check_room(waiting + caps.besides, held, row.bytes, caps)
            base.execute(
                "INSERT INTO jobs (id, kind, subject, uses, payload, pictures, bytes, lane, state, rank, at, version)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?)",
                (
                    row.id,
                    row.kind,
                    row.subject,
                    json.dumps(row.uses),
                    json.dumps(row.payload),
                    json.dumps(row.pictures),
                    row.bytes,
                    row.lane,
                    row.rank,
                    row.at,
                    _next_version(base),
                ),
            )
            _append(base, row.id, told)

    def changed_since(self, version: int) -> tuple[list[JobRow], int]:
        """The jobs that changed after ``version``, by rank, and the version now."""

        def read(base: sqlite3.Connection) -> tuple[list[JobRow], int]:
            now = _counter(base, "version")
            rows = base.execute(f"SELECT {_COLUMNS} FROM jobs WHERE version > ? ORDER BY rank", (version,))
            return [_row(values) for values in rows], now

        nothing: tuple[list[JobRow], int] = ([], 0)
        return self._read(read, nothing)

    def ids(self) -> tuple[set[str], int]:
        """The jobs that there are, and how often some were removed."""
        return self._read(
            lambda base: ({i for (i,) in base.execute("SELECT id FROM jobs")}, _counter(base, "removed")), (set(), 0)
        )

    def removals(self) -> int:
        """How often jobs were removed."""
        return self._read(lambda base: _counter(base, "removed"), 0)

    def get(self, job: str) -> JobRow | None:
        """The job of that id."""

        def read(base: sqlite3.Connection) -> JobRow | None:
            values = base.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job,)).fetchone()
            return None if values is None else _row(values)

        return self._read(read, None)

    def begin(self, job: str, runner: str) -> bool:
        """Mark a waiting job as running on ``runner``; False when it waits no more."""
        with self._writing() as base:
            return (
                base.execute(
                    "UPDATE jobs SET state = 'running', runner = ?, version = ?,"
                    " begun = (SELECT coalesce(max(number), 0) FROM events WHERE job = id)"
                    " WHERE id = ? AND state = 'queued' AND cancel = 0",
                    (runner, _next_version(base), job),
                ).rowcount
                > 0
            )

    def end(self, job: str, state: State, result: dict[str, Any] | None) -> None:
        """Mark a job as ended."""
        with self._writing() as base:
            base.execute(
                "UPDATE jobs SET state = ?, result = ?, ended = ?, runner = '', version = ? WHERE id = ?",
                (
                    state,
                    None if result is None else json.dumps(result),
                    time.time(),
                    _next_version(base),
                    job,
                ),
            )

    def cancel(self, job: str, event: Event, *, nobody_works: bool = False) -> State | None:
        """Ask a job to stop. One that waits ends at once, with ``event``, and so does one that was cut off where
        ``nobody_works``; whoever runs it sees the mark. Its state then, None when there is no such job."""
        with self._writing() as base:
            base.execute(
                "UPDATE jobs SET cancel = 1, version = ? WHERE id = ? AND state = 'running'",
                (_next_version(base), job),
            )
            gone = base.execute(
                "UPDATE jobs SET state = 'cancelled', ended = ?, runner = '', version = ?"
                " WHERE id = ? AND (state = 'queued' OR (state = 'running' AND ?))",
                (time.time(), _next_version(base), job, nobody_works),
            )
            if gone.rowcount:
                _append(base, job, [event])
            found = base.execute("SELECT state FROM jobs WHERE id = ?", (job,)).fetchone()
            return None if found is None else found[0]

    def retry(self, job: str, caps: Caps, rank: float) -> bool:
        """Let a job that failed or was cancelled wait again, behind the others; False when it did not end so."""
        with self._writing() as base:
            found = base.execute("SELECT lane, bytes FROM jobs WHERE id = ?", (job,)).fetchone()
            if found is None:
                return False
            waiting = base.execute("SELECT count(*) FROM jobs WHERE state = 'queued' AND lane = ?", (found[0],))
            check_room(waiting.fetchone()[0] + caps.besides, 0, 0, caps)
            return (
                base.execute(
                    "UPDATE jobs SET state = 'queued', attempt = attempt + 1, fruitless = 0, cancel = 0, ended = NULL,"
                    " rank = ?, version = ? WHERE id = ? AND state IN ('failed', 'cancelled')",
                    (rank, _next_version(base), job),
                ).rowcount
                > 0
            )

    def move(self, job: str, rank: float) -> bool:
        """Give a waiting job another rank; False when it waits no more."""
        with self._writing() as base:
            changed = base.execute(
                "UPDATE jobs SET rank = ?, version = ? WHERE id = ? AND state = 'queued'",
                (rank, _next_version(base), job),
            )
            return changed.rowcount > 0

    def spread(self, jobs: Sequence[str], first: float) -> None:
        """Give these jobs, as far as they wait, the ranks ``first``, ``first`` + 1 and so on."""
        with self._writing() as base:
            version = _next_version(base)
            base.executemany(
                "UPDATE jobs SET rank = ?, version = ? WHERE id = ? AND state = 'queued'",
                [(first + i, version, job) for i, job in enumerate(jobs)],
            )

    def recover(self, cut_off: Event, limit: int, given_up: Event) -> None:
        """What was running when its program ended waits again, at its old rank, with the event ``cut_off``; what was
        cut off ``limit`` times without anything having come of it fails with ``given_up``; what was to be cancelled is.
        Called by the owner of the queue, before anything runs."""
        with self._writing() as base:
            version = _next_version(base)
            for job, begun, fruitless, cancel in base.execute(
                "SELECT id, begun, fruitless, cancel FROM jobs WHERE state = 'running'"
            ).fetchall():
                fruit = base.execute(
                    f"SELECT 1 FROM events WHERE job = ? AND number > ? AND kind IN {_FRUIT} LIMIT 1", (job, begun)
                ).fetchone()
                fruitless = 0 if fruit else fruitless + 1  # noqa: PLW2901 - the count goes on
                state = "cancelled" if cancel else "failed" if fruitless >= limit else "queued"
                base.execute(
                    "UPDATE jobs SET state = ?, attempt = attempt + 1, fruitless = ?, runner = '', version = ?,"
                    " ended = ? WHERE id = ?",
                    (state, fruitless, version, None if state == "queued" else time.time(), job),
                )
                _append(base, job, [cut_off] if state == "queued" else [cut_off, given_up])

    def remove(self, jobs: Sequence[str]) -> None:
        """Remove jobs with their events and results. Nothing of them stays in the file or in its log."""
        if not jobs or not self.path.exists():
            return
        with self._writing() as base:
            base.executemany("DELETE FROM jobs WHERE id = ?", [(job,) for job in jobs])
            base.execute("UPDATE counters SET value = value + 1 WHERE name = 'removed'")
            _next_version(base)
        with self._lock, contextlib.suppress(sqlite3.Error, StorageFailed):
            self._open().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # --- events ------------------------------------------------------------------------------------------------------

    def append(self, job: str, events_: Sequence[Event], *, tell: bool = False) -> None:
        """Write events behind the others of a job. ``tell``: the job counts as changed."""
        with self._writing() as base:
            _append(base, job, events_)
            if tell:
                base.execute("UPDATE jobs SET version = ? WHERE id = ?", (_next_version(base), job))

    def events(self, job: str, after: int) -> list[Event]:
        """The events of a job behind number ``after``. A plain event stands in the place of one that can't be read, so
        that the numbers stay."""
        nothing: list[tuple[str]] = []
        lines = self._read(
            lambda base: base.execute(
                "SELECT line FROM events WHERE job = ? AND number > ? ORDER BY number", (job, after)
            ).fetchall(),
            nothing,
        )
        return [_event(line) for (line,) in lines]

    # --- settings ----------------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        return bool(self._read(lambda base: _counter(base, "paused"), 0))

    def pause(self, paused: bool) -> None:
        """Whether nothing new begins."""
        with self._writing() as base:
            base.execute("UPDATE counters SET value = ? WHERE name = 'paused'", (int(paused),))
            _next_version(base)

    @property
    def generation(self) -> int:
        """Another number for another file: changes when a damaged one was set aside, by whatever program."""
        with self._lock:
            return self._inode if self._is_there() else 0

    def damaged(self) -> list[Path]:
        """The files that were set aside."""
        try:
            return sorted(p for p in self.folder.iterdir() if p.name.startswith(DAMAGED))
        except OSError:
            return []

    def close(self) -> None:
        """Let the file go; the next call opens it again."""
        with self._lock:
            if self._connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None

    # --- the file ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One change, whole or not at all."""
        with self._lock:
            base = self._opened()
            try:
                base.execute("BEGIN IMMEDIATE")
                try:
                    yield base
                except BaseException:
                    with contextlib.suppress(sqlite3.Error):
                        base.execute("ROLLBACK")
                    raise
                base.execute("COMMIT")
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    base.rollback()
                if _is_damage(error):
                    self._set_aside()
                raise _sentence(error) from error

    def _read(self, read: Callable[[sqlite3.Connection], _T], otherwise: _T) -> _T:
        """What ``read`` gives; ``otherwise`` where there is no database, or none that can be read."""
        with self._lock:
            if not self._is_there():
                return otherwise
            try:
                found = read(self._opened())
            except (sqlite3.Error, ValueError, TypeError) as error:
                if not isinstance(error, sqlite3.Error) or _is_damage(error):  # a row that is none is damage, too
                    with contextlib.suppress(StorageFailed):
                        self._set_aside()
                        return otherwise
                self._tell_once(Message("The queue can't be read: {reason}.", reason=str(error)))
                return otherwise
            except StorageFailed as error:
                self._tell_once(error.message)
                return otherwise
            self._told = ""
            return found

    def _tell_once(self, sentence: Message) -> None:
        """Say why the queue can't be read, once and not at every look."""
        if sentence != self._told:
            self._told = sentence
            _log.warning("%s", sentence)
            self._lost(sentence)

    def _is_there(self) -> bool:
        """Whether there is a database file, and it is the one that is open."""
        try:
            inode = self.path.stat().st_ino
        except OSError:
            inode = 0
        if inode != self._inode:
            self.close()
        return inode != 0

    def _opened(self) -> sqlite3.Connection:
        self._is_there()
        try:
            return self._open()
        except sqlite3.Error as error:
            self.close()
            if not _is_damage(error):
                raise _sentence(error) from error
        self._set_aside()
        try:
            return self._open()
        except sqlite3.Error as error:
            self.close()
            raise _sentence(error) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):
                self.folder.chmod(0o700)
        except OSError as error:
            raise _not_kept(error.strerror or str(error)) from error
        base = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        self._connection = base
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "secure_delete = ON"):
            base.execute(f"PRAGMA {pragma}").fetchall()
        written = int(base.execute("PRAGMA user_version").fetchone()[0])
        if written > FORMAT:
            self.close()
            raise StorageFailed(
                "The queue was written by a newer EasyPhoto: use that one, or remove {file}.", file=FILE
            )
        if not written:
            base.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")
        if base.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("database disk image is malformed")
        self._inode = self.path.stat().st_ino
        return base

    def _set_aside(self) -> None:
        """Move a damaged file out of the way, with what belongs to it."""
        self.close()
        name = f"{DAMAGED}{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**6:06}.sqlite3"
        try:
            self.path.rename(self.folder / name)
            for suffix in _BESIDE:
                with contextlib.suppress(FileNotFoundError):
                    self.path.with_name(FILE + suffix).rename(self.folder / (name + suffix))
        except OSError as error:
            raise _not_kept(error.strerror or str(error)) from error
        sentence = Message(
            "The queue's file was damaged and lies beside the new one as {name}: what waited in it is lost.", name=name
        )
        _log.warning("%s", sentence)
        self._lost(sentence)


def check_room(waiting: int, held: int, fresh: int, caps: Caps) -> None:
    """Raise :class:`TooBusy` where one more job, with ``fresh`` bytes of pictures, is too much."""
    if waiting >= caps.jobs:
        raise TooBusy("{count} jobs wait already: try again when some of them have ended.", count=waiting)
    if held and held + fresh > caps.bytes:
        raise TooBusy(
            "The pictures of the jobs that wait fill {held:.0f} MB already: try again when some of them have ended.",
            held=held / 2**20,
        )


def _next_version(base: sqlite3.Connection) -> int:
    base.execute("UPDATE counters SET value = value + 1 WHERE name = 'version'")
    return _counter(base, "version")


def _counter(base: sqlite3.Connection, name: str) -> int:
    found = base.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return 0 if found is None else int(found[0])


def _append(base: sqlite3.Connection, job: str, told: Sequence[Event]) -> None:
    (last,) = base.execute("SELECT coalesce(max(number), 0) FROM events WHERE job = ?", (job,)).fetchone()
    if base.execute("SELECT 1 FROM jobs WHERE id = ?", (job,)).fetchone() is None:
        return
    base.executemany(
        "INSERT INTO events VALUES (?, ?, ?, ?)",
        [(job, last + 1 + i, event.kind, _line(event)) for i, event in enumerate(told)],
    )


def _line(event: Event) -> str:
    return events.to_json(event).encode("utf-8", "backslashreplace").decode()


def _event(line: str) -> Event:
    try:
        return events.from_json(line)
    except (ValueError, TypeError):
        return Event()


def _row(values: Sequence[Any]) -> JobRow:
    found = dict(zip((name.strip() for name in _COLUMNS.split(",")), values, strict=True))
    result = found["result"]
    return JobRow(
        **{
            **found,
            "uses": tuple(json.loads(found["uses"])),
            "payload": json.loads(found["payload"]),
            "pictures": tuple((str(place), bool(named)) for place, named in json.loads(found["pictures"])),
            "cancel": bool(found["cancel"]),
            "result": None if result is None else json.loads(result),
        }
    )


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is no database any more, rather than that it is locked or full."""
    if isinstance(error, sqlite3.OperationalError):
        return "no such table" in str(error) or "no such column" in str(error)
    return type(error) is sqlite3.DatabaseError


def _sentence(error: sqlite3.Error) -> StorageFailed:
    return _not_kept(str(error))


def _not_kept(reason: str) -> StorageFailed:
    return StorageFailed("The queue can't be written: {reason}.", reason=reason)
