"""One person before one template: the two passes over one face, and its place in the pictures of the portrait."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from easyphoto import families
from easyphoto.families.spec import Feed, Pass
from easyphoto.inference import stages
from easyphoto.inference.face_sources import FaceSource, agree, apart
from easyphoto.inference.painter import PassOrder
from easyphoto.inference.plan import MaskKind, PassRow
from easyphoto.inference.studio import ParsedFace, Sitter, Studio
from easyphoto.messages import Message
from easyphoto.ports import Face, Image, Mask
from easyphoto.vision import eyewear, geometry, landmarks, makeup, masks, outline


@dataclass(frozen=True, eq=False)
class Donor:
    """What was fused in first: the picture the face came from, the working picture after it, and where in it the face
    lies."""

    source: FaceSource
    blended: Image
    share: Mask


class Sitting:
    """One person before one template: the two passes over one face, and its place in the pictures of ``album``."""

    def __init__(
        self,
        studio: Studio,
        sitter: Sitter,
        face: Face,
        others: list[Face],
        album: dict[str, Image],
        seed: int,
        carried: tuple[Image, Mask] | None = None,
    ) -> None:
        """``carried``: of a clip, what the last frame became as it would stand in this one, and how much of it is mixed
        in before the first pass repaints; both of the whole picture's size."""
        self._studio = studio
        self.sitter = sitter
        self._album = album
        picture = album["final"]
        placed = studio.placed(picture, face)
        self._frame, self._look = placed.frame, placed.look
        self._seen = (self._frame.image, self._look.face, self._look)
        self._width = self._frame.face.width
        self._permitted = stages.allowed(self._frame.crop, [face], others)
        self._changed: Mask = masks.empty(self._frame.size)
        self.head = placed.head
        """Where the template's head looks."""
        self._words = studio.words(sitter, self.head, seed)
        self._size = picture.shape[0], picture.shape[1]
        self._laid: Mask | None = None
        self._reach = families.spec(studio.family).reach
        self._picture = picture
        self._donor: Donor | None = None
        self._glasses = False
        self.fused: FaceSource | None = None
        """The picture whose own pixels were bent into the face, if any were."""
        self._replaced = self._with_face_id()
        self._carried = None if carried is None else self._here(*carried)

    def sit(self) -> None:
        """Make the face, and paste it into the album, where the picture of each stage goes that the album holds."""
        orders, painted = self.orders(), None
        with suppress(StopIteration):
            while True:
                order = orders.send(painted)
                painted = self._studio.painter.repaint(order.row, order.image, order.mask, order.feeds, order.words)

    def orders(self) -> Generator[PassOrder, Image | None, None]:
        """:meth:`sit`, for whoever runs the passes: gives each pass that the host is asked for, and is sent what the
        host made of it."""
        studio, rows = self._studio, self._studio.rows_of(self.sitter)
        pictures: dict[str, Image] = {}
        start = self._frame.image
        pictures["first"] = yield from self._run(rows[Pass.FIRST], start, pictures)
        pictures["second"] = yield from self._run(rows[Pass.SECOND], pictures["first"], pictures)
        result = pictures["second"]
        if studio.config.makeup_transfer:
            result = studio.spared(Message("The make-up transfer"), result, lambda: self._made_up(pictures["second"]))
        laid = stages.paste_mask(self._changed, self._width, self._frame.crop, self._size, self._reach)
        detail = studio.spared(Message("The fine detail"), None, self._detail)
        for name, patch in {**pictures, "final": self._crisp(result)}.items():
            if name in self._album:
                self._album[name] = stages.paste_back(
                    self._album[name], patch, self._frame.crop, laid, self._permitted, detail
                )
        self._laid = laid

    @property
    def laid(self) -> Mask:
        """Where the result lies over the whole picture; empty until :meth:`sit` has pasted it."""
        if self._laid is None:
            return masks.empty(self._size)
        crop = self._frame.crop
        permitted = stages.whole_mask(self._permitted, crop, self._size)
        return masks.intersection(stages.whole_mask(self._laid, crop, self._size), permitted)

    def _run(self, row: PassRow, image: Image, pictures: dict[str, Image]) -> Generator[PassOrder, Image | None, Image]:
        """Do one pass of the chain over the working picture: fuse, repaint, keep the face, and shift the colours."""
        studio, width = self._studio, self._width
        if row.mask is MaskKind.WHOLE:
            image = self._shape(image)
        if row.fusion is not None:
            studio.meter.stage("fusion")
            image = self._fuse(image, row.fusion)
        if self._carried is not None and row.name is Pass.FIRST:
            image = geometry.blend(image, *self._carried)
        pictures.setdefault("fusion", image)
        before = self._see(image, self._look.face)
        self._mark(stages.first_mask(before.parts, width, self._reach))
        if row.repaint:
            mask = self._mask(row.mask, before)
            if mask is not None:
                self._mark(mask)
            feeds = {Feed.INPUT: image, Feed.REPLACED: self._replaced}
            painted = yield PassOrder(row, image, mask, feeds, self._words)
            assert painted is not None
            if mask is None:
                kept = stages.shape_mask(self._look_at(painted, before.face).parts, width, self._reach)
                self._mark((kept > 0.02).astype(np.float32))
                painted = geometry.blend(image, painted, kept)
            image = painted
        if row.colour_shift:
            plain = image
            image = studio.spared(Message("The colour shift"), plain, lambda: self._in_colours(plain, before.face, row))
        return image

    def _here(self, image: Image, mask: Mask) -> tuple[Image, Mask]:
        """A whole picture and its mask as they lie in the working picture."""
        crop, size = self._frame.crop, self._frame.size
        part = mask[crop.top : crop.bottom, crop.left : crop.right]
        return geometry.resize(geometry.cut(image, crop), size), geometry.resize_mask(part, size)

    def _in_colours(self, image: Image, near: Face, row: PassRow) -> Image:
        """``image`` with its face in the template's colours."""
        now, then = self._see(image, near), self._frame.image
        return stages.shift_colours(image, now.parts, then, self._look.parts, self._width, lips=row.shift_lips)

    def _made_up(self, image: Image) -> Image:
        """``image`` with the template's make-up."""
        own = self._see(image, self._look.face).parts
        ratio = self._studio.config.makeup_transfer_ratio
        return makeup.transfer(image, own, self._frame.image, self._look.parts, ratio)

    def _with_face_id(self) -> Image:
        """The template with the person's best picture laid over its face. Where the two look different ways that would
        turn the pose, so the template's own face stays."""
        image, face = self._frame.image, self.sitter.face_id
        if not agree(face.pose, self.head):
            return image
        return stages.replace_face(image, self._look.face, face.image, face.face)

    def _shape(self, image: Image) -> Image:
        """``image`` with the outline of its face bent to that of the person. No host would redraw a jaw that its
        controls hold fast."""
        studio, source = self._studio, self.sitter.sources.nearest(self.head)
        if not agree(source.pose, self.head):
            studio.meter.notice(
                Message(
                    "The outline of {user_id}'s face was not matched: the template's head looks "
                    "{apart:.0f}° away from the nearest photo.",
                    user_id=self.sitter.subject.user_id,
                    apart=apart(source.pose, self.head),
                )
            )
            return image
        given = landmarks.of(studio.vision, source.image, source.face)
        face = self._see(image, self._look.face).face
        shaped, where = outline.match(image, landmarks.of(studio.vision, image, face), given)
        self._mark(where)
        return shaped

    def _fuse(self, image: Image, ratio: float) -> Image:
        studio, sources = self._studio, self.sitter.sources
        bends = getattr(studio.vision.fuser, "bends", True)
        source = sources.nearest(self.head) if bends else sources.reference
        if bends and not agree(source.pose, self.head):
            studio.meter.notice(
                Message(
                    "The face of {user_id} was not fused in: the template's head looks {apart:.0f}° away "
                    "from the nearest photo, and a face bent so far would show.",
                    user_id=self.sitter.subject.user_id,
                    apart=apart(source.pose, self.head),
                )
            )
            return image
        self.fused = source if bends else None
        before, glasses = self._see(image, self._look.face), None
        if bends and self._donor is None:
            image, glasses = self._without_glasses(image, before.face)
        fused = studio.vision.fuser.fuse(image, before.face, source.image, source.face)
        after = self._look_at(fused, before.face)
        if not stages.same_mouth(before.parts, after.parts):
            fused = stages.tint_lips(fused, after.parts, self._frame.image, self._look.parts, self._width)
        unlike = stages.unlike(image, fused, self._width)
        mask = stages.blend_mask(
            before.parts, after.parts, ratio, self._width, unlike if glasses is None else masks.union(unlike, glasses)
        )
        if bends and eyewear.worn(source.image, landmarks.of(studio.vision, source.image, source.face)):
            points = landmarks.of(studio.vision, image, before.face)
            mask = masks.union(mask, stages.beside(image, fused, points))
        self._mark((mask > 0.02).astype(np.float32))
        blended = geometry.blend(image, fused, mask)
        if bends and self._donor is None:
            self._donor = Donor(source, blended, np.asarray(np.clip(mask / ratio, 0, 1), np.float32))
        return blended

    def _without_glasses(self, image: Image, face: Face) -> tuple[Image, Mask | None]:
        """``image`` without the arms of the template's glasses, and where their lenses lie: the face of the person has
        all of that part. As it is, and None, where the template wears none."""
        points = landmarks.of(self._studio.vision, image, face)
        if not eyewear.worn(image, points):
            return image, None
        bare, where = eyewear.without_arms(image, points)
        self._mark(where)
        self._glasses = True
        return bare, eyewear.lenses((image.shape[0], image.shape[1]), points)

    def _crisp(self, image: Image) -> Image:
        """``image`` with the fine detail of the first fusion where the passes softened it."""
        donor = self._donor
        if donor is None or not families.spec(self._studio.family).softens:
            return image
        return stages.crisper(image, donor.blended, donor.share, self._width)

    def _detail(self) -> stages.Detail | None:
        """What the picture lost by being worked on at a smaller size. In the face that is the detail of the face that
        was fused in; without one, and for a family that draws detail of its own, it is nothing there."""
        crop, size = self._frame.crop, self._frame.size
        if crop.height <= size[0]:
            return None
        picture = geometry.cut(self._picture, crop)
        repainted = geometry.resize_mask(masks.feather(self._changed, stages.BLEND_FEATHER * self._width), crop.size)
        detail, near = stages.lost(picture, size), masks.extent(repainted)
        inside = repainted[near][..., None]
        detail[near] *= 1 - inside
        donor = self._donor
        if donor is None or not families.spec(self._studio.family).softens:
            return detail
        face = geometry.in_crop(self._look.face, geometry.Crop(0, 0, size[1], size[0]), crop.size)
        if self._glasses:
            picture, _ = eyewear.without_arms(picture, landmarks.of(self._studio.vision, picture, face))
        fused = self._studio.vision.fuser.fuse(picture, face, donor.source.image, donor.source.face)
        share = geometry.resize_mask(donor.share, crop.size)
        blended = geometry.blend(picture, fused, share)
        detail[near] += stages.lost(blended, size)[near] * inside
        return detail

    def _see(self, image: Image, near: Face) -> ParsedFace:
        """The face of ``image`` that stands near ``near``. It is looked for once in each picture: the next question
        about the same array has the same answer."""
        last, asked, seen = self._seen
        if image is not last or (near is not asked and near is not seen.face):
            seen = self._look_at(image, near)
            self._seen = (image, near, seen)
        return seen

    def _look_at(self, image: Image, near: Face) -> ParsedFace:
        return self._studio.look(image, near, guessed=self.head.guessed)

    def _mask(self, kind: MaskKind, look: ParsedFace) -> Mask | None:
        if kind is MaskKind.WHOLE:
            return None
        make = stages.first_mask if kind is MaskKind.FACE else stages.second_mask
        return make(look.parts, self._width, self._reach)

    def _mark(self, mask: Mask) -> None:
        self._changed = masks.union(self._changed, mask)
