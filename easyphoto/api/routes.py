"""The HTTP API: typed routes under ``/easyphoto/v1``, with those of the original extension beside them.

    routes.mount(app, service)                       # for clients that use an address or localhost
    routes.mount(app, service, authenticate=check)   # ``check`` is a FastAPI dependency that raises HTTPException
    routes.mount(app, service, door=Door.named("photos.example.org"))   # for clients that use this name too

Each route has a guard of its own, whatever the app around it does. The API takes no path of the server from a client
and gives none away. An error is answered with ``{"code", "message"}``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException as StarletteHTTPException

from easyphoto import __version__, doctor
from easyphoto.api import batches, clip_routes, legacy, queue_routes, schema, template_routes, waiting, wire
from easyphoto.api.guard import REFUSED, Budget, Door, Guard, Receive, Scope, Send
from easyphoto.batch.faults import WrongRows
from easyphoto.config import PortraitConfig, from_mapping
from easyphoto.errors import EasyPhotoError, InvalidRequest, NotFound
from easyphoto.events import Preview
from easyphoto.jobs import Job
from easyphoto.service import MAX_PHOTOS, MAX_TEMPLATES, EasyPhoto, PortraitRequest, TrainRequest
from easyphoto.service.requests import OVER_API
from easyphoto.storage import files
from easyphoto.storage.scratch import Scratch, sweep
from easyphoto.templates import scenes

PREFIX = "/easyphoto/v1"
MAX_BODY = 512 * 2**20
"""The most bytes that one request may have."""
MAX_READ = 2 * MAX_BODY
"""The most bytes of all requests that are being read at the same time."""
_CROSSING = "crossing-"
"""The beginning of the name of the folder in which an exported or imported person lies on the way."""
POLL = 0.25
"""Seconds between two looks at a job that a client follows."""
PROMPT = "text_to_image_input_prompt"
KEEP_ALIVE = 15.0
"""Seconds of silence after which a followed job sends a comment, so that proxies keep the line open."""
BROKEN = "The body is broken JSON."

_REASONS = {
    400: "The request does not say for which host it is.",
    403: "The request comes from another site, or calls this server by a name that it doesn't answer to.",
    404: "There is no such thing.",
    409: "Something that this needs is missing.",
    413: "The request is too large.",
    415: "The body isn't JSON by its content type.",
    422: "The request can't be done as asked.",
    429: "Too much waits already: try again later.",
    500: "Something went wrong on the server.",
    507: "A file could not be written.",
}


def mount(
    app: FastAPI, service: EasyPhoto, authenticate: Callable[..., Any] | None = None, door: Door | None = None
) -> None:
    """Add all routes to ``app``, which may be running already.

    ``authenticate``, if given, is a dependency of each route. ``door`` knows the names by which clients may call them.
    """
    scrubber = wire.Scrubber(service.paths)
    guards = [] if authenticate is None else [Depends(authenticate)]
    route_class = _route_class(scrubber, door or Door())
    router = APIRouter(prefix=PREFIX, route_class=route_class, dependencies=guards, tags=["EasyPhoto"])
    _add_jobs(router, service, scrubber)
    _add_events(router, service, scrubber)
    changed = {"queue": _errors(507), "job": _errors(404, 413, 415, 429, 507)}
    queue_routes.add(router, service, scrubber, changed)
    _add_people(router, service)
    template_routes.add(router, service, _errors)
    _add_models(router, service, scrubber)
    _add_status(router, service, scrubber)
    app.include_router(router)
    old = APIRouter(prefix="/easyphoto", route_class=route_class, dependencies=guards, tags=["EasyPhoto, as before"])
    legacy.add(old, service, scrubber)
    app.include_router(old)


def close(app: FastAPI, sentence: str) -> None:
    """Add routes that say, in one sentence, why the real ones aren't there."""

    async def closed() -> JSONResponse:
        return _answer(403, REFUSED, sentence)

    for path in ("/easyphoto", "/easyphoto/{rest:path}"):
        app.add_api_route(path, closed, methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {s: {"model": schema.Error, "description": _REASONS[s]} for s in (400, 403, *statuses, 422, 500)}


_TAKES_BODY = _errors(404, 409, 413, 415, 429, 507)


# --- errors and limits -----------------------------------------------------------------------------------------------


def _route_class(scrubber: wire.Scrubber, door: Door) -> type[APIRoute]:
    """Return a class of routes behind a guard that answer an error with ``{"code", "message"}``, whatever the app
    does."""
    budget = Budget(MAX_READ)

    class Route(APIRoute):
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            await Guard(super().handle, door, lambda path: MAX_BODY, budget=budget)(scope, receive, send)

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                try:
                    return await handle(request)
                except RequestValidationError as error:
                    return _answer(422, InvalidRequest.code, scrubber.text(_first(error)))
                except WrongRows as error:
                    return JSONResponse(batches.refusal(error, scrubber), error.http_status)
                except EasyPhotoError as error:
                    return _answer(error.http_status, error.code, scrubber.text(str(error)))
                except StarletteHTTPException as error:
                    if error.status_code != 400:
                        raise
                    return _answer(
                        422, InvalidRequest.code, BROKEN
                    )  # FastAPI's error for a body that the json module can't read

            return guarded

    return Route


def _answer(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"code": code, "message": message}, status)


