"""What all tests share: two threads, no network, the real model on request, a browser where there is one."""

from __future__ import annotations

import os

# Before torch and transformers are imported anywhere. Two threads, or one where tests run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ.setdefault("MKL_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
# Where others keep the cores busy, threads that spin make a test of 0.2 s take a minute.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DGLBACKEND"] = "pytorch"

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.get_chromium import found as found_chromium
from tests.package.installed import ROOT, Installed, build, install

if TYPE_CHECKING:
    from playwright.sync_api import Browser

TOGETHER = {
    "tests/browser/test_journey.py": "servers",
    "tests/browser/test_keep.py": "servers",
    "tests/browser/test_keyboard.py": "servers",
    "tests/browser/test_look.py": "servers",
    "tests/browser/test_result_link.py": "servers",
    "tests/browser/test_installed.py": "wheel",
    "tests/package/test_wheel.py": "wheel",
    "tests/calibrate/test_calibrate.py": "calibration",
    "tests/calibrate/test_resuming.py": "calibration",
}
"""Files whose tests share what is started or built once in a process, and its name."""
LONGEST = (
    "tests/inspect/test_causal_trace.py",
    "tests/evaluate/runs/test_run.py",
    "tests/benchmarks/test_big_model.py",
    "tests/soak/test_killed_server.py",
    "tests/test_hostile_process.py",
    "tests/calibrate/test_calibrate.py",
    "tests/workbench/screens/models/test_page.py",
    "tests/docs/test_site.py",
    "tests/soak/test_many_visitors.py",
    "tests/calibrate/test_resuming.py",
    "tests/pages/test_kept_results.py",
    "tests/pages/test_trace_page.py",
    "tests/pages/test_look_pages.py",
    "tests/evaluate/runs/test_ray.py",
    "tests/editing/test_far.py",
    "tests/lm/load/test_bundled.py",
    "tests/workbench/shared/test_remedies.py",
    "tests/cli/test_report_card.py",
    "tests/cli/test_output.py",
    "tests/docs/test_code_blocks.py",
    "tests/editing/test_plan.py",
    "tests/evaluate/card/test_known.py",
)
"""Files of 8 s and more, begun first, so that at the end no process has one of them left while others have nothing."""
_NO_BROWSER = "no Chromium: run 'python scripts/get_chromium.py' or set KGMET_CHROMIUM to its path"


def _is_here(host: object) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Connections to other machines fail at once, as they would without a network."""
    connect, lookup = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None) and not _is_here(address[0]):
            raise OSError(f"tests have no network, and something wants to connect to {address!r}")
        connect(self, address)

    def guarded_lookup(host: Any, *rest: Any, **named: Any) -> Any:
        if not _is_here(host) and not _is_address(host):
            raise socket.gaierror(socket.EAI_NONAME, f"tests have no network, and something looks up {host!r}")
        return lookup(host, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_lookup)
        yield


def _is_address(host: object) -> bool:
    try:
        ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return True


@pytest.fixture(scope="session")
def default_model_dir() -> Path:
    """Folder of the embedded default model; converted on first use, which takes half a minute."""
    from kgmet.lm.load.bundled import ensure_bundled

    return ensure_bundled()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this repository."""
    folder = tmp_path_factory.mktemp("wheel")
    build(ROOT, folder, ["wheel"])
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment that has kgmet from the wheel only, and a folder elsewhere to work in."""
    return install(wheel, tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="session")
def chromium_executable() -> str:
    """Path of a Chromium. Without one browser tests are skipped; under CI=true that is a failure."""
    path = found_chromium()
    if path:
        return path
    if os.environ.get("CI") == "true":
        pytest.fail(f"{_NO_BROWSER}; under CI=true browser tests may not be skipped")
    pytest.skip(_NO_BROWSER)


@pytest.fixture(scope="session")
def chromium(chromium_executable: str) -> Iterator[Browser]:
    """The one browser of a process."""
    from tests.browser.running import launched

    with launched(chromium_executable) as browser:
        yield browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the real model or the browser.

    Side by side, the browser's tests come first: beside them, the others fill the time that a page needs. Then come
    the `LONGEST` files.
    """
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if "default_model_dir" in fixtures:
            item.add_marker(pytest.mark.real_model)
        if "chromium_executable" in fixtures:
            item.add_marker(pytest.mark.browser)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("browser") is not None:
        return 0
    file = item.nodeid.partition("::")[0]
    return 1 + (LONGEST.index(file) if file in LONGEST else len(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run the tests of a file in one process, which makes the file's fixtures once, and some files `TOGETHER`.

    xdist's own groups are written into the tests' names, where pytest 9.2 does not look any more.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return TOGETHER.get(file, file)

    return ByFile(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Skipped browser tests are said loudly, not in a letter of the progress line."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if _NO_BROWSER in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"*** {len(skipped)} BROWSER TESTS SKIPPED: {_NO_BROWSER} ***", red=True, bold=True)
