"""Writes docs/weights.md from the catalog and the table of backends. Run it after changing either:

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
from easyphoto.vision.backend import ROLES, Backend  # noqa: E402
from easyphoto.vision.registry import BACKENDS  # noqa: E402

HEAD = """# Weights and licences

EasyPhoto runs without downloading anything: the bench checkpoint and the models inside its packages serve every
feature. The weights below make portraits to keep. Nothing is downloaded unless you ask for it, and you see bytes and
licences first:

```bash
python -m easyphoto models list                      # every feature, what it needs, what is there
python -m easyphoto models plan sd1-portrait         # bytes, places and licences; downloads nothing
python -m easyphoto models fetch sd1-portrait        # Ctrl-C keeps what came; run it again to go on
python -m easyphoto models verify                    # read everything again, compare checksums
```

`--commercial-only` leaves out whatever may not be used commercially. `--look-in FOLDER` (or `EASYPHOTO_MODEL_FOLDERS`,
separated like `PATH`) names further folders with weights, so that what a WebUI has is never fetched twice.

The Weights tab shows the same, in a WebUI and standalone: choose a feature, see its files with what is there, sizes and
licences, and download with progress, time left and cancel. A download waits for other downloads only, never for
trainings or portraits; what came is used from the next job on. Over HTTP: [`models` and `jobs/models`](api.md).

Commercial use only, for everything at once: **Settings > EasyPhoto** in a WebUI (after a restart), standalone
`serve --commercial-only` or `EASYPHOTO_COMMERCIAL_ONLY=1`. It holds for vision, the trainer, downloads and the
film-look LoRA; the Weights tab says what serves each role and what is left out. Base models you choose yourself.

## How a download behaves
- A file is found by name, or by checksum under any other name, anywhere below the folders of the host.
- It is written beside its place (`.part`) and gets its name only when size, structure and checksum are right. A file
  that is cut off, tampered with, or a web page is never used, and one sentence says what came from where.
- A download that broke off goes on where it stopped, also days later. With a known checksum any mirror may go on;
  without one only the same source, and only if it says (`If-Range`) that its file has not changed.
- Sources are tried in turn, with pauses that grow. `HF_ENDPOINT` moves Hugging Face; its public mirror is tried last.
  Proxies are taken from the environment (`https_proxy`).
- Checksums marked below are publicly known. Others are recorded in `weights.json` beside the weights at the first
  download (Hugging Face's own checksum is compared where it announces one) and hold ever after.
- One process downloads at a time; the room on the disk is checked first. A file of your own that stands in the way is
  kept as `.old`.
- `EASYPHOTO_OFFLINE=1`, `HF_HUB_OFFLINE=1` or `--offline`: the network is never touched; the message says which file
  belongs where.
- Files that would run code when loaded are refused: only safetensors, ONNX, and what `torch.load(weights_only=True)`
  takes.

The addresses were collected from public lists and the original's own and have not been tried one by one. A dead one
only costs the next try: checksums decide what is taken.
"""

BACKENDS_HEAD = """## What serves each role

The first that is there serves; if it can't be loaded, the next does, with one notice. A fixed choice: `backends=` of
`easyphoto.vision.registry.create`. For one portrait, `super_resolution_method` (gpen, realesrgan) chooses the enhancer
and `face_fusion_method` (inswapper, warp) the face fusion; where the choice can't be had, the next best serves and a
notice says so. `fusion_only` puts the face in and repaints nothing, as roop does it, to compare with.

"Commercial" is a reading of the licences named, not legal advice; where weights
come from data for research only, it says no.
"""

SWITCH = """## With "commercial use only"
- Faces: dlib's detector with its five-point model (CC0) instead of the 68-point one, whose training data excludes
  commercial use. The other points are drawn by proportion: parts of frontal faces stay about right (on three frontal
  test faces the face mask overlaps the usual one by 0.87-0.89), those of turned heads are rough (down to 0.4), and
  likeness is hardly touched (embeddings agree by a cosine of 0.97-1.00).
- Likeness: AuraFace when it is there, else dlib's own network. Numbers of different embedders can't be compared.
- Parsing, retouching, fusion, restoring: the packaged ways. Saliency (U2-Net) and enlarging (Real-ESRGAN) stay.
- Base models: Stable Diffusion 1.5 and SDXL 1.0 take the place of the merges that the original uses. The film-look
  LoRA, the openpose ControlNet of SDXL and InstantID (it needs antelopev2) are left out.
"""

TAIL = """## What is measured and what is not
- The networks for torch (BiSeNet, RRDB, retouching) were written down from their publications, and gave the same
  numbers as the published code on equal random weights. The published files themselves have not been tried:
  everything is tested with models of the published inputs, outputs and sizes.
- The meaning of ArcFace's cosines (same person 0.55-0.70, strangers about 0.0-0.1) is taken from EasyPhoto's
  documentation; AuraFace's is taken over from it and not measured. dlib's was measured.
- Full-size checkpoints: random ones of the published shapes (`pytest -m slow tests/weights/test_full_size.py`) go
  through the real loading, drawing, training and LoRA code; what was run is in [performance](performance.md).
- Memory: `easyphoto.memory` estimates what a training or a picture needs from computed tables; not measured on a
  graphics card. What happens where it is too little: [the embedded host](embedded.md#memory).

## Not here
- DAMO's image-face-fusion: its published code needs TensorFlow for its landmarks and a face model (BFM) for research
  only. No published export of it that does without was found (looked for in November 2026); the guides that promise one
  give neither file nor code. inswapper or the packaged fusion serve.
- Of the skin retouching only the network that evens the skin; its blemish remover and whitening (TensorFlow) are not.
- Weights of the original for try-on, video, make-up transfer by network, sliders, and its scene LoRAs.
"""


def document() -> str:
    """The whole page."""
    catalog = Catalog.load()
    parts = [HEAD, "## Features\n", *_features(catalog), "## Files\n", *_files(catalog), BACKENDS_HEAD, *_backends()]
    return "\n".join([*parts, SWITCH, TAIL]).rstrip() + "\n"


def _features(catalog: Catalog) -> list[str]:
    rows = ["| `models fetch` | for | download | commercial | files |", "| --- | --- | ---: | --- | --- |"]
    for bundle in catalog.offered.values():
        assets = [catalog.assets[n] for n in bundle.assets]
        about = "about " if any(a.about for a in assets) else ""
        free = sum(a.commercial or a.instead is not None for a in assets)
        commercial = "yes" if free == len(assets) else "no" if free == 0 else "in part"
        names = ", ".join(f"`{a.file}`" for a in assets)
        total = f"{about}{size(sum(a.bytes for a in assets))}"
        rows.append(f"| `{bundle.name}` | {bundle.what} | {total} | {commercial} | {names} |")
    return [*rows, ""]


def _files(catalog: Catalog) -> list[str]:
    rows = ["| file | in | bytes | licence | commercial | sha256 known from | first source |", "|" + " --- |" * 7]
    used = {name for bundle in catalog.offered.values() for name in bundle.assets}
    used |= {catalog.assets[name].instead or name for name in used}
    return [*rows, *(_file(asset, catalog) for asset in catalog.assets.values() if asset.name in used), ""]


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


def _backends() -> list[str]:
    rows = ["| role | backend | needs | licence | commercial |", "| --- | --- | --- | --- | --- |"]
    for role in ROLES:
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
