"""The download of many files: it looks for room on the disk, keeps other processes out, gets several files at once and
reports its progress."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from filelock import FileLock, Timeout

from easyphoto.catalog.assets import Asset
from easyphoto.catalog.download import Download, Limits, Wanted
from easyphoto.catalog.download_plan import size
from easyphoto.catalog.locate import destination, shown
from easyphoto.catalog.model_folders import Folders
from easyphoto.catalog.part import begun
from easyphoto.catalog.records import Records
from easyphoto.disk import nearest
from easyphoto.errors import AssetMissing, Cancelled, StorageFailed
from easyphoto.events import Listener, Notice, Progress
from easyphoto.messages import Message, joined
from easyphoto.storage.locks import acquire

SPARE = 200_000_000
"""How many bytes a download leaves free on the disk."""
LOCK = ".weights.lock"


@dataclass(frozen=True)
class Options:
    """How to download: ``parallel`` files at once, and ``session`` makes one pool of connections for each of them (it
    honours the proxies of the environment)."""

    parallel: int = 3
    limits: Limits = field(default_factory=Limits)
    session: Callable[[], requests.Session] = requests.Session


@contextmanager
def alone(root: Path, listener: Listener, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Let one process at a time download below ``root``. A second one says once that it waits, and waits."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / LOCK)
        announced = False
        while True:
            try:
                acquire(lock, 0.5)
                break
            except Timeout:
                if not announced:
                    listener(
                        Notice(message=Message("Another process is downloading weights; this one goes on after it."))
                    )
                announced = True
                if cancelled():
                    raise Cancelled("The download was stopped while waiting for another one.") from None
    except OSError as error:
        raise StorageFailed("{root} can't be written ({reason}).", root=root, reason=error.strerror or error) from error
    try:
        yield
    finally:
        lock.release()


def check_room(assets: Sequence[Asset], folders: Folders) -> None:
    """Raise StorageFailed with one sentence when a disk has too little room for what is still to come."""
    needed: dict[int, tuple[int, Path]] = {}
    for asset in assets:
        target = destination(asset, folders)
        there = nearest(target)
        if there is None:
            raise StorageFailed("The drive of {target} isn't there: nothing can be downloaded to it.", target=target)
        device = there.stat().st_dev
        needed[device] = (needed.get(device, (0, there))[0] + max(0, asset.bytes - begun(target)), there)
    for count, place in needed.values():
        free = shutil.disk_usage(place).free
        if count + SPARE > free:
            where = shown(place, folders)
            raise StorageFailed(
                "The weights need {count} and {spare} to spare, but only {free} are free at {where}.",
                count=size(count),
                spare=size(SPARE),
                free=size(free),
                where=where,
            )


def fetch(
    assets: Sequence[Asset],
    folders: Folders,
    records: Records,
    options: Options,
    *,
    listener: Listener,
    cancelled: Callable[[], bool],
) -> None:
    """Download the assets. One that fails does not stop the others; at the end AssetMissing says which failed and why.
    A full disk and a cancel stop all of them. An optional asset that fails is a notice."""
    stop = threading.Event()
    meter = DownloadMeter(assets, listener)

    def one(asset: Asset) -> None:
        wanted = Wanted(
            asset.file,
            asset.urls(),
            destination(asset, folders),
            asset.size,
            asset.sha256 or records.known(asset.name),
        )
        with options.session() as session:
            got = Download(
                wanted,
                session,
                options.limits,
                on_bytes=lambda count: meter.set(asset, count),
                cancelled=lambda: stop.is_set() or cancelled(),
            ).run()
        records.learn(asset.name, got.sha256, got.size, got.url)
        records.remember(wanted.target, got.sha256)
        records.save()
        meter.done(asset, got.size)

    with ThreadPoolExecutor(max(1, options.parallel), thread_name_prefix="weights") as pool:
        futures = {pool.submit(one, asset): asset for asset in assets}
        try:
            failures = _gather(futures, stop, listener)
        finally:
            stop.set()  # an interrupt of the keyboard must not wait for gigabytes
    if failures:
        raise AssetMissing(joined(failures, " "))


def _gather(futures: dict[Future[None], Asset], stop: threading.Event, listener: Listener) -> list[str]:
    failures: list[str] = []
    ending: BaseException | None = None
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_EXCEPTION)
        for future in done:
            error = None if future.cancelled() else future.exception()
            if isinstance(error, AssetMissing):
                if futures[future].optional:
                    listener(Notice(message=Message("{error} The feature works without it.", error=error)))
                else:
                    failures.append(error.message)
            elif error is not None and (ending is None or isinstance(ending, Cancelled)):
                ending = error
                stop.set()
                for other in waiting:
                    other.cancel()
    if ending is not None:
        raise ending
    return failures


class DownloadMeter:
    """Reports the progress over all files, at most twice a second. The time left follows from the speed of the last ten
    seconds."""

    def __init__(self, assets: Sequence[Asset], listener: Listener) -> None:
        self._there = {a.name: 0 for a in assets}
        self._total = {a.name: a.bytes for a in assets}
        self._listener = listener
        self._lock = threading.Lock()
        self._marks: deque[tuple[float, int]] = deque()
        self._last_report = 0.0

    def set(self, asset: Asset, count: int) -> None:
        with self._lock:
            self._there[asset.name] = count
            self._total[asset.name] = max(self._total[asset.name], count)
            if (now := time.monotonic()) - self._last_report >= 0.5:
                self._report(now, asset)

    def done(self, asset: Asset, count: int) -> None:
        with self._lock:
            self._there[asset.name] = self._total[asset.name] = count
            self._report(time.monotonic(), asset)

    def _report(self, now: float, asset: Asset) -> None:
        there, total = sum(self._there.values()), sum(self._total.values())
        self._marks.append((now, there))
        while len(self._marks) > 2 and now - self._marks[0][0] > 10:
            self._marks.popleft()
        since, before = self._marks[0]
        speed = (there - before) / (now - since) if now > since else 0.0
        left = (total - there) / speed if speed > 0 else None
        self._last_report = now
        message = Message("{file}: {there} of {total}", file=asset.file, there=size(there), total=size(total))
        if speed > 0:
            message = Message("{message}, {speed}/s", message=message, speed=size(speed))
        self._listener(Progress(stage="download", step=there, total=total, message=message, seconds_left=left))


def offline() -> bool:
    """Return whether the environment forbids the network: EASYPHOTO_OFFLINE or HF_HUB_OFFLINE is set to anything but
    0."""
    return any(
        os.environ.get(name, "0").lower() not in ("", "0", "false") for name in ("EASYPHOTO_OFFLINE", "HF_HUB_OFFLINE")
    )
