"""A ComfyUI that makes no pictures, with real HTTP and a real websocket.

It answers as ComfyUI 0.3.75 does: the same fields, statuses and messages, in the same order. It has its traps too. An
unknown node, a value that isn't in a list and a missing input are refused. A node whose inputs haven't changed isn't
run again and gives back what it gave before, though the file may be another now. A LoRA whose file changed under its
name is the old one. Prompts wait for one another.
"""

from __future__ import annotations

import asyncio
import heapq
import io
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, Response
from PIL import Image as PilImage
from starlette.datastructures import UploadFile

from easyphoto.ports import Image

Job = dict[str, dict[str, Any]]
FOLDERS = ("checkpoints", "loras", "controlnet", "vae")
SAMPLERS = ["euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_sde", "lcm", "ddim", "uni_pc"]
SCHEDULERS = ["normal", "karras", "sgm_uniform", "ddim_uniform"]
BLACK = np.zeros((1, 1, 3), np.uint8)


class Interrupted(Exception):
    """What ComfyUI calls InterruptProcessingException."""


@dataclass(frozen=True)
class Work:
    """One prompt as it was carried out, with the pictures and masks that its nodes loaded."""

    graph: Job
    pictures: Mapping[str, Image]

    def only(self, kind: str) -> dict[str, Any]:
        found = self.all(kind)
        assert len(found) == 1, f"{len(found)} nodes of {kind}"
        return found[0]

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [node["inputs"] for node in self.graph.values() if node["class_type"] == kind]

    def seen(self, link: list[Any]) -> Image:
        """The picture that a link comes from."""
        return self.pictures[link[0]]


def paint(work: Work) -> Image:
    """What is made of a prompt: the very picture it starts from, or a grey one."""
    encoded = work.all("VAEEncode")
    if encoded:
        return work.seen(encoded[0]["pixels"])
    empty = work.only("EmptyLatentImage")
    return np.full((empty["height"], empty["width"], 3), 128, np.uint8)


