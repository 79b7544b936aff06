"""The real `kgmet app` with the tiny random model, forked at a word from a process that has everything loaded.

`Served` talks to it: the servers are forked from one process, because a new one needs seconds to import torch. Each
runs the command of `kgmet app` from its beginning, listens on a port of its own, and is killed by its process id.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Self

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
JOBS, HELD, NAME = "jobs.json", "held.json", "name.txt"
"""Files in the cache folder: what the server writes on SIGUSR1 and SIGUSR2, and which name the model shall have."""


class Served:
    """A process that can fork servers, and the one server that runs."""

    def __init__(self, cache: Path, **options: Any) -> None:
        """Load everything.

        Args:
            cache: the server's cache folder.
            options: ``graph``, a file to ask instead of the bundled graph; ``names``, names of the model, of which
                `name_model` chooses; ``soon``, to forget a visitor's session a second after it has gone;
                ``arguments``, more of them for `kgmet app`.
        """
        self.cache, self.log = cache, cache / "server.log"
        cache.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.pid: int | None = None
        environment = os.environ | {"KGMET_CACHE": str(cache), "TOKENIZERS_PARALLELISM": "false"}
        environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        environment["STREAMLIT_SERVER_FILE_WATCHER_TYPE"] = "none"
        if options.get("soon"):
            environment["STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL"] = "1"
        environment.pop("PYTEST_XDIST_WORKER", None)
        command = [sys.executable, "-m", "tests.soak.served", json.dumps({"port": self.port} | options)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def __enter__(self) -> Self:
        """Start a server."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and the process that forks servers."""
        self.stop()

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        """Fork a server and wait until it answers."""
        assert self.pid is None
        self.pid = int(self._asked("start"))
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                os.kill(self.pid, 0)
                time.sleep(0.05)
        raise AssertionError(f"the app did not start:\n{self.log.read_text(encoding='utf-8')[-2000:]}")

    def kill(self) -> None:
        """End the server at once, as a crash or a power cut would."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        self.pid = None
        assert self._asked("wait") == "gone"

    def stop(self) -> None:
        """End the server and the process that forks servers."""
        if self.pid is not None:
            self.kill()
        self._process.kill()
        self._process.communicate()

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs that the server knows."""
        found: list[dict[str, Any]] = self._told(signal.SIGUSR1, JOBS)
        return found

    def held(self) -> Mapping[str, int]:
        """Memory in bytes, threads, open files and sessions of the server, after everything is freed that can be."""
        found: Mapping[str, int] = self._told(signal.SIGUSR2, HELD)
        return found

    def name_model(self, number: int) -> None:
        """Give the model one of the names."""
        (self.cache / NAME).write_text(str(number), encoding="ascii")
        self.jobs()

    def _told(self, word: signal.Signals, name: str) -> Any:
        assert self.pid is not None
        (self.cache / name).unlink(missing_ok=True)
        os.kill(self.pid, word)
        end = time.monotonic() + 60
        while not (self.cache / name).is_file():
            assert time.monotonic() < end, f"the server does not answer {word.name}"
            time.sleep(0.02)
        return json.loads((self.cache / name).read_text(encoding="utf-8"))

    def _asked(self, word: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


def main() -> None:
    """Load everything, then fork a server for each line on the input, say its process id, and wait until it is gone."""
    options: dict[str, Any] = {"graph": "", "names": [], "soon": False, "arguments": []} | json.loads(sys.argv[1])
    prepare(options)
    for line in sys.stdin:
        if line.strip() == "start":
            child = os.fork()
            if child == 0:
                sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
                os.dup2(2, 1)  # what the server prints goes into the log
                serve(options)
                os._exit(0)
            print(child, flush=True)
        else:
            os.waitpid(child, 0)
            print("gone", flush=True)


def prepare(options: Mapping[str, Any]) -> None:
    """Put the tiny model, and a graph if one is named, where every visitor finds them."""
    import streamlit.web.cli  # noqa: F401
    import torch

    from kgmet.graph.stores.readers import load_graph
    from kgmet.write.corpus import Corpus
    from kgmet.write.statistics import KeyStatistics
    from tests.tiny_models import tiny_lm
    from workbench import shell  # noqa: F401
    from workbench.running import resources
    from workbench.shared import examples, remedies
    from workbench.state import session

    torch.set_num_threads(1)
    # The tiny model knows nothing and never says what an edit wants: no work on the side for it.
    examples.read_known_edits = lambda *_, **__: frozenset()
    remedies.can_be_tried = lambda *_: False
    lines = tuple(f"Line {n} of a short text about towers and rivers." for n in range(40))
    lm = tiny_lm()
    lm.model.config.max_position_embeddings = 1024  # rotary positions have no table that ends
    resources.model_holder().put(lm, KeyStatistics(lm, Corpus(name="few lines", lines=lines)))
    graphs = resources.graph_holder()  # with the program's graph, which every server would read anew
    if options["graph"]:
        graphs.put(load_graph(Path(options["graph"])))
    if options["soon"]:
        session.RELEASED_AFTER = 0.0


def serve(options: Mapping[str, Any]) -> None:
    """Run `kgmet app` until the process is killed."""
    from kgmet.cli import app

    parser = argparse.ArgumentParser()
    app.add_parser(parser.add_subparsers())
    signal.signal(signal.SIGUSR1, lambda *_: (named(options["names"]), write_jobs()))
    signal.signal(signal.SIGUSR2, write_held)
    app.run(parser.parse_args(["app", "--port", str(options["port"]), *options["arguments"]]))


def named(names: list[str]) -> None:
    """Give the model the name that was asked for."""
    from workbench.running import resources

    asked, resident = Path(os.environ["KGMET_CACHE"]) / NAME, resources.model_holder().resident
    if names and asked.is_file() and resident is not None:
        name = names[int(asked.read_text(encoding="ascii"))]
        resources.model_holder().put(replace(resident.lm, name=name), resident.statistics)


def write_jobs() -> None:
    """Write down all jobs."""
    from kgmet.base.fingerprint import digest
    from workbench.running import jobs

    found = [
        {
            "id": one.id,
            "kind": one.kind,
            "session": digest("session", one.session_id)[:32],
            "state": one.state.value,
            "is_aside": one.is_aside,
            "submitted": one.submitted,
            "started": one.started,
            "ended": one.ended,
            "worker": worker,
        }
        for worker, registry in enumerate((jobs.registry(), jobs.long_runs()))
        for one in list(registry._jobs.values())
    ]
    written(JOBS, found)


def write_held(number: int, frame: FrameType | None) -> None:
    """Free what can be freed and write down what is held."""
    import ctypes
    import ctypes.util

    from workbench.state.vault import vault

    vault().release(after=-1)
    for _ in range(3):
        gc.collect()
    ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    held = {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "sessions": len(vault()._records),
    }
    written(HELD, held)


def written(name: str, value: Any) -> None:
    """Write a file of the cache folder whole."""
    folder = Path(os.environ["KGMET_CACHE"])
    (folder / f"{name}.new").write_text(json.dumps(value), encoding="utf-8")
    (folder / f"{name}.new").rename(folder / name)


if __name__ == "__main__":
    main()
