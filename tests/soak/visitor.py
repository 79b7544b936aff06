"""A visitor without a browser: speaks Streamlit's protocol over a websocket, and sees the page as protocol messages.

Hundreds of sessions can be opened in this way, and everything that the server sent is kept as bytes, so that a test can
say that a text was in none of it. Layout, scripts and the look of a page need a browser: `tests/browser`.
"""

from __future__ import annotations

import re
import ssl
import time
import urllib.request
from contextlib import ExitStack
from typing import Any

import websockets.exceptions
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.sync.client import connect

__all__ = ["Gone", "Visitor"]

_STOPPED_FOR_RERUN = 2


class Gone(Exception):
    """The server is not there any more."""


class Visitor:
    """One browser tab. `heard` is everything the server sent, `elements` the page as it is now."""

    def __init__(
        self,
        url: str,
        *,
        session_id: str = "",
        cookie: str = "",
        patience: float = 60.0,
        port: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Open a tab.

        Args:
            url: address of the server, or of the proxy before it.
            session_id: the session that the browser's cookie names; by default a new one.
            cookie: what the browser's other cookies say; with the server's XSRF cookie among them they count.
            patience: seconds after which a page is late.
            port: the server's port, which is in the cookie's name, if `url` is another's.
            tls: whom to trust, for https.
        """
        self.url, self.session_id, self.patience, self._tls = url, session_id, patience, tls
        self.heard: list[bytes] = []
        self.elements: dict[tuple[int, ...], Element] = {}
        self._fragment_of: dict[tuple[int, ...], str] = {}
        self._widgets: dict[str, WidgetState] = {}
        self._pages: dict[str, str] = {}
        self._hash = ""
        self.query = ""
        self.tab_id = ""
        """Streamlit's own id of the connection, which an upload names."""
        self._cookie = f"kgmet_session_{port or url.rpartition(':')[2]}"
        cookies = [*([cookie] if cookie else []), *([f"{self._cookie}={session_id}"] if session_id else [])]
        headers = {"Cookie": "; ".join(cookies)} if cookies else {}
        self._open = ExitStack()
        self._socket = self._open.enter_context(
            connect(
                f"ws{url.removeprefix('http')}/_stcore/stream",
                subprotocols=["streamlit", *re.findall(r"_streamlit_xsrf=([^;]+)", cookie)],  # type: ignore[list-item]
                origin=url,  # type: ignore[arg-type]
                additional_headers=headers,
                max_size=None,
                open_timeout=patience,
                ping_interval=None,
                ssl=tls,
            )
        )

    def close(self) -> None:
        """Close the tab."""
        self._open.close()

    def open(self, name: str, query: str = "") -> None:
        """Go to a page by its name in the address, and wait until it is shown."""
        message = BackMsg()
        self.query = message.rerun_script.query_string = query
        if name in self._pages:
            message.rerun_script.page_script_hash = self._pages[name]
        else:
            message.rerun_script.page_name = name
        self._widgets.clear()
        self._run(message)
        assert self._hash == self._pages[name], f"the page {name} was not shown"

    def look(self) -> None:
        """Run the page again, as its own polling does."""
        self._run(self._again())

    def press(self, label: str, *, wait: bool = True, nth: int = 0) -> None:
        """Press a button. Without waiting, what it does is still under way when this returns."""
        found = [one.button for one in self.elements.values() if one.WhichOneof("type") == "button"]
        fitting = [one for one in found if one.label == label and not one.disabled]
        assert len(fitting) > nth, f"no button {label!r} to press among {[one.label for one in found]}"
        message = self._again()
        message.rerun_script.widget_states.widgets.append(WidgetState(id=fitting[nth].id, trigger_value=True))
        self._run(message, wait=wait)

    def fill(self, wait: bool = True, **texts: str) -> None:
        """Type into the text fields whose labels begin as given (blanks for underscores), all at once."""
        for start, value in texts.items():
            field = self._field("text_input", start.replace("_", " "))
            self._widgets[field.id] = WidgetState(id=field.id, string_value=value)
        self._run(self._again(), wait=wait)

    def switch(self, label: str, *, on: bool, wait: bool = True) -> None:
        """Set a toggle."""
        field = self._field("checkbox", label)
        self._widgets[field.id] = WidgetState(id=field.id, bool_value=on)
        self._run(self._again(), wait=wait)

    def choose(self, label: str, option: int, *, wait: bool = True) -> None:
        """Choose among pills or segments."""
        field = self._field("button_group", label)
        self._widgets[field.id] = WidgetState(id=field.id)
        self._widgets[field.id].string_array_value.data.append(field.options[option].content)
        self._run(self._again(), wait=wait)

    def number(self, label: str, value: float) -> None:
        """Put a number into a field, without running the page: those of a form are sent with its button."""
        field = self._field("number_input", label)
        self._widgets[field.id] = WidgetState(id=field.id)
        if field.data_type == field.INT:
            self._widgets[field.id].int_value = int(value)
        else:
            self._widgets[field.id].double_value = value

    def has(self, kind: str, label: str) -> bool:
        """Whether there is a widget of this kind with this label."""
        return any(getattr(one, kind).label == label for one in self._of(kind))

    def can_press(self, label: str) -> bool:
        """Whether there is a button with this label that is on."""
        return any(one.button.label == label and not one.button.disabled for one in self._of("button"))

    def texts(self, kind: str, name: str = "body") -> list[str]:
        """A field of all elements of a kind, in order."""
        return [str(getattr(getattr(one, kind), name)) for one in self._of(kind)]

    @property
    def faults(self) -> list[str]:
        """What went wrong on the page: exceptions that it shows."""
        return [f"{one.exception.type}: {one.exception.message}" for one in self._of("exception")]

    def page(self) -> bytes:
        """Everything that the page says, as bytes."""
        return b"\n".join(one.SerializeToString() for one in self.elements.values())

    def wait_until(self, is_so: Any, *, seconds: float = 300.0) -> None:
        """Run the page again until something holds of it, and leave most of the time to what is waited for."""
        end, took = time.monotonic() + seconds, 0.0
        while not is_so(self):
            assert time.monotonic() < end, f"it did not happen in {seconds} s; the page says {self.page()[:3000]!r}"
            time.sleep(0.05 + 2 * took)
            begin = time.monotonic()
            self.look()
            took = time.monotonic() - begin

    def downloads(self) -> list[bytes]:
        """The files that the page offers, fetched."""
        return [self._fetched(url) for url in self.texts("download_button", "url") if url]

    def place_for_upload(self, name: str) -> str:
        """The path to which the browser would put a chosen file."""
        message = BackMsg()
        message.file_urls_request.request_id = name
        message.file_urls_request.file_names.append(name)
        message.file_urls_request.session_id = self.tab_id
        self._socket.send(message.SerializeToString())
        while True:
            told = self._take(self._socket.recv(timeout=self.patience))
            if told.WhichOneof("type") == "file_urls_response":
                return str(told.file_urls_response.file_urls[0].upload_url)

    def hear_out(self) -> None:
        """Take in what the server sent before it was gone."""
        try:
            while True:
                self._take(self._socket.recv(timeout=0.2))
        except (TimeoutError, websockets.exceptions.ConnectionClosed):
            return

    def _fetched(self, url: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{url}", timeout=self.patience, context=self._tls) as answer:
            data: bytes = answer.read()
        self.heard.append(data)
        return data

    def _of(self, kind: str) -> list[Element]:
        return [self.elements[path] for path in sorted(self.elements) if self.elements[path].WhichOneof("type") == kind]

    def _field(self, kind: str, start: str) -> Any:
        found = [getattr(one, kind) for one in self._of(kind)]
        fitting = [one for one in found if one.label.startswith(start)]
        assert fitting, f"no {kind} {start!r} among {[one.label for one in found]}"
        return fitting[0]

    def _again(self) -> BackMsg:
        message = BackMsg()
        message.rerun_script.query_string = self.query
        message.rerun_script.page_script_hash = self._hash
        for state in self._widgets.values():
            message.rerun_script.widget_states.widgets.append(state)
        return message

    def _run(self, message: BackMsg, *, wait: bool = True) -> None:
        message.rerun_script.context_info.url = f"{self.url}/"
        try:
            self._socket.send(message.SerializeToString())
            if not wait:
                return
            end = time.monotonic() + self.patience
            while True:
                data = self._socket.recv(timeout=max(0.0, end - time.monotonic()))
                kind = self._take(data)
                if kind.WhichOneof("type") == "script_finished" and kind.script_finished != _STOPPED_FOR_RERUN:
                    return
        except (websockets.exceptions.ConnectionClosed, OSError) as error:
            raise Gone(str(error)) from error

    def _take(self, data: str | bytes) -> ForwardMsg:
        assert isinstance(data, bytes)
        self.heard.append(data)
        message = ForwardMsg.FromString(data)
        kind = message.WhichOneof("type")
        path = tuple(message.metadata.delta_path)
        if kind == "new_session":
            self._begin(message)
        elif kind == "navigation":
            self._pages = {one.url_pathname: one.page_script_hash for one in message.navigation.app_pages}
            self._hash = message.navigation.page_script_hash
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            self._show(path, message.delta.new_element, message.delta.fragment_id)
        elif kind == "delta" and message.delta.WhichOneof("type") == "add_block":
            self.elements.pop(path, None)
        return message

    def _begin(self, message: ForwardMsg) -> None:
        self.tab_id = message.new_session.initialize.session_id or self.tab_id
        fragments = set(message.metadata.run.fragment_ids)
        if fragments:
            gone = [path for path, one in self._fragment_of.items() if one in fragments]
            for path in gone:
                self.elements.pop(path, None)
        else:
            self.elements.clear()
            self._fragment_of.clear()

    def _show(self, path: tuple[int, ...], element: Element, fragment: str) -> None:
        self.elements[path] = element
        self._fragment_of[path] = fragment
        kind = element.WhichOneof("type")
        if kind == "text_input" and element.text_input.set_value:
            self._widgets[element.text_input.id] = WidgetState(
                id=element.text_input.id, string_value=element.text_input.value
            )
        elif kind == "checkbox" and element.checkbox.set_value:
            self._widgets[element.checkbox.id] = WidgetState(id=element.checkbox.id, bool_value=element.checkbox.value)
        elif kind == "html":
            found = re.search(rf"{self._cookie}=([\w-]+)", element.html.body)
            if found is not None:
                self.session_id = found[1]