@dataclass
class FakeComfyUI:
    """``root`` is its folder. ``before_step`` is called with the prompt's number and the step that comes, and may
    raise, as a node does. ``lacking`` are nodes that it doesn't have. ``preview`` is shown after each step."""

    root: Path
    paint: Callable[[Work], Image] = paint
    before_step: Callable[[int, int], None] = lambda number, step: None
    lacking: frozenset[str] = frozenset()
    preview: Image | None = None
    done: list[Work] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    url: str = ""

    def __post_init__(self) -> None:
        for folder in FOLDERS:
            (self.root / "models" / folder).mkdir(parents=True, exist_ok=True)
        self.temp = self.root / "temp"
        self._sockets: dict[str, WebSocket] = {}
        self._pending: list[tuple[float, str, Job, dict[str, Any], list[str]]] = []
        self._running: list[tuple[float, str, Job, dict[str, Any], list[str]]] = []
        self._history: dict[str, Any] = {}
        self._cached: dict[str, Any] = {}
        self._number = 0
        self._news = threading.Condition()
        self.interrupted = threading.Event()
        self.others_end = threading.Event()
        self._over = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None

    # --- running -----------------------------------------------------------------------------------------------------

    @contextmanager
    def running(self, port: int = 0) -> Iterator[FakeComfyUI]:
        config = uvicorn.Config(
            self.app(), host="127.0.0.1", port=port, log_level="error", ws="wsproto", lifespan="off"
        )
        self._server = uvicorn.Server(config)
        serving = threading.Thread(target=self._server.run, daemon=True)
        working = threading.Thread(target=self._work, daemon=True)
        serving.start()
        while not self._server.started:
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        working.start()
        try:
            yield self
        finally:
            self.stop()
            working.join()
            serving.join()

    def stop(self) -> None:
        """Ends it at once, as a crash does."""
        self._over.set()
        self.interrupted.set()
        with self._news:
            self._news.notify_all()
        assert self._server is not None
        self._server.force_exit = self._server.should_exit = True

    def put(self) -> str:
        """Work of somebody else, which takes until ``others_end``."""
        prompt = f"other-{len(self._history)}-{time.monotonic_ns()}"
        graph: Job = {"wait": {"class_type": "SomebodyElses", "inputs": {}}}
        self._queue(prompt, graph, {}, [])
        return prompt

    def names(self, folder: str) -> list[str]:
        root = self.root / "models" / folder
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.safetensors"))

    @property
    def left(self) -> list[Image]:
        """What lies in the temporary folder."""
        return [np.asarray(PilImage.open(path).convert("RGB")) for path in sorted(self.temp.rglob("*.png"))]

    def queued(self) -> tuple[list[str], list[str]]:
        with self._news:
            return [item[1] for item in self._running], [item[1] for item in sorted(self._pending)]

    @property
    def history(self) -> list[str]:
        return list(self._history)

    # --- nodes -------------------------------------------------------------------------------------------------------

    def nodes(self) -> dict[str, dict[str, Any]]:
        """What is required of each node: a type, or the values that it takes."""
        number, text = ("FLOAT",), ("STRING",)
        known: dict[str, dict[str, Any]] = {
            "CheckpointLoaderSimple": {"ckpt_name": (self.names("checkpoints"),)},
            "VAELoader": {"vae_name": (self.names("vae"),)},
            "LoraLoader": {
                "model": ("MODEL",),
                "clip": ("CLIP",),
                "lora_name": (self.names("loras"),),
                "strength_model": number,
                "strength_clip": number,
            },
            "ModelSamplingDiscrete": {"model": ("MODEL",), "sampling": (["eps", "lcm"],), "zsnr": ("BOOLEAN",)},
            "CLIPTextEncode": {"text": text, "clip": ("CLIP",)},
            "ConditioningConcat": {"conditioning_to": ("CONDITIONING",), "conditioning_from": ("CONDITIONING",)},
            "ControlNetLoader": {"control_net_name": (self.names("controlnet"),)},
            "EasyPhotoSoftControl": {"control_net": ("CONTROL_NET",)},
            "ControlNetApplyAdvanced": {
                "positive": ("CONDITIONING",),
                "negative": ("CONDITIONING",),
                "control_net": ("CONTROL_NET",),
                "image": ("IMAGE",),
                "strength": number,
                "start_percent": number,
                "end_percent": number,
            },
            "LoadImage": {"image": ("FILE",)},
            "LoadImageMask": {"image": ("FILE",), "channel": (["alpha", "red", "green", "blue"],)},
            "EmptyLatentImage": {"width": number, "height": number, "batch_size": number},
            "VAEEncode": {"pixels": ("IMAGE",), "vae": ("VAE",)},
            "SetLatentNoiseMask": {"samples": ("LATENT",), "mask": ("MASK",)},
            "KSamplerAdvanced": {
                "model": ("MODEL",),
                "add_noise": (["enable", "disable"],),
                "noise_seed": number,
                "steps": number,
                "cfg": number,
                "sampler_name": (SAMPLERS,),
                "scheduler": (SCHEDULERS,),
                "positive": ("CONDITIONING",),
                "negative": ("CONDITIONING",),
                "latent_image": ("LATENT",),
                "start_at_step": number,
                "end_at_step": number,
                "return_with_leftover_noise": (["disable", "enable"],),
            },
            "VAEDecode": {"samples": ("LATENT",), "vae": ("VAE",)},
            "PreviewImage": {"images": ("IMAGE",)},
        }
        return {kind: inputs for kind, inputs in known.items() if kind not in self.lacking}

    def _refusal(self, graph: Job) -> dict[str, Any] | None:
        known = self.nodes()
        for name, node in graph.items():
            if node["class_type"] not in known:
                message = f"Cannot execute because node {node['class_type']} does not exist."
                error = {"type": "invalid_prompt", "message": message, "details": f"Node ID '#{name}'"}
                return {"error": {**error, "extra_info": {}}, "node_errors": {}}
        wrong = {name: found for name, node in graph.items() if (found := self._wrong(node, graph, known))}
        if not wrong:
            return None
        node_errors = {
            name: {"errors": errors, "dependent_outputs": ["picture"], "class_type": graph[name]["class_type"]}
            for name, errors in wrong.items()
        }
        error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"}
        return {"error": {**error, "details": "", "extra_info": {}}, "node_errors": node_errors}

    def _wrong(self, node: dict[str, Any], graph: Job, known: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        errors = []
        for name, (wanted, *_) in known[node["class_type"]].items():
            value = node["inputs"].get(name)
            if value is None:
                message = "Required input is missing"
                errors.append({"type": "required_input_missing", "message": message, "details": name})
            elif isinstance(wanted, list) and value not in wanted:
                details = f"{name}: '{value}' not in {wanted}"
                errors.append({"type": "value_not_in_list", "message": "Value not in list", "details": details})
            elif wanted == "FILE" and not self._file(value).is_file():
                details = f"{name} - Invalid image file: {value}"
                message = "Custom validation failed for node"
                errors.append({"type": "custom_validation_failed", "message": message, "details": details})
            elif isinstance(value, list):
                assert value[0] in graph, f"{name} comes from {value[0]}, which isn't there"
        return errors

    def _file(self, annotated: str) -> Path:
        name, _, kind = annotated.removesuffix("]").rpartition(" [")
        assert kind == "temp", annotated
        return self.temp / name

    # --- work --------------------------------------------------------------------------------------------------------

    def _queue(self, prompt: str, graph: Job, extra: dict[str, Any], outputs: list[str]) -> None:
        with self._news:
            heapq.heappush(self._pending, (float(self._number), prompt, graph, extra, outputs))
            self._number += 1
            self._news.notify_all()

    def _work(self) -> None:
        number = 0
        while not self._over.is_set():
            with self._news:
                while not self._pending and not self._over.is_set():
                    self._news.wait(0.2)
                if self._over.is_set():
                    return
                item = heapq.heappop(self._pending)
                self._running.append(item)
            _, prompt, graph, extra, _ = item
            listener = extra.get("client_id")
            messages: list[Any] = []

            def tell(kind: str, data: dict[str, Any], kept: bool = True) -> None:
                if kept:
                    messages.append([kind, data])  # noqa: B023 - called within the turn
                self._say(listener, kind, data)  # noqa: B023

            tell("execution_start", {"prompt_id": prompt})
            self.interrupted.clear()
            outputs: dict[str, Any] = {}
            try:
                outputs = self._execute(prompt, graph, number, tell, listener)
                tell("execution_success", {"prompt_id": prompt})
            except Interrupted:
                tell("execution_interrupted", {"prompt_id": prompt, "node_id": "sampling", "executed": []})
            except Exception as error:  # noqa: BLE001 - as ComfyUI does
                node = "sampling"
                name = type(error).__name__
                where = type(error).__module__
                data = {
                    "prompt_id": prompt,
                    "node_id": node,
                    "node_type": graph[node]["class_type"],
                    "executed": [],
                    "exception_message": f"{error}\n",
                    "exception_type": name if where == "builtins" else f"{where}.{name}",
                    "traceback": ['  File "/somewhere/nodes.py", line 1\n'],
                    "current_inputs": {},
                    "current_outputs": [],
                }
                tell("execution_error", data)
            good = messages[-1][0] == "execution_success"
            status = {"status_str": "success" if good else "error", "completed": good, "messages": messages}
            with self._news:
                self._running.remove(item)
                self._history[prompt] = {"prompt": list(item), "outputs": outputs, "status": status, "meta": {}}
            self._say(listener, "executing", {"node": None, "prompt_id": prompt})
            number += 1

    def _execute(
        self, prompt: str, graph: Job, number: int, tell: Callable[..., None], listener: str | None
    ) -> dict[str, Any]:
        if "wait" in graph:
            while not self.others_end.wait(0.05):
                if self.interrupted.is_set():
                    raise Interrupted
            return {}
        shown = self._signature(graph, "picture")
        if shown not in self._cached:
            sampling = graph["sampling"]["inputs"]
            pictures = {
                name: np.asarray(PilImage.open(self._file(node["inputs"]["image"])).convert("RGB"))
                for name, node in graph.items()
                if node["class_type"] in ("LoadImage", "LoadImageMask")
            }
            steps = sampling["end_at_step"] - sampling["start_at_step"]
            for step in range(steps):
                self.before_step(number, step)
                if self.interrupted.is_set():
                    raise Interrupted
                data = {"value": step + 1, "max": steps, "prompt_id": prompt, "node": "sampling"}
                tell("progress", data, False)
                self._show(listener)
            work = Work(graph, pictures)
            name = f"ComfyUI_temp_fake_{len(self.done):05}_.png"
            self.done.append(work)
            self.temp.mkdir(exist_ok=True)
            PilImage.fromarray(self.paint(work)).save(self.temp / name)
            self._cached[shown] = {"images": [{"filename": name, "subfolder": "", "type": "temp"}]}
        tell("executed", {"node": "picture", "output": self._cached[shown], "prompt_id": prompt}, False)
        return {"picture": self._cached[shown]}

    def _show(self, listener: str | None) -> None:
        """A preview, as ComfyUI sends it with ``--preview-method``: four bytes say that it is one, four that it is a
        JPEG."""
        socket = self._sockets.get(listener or "")
        if self.preview is not None and socket is not None and self._loop is not None and not self._over.is_set():
            file = io.BytesIO()
            PilImage.fromarray(self.preview).save(file, format="JPEG")
            with suppress(Exception):
                sending = socket.send_bytes(b"\0\0\0\1\0\0\0\1" + file.getvalue())
                asyncio.run_coroutine_threadsafe(sending, self._loop).result(5)

    def _signature(self, graph: Job, name: str) -> str:
        """What ComfyUI compares to know whether a node would give the same again."""
        node = graph[name]
        inputs = {
            key: self._signature(graph, value[0]) if isinstance(value, list) else value
            for key, value in sorted(node["inputs"].items())
        }
        content = ""
        if node["class_type"] in ("LoadImage", "LoadImageMask"):
            content = self._file(node["inputs"]["image"]).read_bytes().hex()
        return json.dumps([node["class_type"], inputs, content])

    def _say(self, listener: str | None, kind: str, data: dict[str, Any]) -> None:
        socket = self._sockets.get(listener or "")
        if socket is None or self._loop is None or self._over.is_set():
            return
        message = {"type": kind, "data": data}
        with suppress(Exception):  # ComfyUI too goes on without a listener
            asyncio.run_coroutine_threadsafe(socket.send_json(message), self._loop).result(5)

    # --- its API -----------------------------------------------------------------------------------------------------

    def app(self) -> FastAPI:  # noqa: PLR0915 - one function a route
        app = FastAPI()

        @app.websocket("/ws")
        async def listen(socket: WebSocket, clientId: str) -> None:
            self._loop = asyncio.get_running_loop()
            await socket.accept()
            self._sockets[clientId] = socket
            status = {"status": {"exec_info": {"queue_remaining": len(self._pending)}}, "sid": clientId}
            await socket.send_json({"type": "status", "data": status})
            await socket.send_bytes(b"\0\0\0\1\0\0\0\1a preview")
            with suppress(WebSocketDisconnect, RuntimeError):
                while not self._over.is_set():
                    with suppress(TimeoutError, asyncio.TimeoutError):
                        await asyncio.wait_for(socket.receive_text(), 0.2)
            self._sockets.pop(clientId, None)

        @app.get("/system_stats")
        def stats() -> dict[str, Any]:
            versions = {"comfyui_version": "0.3.75", "python_version": "3.11.4 (main)", "pytorch_version": "2.13.0+cpu"}
            return {
                "system": {"os": "posix", "argv": ["main.py"], **versions},
                "devices": [{"name": "cpu", "type": "cpu", "index": None, "vram_total": 1, "vram_free": 1}],
            }

        @app.get("/object_info/{kind}")
        def node(kind: str) -> dict[str, Any]:
            known = self.nodes()
            return {kind: {"input": {"required": known[kind]}, "name": kind}} if kind in known else {}

        @app.get("/models/{folder}")
        def models(folder: str) -> Response:
            return JSONResponse(self.names(folder)) if folder in FOLDERS else Response(status_code=404)

        @app.get("/experiment/models")
        def folders() -> list[dict[str, Any]]:
            return [{"name": name, "folders": [str(self.root / "models" / name)]} for name in FOLDERS]

        @app.post("/upload/image")
        async def upload(request: Request) -> Response:
            async with request.form() as form:
                image = form["image"]
                assert isinstance(image, UploadFile)
                assert form["type"] == "temp", "photos would stay"
                assert form["overwrite"] == "true"
                place = self.temp / str(form["subfolder"])
                place.mkdir(parents=True, exist_ok=True)
                (place / str(image.filename)).write_bytes(await image.read())
                return JSONResponse({"name": image.filename, "subfolder": form["subfolder"], "type": form["type"]})

        @app.get("/view")
        def view(filename: str, subfolder: str, type: str) -> Response:
            assert type == "temp"
            path = self.temp / subfolder / filename
            return Response(path.read_bytes(), media_type="image/png") if path.is_file() else Response(status_code=404)

        @app.post("/prompt")
        async def prompt(request: Request) -> Response:
            body = await request.json()
            refusal = self._refusal(body["prompt"])
            if refusal is not None:
                return JSONResponse(refusal, status_code=400)
            self._queue(body["prompt_id"], body["prompt"], {"client_id": body["client_id"]}, ["picture"])
            return JSONResponse({"prompt_id": body["prompt_id"], "number": self._number, "node_errors": {}})

        @app.get("/history/{prompt}")
        def history(prompt: str) -> dict[str, Any]:
            return {prompt: self._history[prompt]} if prompt in self._history else {}

        @app.get("/queue")
        def queue() -> dict[str, Any]:
            with self._news:
                rows = {"queue_running": self._running, "queue_pending": self._pending}
                return {key: [list(item) for item in items] for key, items in rows.items()}

        @app.post("/queue")
        async def unqueue(request: Request) -> Response:
            body = await request.json()
            self.calls.append(("queue", body))
            with self._news:
                self._pending = [item for item in self._pending if item[1] not in body["delete"]]
                heapq.heapify(self._pending)
            return Response()

        @app.post("/interrupt")
        async def interrupt(request: Request) -> Response:
            body = await request.json()
            self.calls.append(("interrupt", body))
            with self._news:
                if any(item[1] == body["prompt_id"] for item in self._running):
                    self.interrupted.set()
            return Response()

        @app.post("/history")
        async def forget(request: Request) -> Response:
            for prompt in (await request.json())["delete"]:
                self._history.pop(prompt, None)
            return Response()

        @app.post("/free")
        async def free(request: Request) -> Response:
            self.calls.append(("free", await request.json()))
            return Response()

        return app


def png(picture: Image) -> bytes:
    file = io.BytesIO()
    PilImage.fromarray(picture).save(file, format="PNG")
    return file.getvalue()
