"""A file of a session that was changed in any way is read as it was, or named as damaged. By random changes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgmet.base.errors import KgmetError
from kgmet.base.fingerprint import plain
from kgmet.editing.editors import EDITORS
from kgmet.fact import FactEdit
from kgmet.inspect.comparison import Candidate, CandidateResult, EditorComparison
from kgmet.inspect.matrix import answer_matrix
from kgmet.inspect.settings import settings_of
from kgmet.measure.ask import Decoding
from kgmet.measure.compare import compare_answers
from kgmet.measure.told import Told
from tests.mutations import changed, places_in, put
from tests.tiny_models import tiny_lm
from tests.workbench.sessions import EIFFEL, entry_for
from tests.workbench.state.worker import summary
from workbench.drawing.matrix import matrix_html
from workbench.drawing.matrix_files import matrix_json
from workbench.screens.chat import view as chat_view
from workbench.screens.chat.kept import CODECS
from workbench.screens.chat.values import Exchange
from workbench.screens.compare import view as compare_view
from workbench.state.compared import CODEC as COMPARE
from workbench.state.compared import Compared, editors_to_json
from workbench.state.disk import REPORT, SESSION
from workbench.state.kept import file_of, keeps
from workbench.state.sealed import write_sealed
from workbench.state.session import WorkbenchState
from workbench.state.values import Result
from workbench.state.vault import SessionRecord, SessionVault

SOAK = 50 if os.environ.get("KGMET_SOAK") == "1" else 1
"""How many times as many cases are drawn."""
pytestmark = [pytest.mark.soak] if SOAK > 1 else []

HOSTILE = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1.5,
        1e308,
        float("nan"),
        float("inf"),
        10**400,
        "",
        "{}",
        "\u202e\x00",
        "x" * 300_000,
        [],
        [[]],
        {},
        {"a": {"b": [1]}},
    ]
)
BYTES = st.tuples(st.sampled_from(["put", "insert", "cut", "end"]), st.floats(0, 1), st.binary(min_size=1, max_size=9))


def drawn(n: int) -> settings:
    """So many cases, the same each time; in a soak many more, and others each time."""
    return settings(
        max_examples=n * SOAK, deadline=None, derandomize=SOAK == 1, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SessionRecord]:
    """A session with a typed fact, settings, two edits, an undone one and a comparison."""
    keeps(COMPARE, *CODECS)  # as the app does
    lm, record = tiny_lm(), SessionVault(tmp_path_factory.mktemp("sound")).new()
    entries = [entry_for(lm, seed=seed) for seed in range(3)]
    record.change(draft=EIFFEL, stack=tuple(entries[:2]), redo=tuple(entries[2:]), settings={"write": {"layers": [1]}})
    report, editor = entries[0].report, EDITORS["MEMIT"]
    assert report is not None
    result = CandidateResult(
        candidate=Candidate(label="MEMIT", editor=editor, config=editor.config),
        comparison=compare_answers([report.before], [report.after]),
        perplexity=12.5,
        seconds={"search": 1.5},
    )
    comparison = EditorComparison(
        edit=FactEdit(subject="Paris", template="{} is in", new_object="Rome"),
        before=(report.before,),
        perplexity=12.0,
        n_token=40,
        results=(result,),
    )
    rows = ({"editor": "MEMIT", "layers": "1", "ridge": 2.5, "cutoff": None, "steps": 1},)
    record.keep("compare", Result(value=Compared(comparison=comparison, chosen="", rows=rows), made_from="x"))
    exchange = Exchange(
        question=report.before.question,
        unedited=report.before,
        edited=report.after,
        told=Told(sentences=("It is so.",), answers=(report.after,)),
        telling="the fact",
        edits=("edit 0",),
        decoding=Decoding(),
        seconds=0.5,
    )
    record.keep("chat", Result(value=(exchange,), made_from="chat"))
    yield record


class Copy:
    """A copy of the sound session that one file is changed in; gone at the end of the ``with``."""

    def __init__(self, sound: SessionRecord) -> None:
        self._sound = sound
        self._sessions = sound.folder.parent / "copies"

    def __enter__(self) -> Path:
        shutil.rmtree(self._sessions, ignore_errors=True)
        place = self._sessions / self._sound.folder.name
        shutil.copytree(self._sound.folder, place)
        return place

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._sessions, ignore_errors=True)

    def opened(self) -> SessionRecord:
        """As another process finds it; whatever a page reads of it is read."""
        found = SessionVault(self._sessions).find(self._sound.session_id)
        assert found is not None and found.unsaved == ""
        state = WorkbenchState(found)
        assert state.config is not None and state.fingerprint() and state.editor is not None
        for entry in found.saved.entries:
            assert str(entry.report) and (entry.edit is None or entry.edit.prompt)
            with contextlib.suppress(KgmetError):
                settings_of(entry.patch)
        if "compare" in found.results:
            comparison = found.results["compare"].value.comparison
            assert compare_view.measures_table(comparison) is not None
            assert matrix_html(answer_matrix(comparison)) and matrix_json(comparison)
            with contextlib.suppress(KgmetError):  # rows as a person may type them; the page says what is wrong
                compare_view.candidates_from_rows(found.results["compare"].value.rows)
        chat = found.result("chat")
        if chat is not None:
            assert chat_view.chat_json(chat.value) and chat_view.chat_markdown(chat.value) is not None
            assert all(chat_view.exchange_html(exchange) for exchange in chat.value)
        return found


def everything(record: SessionRecord) -> list[Any]:
    """All of a session that a person sees, as one value."""
    saved = record.saved
    reports = [None if entry.report is None else entry.report.to_json() for entry in saved.entries]
    compared = record.results.get("compare")
    table = None if compared is None else editors_to_json(compared.value.comparison)
    others = [entry.note for entry in saved.entries], [list(entry.based_on) for entry in saved.entries]
    chat = record.result("chat")
    talk = None if chat is None else plain(chat.value)
    made = [reports, table, talk]
    return [summary(saved), saved.draft, saved.editor, saved.settings, others, saved.is_guide_seen, made]


def files_of(record: SessionRecord) -> list[str]:
    return sorted(str(path.relative_to(record.folder)) for path in record.folder.rglob("*") if path.is_file())


@drawn(150)
@given(data=st.data(), change=BYTES)
def test_changed_bytes_are_seen(sound: SessionRecord, data: st.DataObject, change: tuple[str, float, bytes]) -> None:
    copy = Copy(sound)
    with copy as folder:
        file = folder / data.draw(st.sampled_from(files_of(sound)))
        file.write_bytes(changed(file.read_bytes(), *change))
        found = copy.opened()
        assert found.damage or everything(found) == everything(sound)
        is_patch = file.name.startswith("patch")
        intact = [entry.id for entry in sound.saved.entries if not is_patch or entry.id != file.parent.name]
        assert set(intact) <= {entry.id for entry in found.saved.entries}, "no other edit is lost"


@drawn(150)
@given(data=st.data(), value=HOSTILE, is_sealed=st.booleans())
def test_another_value_anywhere_is_refused_or_can_be_shown(
    sound: SessionRecord, data: st.DataObject, value: Any, is_sealed: bool
) -> None:
    """Also where somebody gave the file a digest that fits."""
    copy = Copy(sound)
    with copy as folder:
        first, second = (entry.id for entry in sound.saved.stack)
        names = [SESSION, file_of("compare"), file_of("chat"), f"{first}/{REPORT}", f"{second}/patch.json"]
        file = folder / data.draw(st.sampled_from(names))
        inside = json.loads(file.read_text(encoding="utf-8"))
        put(inside, data.draw(st.sampled_from(list(places_in(inside)))), value)
        if is_sealed and "patch" not in file.name:
            write_sealed(file, {name: item for name, item in inside.items() if name != "digest"})
        else:
            file.write_text(json.dumps(inside), encoding="utf-8")
        found = copy.opened()
        assert is_sealed or found.damage or everything(found) == everything(sound)
