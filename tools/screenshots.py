"""Make the pictures of the tabs for the documents, with the real thing: train a person, make a portrait, look.

    python tools/screenshots.py                        # the bench checkpoint, photos from an installed package
    python tools/screenshots.py --photos my/photos --user-id Ada --data my/data

Needs Chromium, its driver, selenium and a Chinese font. Writes docs/images/<tab>-<language>.png or .jpg.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image as Pillow

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from easyphoto import pictures  # noqa: E402
from easyphoto.cli import demo, serve, standalone  # noqa: E402
from easyphoto.config import Paths  # noqa: E402
from tests.serving import served  # noqa: E402
from tests.ui.browser import Page, missing  # noqa: E402

COLOURS = 200
QUALITY = 80
MINUTES = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of photos of one person (default: the demo's)")
    parser.add_argument("--user-id", default="Eileen")
    parser.add_argument("--data", type=Path, help="the data folder (default: a new one that is removed)")
    parser.add_argument("--out", type=Path, default=PROJECT / "docs" / "images")
    args = parser.parse_args()
    reason = missing()
    if reason:
        print(reason)
        return 4
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        photos = sorted(args.photos.iterdir()) if args.photos else demo_photos(Path(folder) / "photos")
        service = standalone.build(Paths.standalone(args.data or Path(folder) / "data"))
        with served(serve.app(service)) as address:
            take(address, photos, args.user_id, args.out)
    return 0


def demo_photos(folder: Path) -> list[Path]:
    images = demo.photos(demo.photograph("skimage", "data", "astronaut.png"))
    found = [folder / f"photo-{i + 1}.jpg" for i in range(len(images))]
    for path, image in zip(found, images, strict=True):
        pictures.save_jpg(path, image)
    return found


def take(address: str, photos: list[Path], user_id: str, out: Path) -> None:
    """The Train tab while it trains and the Inference tab with a portrait, in English and in Chinese."""
    progress, portraits = "#easyphoto_train_progress", "#easyphoto_generate_progress"
    with Page(address, "en-US", (1280, 1000)) as page:
        page.upload("easyphoto_train_upload", photos)
        page.wait_for("#easyphoto_train_report figure", len(photos))
        page.wait_for("#easyphoto_train_report figure.taken", 1, seconds=300)
        page.type("#easyphoto_train_user_id", user_id)
        page.click("#easyphoto_train_start")
        page.wait_for(f"{progress} circle.likeness", 2, seconds=60 * MINUTES)
        time.sleep(5)  # until the bar is that of the training again, and no more that of the validation
        shoot(page, out / "train-en.png")
        page.wait_for(f"{progress} [data-state=finished]", seconds=60 * MINUTES)
        page.tab(1)
        page.click("#easyphoto_generate_start")
        page.wait_for(f"{portraits} [data-state=finished]", seconds=60 * MINUTES)
        page.wait_for("#easyphoto_generate_portraits img")
        shoot(page, out / "inference-en.jpg")
        others(page, out, "en")
    with Page(address, "zh-CN", (1280, 1000)) as page:
        page.wait(lambda: page.text("#easyphoto_train_start") == "开始训练")
        shoot(page, out / "train-zh.png")
        page.tab(1)
        page.wait_for("#easyphoto_generate_portraits img")
        shoot(page, out / "inference-zh.jpg")
        others(page, out, "zh")


def others(page: Page, out: Path, language: str) -> None:
    """The tabs that look the same whatever was just made."""
    page.tab(2)
    page.wait_for("#easyphoto_weights_needs tbody tr", 3)
    page.wait_for("#easyphoto_weights_decided tbody tr", 3)
    shoot(page, out / f"weights-{language}.png")
    page.tab(5)
    page.wait_for("#easyphoto_history_gallery .thumbnail-item")[0].click()
    page.wait_for("#easyphoto_history_one .easyphoto-compare")
    shoot(page, out / f"portraits-{language}.jpg")
    page.tab(6)
    page.wait_for(".easyphoto-person")
    shoot(page, out / f"people-{language}.png")


def shoot(page: Page, path: Path) -> None:
    """A screenshot: as a JPEG where it shows portraits, else with few colours, which is a fifth of the size and looks
    the same."""
    time.sleep(2)
    picture = Pillow.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        picture.save(path, quality=QUALITY, optimize=True)
    else:
        picture.quantize(COLOURS, dither=Pillow.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    sys.exit(main())
