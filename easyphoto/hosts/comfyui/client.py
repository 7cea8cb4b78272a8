"""ComfyUI's HTTP and websocket API, as far as EasyPhoto uses it.

Every method raises :class:`HostFailed` with one sentence when ComfyUI isn't there, when something else answers, and
when it answers with an error. No proxy is used and no redirection is followed, so that pictures go to this address
alone.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
import websocket

from easyphoto.errors import HostFailed
from easyphoto.hosts.comfyui.address import Address
from easyphoto.messages import Message

TIMEOUT = (5.0, 60.0)
"""How many seconds ComfyUI has to take a connection, and to answer. While it loads a model it may be slow to answer."""

PREVIEW = "preview"
_PREVIEW_EVENT = b"\0\0\0\1"
"""How ComfyUI's binary message with a preview begins; four bytes about the format of its picture follow."""


class Gone(HostFailed):
    """Nobody listens at the address, or the connection broke."""


class Refused(HostFailed):
    """ComfyUI doesn't take a graph. ``problems`` are its own words about the nodes, one for each fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(Message("ComfyUI does not take the work: {problems}.", problems="; ".join(problems)[:600]))


@dataclass(frozen=True)
class ComfyPicture:
    """A picture in one of ComfyUI's folders: its ``kind`` is input, temp or output."""

    name: str
    subfolder: str
    kind: str

    @property
    def annotated(self) -> str:
        """How a node names it."""
        return f"{self.subfolder}/{self.name} [{self.kind}]" if self.subfolder else f"{self.name} [{self.kind}]"


@dataclass(frozen=True)
class ComfyQueue:
    """The ids of the prompts that ComfyUI works on and of those that wait, in their order."""

    running: tuple[str, ...]
    waiting: tuple[str, ...]

    def before(self, prompt: str) -> int:
        """How many others come before ``prompt``."""
        ahead = [*self.running, *self.waiting]
        return ahead.index(prompt) if prompt in ahead else 0


