"""A cluster of two nodes on this machine, as a process of its own that does what it is told on its standard input.

``lose`` kills the second node with everything on it, ``bring`` starts it again, ``end`` ends all. Each node has a
folder of its own for its workers. Everything listens on the loopback interface alone.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from easyphoto import program
from easyphoto.fleet import lodging

STORE = 100 * 2**20
"""Bytes of each node's object store."""


def main(folders: list[str]) -> None:
    """Run the cluster until the input ends. ``folders``: of the nodes' workers."""
    session = tempfile.mkdtemp(prefix="ep-two-", dir="/tmp")
    os.environ["RAY_TMPDIR"] = session
    from ray.cluster_utils import Cluster

    first, second = ({"env_vars": {lodging.FOLDER: folder}, "num_cpus": 1, "num_gpus": 0} for folder in folders)
    cluster = Cluster()
    cluster.add_node(**first, object_store_memory=STORE, include_dashboard=False)
    other = cluster.add_node(**second, object_store_memory=STORE)
    print(cluster.address, flush=True)
    try:
        for line in sys.stdin:
            if line.strip() == "lose":
                cluster.remove_node(other, allow_graceful=False)
            elif line.strip() == "bring":
                other = cluster.add_node(**second, object_store_memory=STORE)
            else:
                break
            print(line.strip(), flush=True)
    finally:
        cluster.shutdown()
        shutil.rmtree(session, ignore_errors=True)


class TwoNodes:
    """The cluster's address, and what is done to it."""

    def __init__(self, child: subprocess.Popen[str], address: str) -> None:
        self._child, self.address = child, address

    def tell(self, word: str) -> None:
        """Have ``lose`` or ``bring`` done and wait until it is."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(f"{word}\n")
        self._child.stdin.flush()
        assert self._child.stdout.readline().strip() == word


def settings() -> dict[str, str]:
    """The environment of everything that belongs to the cluster, its head too."""
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # 127.0.0.1 and no other address
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }


@contextmanager
def two_nodes(folders: tuple[Path, Path], environment: dict[str, str]) -> Iterator[TwoNodes]:
    """A running cluster whose nodes' workers live in ``folders``."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([*program.import_path(), *sys.path])
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.fleet.two_nodes", *map(str, folders)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=program.ROOT,
    )
    try:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield TwoNodes(child, address)
    finally:
        assert child.stdin is not None
        child.stdin.close()
        try:
            child.wait(60)
        finally:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()


if __name__ == "__main__":
    main(sys.argv[1:])
