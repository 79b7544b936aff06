"""Rows of the quality tables are kept, and made again where they no longer hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from kgmet.editing.editors import Editor, WriterKind, editor_named
from kgmet.measure.columns import COLUMNS, Counts


@pytest.fixture
def quality(load) -> ModuleType:
    return load("quality")


def test_kept_rows_are_made_again_only_under_other_cases_settings_or_writer(
    quality: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, made = tmp_path / "rows.json", []

    def row(editor: Editor | None) -> object:
        made.append("unedited" if editor is None else editor.name)
        return quality.Row(columns={kind: Counts(n=4, preferred=3, first=len(made)) for kind in COLUMNS}, last=1.5)

    def run(*editors: Editor, cases: str = "cases") -> list[str]:
        made.clear()
        quality.Rows(file, editors, measured_on=cases).make("2 edits", "length", row)
        return list(made)

    rome, memit = editor_named("ROME"), editor_named("MEMIT")
    assert run(rome, memit) == ["unedited", "ROME", "MEMIT"]
    first = capsys.readouterr().out
    assert "| ROME     | 75 / 50 (30–95, n 4) |" in first
    assert run(rome, memit) == []
    assert capsys.readouterr().out == first
    longer = replace(rome, config=replace(rome.config, target=replace(rome.config.target, max_steps=3)))
    assert run(longer, memit) == ["ROME"]
    assert run(longer, replace(memit, writer=WriterKind.NULL_SPACE)) == ["MEMIT"]
    assert run(longer, cases="other cases") == ["unedited", "ROME"]
