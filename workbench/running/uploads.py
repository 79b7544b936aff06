"""Limits of uploads. Streamlit keeps uploaded files in memory, for as long as their browser tab is connected.

It takes them from every tab that is connected, also from one that has not signed in or given the password, and as many
as it is sent. So each upload is asked for first whether its tab may enter, and how much is kept already.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from workbench.running.access import access

__all__ = ["FOR_ALL", "FOR_ONE_TAB", "Gate", "admit", "dismiss"]

LOG = logging.getLogger(__name__)
_MEGABYTE = 1 << 20
FOR_ONE_TAB = 256 * _MEGABYTE
"""Bytes that are kept for one browser tab of a shared server before its next upload is refused."""
FOR_ALL = 1024 * _MEGABYTE
"""Bytes that a shared server keeps for all tabs together before any further upload is refused."""


class Gate:
    """Asked before the body of an upload is read: in place of the server's own check that the tab is connected.

    `has_limits` is asked only for tabs that may enter: before, the settings of access may not even be readable.
    """

    def __init__(self, server: Any, *, has_limits: Callable[[], bool]) -> None:
        self._server, self._is_connected, self._has_limits = server, server.is_active_session, has_limits
        self._lock = threading.Lock()
        self._inside: set[str] = set()

    def __call__(self, tab_id: str) -> bool:
        """Return whether the tab is connected.

        Raises:
            HTTPException: 403 if its visitor may not enter, 413 if there is no room for another file.
        """
        if not self._is_connected(tab_id):
            return False
        if tab_id not in self._inside:
            raise HTTPException(403, "Enter first.")
        if not self._has_limits():
            return True
        kept = {key: sum(len(file.data) for file in list(files.values())) for key, files in self._files()}
        if kept.get(tab_id, 0) >= FOR_ONE_TAB or sum(kept.values()) >= FOR_ALL:
            LOG.warning("an upload was refused: %d bytes are kept for its tab", kept.get(tab_id, 0))
            raise HTTPException(413, "No room for another file. Remove files, or reload the page.")
        return True

    def admit(self, tab_id: str) -> None:
        """Take uploads from this tab; tabs that are gone are forgotten."""
        with self._lock:
            if tab_id not in self._inside:
                self._inside = {one for one in self._inside if self._is_connected(one)} | {tab_id}

    def dismiss(self, tab_id: str) -> None:
        """Take none from it any more, and drop what it sent."""
        with self._lock:
            self._inside.discard(tab_id)
        self._server.uploaded_file_mgr.remove_session_files(tab_id)

    def _files(self) -> list[tuple[str, dict[str, Any]]]:
        return list(self._server.uploaded_file_mgr.file_storage.items())


def admit() -> None:
    """Take uploads from the running script's tab."""
    tab = get_script_run_ctx()
    if tab is not None and (gate := _gate()) is not None:
        gate.admit(tab.session_id)


def dismiss() -> None:
    """Take no uploads from the running script's tab."""
    tab = get_script_run_ctx()
    if tab is not None and (gate := _gate()) is not None:
        gate.dismiss(tab.session_id)


_INSTALLING = threading.Lock()


def _gate() -> Gate | None:
    """Return the server's gate, put in its place on first use; ``None`` where no server runs, as in a page's test."""
    if not runtime.exists():
        return None
    server: Any = runtime.get_instance()
    with _INSTALLING:
        if not isinstance(server.is_active_session, Gate):
            server.is_active_session = Gate(server, has_limits=lambda: access().is_shared)
    gate: Gate = server.is_active_session
    return gate
