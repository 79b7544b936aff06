"""A click's callbacks run to their end, whenever a newer request comes; see also tests/soak/test_clicks.py."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.scriptrunner import RerunData, RerunException, ScriptRunner, StopException
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState
from streamlit.runtime.state import SessionState
from streamlit.runtime.state.common import WidgetMetadata

from workbench.running.clicks import Runner

N_ACCESS = 6
Newer = Callable[[Runner], object]
NEWER: dict[str, Newer] = {
    "another page": lambda runner: runner.request_stop(),
    "the page again": lambda runner: runner.request_rerun(RerunData(widget_states=WidgetStates())),
}


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


class Tab:
    """A runner in the middle of a run, with one widget that was just changed, and what its callback did."""

    def __init__(self, loop: asyncio.AbstractEventLoop, states: WidgetStates, session_id: str = "tab") -> None:
        self.state, self.states, self.done = SessionState(), states, list[int]()
        rest: dict[str, Any] = dict.fromkeys(
            ("uploaded_file_mgr", "script_cache", "user_info", "fragment_storage", "pages_manager")
        )
        request = RerunData(widget_states=states)
        self.runner = Runner(session_id, "app.py", self.state, initial_rerun_data=request, event_loop=loop, **rest)
        self.runner._requests.on_scriptrunner_ready()
        self.runner._script_thread, self.runner._execing = threading.current_thread(), True

    def serve(self, newer: Newer, at: int, *, has_callback: bool = True) -> None:
        """Call the callback as a run does, with a newer request at its `at`-th access to the page's values."""

        def callback() -> None:
            self.act(newer, at)

        (changed,) = self.states.widgets
        kind: Any = changed.WhichOneof("value")
        self.state._new_widget_state.set_widget_metadata(
            WidgetMetadata(
                id=changed.id,
                deserializer=lambda value: value,
                serializer=lambda value: value,
                value_type=kind,
                callback=callback if has_callback else None,
            )
        )
        if at == 0:
            newer(self.runner)
        contextvars.copy_context().run(self._begin)

    def act(self, newer: Newer, at: int) -> None:
        """Do what was clicked."""
        for number in range(1, N_ACCESS + 1):
            if number == at:
                newer(self.runner)
            self.runner._session_state["shown"] = number
            self.done.append(number)

    def _begin(self) -> None:
        ThreadState.initialize()
        self.runner._session_state.on_script_will_rerun(self.states)


def click() -> WidgetStates:
    return WidgetStates(widgets=[WidgetState(id="button", trigger_value=True)])


def typed() -> WidgetStates:
    return WidgetStates(widgets=[WidgetState(id="text", string_value="Rome")])


@pytest.mark.parametrize("at", range(N_ACCESS + 1))
@pytest.mark.parametrize("newer", NEWER.values(), ids=NEWER)
def test_a_click_s_callback_runs_to_its_end_and_then_the_run_ends(
    loop: asyncio.AbstractEventLoop, newer: Newer, at: int
) -> None:
    tab = Tab(loop, click())
    tab.serve(newer, at)
    assert tab.done == list(range(1, N_ACCESS + 1))
    with pytest.raises((StopException, RerunException)):
        tab.runner._maybe_handle_execution_control_request()


@pytest.mark.parametrize("at", range(N_ACCESS + 1))
@pytest.mark.parametrize("newer", NEWER.values(), ids=NEWER)
def test_a_page_that_acts_on_a_click_itself_runs_to_its_end(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, newer: Newer, at: int
) -> None:
    monkeypatch.setattr(ScriptRunner, "_on_script_finished", lambda *_: None)
    tab = Tab(loop, click())
    tab.serve(newer, 0 if at == 0 else -1, has_callback=False)
    tab.act(newer, at)
    assert tab.done == list(range(1, N_ACCESS + 1))
    tab.runner._on_script_finished()
    with pytest.raises((StopException, RerunException)):
        tab.runner._maybe_handle_execution_control_request()
    tab.runner.settle()


def test_what_is_typed_is_taken_by_the_next_run_and_holds_up_nothing(loop: asyncio.AbstractEventLoop) -> None:
    tab = Tab(loop, typed())
    with pytest.raises(StopException):
        tab.serve(NEWER["another page"], 0)
    assert tab.done == []
    tab.runner.settle()


def test_the_next_run_waits_until_the_callback_is_over(loop: asyncio.AbstractEventLoop) -> None:
    order, tab = list[str](), Tab(loop, click(), "waits")
    after = Tab(loop, WidgetStates(widgets=[WidgetState(id="text", string_value="Rome")]), "waits")
    assert after.runner._former is tab.runner
    waiting = threading.Thread(target=lambda: (after.runner._former.settle(), order.append("next run")))  # type: ignore[union-attr,func-returns-value]
    tab.runner.request_stop()
    waiting.start()
    tab.serve(lambda _: order.append("callback"), N_ACCESS)
    waiting.join(30)
    assert not waiting.is_alive()
    assert order == ["callback", "next run"]


def test_a_runner_that_cannot_start_holds_up_nothing(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    tab = Tab(loop, click())
    tab.runner._script_thread = None
    monkeypatch.setattr(threading.Thread, "start", full)
    with pytest.raises(RuntimeError):
        tab.runner.start()
    tab.runner.settle()
    tab.runner.request_stop()
    assert tab.runner.request_rerun(RerunData(widget_states=click())) is False
