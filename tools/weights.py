"""Write docs/weights.md from the catalog and the table of backends. Run this again when you have changed either:

python tools/weights.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from easyphoto.catalog import Asset, Catalog  # noqa: E402
from easyphoto.catalog.download_plan import size  # noqa: E402
from easyphoto.catalog.model_folders import KINDS  # noqa: E402
from easyphoto.templates.fetched_gallery import BUNDLE, GalleryRow, rows  # noqa: E402
from easyphoto.vision import reporters  # noqa: E402
from easyphoto.vision.backend import ROLES, Backend  # noqa: E402
from easyphoto.vision.registry import BACKENDS  # noqa: E402

HEAD = """# Weights and licences

EasyPhoto runs without downloading anything, because the bench checkpoint and the models inside its packages serve
every feature. You need the weights on this page for portraits that you want to keep. EasyPhoto downloads nothing
that you didn't ask for, and it shows you the bytes and the licences first (a training on a single file fetches CLIP's
tokenizer, 1.6 MB under the MIT licence, where this machine has none):

```bash
python -m easyphoto models list                      # every feature, what it needs, what is there
python -m easyphoto models plan sd1-portrait         # bytes, places and licences; downloads nothing
python -m easyphoto models fetch sd1-portrait        # Ctrl-C keeps what came; run it again to go on
python -m easyphoto models verify                    # read everything again, compare checksums
```

With `--commercial-only` you leave out every file that may not be used commercially. With `--look-in FOLDER` (or
`EASYPHOTO_MODEL_FOLDERS`, separated like `PATH`) you name further folders with weights, so that you never download a
file that a WebUI already has.

The Weights tab does the same, in a WebUI and without one. You choose a feature, see which of its files are there,
their sizes and their licences, and download the rest; you can watch the progress and cancel. A download waits for
other downloads only, never for trainings or portraits, and the next job uses what came. Over HTTP you do this with
[`models` and `jobs/models`](api.md).

If you want commercial use only, switch it on for everything at once: in a WebUI under **Settings > EasyPhoto** (and
restart it), without a WebUI in the Settings tab, with `serve --commercial-only` or `EASYPHOTO_COMMERCIAL_ONLY=1`. The
switch holds for vision, the trainer, downloads and the film-look LoRA. The Weights tab then says what serves each
role and what is left out. The switch does not hold for base models: you choose those yourself.

## How a download behaves
- EasyPhoto finds a file by its name, or under any other name by its checksum, anywhere below the folders of the
  host. The pictures of the gallery are looked for at their own place alone.
- A download is written beside its place (`.part`) and gets its name only when its size, structure and checksum are
  right. A file that is cut off, tampered with or really a web page is never used, and one sentence says what came
  from where.
- A download that broke off goes on where it stopped, even days later. If the checksum is known, any mirror may go on
  with it. If it isn't, only the same source may, and only if the source says (`If-Range`) that its file has not
  changed.
- The sources are tried one after another, with pauses that grow. `HF_ENDPOINT` replaces the address of Hugging Face,
  whose public mirror is tried last. Proxies come from the environment (`https_proxy`).
- The table below says which checksums are publicly known. Any other checksum is recorded in `weights.json` beside
  the weights at the first download, and from then on the file must have it. If Hugging Face announces a checksum of
  its own, the first download is compared with that.
- One process downloads at a time, and it looks first whether the disk has room. If a file of yours stands in the
  way, it is kept as `.old`.
- With `EASYPHOTO_OFFLINE=1`, `HF_HUB_OFFLINE=1` or `--offline`, EasyPhoto never touches the network. A message then
  tells you which file belongs where.
- A file that would run code when it is loaded is refused. EasyPhoto takes safetensors, ONNX, and what
  `torch.load(weights_only=True)` takes.

The addresses come from public lists and from the original, and they have not been tried one by one. A dead address
only makes EasyPhoto try the next one, and the checksum decides which file is taken.
"""

GALLERY = """## Templates

