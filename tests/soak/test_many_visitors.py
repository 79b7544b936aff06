"""Eight visitors at once on one real server: none sees anything of another, and jobs are taken in their order.

Each visitor types, names and asks with words of its own, from a thread of its own, and keeps everything the server
sent: pages, downloads, addresses of files. Afterwards the words and the session ids of the others are looked for in it.
"""

from __future__ import annotations

import io
import os
import random
import re
import threading
import time
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from kgmet.base.fingerprint import digest
from tests.soak.served import Served
from tests.soak.visitor import Visitor

SOAK = os.environ.get("KGMET_SOAK") == "1"
pytestmark = [pytest.mark.soak] if SOAK else []
N_VISITOR = int(os.environ.get("KGMET_SOAK_VISITORS", "8" if SOAK else "2"))
SECONDS = float(os.environ.get("KGMET_SOAK_SECONDS", "120" if SOAK else "0"))
N_ROUND = 1
"""Rounds that each visitor does at least, however long they take."""
PAGES = ("graph", "probe", "shift", "orthogonality", "compare", "share", "chat", "models", "forensics", "report_card")
SYLLABLES = ("ba", "de", "fo", "ku", "li", "mo", "ne", "pa", "ru", "sa", "ti", "vo", "xy", "zu")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("served") / "cache") as made:
        yield made


class Guest:
    """One visitor: words that no other uses, and what was counted."""

    def __init__(self, server: Served, number: int) -> None:
        self.draw = random.Random(number)
        self.word = f"Q{number}" + "".join(self.draw.choice(SYLLABLES) for _ in range(6))
        self.tab = Visitor(server.url, patience=180)
        self.tab.open("edit")
        self.n_done: dict[str, int] = {}
        self.waits: list[float] = []
        self.fault: BaseException | None = None

    def stay(self, end: float) -> None:
        """Do one round after the other until the time is over."""
        try:
            n_round = 0
            while n_round < N_ROUND or time.monotonic() < end:
                n_round += 1
                for act in (self.apply, self.look_round, self.name, self.export, self.stop_one, self.run, self.undo):
                    act()
                    assert self.tab.faults == [], (act.__name__, self.tab.faults)
                    self.n_done[act.__name__] = self.n_done.get(act.__name__, 0) + 1
        except BaseException as error:  # shown by the test, which is in another thread
            self.fault = error

    def apply(self) -> None:
        self._type()
        self.tab.press("Apply the edit")
        self._wait()
        self.tab.open("ledger")
        assert self.word.encode() in self.tab.page(), "the visitor's own edit is shown"

    def look_round(self) -> None:
        for name in self.draw.sample(PAGES, 3):
            self.tab.open(name)
            assert self.tab.faults == [], name

    def name(self) -> None:
        self.tab.open("ledger")
        self.tab.fill(Name=f"{self.word} as a name", Note=f"a note of {self.word}")

    def export(self) -> None:
        self.tab.open("ledger")
        self.tab.choose("Form", self.draw.choice((0, 1, 3)))
        self.tab.press("Export")
        self._wait()
        files = self.tab.downloads()
        assert len(files) == 1 and any(self.word.encode() in part for part in unzipped(files[0]))

    def stop_one(self) -> None:
        """Cancel a job, whether it waits or runs."""
        self._type()
        self.tab.press("Apply the edit")
        if self.tab.has("button", "Stop"):
            begin = time.monotonic()
            self.tab.press("Stop")
            self._wait()
            self.waits.append(time.monotonic() - begin)

    def run(self) -> None:
        """A benchmark run of two cases, the data uploaded by this visitor alone."""
        self.tab.open("benchmark")
        self.tab.number("Cases", 2)
        self.tab.press("Start")
        self._wait()
        self.tab.open("benchmark")

    def undo(self) -> None:
        self.tab.open("ledger")
        if len([one for one in self.tab.texts("checkbox", "label") if re.fullmatch(r"\d+\.", one)]) > 2:
            self.tab.press("Undo")

    def _type(self) -> None:
        self.tab.open("edit")
        city = f"{self.draw.choice(('Tokyo', 'Rome', 'Oslo'))} {self.word}"
        self.tab.fill(
            Subject=f"The Tower {self.draw.randrange(10_000)} of {self.word}",
            New_object=city,
            Template="{} is located in the city of",
            Old_object="Paris",
        )

    def _wait(self) -> None:
        """Wait for the job to end, unless it has."""
        self.tab.wait_until(lambda tab: not tab.has("button", "Stop"), seconds=300)