def _first(error: RequestValidationError) -> str:
    """Return the first complaint of the validator as a sentence."""
    first = error.errors()[0]
    kind, complaint = str(first["type"]), str(first["msg"])
    place = [str(p) for p in first["loc"] if p not in ("body", "query", "path", "header")]
    if "json" in kind:
        reason = str((first.get("ctx") or {}).get("error") or (first.get("ctx") or {}).get("msg") or "")
        reason = reason.removesuffix(" at")  # the json module ends so where it names the place itself
        return f"{BROKEN[:-1]}: {reason} at character {place[-1]}." if reason and place else BROKEN
    if kind in ("extra_forbidden", "value_error.extra"):
        return schema.unknown_option(place[-1])
    if not place:
        return "The body must be one JSON object."
    if len(place) > 2 and place[-2] in schema.OF_SEVERAL_TYPES:
        del place[-1]  # the type that was tried last
    return f"{'.'.join(place)}: {complaint[:1].lower()}{complaint[1:]}."


# --- jobs ------------------------------------------------------------------------------------------------------------


def _add_jobs(router: APIRouter, service: EasyPhoto, scrubber: wire.Scrubber) -> None:
    def queued(job: Job[Any]) -> schema.QueuedJob:
        return schema.QueuedJob(id=job.id, position=service.jobs.position(job))

    @router.post("/jobs/train", responses=_TAKES_BODY, status_code=202, summary="Train a person")
    def train(payload: schema.TrainPayload) -> schema.QueuedJob:
        photos = wire.decode_all(payload.photos, "photos", MAX_PHOTOS)
        templates = wire.decode_all(payload.validation_templates, "validation_templates", MAX_TEMPLATES)
        chosen = schema.chosen(payload.options)
        config = service.train_config(chosen)
        said = tuple(payload.captions)
        request = TrainRequest(payload.user_id, photos, config, templates, payload.resume, frozenset(chosen), said)
        return queued(service.train(request))

    @router.post("/jobs/portrait", responses=_TAKES_BODY, status_code=202, summary="Make portraits")
    def portrait(payload: schema.PortraitPayload) -> schema.QueuedJob:
        return queued(service.generate(_portrait_request(payload, service)))

    batches.add(router, service, _TAKES_BODY)
    clip_routes.add(router, service, _TAKES_BODY)

    @router.post("/jobs/models", responses=_TAKES_BODY, status_code=202, summary="Download weights")
    def fetch(payload: schema.ModelsPayload) -> schema.QueuedJob:
        if len(payload.features) > schema.MAX_FEATURES:
            raise InvalidRequest(
                "{count} features are too many: at most {max_features}.",
                count=len(payload.features),
                max_features=schema.MAX_FEATURES,
            )
        return queued(service.weights.fetch(payload.features))

    @router.get("/jobs", responses=_errors(), summary="List the jobs, oldest first")
    def jobs() -> list[schema.JobOut]:
        return [wire.job_out(job, service.jobs, scrubber) for job in service.jobs.list()]

    @router.get("/jobs/{job_id}", responses=_errors(404), summary="Look at a job")
    def job(job_id: str) -> schema.JobOut:
        return wire.job_out(service.jobs.get(job_id), service.jobs, scrubber)

    @router.delete("/jobs/{job_id}", responses=_errors(404), summary="Cancel a job")
    def cancel(job_id: str) -> schema.JobOut:
        found = service.jobs.get(job_id)
        found.cancel()
        return wire.job_out(found, service.jobs, scrubber)

    @router.get(
        "/jobs/{job_id}/pictures/{number}",
        response_class=FileResponse,
        responses={**_errors(404), 200: {"content": {"image/png": {}, "image/jpeg": {}}, "description": "A picture."}},
        summary="Fetch a picture of a job",
    )
    def picture(job_id: str, number: int) -> FileResponse:
        files = wire.all_pictures(service.jobs.get(job_id))
        if not 0 <= number < len(files):
            raise NotFound(
                "The job has {count} pictures; there is no number {number}.", count=len(files), number=number
            )
        path = files[number].resolve()
        if not path.is_file() or service.paths.outputs.resolve() not in path.parents:
            raise NotFound("Picture {number} isn't there any more.", number=number)
        return FileResponse(path, media_type="image/png" if path.suffix == ".png" else "image/jpeg")


