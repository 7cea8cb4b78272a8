"""Make docs/images/people.jpg, the picture of the README: people on templates, as the chain made them.

    python tools/bench/chain_sheet.py --name now --people ... --templates ... --reporter ...
    python tools/people_picture.py --name now --portraits FOLDER [--work FOLDER]

The people and the templates are chosen in :data:`BLOCKS`; the run of ``chain_sheet`` must have made each of these
portraits. No likeness stands below them: each of these people is known from the one picture that is shown, which is
bent into the portraits, so that a number would flatter. All are synthetic: those of faker are in the public domain
(CC0), those of SFHQ and SFHQ-T2I under the MIT licence.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools" / "bench"), str(ROOT)]

import numpy as np  # noqa: E402
from benchkit import PORTRAITS, WORK, Image  # noqa: E402
from chain_sheet import Workshop, trained_id  # noqa: E402

from easyphoto import pictures  # noqa: E402
from easyphoto.cli import contact_sheet  # noqa: E402
from easyphoto.cli.contact_sheet import Cell, Row  # noqa: E402

TARGET = ROOT / "docs" / "images" / "people.jpg"
WIDTH, QUALITY, SIDE = 1280, 88, 256
BLOCKS = (
    (("sfhq/02026.jpg", "t2i/01065.jpg", "faker/female-29.jpg"), ("faker/female-01.jpg", "faker/female-99.jpg")),
    (("faker/male-80.jpg", "t2i/00028.jpg", "sfhq/01916.jpg"), ("sfhq/01948.jpg", "t2i/00475.jpg")),
)
"""Templates, and the people who are shown on them. The blocks stand side by side."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the run of chain_sheet")
    parser.add_argument("--portraits", type=Path, default=PORTRAITS)
    parser.add_argument("--work", type=Path, default=WORK)
    options = parser.parse_args()
    shop = Workshop(options.work, options.portraits, None)
    made = options.work / options.name
    header: list[Cell] = []
    lines: list[list[Cell]] = [[] for _ in BLOCKS[0][1]]
    for templates, people in BLOCKS:
        faces = {name: pictures.load(options.portraits / name) for name in (*templates, *people)}
        header += [Cell(_blank(), ""), *(Cell(shop.cut(faces[t], faces[t]), "") for t in templates)]
        for line, person in zip(lines, people, strict=True):
            line.append(Cell(shop.cut(faces[person], faces[person]), ""))
            for template in templates:
                portrait = pictures.load(made / "final" / f"{trained_id(person)}-{Path(template).stem}.png")
                line.append(Cell(shop.cut(portrait, faces[template]), ""))
    titles = ["Templates", *["A photo of the person, and portraits"] * len(lines)]
    sheet = contact_sheet.draw([Row(t, cells) for t, cells in zip(titles, [header, *lines], strict=True)], width=WIDTH)
    pictures.save_jpg(TARGET, sheet, QUALITY)


def _blank() -> Image:
    return np.full((SIDE, SIDE, 3), 255, np.uint8)


if __name__ == "__main__":
    main()