class ComfyUIClient:
    """One ComfyUI. It may be used from several threads."""

    def __init__(self, address: Address) -> None:
        self.address = address

    # --- what is there -----------------------------------------------------------------------------------------------

    def stats(self) -> Mapping[str, Any]:
        """ComfyUI's versions and devices. Raises :class:`HostFailed` if it isn't ComfyUI that answers."""
        found = self._get("/system_stats")
        if not isinstance(found, dict) or not isinstance(found.get("system"), dict):
            raise self._stranger()
        return found

    def node(self, kind: str) -> Mapping[str, Any] | None:
        """What ComfyUI says of a kind of node, None if it has none."""
        found: Mapping[str, Any] | None = self._get(f"/object_info/{quote(kind, safe='')}").get(kind)
        return found

    def models(self, folder: str) -> list[str]:
        """The names of the models of a folder (``checkpoints``, ``loras``, ``controlnet``, ``vae``)."""
        return [str(name) for name in self._get(f"/models/{folder}")]

    def folders(self) -> dict[str, list[str]]:
        """Where the models of each folder lie on the machine that ComfyUI runs on."""
        return {str(row["name"]): [str(path) for path in row["folders"]] for row in self._get("/experiment/models")}

    # --- pictures ----------------------------------------------------------------------------------------------------

    def upload(self, picture: ComfyPicture, png: bytes) -> None:
        """Store a picture under this very name, over what lay there."""
        fields = {"subfolder": picture.subfolder, "type": picture.kind, "overwrite": "true"}
        files = {"image": (picture.name, png, "image/png")}
        self._answer("POST", "/upload/image", data=fields, files=files)

    def view(self, picture: ComfyPicture) -> bytes:
        """The file of a picture."""
        asked = {"filename": picture.name, "subfolder": picture.subfolder, "type": picture.kind}
        return self._answer("GET", "/view", params=asked).content

    # --- work --------------------------------------------------------------------------------------------------------

    def submit(self, graph: Mapping[str, Any], listener: str, prompt: str) -> None:
        """Queue a graph under the id ``prompt``. The websocket of ``listener`` is told how it goes. Raises
        :class:`Refused` if a node or a value of the graph doesn't exist there."""
        body = {"prompt": graph, "client_id": listener, "prompt_id": prompt}
        answer = self._send("POST", "/prompt", json=body)
        if answer.status_code == requests.codes.bad_request:
            raise Refused(_problems(self._json(answer)))
        if self._json(self._checked(answer)).get("prompt_id") != prompt:
            raise HostFailed("This ComfyUI is too old: it does not take the number of a prompt. Update it.")

    def result(self, prompt: str) -> Mapping[str, Any] | None:
        """What became of a prompt, None while it isn't over."""
        found: Mapping[str, Any] | None = self._get(f"/history/{prompt}").get(prompt)
        return found

    def queue(self) -> ComfyQueue:
        found = self._get("/queue")
        running, waiting = (
            tuple(str(row[1]) for row in sorted(found[key])) for key in ("queue_running", "queue_pending")
        )
        return ComfyQueue(running, waiting)

    def withdraw(self, prompt: str) -> None:
        """Take this prompt out of the queue, or interrupt it if it runs. The work of others goes on."""
        self._answer("POST", "/queue", json={"delete": [prompt]})
        if prompt in self.queue().running:
            self._answer("POST", "/interrupt", json={"prompt_id": prompt})

    def forget(self, prompt: str) -> None:
        """Take a prompt that is over out of ComfyUI's history."""
        self._answer("POST", "/history", json={"delete": [prompt]})

    def free(self) -> None:
        """Have ComfyUI let go of its models as soon as it has nothing to do."""
        self._answer("POST", "/free", json={"unload_models": True, "free_memory": True})

    @contextlib.contextmanager
    def listening(self, listener: str) -> Iterator[Messages]:
        """A context with the messages for ``listener``."""
        try:
            socket = websocket.create_connection(
                f"{self.address.socket_url}?clientId={listener}", timeout=TIMEOUT[0], http_no_proxy=["*"]
            )
        except websocket.WebSocketBadStatusException as error:
            raise self._stranger() from error
        except (websocket.WebSocketException, OSError) as error:
            raise self._gone(error) from error
        try:
            yield Messages(socket, self)
        finally:
            with contextlib.suppress(OSError, websocket.WebSocketException):
                socket.close(timeout=1)
            socket.shutdown()  # type: ignore[no-untyped-call]  # also where nobody was there to be told

    # --- how ---------------------------------------------------------------------------------------------------------

    def _get(self, path: str) -> Any:
        return self._json(self._answer("GET", path))

    def _answer(self, method: str, path: str, **more: Any) -> requests.Response:
        return self._checked(self._send(method, path, **more))

    def _send(self, method: str, path: str, **more: Any) -> requests.Response:
        try:
            with requests.Session() as session:
                session.trust_env = False
                return session.request(method, self.address.url + path, timeout=TIMEOUT, allow_redirects=False, **more)
        except requests.RequestException as error:
            raise self._gone(error) from error

    def _checked(self, answer: requests.Response) -> requests.Response:
        if answer.status_code == requests.codes.ok:
            return answer
        if answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
            raise HostFailed("ComfyUI at {address} asks for a password or refuses.", address=self.address)
        if answer.status_code >= requests.codes.internal_server_error:
            raise HostFailed(
                "ComfyUI at {address} failed with status {status}; its log says why.",
                address=self.address,
                status=answer.status_code,
            )
        raise self._stranger()

    def _json(self, answer: requests.Response) -> Any:
        try:
            return answer.json()
        except ValueError as error:
            raise self._stranger() from error

    def _gone(self, error: Exception) -> Gone:
        if isinstance(error, requests.ReadTimeout):
            return Gone(Message("ComfyUI at {address} does not answer in time: it hangs.", address=self.address))
        return Gone(Message("ComfyUI does not answer at {address}: start it there.", address=self.address))

    def _stranger(self) -> HostFailed:
        return HostFailed("What answers at {address} is not ComfyUI, or an old one.", address=self.address)


class Messages:
    """What ComfyUI says over one websocket."""

    def __init__(self, socket: websocket.WebSocket, client: ComfyUIClient) -> None:
        self._socket = socket
        self._client = client

    def next(self, seconds: float) -> tuple[str, Mapping[str, Any]] | None:
        """The kind of the next message and its data, or None if none came in so many ``seconds``. What can't be read is
        left out. A preview is of the kind :data:`PREVIEW` and has its file as ``file``. Raises :class:`Gone` when the
        connection ends."""
        self._socket.settimeout(seconds)
        try:
            code, content = self._socket.recv_data()
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError) as error:
            raise Gone(Message("ComfyUI at {address} went away.", address=self._client.address)) from error
        if code == websocket.ABNF.OPCODE_CLOSE:
            raise Gone(Message("ComfyUI at {address} went away.", address=self._client.address))
        if code == websocket.ABNF.OPCODE_BINARY and content[:4] == _PREVIEW_EVENT:
            return PREVIEW, {"file": content[8:]}
        if code != websocket.ABNF.OPCODE_TEXT:
            return None
        try:
            message = json.loads(content)
            return str(message["type"]), dict(message["data"])
        except (ValueError, KeyError, TypeError):
            return None


def _problems(answer: Any) -> list[str]:
    """What is wrong with a graph that ComfyUI refused, in its own words."""
    found = []
    for node, facts in (answer.get("node_errors") or {}).items():
        for error in facts.get("errors", ()):
            said = f"{error.get('message', '')}: {error.get('details', '')}".strip(": ")
            found.append(f"{facts.get('class_type', node)}: {said}")
    error = answer.get("error") or {}
    whole = error if isinstance(error, str) else f"{error.get('message', '')}: {error.get('details', '')}"
    return found or [" ".join(whole.split()).strip(": ") or "no reason given"]
