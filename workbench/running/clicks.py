"""A click is not lost: what a button sets off begins, whatever the browser asks for next.

Streamlit begins the run that answers a request with the callbacks of what was clicked. A newer request ends that run
before its callbacks have begun, or where a callback next reads or writes the page's values. The newer request does not
name the click again, so it would be lost. With `Runner` the callbacks of a click run to their end first, and the run
that answers the newer request waits for them. Where the page itself acts on the click (``if st.button(…):``), the whole
run is waited for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import MutableMapping
from typing import Any
from weakref import WeakValueDictionary

from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime import app_session
from streamlit.runtime.scriptrunner import RerunData, ScriptRunner
from streamlit.runtime.state import SafeSessionState

__all__ = ["PATIENCE", "Runner", "keep"]

LOG = logging.getLogger(__name__)
PATIENCE = 60.0
"""Seconds that a run waits for the callbacks of the one before it."""
_TRIGGERS = ("trigger_value", "string_trigger_value", "chat_input_value", "json_trigger_value")
"""Kinds of a widget's value that a browser sends once."""


class Runner(ScriptRunner):
    """Streamlit's runner of a page's script for one browser tab, in which no click is lost."""

    def __init__(self, session_id: str, main_script_path: str, session_state: Any, **rest: Any) -> None:
        """Take the place of the tab's runner so far; see `ScriptRunner`."""
        self._former, self._changed = _LATEST.get(session_id), threading.Condition()
        self._waiting: set[str] = set()
        self._states: WidgetStates | None = None
        self._is_serving = self._is_protected = self._stops_later = self._is_over = False
        self._sent(rest["initial_rerun_data"])
        super().__init__(session_id, main_script_path, session_state, **rest)
        self._session_state = _Values(session_state, self)
        _LATEST[session_id] = self

    def start(self) -> None:
        """Begin with the first request; see `ScriptRunner.start`."""
        try:
            super().start()
        except BaseException:
            self._end()
            raise

    def request_rerun(self, rerun_data: RerunData) -> bool:
        """Run the script again; see `ScriptRunner.request_rerun`."""
        self._sent(rerun_data)
        is_taken = super().request_rerun(rerun_data)
        if not is_taken:
            self._served(rerun_data.widget_states)
        return is_taken

    def request_stop(self) -> None:
        """Stop, but not before the callbacks of every click have run."""
        with self._changed:
            self._stops_later = bool(self._waiting or self._is_protected) and not self._is_over
        if not self._stops_later:
            super().request_stop()

    def settle(self) -> None:
        """Wait until no callback of this runner or of those before it is under way, and none will begin."""
        former = self._former
        if former is not None:
            former.settle()
        self._former = None
        with self._changed:
            if not self._changed.wait_for(self._is_quiet, PATIENCE):
                LOG.warning("a run goes on after %g s of waiting for the callbacks of the one before it", PATIENCE)

    def serve(self, states: WidgetStates | None) -> None:
        """Keep off what would end the run of these values, if there are clicks among them, until `release`."""
        with self._changed:
            self._is_serving, self._states = True, states
            self._is_protected = bool(_clicks(states))

    def release(self) -> None:
        """Let the run be ended again: what was clicked has begun."""
        self._is_serving = self._is_protected = False
        self._served(self._states)
        self._states = None
        if self._stops_later:
            self.request_stop()

    def _is_quiet(self) -> bool:
        return self._is_over or not (self._waiting or self._is_serving or self._stops_later)

    def _sent(self, request: RerunData) -> None:
        with self._changed:
            self._waiting |= _clicks(request.widget_states)

    def _served(self, states: WidgetStates | None) -> None:
        with self._changed:
            self._waiting -= _clicks(states)
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _run_script_thread(self) -> None:
        try:
            if self._former is not None:
                self._former.settle()
                self._former = None
            super()._run_script_thread()
        finally:
            self._end()

    def _on_script_finished(self, *args: Any, **rest: Any) -> None:
        super()._on_script_finished(*args, **rest)
        if self._is_serving:
            self.release()

    def _maybe_handle_execution_control_request(self) -> None:
        if not self._is_protected:
            super()._maybe_handle_execution_control_request()


class _Values(SafeSessionState):
    """The page's values; says to the `Runner` when their callbacks are called."""

    def __init__(self, state: Any, runner: Runner) -> None:
        super().__init__(state, yield_callback=runner._maybe_handle_execution_control_request)
        object.__setattr__(self, "_runner", runner)

    def on_script_will_rerun(self, fresh_widget_states: WidgetStates | None, **rest: Any) -> None:
        """Call the callbacks of a request; see `SafeSessionState`."""
        runner: Runner = object.__getattribute__(self, "_runner")
        known = self._state._new_widget_state.widget_metadata
        found = [known.get(name) for name in _clicks(fresh_widget_states)]
        runner.serve(fresh_widget_states)
        try:
            super().on_script_will_rerun(fresh_widget_states, **rest)
        finally:
            if all(one is not None and (one.callback is not None or one.callbacks is not None) for one in found):
                runner.release()


_LATEST: MutableMapping[str, Runner] = WeakValueDictionary()
"""Tab → its newest runner."""


def keep() -> None:
    """Let this server run pages with `Runner` from now on."""
    module: Any = app_session
    module.ScriptRunner = Runner


def _clicks(states: WidgetStates | None) -> set[str]:
    """Return the ids of the widgets that were clicked."""
    return {one.id for one in (() if states is None else states.widgets) if _is_click(one)}


def _is_click(state: WidgetState) -> bool:
    kind = state.WhichOneof("value")
    value: Any = getattr(state, kind) if kind in _TRIGGERS else None
    return bool(value.ListFields()) if hasattr(value, "ListFields") else bool(value)
