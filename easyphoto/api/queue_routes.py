"""The routes of the queue: who works on it and what waits, in which order, and what has ended."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from easyphoto.api import schema, wire
from easyphoto.service import EasyPhoto


def add(
    router: APIRouter, service: EasyPhoto, scrubber: wire.Scrubber, errors: dict[str, dict[int | str, dict[str, Any]]]
) -> None:
    """Add the routes. ``errors`` are the answers to describe: of a route that changes the queue (``queue``), and of one
    that is about one job too (``job``)."""
    jobs = service.jobs

    def shown() -> schema.QueueOut:
        listed = jobs.list()
        worker = jobs.worker()
        return schema.QueueOut(
            paused=jobs.paused,
            worker=None
            if worker is None
            else schema.WorkerOut(pid=worker.pid, host=worker.host, since=worker.since, here=jobs.works_here),
            waiting=[job.id for job in jobs.waiting()],
            running=[job.id for job in listed if job.state == "running"],
            ended=[job.id for job in listed if job.ended],
            limit=jobs.limit,
            notice="" if jobs.notice is None else scrubber.text(jobs.notice),
        )

    @router.get("/queue", responses=errors["queue"], summary="Look at the queue: who works, what waits")
    def queue() -> schema.QueueOut:
        return shown()

    @router.post("/queue/pause", responses=errors["queue"], summary="Let nothing new begin")
    def pause() -> schema.QueueOut:
        jobs.pause()
        return shown()

    @router.post("/queue/resume", responses=errors["queue"], summary="Let what waits begin again")
    def resume() -> schema.QueueOut:
        jobs.resume()
        return shown()

    @router.post("/queue/clear", responses=errors["queue"], summary="Forget the jobs that have ended")
    def clear() -> schema.QueueOut:
        jobs.clear()
        return shown()

    @router.post("/jobs/{job_id}/move", responses=errors["job"], summary="Move a job that waits in its line")
    def move(job_id: str, payload: schema.MovePayload) -> schema.JobOut:
        jobs.move(job_id, payload.place)
        return wire.job_out(jobs.get(job_id), jobs, scrubber)

    @router.post(
        "/jobs/{job_id}/retry", responses=errors["job"], status_code=202, summary="Begin a job again that failed"
    )
    def retry(job_id: str) -> schema.QueuedJob:
        job = jobs.retry(job_id)
        return schema.QueuedJob(id=job.id, position=jobs.position(job))
