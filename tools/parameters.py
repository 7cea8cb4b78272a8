"""Write docs/parameters.md from the declarations in ``easyphoto.config``.

python tools/parameters.py
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from easyphoto.config import AUTO, Declared, DrawnClipConfig, PortraitConfig, TrainConfig, declared, number  # noqa: E402
from easyphoto.families import known  # noqa: E402
from easyphoto.families.spec import AS_THE_ORIGINAL  # noqa: E402
from easyphoto.messages import translated  # noqa: E402

TARGET = ROOT / "docs" / "parameters.md"
HEAD = """# Parameters · 参数

Made from `easyphoto/config.py` by `tools/parameters.py`. The name is the same in the tabs' API, in the HTTP API and as
a flag of the command line. 名称在网页、HTTP 接口与命令行中一致。
"""


def row(d: Declared) -> str:
    p = d.param
    if p.choices:
        span = ", ".join(f"`{c}`" for c in p.choices)
    elif p.minimum is not None and p.maximum is not None:
        span = f"{number(p.minimum)} – {number(p.maximum)}"
        span += f", or `{AUTO}`: the best of {', '.join(map(number, p.tried))}" if p.tried else ""
    else:
        span = {bool: "on, off", str: "text"}.get(d.type, "")
    default = {True: "on", False: "off", "": "empty"}.get(d.default, d.default) if d.type in (bool, str) else d.default
    api = "" if p.legacy_default is None else f" (original API: {p.legacy_default})"
    return (
        f"| `{d.name}` | {default}{api} | {span} | {p.help} | {translated(p.label, 'zh')}:{translated(p.help, 'zh')} |"
    )


def table(title: str, cls: type[Any]) -> str:
    lines = [f"## {title}", "", "| name | default | range | meaning | 含义 |", "|---|---|---|---|---|"]
    return "\n".join(lines + [row(d) for d in declared(cls) if not d.param.legacy])


def legacy() -> str:
    """What is taken and not offered."""
    lines = ["## Taken from callers of the original's API", "", "| name | meaning | 含义 |", "|---|---|---|"]
    known = [d for cls in (TrainConfig, PortraitConfig) for d in declared(cls) if d.param.legacy]
    return "\n".join(lines + [f"| `{d.name}` | {d.param.help} | {translated(d.param.help, 'zh')} |" for d in known])


def families() -> str:
    rows = {f"`{spec.family}`": spec.learning.person for spec in known() if spec.learning.person}
    rows["scene mode"] = known()[0].learning.scene
    return defaults("Training defaults that depend on the base model", "base model", rows)


def as_the_original() -> str:
    """What the way to train changes."""
    rows = {"every base model": AS_THE_ORIGINAL}
    rows |= {f"`{spec.family}` besides": spec.learning.original for spec in known() if spec.learning.original}
    return defaults("Training defaults as the original (`training_style`)", "base model", rows)


def defaults(title: str, of: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"## {title}", "", f"| {of} | values |", "|---|---|"]
    for name, values in rows.items():
        lines.append(f"| {name} | {', '.join(f'`{k}` {shown(v)}' for k, v in values.items())} |")
    return "\n".join(lines)


def shown(value: float | str) -> str:
    return value if isinstance(value, str) else number(value)


def document() -> str:
    parts = [
        HEAD,
        table("Train · 训练", TrainConfig),
        families(),
        as_the_original(),
        table("Generate · 生成", PortraitConfig),
        table("Clips from text and pictures · 文字与图片生成视频", DrawnClipConfig),
        legacy(),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