`models fetch templates`, or one click in the gallery of the Inference tab, brings these pictures to
`models/EasyPhoto/templates`. They were chosen by eye for variety: women and men of all ages, skins and builds, in
studios and outdoors, from a close-up to a figure that stands, and two or three people. They show nobody who lives or
lived, because they were generated; only the couple in the park and the crew of Apollo 11 are photographs.

Each picture is fetched from the repository that published it, as it was at one commit, or from jsDelivr, which mirrors
such repositories; its sha256 is that of the file at that commit. Where the table says "a part", the file is a sheet of
many portraits, from which the template is cut on your machine; those that stand side by side are put together there.
"""

BACKENDS_HEAD = """## What serves each role

The first backend in the table whose files are there serves its role. If it can't be loaded, the next one does, and
you get a notice. From code you fix the choice with `backends=` of `easyphoto.vision.registry.create`. For one
portrait, `super_resolution_method` (gpen, realesrgan) chooses the enhancer and `face_fusion_method` (inswapper,
warp) the face fusion. If your choice isn't there, the next best one serves and a notice says so. `fusion_only` puts
the face in and repaints nothing, as roop does, so that you can compare the two.

The column "commercial" is our reading of the licences named, not legal advice. Where weights were trained on data
that is for research only, it says no.
"""

SWITCH = """## With "commercial use only"
- **Faces**: dlib's detector works with its five-point model (CC0) instead of the 68-point one, whose training data
  excludes commercial use. The other points are drawn by proportion. On frontal faces they are about right (on three
  frontal test faces the face mask overlaps the usual one by 0.87-0.89); on turned heads they are rough (down to
  0.4). The likeness hardly changes (the embeddings agree by a cosine of 0.97-1.00).
- **Likeness**: AuraFace measures it if its file is there, and dlib's own network otherwise. You can't compare
  numbers of different embedders.
- **Parsing, retouching, fusion, restoring**: the packaged backends serve. Saliency (U2-Net) and enlarging
  (Real-ESRGAN) stay as they are.
- **Base models**: Stable Diffusion 1.5 and SDXL 1.0 take the place of the merges that the original uses. The
  film-look LoRA, the openpose ControlNet of SDXL and InstantID (which needs antelopev2) are left out.
"""

TAIL = """## What is measured and what is not
- **Networks for torch** (BiSeNet, RRDB, retouching): they were written from their publications, and gave the same
  numbers as the published code with equal random weights. The published files themselves have not been tried: the
  tests use models with the published inputs, outputs and sizes.
- **Cosines**: what a cosine of ArcFace means (the same person 0.55-0.70, strangers about 0.0-0.1) comes from the
  original's documentation. AuraFace takes over these numbers, which were not measured for it. Those of dlib were
  measured.
- **Full-size checkpoints**: random ones of the published shapes (`pytest -m slow tests/weights/test_full_size.py`)
  go through the real code for loading, drawing, training and LoRAs. [Performance](performance.md) says what was run.
