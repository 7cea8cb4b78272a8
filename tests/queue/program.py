"""``easyphoto serve`` as a process of its own, which can be killed and started again on the same folder."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

V1 = "/easyphoto/v1"
ROOT = Path(__file__).resolve().parents[2]
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}


def b64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def command(data: Path, *arguments: str, code: Sequence[str] = ("-m", "easyphoto")) -> list[str]:
    return [sys.executable, *code, *arguments, "--data", str(data)]


def easyphoto(data: Path, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """One command, run to its end."""
    return subprocess.run(
        command(data, *arguments),
        cwd=ROOT,
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Program:
    """A running ``serve``. ``code``: what Python is told to run in place of the package."""

    def __init__(self, data: Path, *flags: str, code: Sequence[str] = ("-m", "easyphoto")) -> None:
        self._log = data.parent / f"serve-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command(data, "serve", "--port", "0", *flags, code=code),
                cwd=ROOT,
                env={**os.environ, **QUIET},
                stderr=log,
                stdout=log,
            )
        self.address = self._listening()
        self.http = httpx.Client(base_url=self.address, timeout=60, trust_env=False)

    def _listening(self, seconds: float = 240) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            said = self._log.read_text(errors="replace")
            found = re.search(r"listens on (http://\S+?)/?\s", said)
            if found:
                return found[1]
            assert self._process.poll() is None, said
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"serve did not start: {said}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """As ``kill -9`` does it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(60)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.http.close()

    # --- the API -----------------------------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        try:
            answer = self.http.get(f"{V1}/{path}")
        except httpx.TransportError as error:
            time.sleep(1)
            raise AssertionError(f"serve ended with {self._process.poll()}: {self.said[-4000:]}") from error
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        return self.http.post(f"{V1}/{path}", json=body)

    def ask(self, kind: str, body: dict[str, Any]) -> str:
        """Queue a job; its id."""
        answer = self.post(f"jobs/{kind}", body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {job["id"]: job for job in self.get("jobs")}

    def wait(self, condition: Callable[[dict[str, dict[str, Any]]], bool], seconds: float = 600) -> None:
        end = time.monotonic() + seconds
        while not condition(jobs := self.jobs()):
            assert time.monotonic() < end, jobs
            assert self._process.poll() is None, self.said
            time.sleep(0.1)


def all_ended(jobs: dict[str, dict[str, Any]]) -> bool:
    return all(job["state"] in ("finished", "failed", "cancelled") for job in jobs.values())
