"""The routes of templates: which there are, the user's own, galleries, and scenes for pictures from text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse

from easyphoto import pictures
from easyphoto.api import schema, wire
from easyphoto.service import MAX_TEMPLATES, EasyPhoto
from easyphoto.templates import Template, scenes

Errors = Callable[..., dict[int | str, dict[str, Any]]]
PATIENCE = 10.0
"""For how many seconds one request counts faces."""


def add(router: APIRouter, service: EasyPhoto, errors: Errors) -> None:
    """Add the routes. ``errors`` describes the answers with the statuses that it is given."""
    _add_templates(router, service, errors)
    _add_galleries(router, service, errors)

    @router.get("/scenes", responses=errors(), summary="List the scenes for pictures from text")
    def all_scenes() -> list[schema.SceneOut]:
        return [schema.SceneOut(name=s.name, title=s.title, prompt=s.prompt) for s in scenes.known()]


def _add_templates(router: APIRouter, service: EasyPhoto, errors: Errors) -> None:
    store = service.templates

    @router.get("/templates", responses=errors(404), summary="List or search the templates")
    def templates(
        search: str = Query("", max_length=200, description="Only those in which something begins with each word."),
        faces: int | None = Query(None, ge=0, le=1000, description="Only those that show this number of faces."),
        gallery: str = Query("", description="Only those of this gallery; empty lists what lies in none."),
    ) -> list[schema.TemplateOut]:
        return [_out(template) for template in store.search(search, faces, gallery)]

    @router.post("/templates", responses=errors(413, 415, 507), summary="Keep a template of your own")
    def added(payload: schema.TemplatePayload) -> schema.TemplateOut:
        picture = pictures.read(wire.decode(payload.picture, "picture"))
        return _out(store.add(payload.name, picture.image, picture.alpha))

    @router.post("/templates/count", responses=errors(404, 507), summary="Count the faces of templates")
    def counted(gallery: str = Query("", description="Those of this gallery.")) -> schema.CountedOut:
        return schema.CountedOut(left=service.count_faces(store.search(gallery=gallery), PATIENCE))

    @router.get(
        "/templates/{name:path}/picture",
        response_class=FileResponse,
        responses={
            **errors(404, 507),
            200: {"content": {"image/jpeg": {}, "image/png": {}}, "description": "The picture."},
        },
        summary="A template, or its small copy",
    )
    def picture(name: str, small: bool = Query(False, description="The small copy, a JPEG.")) -> FileResponse:
        path = store.get(name).path
        return FileResponse(store.thumbnails.of(path) if small else path)

    @router.delete("/templates/{name:path}", responses=errors(404, 507), summary="Delete a template of your own")
    def deleted(name: str) -> schema.TemplateOut:
        template = store.get(name)
        store.delete(name)
        return _out(template)


def _add_galleries(router: APIRouter, service: EasyPhoto, errors: Errors) -> None:
    store = service.templates

    @router.get("/galleries", responses=errors(507), summary="List the galleries of your own")
    def galleries() -> list[schema.GalleryOut]:
        return [
            schema.GalleryOut(name=g.name, pictures=len(g.templates()), linked=g.linked) for g in store.folders.list()
        ]

    @router.post("/galleries", responses=errors(413, 415, 507), summary="Keep pictures as a gallery")
    def kept(payload: schema.GalleryPayload) -> schema.GalleryOut:
        sent = wire.decode_all(list(payload.pictures.values()), "pictures", MAX_TEMPLATES)
        made = store.folders.keep_all(payload.name, dict(zip(payload.pictures, sent, strict=True)))
        return schema.GalleryOut(name=made.name, pictures=len(sent), linked=False)

    @router.delete("/galleries/{name}", responses=errors(404, 507), summary="Let go of a gallery")
    def removed(name: str) -> schema.GalleryOut:
        count = len(store.folders.get(name).templates())
        gone = store.remove_gallery(name)
        return schema.GalleryOut(name=gone.name, pictures=count, linked=gone.linked)


def _out(template: Template) -> schema.TemplateOut:
    return schema.TemplateOut(
        name=template.name,
        title=template.title,
        source=template.source,
        licence=template.licence,
        faces=template.faces,
        own=template.own,
        gallery=template.gallery,
    )
