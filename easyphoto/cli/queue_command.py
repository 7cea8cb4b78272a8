"""The command ``queue``: who works on it, what waits, and in which order; pause, retry, clear and cancel."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from easyphoto.cli.arguments import ranged
from easyphoto.cli.streams import write_json
from easyphoto.config import Paths
from easyphoto.events import Failed, Progress
from easyphoto.jobs import BATCH, NETWORK, Job

if TYPE_CHECKING:
    from easyphoto.queue.durable import DurableQueue

NOBODY = "Nobody works on the queue: start `easyphoto serve` or the WebUI, and it goes on."
STATES = {"queued": "waits", "running": "runs"}


def add_parser(subparsers: Any, common: Callable[[argparse.ArgumentParser], None], paths: Any) -> None:
    """Add ``queue`` with its actions. ``paths`` returns the folders that the flags choose."""
    text = "What waits, what runs and what has ended; pause, move, retry, clear, cancel."
    parser: argparse.ArgumentParser = subparsers.add_parser("queue", help=text, description=text)
    common(parser)
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for name, run, help_ in (
        ("list", _list, "who works, and every job in its order"),
        ("pause", _pause, "nothing new begins; what runs goes on"),
        ("resume", _resume, "the end of a pause"),
        ("move", _move, "put a job that waits elsewhere in its line"),
        ("retry", _retry, "begin a job again that failed or was cancelled; it goes on with what is missing"),
        ("clear", _clear, "forget every job that has ended, with its events and its result"),
        ("cancel", _cancel, "stop a job, or take one that waits out of the line"),
    ):
        action = actions.add_parser(name, help=help_, description=help_)
        if name in ("move", "retry", "cancel"):
            action.add_argument("job", metavar="JOB", help="the id of a job, as `queue list` shows it")
        if name == "move":
            action.add_argument(
                "place", nargs="?", type=ranged(int, 1, 10_000), default=1, metavar="PLACE", help="1: it is the next"
            )
        common(action)
        action.set_defaults(run=partial(_run, run, paths))


def _run(
    action: Callable[[DurableQueue, argparse.Namespace], str],
    paths: Callable[[argparse.Namespace], Paths],
    args: argparse.Namespace,
) -> int:
    from easyphoto.queue.durable import DurableQueue

    queue = DurableQueue(paths(args).queue)
    text = action(queue, args)
    if args.json:
        write_json(as_data(queue))
    else:
        sys.stdout.write(text + "\n")
        if queue.notice is not None:
            sys.stderr.write(f"{queue.notice}\n")
    return 0


def _list(queue: DurableQueue, _: argparse.Namespace) -> str:
    worker, jobs = queue.worker(), queue.list()
    lines = [str(worker.sentence()) if worker is not None else NOBODY]
    if queue.paused:
        lines.append("The queue is paused.")
    order = [
        *(j for j in jobs if j.state == "running"),
        *queue.waiting(),
        *queue.waiting(NETWORK),
        *queue.waiting(BATCH),
    ]
    ended = [job for job in jobs if job.ended]
    lines += [_line(job, queue) for job in (*order, *ended)] or ["Nothing is in the queue."]
    return "\n".join(lines)


def _waiting(queue: DurableQueue) -> list[Job[Any]]:
    return [*queue.waiting(), *queue.waiting(NETWORK), *queue.waiting(BATCH)]


def _line(job: Job[Any], queue: DurableQueue) -> str:
    events = [event for _, event in job.events(follow=False)]
    words = STATES.get(job.state, job.state)
    if job.state == "queued":
        words += f" ({queue.position(job)} before it)" if queue.position(job) else " (next)"
    progress = next((e for e in reversed(events) if isinstance(e, Progress)), None)
    if job.state == "running" and progress is not None:
        words += (
            f" ({progress.stage} {progress.step} of {progress.total})" if progress.total else f" ({progress.stage})"
        )
    if job.cut_off:
        words += f", begun {job.cut_off + 1} times"
    failed = next((e for e in reversed(events) if isinstance(e, Failed)), None)
    said = f": {failed.message}" if job.state == "failed" and failed is not None else ""
    return f"{job.id}  {job.what:8}  {job.subject}  {words}{said}"


def _pause(queue: DurableQueue, _: argparse.Namespace) -> str:
    queue.pause()
    return "Paused: what runs goes on, nothing new begins."


def _resume(queue: DurableQueue, _: argparse.Namespace) -> str:
    queue.resume()
    return _going_on(queue, "Resumed.")


def _move(queue: DurableQueue, args: argparse.Namespace) -> str:
    queue.move(args.job, args.place - 1)
    return f"{args.job} is moved."


def _retry(queue: DurableQueue, args: argparse.Namespace) -> str:
    queue.retry(args.job)
    return _going_on(queue, f"{args.job} waits again.")


def _clear(queue: DurableQueue, _: argparse.Namespace) -> str:
    return f"{queue.clear()} jobs that had ended are forgotten."


def _cancel(queue: DurableQueue, args: argparse.Namespace) -> str:
    job = queue.get(args.job)
    if job.ended:
        return f"{args.job} has ended already."
    job.cancel()
    return f"{args.job} is cancelled." if job.ended else f"{args.job} stops after the step that it is in."


def _going_on(queue: DurableQueue, text: str) -> str:
    return text if queue.worker() is not None else f"{text} {NOBODY}"


def as_data(queue: DurableQueue) -> dict[str, Any]:
    """Return the queue as plain data."""
    worker = queue.worker()
    order = _waiting(queue)
    return {
        "worker": None if worker is None else asdict(worker),
        "paused": queue.paused,
        "jobs": [
            {
                "id": job.id,
                "what": job.what,
                "subject": job.subject,
                "state": job.state,
                "position": order.index(job) + 1 if job in order else 0,
                "cut_off": job.cut_off,
            }
            for job in queue.list()
        ],
    }