def _portrait_request(payload: schema.PortraitPayload, service: EasyPhoto) -> PortraitRequest:
    people = wire.user_ids(payload.user_ids)
    if len(payload.presets) > MAX_TEMPLATES:
        raise InvalidRequest(
            "{count} presets are too many: at most {max_templates}.",
            count=len(payload.presets),
            max_templates=MAX_TEMPLATES,
        )
    presets = [service.templates.get(name).path for name in payload.presets]
    sent = wire.decode_all(payload.templates, "templates", MAX_TEMPLATES)
    pose = None if payload.pose_template is None else wire.decode(payload.pose_template, "pose_template")
    chosen = schema.chosen(payload.options)
    if payload.scene_preset is not None:
        chosen |= {PROMPT: scenes.prompt(payload.scene_preset, str(chosen.get(PROMPT, "")))}
    config = from_mapping(PortraitConfig, chosen)
    shown = None if payload.identity_image is None else wire.decode(payload.identity_image, "identity_image")
    return PortraitRequest(
        people,
        (*presets, *sent),
        config,
        pose,
        chosen=frozenset(chosen),
        identity_image=shown,
        by_likeness=payload.by_likeness,
        origin=OVER_API,
    )


def _add_events(router: APIRouter, service: EasyPhoto, scrubber: wire.Scrubber) -> None:
    @router.get(
        "/jobs/{job_id}/events",
        response_class=StreamingResponse,
        responses={**_errors(404), 200: {"content": {"text/event-stream": {}}, "description": "The job's events."}},
        summary="Follow a job (server-sent events)",
    )
    async def events(
        request: Request,
        job_id: str,
        # Not annotated: the FastAPI of AUTOMATIC1111 would take the header for a query.
        after: int = Query(0, ge=0, description="Number of the last event that is known already."),
        last_event_id: int | None = Header(None, ge=0, description="The same, as browsers send it."),
        previews: bool = Query(False, description="Send small pictures of what is being made too."),
    ) -> StreamingResponse:
        job = service.jobs.get(job_id)
        start = after if last_event_id is None else last_event_id
        stream = _follow(request, job, start, scrubber, previews=previews)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})


async def _follow(
    request: Request, job: Job[Any], start: int, scrubber: wire.Scrubber, *, previews: bool
) -> AsyncIterator[str]:
    """Follow a job by looking at it again and again, because waiting would hold a thread for a listener that has gone,
    and would keep the server from ending."""
    stops = waiting.closing()
    before = [e for n, e in job.events(follow=False) if n <= start]
    number, seen, quiet = start, sum(len(wire.pictures_of(e)) for e in before), 0.0
    shown: Preview | None = None
    while True:
        ended = job.ended
        fresh = list(job.events(number, follow=False))
        for text, seen_now in wire.sse(iter(fresh), seen, scrubber):
            seen, quiet = seen_now, 0.0
            yield text
        number = fresh[-1][0] if fresh else number
        preview = job.look() if previews and not ended else None
        if preview is not None and preview is not shown:
            shown, quiet = preview, 0.0
            yield wire.sse_preview(preview)
        if ended or stops() or await request.is_disconnected():
            return
        await asyncio.sleep(POLL)
        quiet += POLL
        if quiet >= KEEP_ALIVE:
            quiet = 0.0
            yield ": still there\n\n"


# --- people, templates, status ---------------------------------------------------------------------------------------


