"""Uploads are taken only from tabs that may enter, and only so much is kept in memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from starlette.exceptions import HTTPException
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from workbench.running import uploads
from workbench.running.uploads import Gate


class Server:
    """The parts of Streamlit's server that a gate uses."""

    def __init__(self) -> None:
        self.connected = {"a", "b", "c"}
        self.uploaded_file_mgr = MemoryUploadedFileManager("/upload")

    def is_active_session(self, tab_id: str) -> bool:
        return tab_id in self.connected

    def keep(self, tab_id: str, name: str, size: int) -> None:
        record = UploadedFileRec(file_id=name, name=name, type="application/zip", data=b"\0" * size)
        self.uploaded_file_mgr.add_file(tab_id, record)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(uploads, "FOR_ONE_TAB", 100)
    monkeypatch.setattr(uploads, "FOR_ALL", 150)
    return Server()


def status(gate: Gate, tab_id: str) -> int:
    try:
        return 204 if gate(tab_id) else 400
    except HTTPException as error:
        return error.status_code


def test_who_is_outside_may_upload_nothing(server: Server) -> None:
    gate = Gate(server, has_limits=lambda: True)
    assert (status(gate, "a"), status(gate, "gone")) == (403, 400)
    gate.admit("a")
    assert (status(gate, "a"), status(gate, "b")) == (204, 403)
    server.keep("a", "one", 10)
    gate.dismiss("a")
    assert status(gate, "a") == 403 and not server.uploaded_file_mgr.file_storage


def test_a_tab_and_all_together_have_so_much_room(server: Server) -> None:
    gate = Gate(server, has_limits=lambda: True)
    for tab in ("a", "b"):
        gate.admit(tab)
    server.keep("a", "one", 99)
    assert status(gate, "a") == 204
    server.keep("a", "two", 1)
    assert (status(gate, "a"), status(gate, "b")) == (413, 204)
    server.keep("b", "one", 50)
    assert status(gate, "b") == 413
    own = Gate(server, has_limits=lambda: False)
    own.admit("a")
    assert status(own, "a") == 204, "on one's own machine there are no limits but that of a file"
    server.uploaded_file_mgr.remove_file("a", "one")
    assert (status(gate, "a"), status(gate, "b")) == (204, 204)


def test_a_tab_that_is_gone_is_forgotten(server: Server) -> None:
    gate = Gate(server, has_limits=lambda: True)
    gate.admit("a")
    server.connected = {"b"}
    gate.admit("b")
    server.connected = {"a", "b"}
    assert (status(gate, "a"), status(gate, "b")) == (403, 204)


def test_the_gate_stands_once_in_a_server_and_nothing_is_asked_without_one(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "get_script_run_ctx", lambda: SimpleNamespace(session_id="a"))
    uploads.admit()  # no server runs
    monkeypatch.setattr(uploads.runtime, "exists", lambda: True)
    monkeypatch.setattr(uploads.runtime, "get_instance", lambda: server)
    uploads.admit()
    uploads.admit()
    gate: object = server.is_active_session
    assert isinstance(gate, Gate) and not isinstance(gate._is_connected, Gate)
    assert status(gate, "a") == 204
    uploads.dismiss()
    assert status(gate, "a") == 403
