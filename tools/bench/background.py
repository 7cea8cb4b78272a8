"""Train the UNet beside other work: one command that begins, goes on and says how far it is.

    python tools/bench/background.py ../bench-state --portraits ../shared/portraits &
    python tools/bench/background.py ../bench-state --status

All that it makes lies in the folder, which should be outside of the repository. What is there is not made again: the
packed sources, the encoded frames, the state of the training, which is saved every few minutes. Should the folder be
lost, it begins from the weights that shipped last. It takes only the processor time that nobody else wants: the lowest
priority, and on Linux the lowest for its whole group of processes as well, since there `nice` counts only inside one.
Stop it as you like; `export.py --work FOLDER --init models/bench` takes the weights of the last save.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import os
import subprocess
import sys
from pathlib import Path

from benchkit import MODEL_DIR, PORTRAITS, say

HERE = Path(__file__).parent


def yield_to_others() -> None:
    """Give this process and those that it starts the lowest priority."""
    if hasattr(os, "nice"):
        os.nice(19)
    if hasattr(os, "setsid") and os.getpgrp() != os.getpid():
        os.setsid()  # a group of its own: the priority of the terminal's stays as it is
    with contextlib.suppress(OSError):  # another system, or a kernel without groups: `nice` has to do
        Path("/proc/self/autogroup").write_text("19", encoding="ascii")


def command(script: str, *flags: str, **named: object) -> list[str]:
    """How a script of this folder is started."""
    values = [part for name, value in named.items() for part in (f"--{name}", str(value))]
    return [sys.executable, str(HERE / script), *flags, *values]


def stages(folder: Path, options: argparse.Namespace) -> list[tuple[Path, list[str]]]:
    """What each stage makes, and its command."""
    sources, latents, finished = folder / "sources.npz", folder / "latents.pt", folder / "finished"
    pack = command("pack.py", "--sources", portraits=options.portraits, out=sources)
    frames = {"pack": sources, "vae": MODEL_DIR / "vae", "variants": options.variants, "out": latents}
    learn = {"pack": sources, "latents": latents, "work": folder, "init": MODEL_DIR}
    length = {"minutes": options.minutes, "batch": options.batch}
    return [
        (sources, pack),
        (latents, command("latents.py", **frames)),
        (finished, command("train_unet.py", **learn, **length)),
    ]


def seen(folder: Path) -> dict[str, str] | None:
    """The last line of the training's curve that tells a loss, or None when there is none yet."""
    path = folder / "unet.csv"
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as source:
        rows = [row for row in csv.DictReader(source) if row["loss"]]
    return rows[-1] if rows else None


def status(folder: Path) -> str:
    """How far the training in the folder is, in one sentence."""
    last = seen(folder)
    if last is None:
        made = [name for name in ("sources.npz", "latents.pt") if (folder / name).is_file()]
        return f"{folder}: no step yet; made so far: {', '.join(made) or 'nothing'}"
    hours = float(last["seconds"]) / 3600
    rate = float(last["samples"]) / max(1.0, float(last["seconds"]))
    return (
        f"{folder}: {int(float(last['samples'])):,} samples seen in {hours:.1f} h of training "
        f"({rate:.1f} a second), loss {float(last['loss']):.4f}"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where everything is kept")
    parser.add_argument("--status", action="store_true", help="only say how far it is")
    parser.add_argument("--portraits", type=Path, default=PORTRAITS)
    parser.add_argument("--variants", type=int, default=6, help="frames of each source")
    parser.add_argument("--minutes", type=float, default=600, help="of training, all runs together")
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    if options.status:
        say(status(options.folder))
        return
    yield_to_others()
    options.folder.mkdir(parents=True, exist_ok=True)
    for made, started in stages(options.folder, options):
        if made.exists():
            continue
        ended = subprocess.run(started, check=False)
        if ended.returncode:
            raise SystemExit(f"{Path(started[1]).name} ended with {ended.returncode}; start this again to go on")
    (options.folder / "finished").touch()
    say(status(options.folder))


if __name__ == "__main__":
    main()
