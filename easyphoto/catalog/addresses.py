"""The short names of sources in the data file, and the addresses that they stand for.

``hf:OWNER/NAME/FILE`` is a file at Hugging Face (``HF_ENDPOINT`` names another server), ``hf-dataset:`` one in a data
set there, ``ms:OWNER/NAME/FILE`` one at ModelScope, ``ms-api:`` the same by ModelScope's API, and ``oss:FILE`` one in
the store of the original extension. ``github:OWNER/NAME@COMMIT/FILE`` is a file of a repository as it was at a commit,
and ``jsdelivr:`` the same at the mirror of GitHub that jsDelivr keeps. A whole https address stands for itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from urllib.parse import quote

HUGGING_FACE = "https://huggingface.co"
HUGGING_FACE_MIRROR = "https://hf-mirror.com"
MODELSCOPE = "https://www.modelscope.cn"
GITHUB = "https://raw.githubusercontent.com"
JSDELIVR = "https://cdn.jsdelivr.net/gh"
STORE = "https://pai-aigc-photog.oss-cn-hangzhou.aliyuncs.com/webui"


def expand(sources: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the addresses of ``sources`` in order, each once. The public mirror of Hugging Face is tried last of
    all."""
    endpoint = (os.environ if environment is None else environment).get("HF_ENDPOINT", "").rstrip("/") or HUGGING_FACE
    urls = [_address(source, endpoint) for source in sources]
    urls += [_address(source, HUGGING_FACE_MIRROR) for source in sources if source.startswith("hf")]
    return list(dict.fromkeys(urls))


def _address(source: str, hugging_face: str) -> str:
    kind, _, rest = source.partition(":")
    if kind in ("https", "http"):
        return source
    if kind == "oss":
        return f"{STORE}/{rest}"
    owner, name, path = rest.split("/", 2)
    if kind == "github":
        return f"{GITHUB}/{owner}/{name.replace('@', '/')}/{quote(path)}"
    if kind == "jsdelivr":
        return f"{JSDELIVR}/{owner}/{name}/{quote(path)}"
    if kind == "hf":
        return f"{hugging_face}/{owner}/{name}/resolve/main/{path}"
    if kind == "hf-dataset":
        return f"{hugging_face}/datasets/{owner}/{name}/resolve/main/{path}"
    if kind == "ms":
        return f"{MODELSCOPE}/models/{owner}/{name}/resolve/master/{path}"
    if kind == "ms-api":
        return f"{MODELSCOPE}/api/v1/models/{owner}/{name}/repo?Revision=master&FilePath={quote(path, safe='')}"
    raise ValueError(f"unknown kind of source: {source!r}")
