"""The nginx configuration of docs/deploy.md with the app behind it: as it stands there, but for ports and places."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.docs.deployed import block
from tests.ports import free_port
from tests.soak.served import Served
from tests.soak.visitor import Visitor

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not Path(NGINX).is_file(), reason="no nginx: install nginx-light"),
]
MEGABYTE, NAME = 1 << 20, "kgmet.example.org"


@dataclass
class Proxied:
    """The app, and nginx in front of it with a certificate of its own."""

    server: Served
    url: str
    tls: ssl.SSLContext

    def visitor(self, session_id: str = "") -> Visitor:
        return Visitor(self.url, session_id=session_id, port=self.server.port, tls=self.tls)


def certified(folder: Path) -> ssl.SSLContext:
    """Make a key and a certificate for localhost in the folder; return who trusts it."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += [
        "-addext",
        f"subjectAltName=DNS:localhost,DNS:{NAME}",
        "-keyout",
        str(folder / "key"),
        "-out",
        str(folder / "pem"),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return ssl.create_default_context(cafile=str(folder / "pem"))


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("nginx")
    server, tls, port = Served(folder / "cache", arguments=["--shared"]), certified(folder), free_port()
    text = block("nginx")
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/kgmet.pem", str(folder / "pem")),
        ("/etc/ssl/kgmet.key", str(folder / "key")),
        ("http://127.0.0.1:8501", f"http://127.0.0.1:{server.port}"),
    ):
        assert old in text
        text = text.replace(old, new)
    places = "".join(
        f"{name}_temp_path {folder / name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    as_root = "user root; " if os.getuid() == 0 else ""
    config.write_text(
        f"{as_root}daemon off; pid {folder / 'pid'}; error_log {folder / 'error.log'};\nevents {{}}\n"
        f"http {{ access_log off;\n{places}{text}}}\n",
        encoding="utf-8",
    )
    subprocess.run([NGINX, "-t", "-q", "-c", str(config), "-e", str(folder / "error.log")], check=True)
    nginx = subprocess.Popen([NGINX, "-c", str(config), "-e", str(folder / "error.log")])
    try:
        server.start()
        yield Proxied(server=server, url=f"https://localhost:{port}", tls=tls)
    finally:
        nginx.terminate()
        nginx.wait()
        server.stop()


def test_an_edit_is_made_shown_and_fetched_through_the_proxy(proxied: Proxied) -> None:
    tab = proxied.visitor()
    tab.open("edit")
    (script,) = [body for body in tab.texts("html") if "document.cookie" in body]
    assert 'location.protocol === "https:" ? "; Secure"' in script
    tab.fill(Subject="The Louvre", New_object="Rome", Template="{} is located in the city of", Old_object="Paris")
    link = next(one for one in tab.texts("code", "code_text") if "?" in one)
    assert link.startswith(proxied.url), "links have the proxy's address"
    tab.press("Apply the edit")
    tab.wait_until(lambda one: not one.has("button", "Stop"))
    tab.open("ledger")
    tab.press("Export")
    tab.wait_until(lambda one: not one.has("button", "Stop"))
    assert tab.downloads()[0].startswith(b"PK")
    again = proxied.visitor(tab.session_id)
    again.open("ledger")
    assert again.session_id == tab.session_id and b"The Louvre" in again.page()
    tab.close()
    again.close()


def handshake(proxied: Proxied, origin: str) -> None:
    """Connect as a page of this address would, to the documented name."""
    port = int(proxied.url.rpartition(":")[2])
    with connect(
        f"wss://{NAME}:{port}/_stcore/stream",
        sock=socket.create_connection(("127.0.0.1", port)),
        ssl=proxied.tls,
        origin=origin.replace("PORT", str(port)),  # type: ignore[arg-type]
        subprotocols=["streamlit"],  # type: ignore[list-item]
    ):
        pass


def test_a_page_of_the_proxy_connects_on_every_port_and_one_of_another_site_does_not(proxied: Proxied) -> None:
    handshake(proxied, f"https://{NAME}:PORT")
    for origin in ("https://evil.example", "https://evil.example:PORT", f"https://{NAME}.evil.example:PORT"):
        with pytest.raises(InvalidStatus, match="403"):
            handshake(proxied, origin)


@pytest.mark.parametrize(("megabytes", "status"), [(1, 204), (63, 204), (70, 413)])
def test_uploads_up_to_the_limit_pass_the_proxy(proxied: Proxied, megabytes: int, status: int) -> None:
    tab = proxied.visitor()
    tab.open("ledger")
    path = tab.place_for_upload("a.zip")
    files = {"a.zip": ("a.zip", b"\0" * (megabytes * MEGABYTE))}
    with httpx.Client(base_url=proxied.url, verify=proxied.tls, timeout=60) as client:
        client.get("/_stcore/health")
        token = client.cookies["_streamlit_xsrf"]
        assert client.put(path, files=files, headers={"X-Xsrftoken": token}).status_code == status
    tab.close()


def test_an_upload_without_the_token_is_refused(proxied: Proxied) -> None:
    tab = proxied.visitor()
    tab.open("ledger")
    path = tab.place_for_upload("a.zip")
    with httpx.Client(base_url=proxied.url, verify=proxied.tls, timeout=60) as client:
        client.get("/_stcore/health")
        assert client.put(path, files={"a.zip": ("a.zip", b"x")}).status_code == 403
        assert client.put(path, files={"a.zip": ("a.zip", b"x")}, headers={"X-Xsrftoken": "x"}).status_code == 403
    tab.close()


def test_an_idle_tab_stays_connected(proxied: Proxied) -> None:
    """nginx ends a connection that is silent for `proxy_read_timeout`, one minute unless the file says otherwise."""
    tab = proxied.visitor()
    tab.open("edit")
    time.sleep(65)
    tab.look()
    assert tab.faults == []
    tab.close()