- **Memory**: `easyphoto.memory` estimates from computed tables what a training or a picture needs. For SD1.5
  this was compared with [what a card really needed](performance.md#on-a-graphics-card). [The embedded
  host](embedded.md#memory) says what happens if there is too little.

## Not here
- **DAMO's image-face-fusion**: its published code needs TensorFlow for its landmarks, and a face model (BFM) that is
  for research only. We looked in November 2026 for a published export that does without them and found none: the
  guides that promise one give neither a file nor code. inswapper or the packaged fusion serve instead.
- **Parts of the skin retouching**: the network that evens the skin is here; its blemish remover and whitening
  (TensorFlow) are not.
- **Some weights of the original**: those for try-on, video, make-up transfer by network and sliders, and its scene
  LoRAs.
"""


def document() -> str:
    """Return the whole page."""
    catalog = Catalog.load()
    parts = [HEAD, "## Features\n", *_features(catalog), "## Files\n", *_files(catalog), GALLERY, *_gallery(catalog)]
    return "\n".join([*parts, BACKENDS_HEAD, *_backends(), SWITCH, TAIL]).rstrip() + "\n"


def _features(catalog: Catalog) -> list[str]:
    rows = ["| `models fetch` | for | download | commercial | files |", "| --- | --- | ---: | --- | --- |"]
    for bundle in catalog.offered.values():
        assets = [catalog.assets[n] for n in bundle.assets]
        about = "about " if any(a.about for a in assets) else ""
        free = sum(a.commercial or a.instead is not None for a in assets)
        commercial = "yes" if free == len(assets) else "no" if free == 0 else "in part"
        names = ", ".join(f"`{a.file}`" for a in assets)
        if bundle.name == BUNDLE:
            names = f"{len(assets)} pictures ([below](#templates))"
        total = f"{about}{size(sum(a.bytes for a in assets))}"
        rows.append(f"| `{bundle.name}` | {bundle.what} | {total} | {commercial} | {names} |")
    return [*rows, ""]


def _files(catalog: Catalog) -> list[str]:
    rows = ["| file | in | bytes | licence | commercial | sha256 known from | first source |", "|" + " --- |" * 7]
    used = {name for bundle in catalog.offered.values() for name in bundle.assets}
    used |= {catalog.assets[name].instead or name for name in used}
    return [
        *rows,
        *(
            _file(asset, catalog)
            for asset in catalog.assets.values()
            if asset.name in used and asset.folder != "template"
        ),
        "",
    ]


def _file(asset: Asset, catalog: Catalog) -> str:
    place = "/".join(p for p in ("models", KINDS[asset.folder], asset.under) if p)
    other = "" if asset.instead is None else f"; instead: `{catalog.assets[asset.instead].file}`"
    also = f" (or {', '.join(f'`{n}`' for n in asset.also)})" if asset.also else ""
    count = f"about {size(asset.bytes)}" if asset.about else f"{asset.bytes:,}"
    known = asset.sha256_from or "recorded at the first download"
    yes = "yes" if asset.commercial else "no"
    return (
        f"| `{asset.file}`{also} | `{place}` | {count} | {asset.licence} | {yes}{other} | {known} | "
        f"<{asset.urls({})[0]}> |"
    )


def _gallery(catalog: Catalog) -> list[str]:
    found = ["| template | faces | file | bytes | licence | made by |", "|" + " --- |" * 6]
    return [*found, *(_template(row, catalog) for row in rows()), ""]


def _template(row: GalleryRow, catalog: Catalog) -> str:
    assets = [catalog.assets[name] for name, _ in row.parts]
    part = "a part of " if row.parts[0][1] is not None and len(assets) == 1 else ""
    part = "parts of " if len(assets) > 1 else part
    files = ", ".join(f"[`{a.file}`]({a.urls({})[0]})" for a in assets)
    licences, credits = (
        "; ".join(dict.fromkeys(texts)) for texts in ([a.licence for a in assets], [a.credit for a in assets])
    )
    count = " + ".join(f"{a.bytes:,}" for a in assets)
    return f"| `{row.name}` | {row.faces} | {part}{files} | {count} | {licences} | {credits} |"


def _backends() -> list[str]:
    rows = ["| role | backend | needs | licence | commercial |", "| --- | --- | --- | --- | --- |"]
    for role in (*ROLES, reporters.ROLE):
        rows += [_backend(b) for b in BACKENDS if b.role == role]
    return [*rows, ""]


def _backend(backend: Backend) -> str:
    catalog = Catalog.load()
    needs = [f"`{catalog.assets[a].file}`" for a in backend.assets] + [*backend.packages]
    words = ", ".join(needs) or "nothing"
    return (
        f"| {backend.role} | {backend.name} | {words} | {backend.licence} | {'yes' if backend.commercial else 'no'} |"
    )


if __name__ == "__main__":
    (ROOT / "docs" / "weights.md").write_text(document(), encoding="utf-8")
