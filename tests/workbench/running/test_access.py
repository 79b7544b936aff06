"""Where others reach the server, only allowed models and endpoints can be named; the password is asked for."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kgmet.base.errors import ConfigError
from workbench.running.access import Access, Door


def test_a_person_at_the_machine_may_do_everything() -> None:
    alone = Access.from_environment({})
    alone.check_model("/home/me/model")
    alone.check_folder("/home/me/graph.tsv")
    alone.check_endpoint("http://localhost:7200/sparql")
    assert Door(alone.password).is_open_to(None)


def test_a_shared_server_loads_and_asks_only_what_is_on_its_lists() -> None:
    shared = Access.from_environment(
        {
            "KGMET_SHARED": "1",
            "KGMET_MODELS": "Qwen/Qwen2.5-7B\n\n /models/own ",
            "KGMET_ENDPOINTS": "https://a.example/sparql",
        }
    )
    for allowed in ("bundled:smollm2", "Qwen/Qwen2.5-7B", "/models/own"):
        shared.check_model(allowed)
    shared.check_endpoint("https://a.example/sparql")
    for source in ("/etc", "Qwen/Qwen2.5-7b", "/models/own/../other", "~/x", ""):
        with pytest.raises(ConfigError, match=r"may not be loaded .*Qwen/Qwen2.5-7B.*--allow-model"):
            shared.check_model(source)
    for url in ("http://169.254.169.254/latest", "https://a.example/sparql?x", "http://localhost:8501", ""):
        with pytest.raises(ConfigError, match="may not be asked"):
            shared.check_endpoint(url)
    with pytest.raises(ConfigError, match="uploaded, not named"):
        shared.check_folder("/etc/passwd")


def test_only_a_session_that_gave_the_password_is_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    file = tmp_path / "password"
    file.write_text("correct hörse\n", encoding="utf-8")
    given = Access.from_environment({"KGMET_PASSWORD_FILE": str(file)})
    door = Door(given.password)
    assert not door.is_open_to(None) and not door.is_open_to("a")
    assert not door.fits("correct horse") and not door.fits("") and not door.fits("\ud800")
    assert len(slept) == 3
    assert door.fits("correct hörse") and len(slept) == 3
    door.let_in("a")
    assert door.is_open_to("a") and not door.is_open_to("b") and not door.is_open_to(None)
    assert "correct" not in repr(given)


def test_the_mark_that_some_editors_write_first_is_not_part_of_the_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"\xef\xbb\xbfcorrect horse\r\n")
    assert Access.from_environment({"KGMET_PASSWORD_FILE": str(tmp_path / "password")}).password == "correct horse"


@pytest.mark.parametrize("content", [None, b"", b"short\n", b"two\nlines of it\n", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe"])
def test_a_file_that_holds_no_password_is_refused(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="password"):
        Access.from_environment({"KGMET_PASSWORD_FILE": str(file)})
