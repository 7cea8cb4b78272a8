"""Zip files that try to do harm and must not be able to, drawn from a seed."""

from __future__ import annotations

import io
import json
import random
import stat
import struct
import zipfile
from collections.abc import Callable

from tests.storage import somebody

Members = dict[str, bytes]
Attack = Callable[[random.Random], bytes]
EVIL_NAMES = (
    "files/../../evil.txt",
    "files/processed_images/train/a\u202egpj.exe.jpg",
    "files/../../../../../evil.txt",
    "/evil.txt",
    "//server/share/evil.txt",
    "C:/evil.txt",
    "files\\..\\..\\evil.txt",
    "files/job/filelock.py",
    "files/job/state.pt",
    "files/job/job.json",
    "files/sitecustomize.py",
    "files/original_backup/0.jpg",
    "files/publish.ready/plan.json",
    "files/user_weights/checkpoint-1.safetensors",
    "files/processed_images/train/evil.py",
    "files/processed_images/train/../../../evil.jpg",
    "files/processed_images/train/CON.jpg",
    "files/processed_images/train/.hidden.jpg",
    "files/processed_images/train/a\0.py.jpg",
    "files/processed_images/train/sub/0.jpg",
    "files/./person.json",
    "files//person.json",
    "files/person.json ",
    "files/PERSON.JSON",
    "lora.safetensors/evil",
    "__MACOSX/._user_id.txt",
    "evil.sh",
)
EVIL_IDS = (
    b"", b"..", b"../evil", b"/evil", b"a/b", b"C:evil", b"CON", b"aux.txt", b"none", b".hidden", b"dot.", b"a\0b",
    b"x" * 300, b"\xff\xfe", "e\u0301".encode() * 100, b"\n",
)  # fmt: skip
EVIL_LORAS = (b"", b"PK\3\4", b"\x80\x02}q\0.", b"<html>", struct.pack("<Q", 2**60), struct.pack("<Q", 2) + b"{}")
EVIL_MARKS = (b"", b"[]", b"null", b'{"works": "yes"}', b'{"family": 7}', b"{" * 100_000, b"\xff", b'{"likeness": []}')
EVIL_PICTURES = (
    b"",
    b"no picture",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    b"\xff\xd8\xff\xe0" + b"\0" * 100,
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"GIF89a" + b"\xff" * 30,
)


def good(user_id: str = "eve") -> Members:
    """What a good file holds."""
    buffer = io.BytesIO()
    somebody.picture(somebody.NEW).save(buffer, "JPEG")
    picture = buffer.getvalue()
    return {
        "lora.safetensors": somebody.lora(somebody.NEW),
        "user_id.txt": user_id.encode(),
        "files/person.json": json.dumps({"family": "sd1", "likeness": 0.7, "works": True}).encode(),
        "files/ref_image.jpg": picture,
        "files/processed_images/metadata.jsonl": b'{"file_name": "train/0.jpg", "text": "x"}\n',
        "files/processed_images/train/0.jpg": picture,
        f"files/user_weights/best_outputs/{user_id}.jpg": picture,
    }


def zipped(members: Members, method: int = zipfile.ZIP_STORED, **attributes: int) -> bytes:
    """The members as a zip file; ``attributes`` of the last member, as :class:`zipfile.ZipInfo` calls them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, (name, data) in enumerate(members.items()):
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # as it is: the constructor would mend it
            info.compress_type = method
            if number == len(members) - 1:
                for attribute, value in attributes.items():
                    setattr(info, attribute, value)
            archive.writestr(info, data)
    return buffer.getvalue()


# --- attacks ---------------------------------------------------------------------------------------------------------


def evil_name(draw: random.Random) -> bytes:
    return zipped({**good(), draw.choice(EVIL_NAMES): b"evil"})


def evil_id(draw: random.Random) -> bytes:
    return zipped({**good(), "user_id.txt": draw.choice(EVIL_IDS)})


def evil_lora(draw: random.Random) -> bytes:
    return zipped({**good(), "lora.safetensors": draw.choice(EVIL_LORAS) + draw.randbytes(draw.randrange(64))})


def evil_marks(draw: random.Random) -> bytes:
    return zipped({**good(), "files/person.json": draw.choice(EVIL_MARKS)})


def evil_picture(draw: random.Random) -> bytes:
    where = draw.choice([name for name in good() if name.endswith(".jpg")])
    return zipped({**good(), where: draw.choice(EVIL_PICTURES)})


def link(draw: random.Random) -> bytes:
    kind = draw.choice((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK))
    name = draw.choice(("files/ref_image.jpg", "files/processed_images/train/1.jpg", "files/person.json"))
    members = {k: v for k, v in good().items() if k != name}
    return zipped({**members, name: b"/etc/passwd"}, external_attr=(kind | 0o777) << 16)


def bomb(draw: random.Random) -> bytes:
    name = draw.choice(("files/processed_images/train/1.jpg", "files/person.json", "user_id.txt"))
    return zipped({**good(), name: bytes(draw.randrange(17, 40) * 2**20)}, zipfile.ZIP_DEFLATED)


def picture_bomb(draw: random.Random) -> bytes:
    """A PNG that says it is enormous."""
    side = draw.choice((20_000, 65_000, 2**31 - 1))
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + b"\0\0\0\0" + struct.pack(">I", 0) + b"IDAT\0\0\0\0"
    return zipped({**good(), "files/ref_image.jpg": png})


def strange_packing(draw: random.Random) -> bytes:
    return zipped(good(), draw.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))


def encrypted(draw: random.Random) -> bytes:
    data = bytearray(zipped(good()))
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(mark)
        data[at + offset] |= 1
    return bytes(data)


def doubled(draw: random.Random) -> bytes:
    """Two members of one name, or of names that some file system takes for one."""
    data = zipped({**good(), "files/processed_images/train/A.jpg": b"1", "files/processed_images/train/a.jpg": b"2"})
    return data if draw.random() < 0.5 else data.replace(b"train/A.jpg", b"train/a.jpg")


def crowded(draw: random.Random) -> bytes:
    many = {f"files/processed_images/train/{i}.jpg": b"" for i in range(draw.randrange(2001, 2500))}
    return zipped({**good(), **many})


def lacking(draw: random.Random) -> bytes:
    members = good()
    del members[draw.choice(("lora.safetensors", "user_id.txt", "files/ref_image.jpg"))]
    return zipped(members)


def known(draw: random.Random) -> bytes:
    """The name of somebody who is there, or one that a file system takes for it."""
    return zipped(good(draw.choice(("ann", "Ann", "ANN"))))


def cut(draw: random.Random) -> bytes:
    data = zipped(good(), draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    return data[: draw.randrange(len(data))]


def scratched(draw: random.Random) -> bytes:
    """Some bytes are others; now and then that does no harm."""
    data = bytearray(zipped(good(), draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))))
    directory = data.find(b"PK\1\2")
    start = draw.choice((0, directory))
    for _ in range(draw.randrange(1, 12)):
        data[draw.randrange(start, len(data))] = draw.randrange(256)
    return bytes(data)


def no_zip(draw: random.Random) -> bytes:
    return draw.randbytes(draw.randrange(3000)) + draw.choice((b"", b"PK\5\6" + draw.randbytes(18)))


ATTACKS: tuple[Attack, ...] = (
    evil_name, evil_id, evil_lora, evil_marks, evil_picture, link, bomb, picture_bomb, strange_packing, encrypted,
    doubled, crowded, lacking, known, cut, scratched, no_zip,
)  # fmt: skip
