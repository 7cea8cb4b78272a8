"""Make docs/images/demo.jpg: run the demo and keep the contact sheet of its single template.

Its photographs are in the public domain; that of the group is not ours to show.

python tools/demo_picture.py [FOLDER OF A DEMO THAT WAS RUN]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "images" / "demo.jpg"


def main(arguments: list[str]) -> None:
    out = Path(arguments[0]) if arguments else Path(tempfile.mkdtemp(prefix="easyphoto-demo-"))
    if not arguments:
        subprocess.run([sys.executable, "-m", "easyphoto", "demo", "--out", str(out)], cwd=ROOT, check=True)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(out / "contact-sheet-single.jpg", TARGET)


if __name__ == "__main__":
    main(sys.argv[1:])