def _crossing(service: EasyPhoto) -> Scratch:
    """Return a folder for a person who is being exported or imported; those that a killed program left are removed."""
    sweep(service.paths.uploads, _CROSSING)
    return Scratch(service.paths.uploads, _CROSSING)


def _add_people(router: APIRouter, service: EasyPhoto) -> None:
    @router.get("/people", responses=_errors(), summary="List the people who are there")
    def people() -> list[schema.PersonOut]:
        return [wire.person_out(p) for p in service.people.list()]

    @router.post("/people", responses=_TAKES_BODY, summary="Add a person from photos, without a training")
    def add(payload: schema.PersonPayload) -> schema.PersonOut:
        return wire.person_out(
            service.add_person(payload.user_id, wire.decode_all(payload.photos, "photos", MAX_PHOTOS))
        )

    @router.get("/people/{user_id}", responses=_errors(404), summary="Look at a person")
    def person(user_id: str) -> schema.PersonOut:
        return wire.person_out(service.people.get(user_id))

    @router.post("/people/import", responses=_TAKES_BODY, summary="Import a person who was exported")
    def bring(payload: schema.PersonFile) -> schema.PersonOut:
        data = wire.decode(payload.file, "file", MAX_BODY)
        with _crossing(service) as place:
            file = place.path / "person.easyphoto.zip"
            files.write_bytes(file, data)
            person = service.people.bring(file)
        service.host.refresh_loras()
        return wire.person_out(person)

    @router.get(
        "/people/{user_id}/export",
        response_class=FileResponse,
        responses={**_errors(404, 507), 200: {"content": {"application/zip": {}}, "description": "The person."}},
        summary="Export a person: what is needed to make portraits, as a zip file",
    )
    def export(user_id: str) -> FileResponse:
        place = _crossing(service)
        try:
            file = place.path / f"{service.people.get(user_id).user_id}.easyphoto.zip"
            service.people.export(user_id, file)
        except BaseException:
            place.close()
            raise
        return FileResponse(
            file, media_type="application/zip", filename=file.name, background=BackgroundTask(place.close)
        )

    @router.post("/people/{user_id}/rename", responses=_TAKES_BODY, summary="Give a person another user id")
    def rename(user_id: str, payload: schema.RenamePayload) -> schema.PersonOut:
        return wire.person_out(service.rename_person(user_id, payload.user_id))

    @router.delete("/people/{user_id}", responses=_errors(404, 507), summary="Delete a person")
    def delete(user_id: str, portraits: bool = False) -> schema.RemovedOut:
        return wire.removed_out(service.delete_person(user_id, portraits=portraits))


def _add_models(router: APIRouter, service: EasyPhoto, scrubber: wire.Scrubber) -> None:
    @router.get("/models", responses=_errors(), summary="List the features that weights can be downloaded for")
    def models() -> list[schema.FeatureOut]:
        return [schema.FeatureOut(**wire.feature_out(needs)) for needs in service.weights.features()]

    @router.get("/models/{name}", responses=_errors(404), summary="What a feature needs, and what of it is there")
    def needs(name: str) -> schema.FeatureDetail:
        found = service.weights.needs(name)
        return schema.FeatureDetail(
            **wire.feature_out(found),
            weights=[wire.weight_out(entry, scrubber) for entry in found.entries],
            offline=service.weights.offline,
            commercial_only=service.weights.commercial_only,
        )


def _add_status(router: APIRouter, service: EasyPhoto, scrubber: wire.Scrubber) -> None:
    @router.get("/status", responses=_errors(), summary="What is here, what is missing, what runs")
    def status() -> schema.StatusOut:
        jobs = service.jobs.list()
        running = next((j.id for j in jobs if j.state == "running" and j.what != "models"), None)
        findings = doctor.examine(service.host, service.vision, service.paths)
        return schema.StatusOut(
            version=__version__,
            host=service.host.name,
            checkpoints=[schema.CheckpointOut(name=c.name, family=c.family.value) for c in service.checkpoints()],
            broken=[
                schema.BrokenCheckpointOut(name=b.name, reason=scrubber.text(b.reason))
                for b in service.broken_checkpoints()
            ],
            queued=sum(j.state == "queued" and j.what != "models" for j in jobs),
            running=running,
            findings=[
                schema.FindingOut(
                    area=f.area,
                    what=f.what,
                    status=f.status,
                    found=scrubber.text(f.found),
                    advice=scrubber.text(f.advice),
                )
                for f in findings
            ],
        )
