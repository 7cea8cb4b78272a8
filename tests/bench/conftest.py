"""Let the tests import the bench scripts, which lie beside the package and not in it."""

from __future__ import annotations

import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "bench"
if str(TOOLS) not in sys.path:
    sys.path.append(str(TOOLS))