def unzipped(data: bytes) -> list[bytes]:
    if not data.startswith(b"PK"):
        return [data]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [archive.read(name) for name in archive.namelist()]


def test_visitors_see_nothing_of_each_other_and_jobs_are_taken_in_their_order(server: Served) -> None:
    guests = [Guest(server, number) for number in range(N_VISITOR)]
    seen: dict[str, dict[str, Any]] = {}
    end = time.monotonic() + SECONDS
    threads = [threading.Thread(target=guest.stay, args=(end,)) for guest in guests]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen |= {one["id"]: one for one in server.jobs()}
        time.sleep(0.5)
    seen |= {one["id"]: one for one in server.jobs()}
    for thread in threads:
        thread.join()
    for guest in guests:
        if guest.fault is not None:
            raise AssertionError(server.log.read_text(encoding="utf-8")[-6000:]) from guest.fault
    n_bytes = nothing_of_another(guests)
    longest, n_overtaken = order_of(list(seen.values()))
    done = {name: sum(guest.n_done[name] for guest in guests) for name in guests[0].n_done}
    stops = [one for guest in guests for one in guest.waits]
    print(f"visitors: {N_VISITOR}, each a thread; done: {done}; jobs: {len(seen)}; bytes read: {n_bytes}; ")
    print(f"words, ids or files of another: 0; longest wait in the queue {longest:.1f} s; overtaken: {n_overtaken}; ")
    print(f"stopped jobs: {len(stops)}, the slowest after {max(stops, default=0):.1f} s")
    assert n_overtaken == 0
    assert min(guest.n_done["apply"] for guest in guests) >= N_ROUND


def nothing_of_another(guests: list[Guest]) -> int:
    """Assert that no visitor heard a word or an id of another; return the bytes looked through."""
    n_bytes = 0
    for guest in guests:
        heard = b"\n".join(part for data in guest.tab.heard for part in unzipped(data))
        n_bytes += len(heard)
        for other in guests:
            for secret in (other.word, other.tab.session_id, digest("session", other.tab.session_id)[:32]):
                is_own = other is guest
                assert is_own or secret.encode() not in heard, f"{guest.word} heard {secret}"
        cookie = f"kgmet_session_{guest.tab.url.rpartition(':')[2]}={guest.tab.session_id}; path".encode()
        assert guest.tab.session_id.encode() not in heard.replace(cookie, b""), "the id is in the cookie's script only"
    return n_bytes


def order_of(jobs: list[dict[str, Any]]) -> tuple[float, int]:
    """The longest that a job waited, and how many jobs began after one of the same worker that was submitted later."""
    longest, n_overtaken = 0.0, 0
    for worker in (0, 1):
        begun = [one for one in jobs if one["worker"] == worker and one["started"] is not None]
        begun.sort(key=lambda one: float(one["submitted"]))
        for earlier, later in pairwise(begun):
            n_overtaken += later["started"] < earlier["started"]
        waits = [one["started"] - one["submitted"] for one in begun if not one["is_aside"]]
        longest = max(longest, *waits, 0.0)
    return longest, n_overtaken


def test_the_link_to_a_fact_names_no_session(server: Served) -> None:
    guest = Guest(server, 0)
    guest._type()
    links = [one for one in guest.tab.texts("code", "code_text") if one.startswith("http")]
    assert links and all(guest.word in one for one in links)
    assert all(guest.tab.session_id not in one for one in links)
    other = Visitor(server.url)
    other.open("edit", query=links[0].partition("?")[2])
    assert guest.word.encode() in other.page(), "the link fills the form"
    assert other.session_id not in ("", guest.tab.session_id)
