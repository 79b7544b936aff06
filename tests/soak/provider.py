"""A real OpenID Connect provider on loopback: oidc-provider-mock, which checks clients, redirects, codes and nonces."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from playwright.sync_api import Page

from tests.ports import free_port

SECRET = "a long random text of the cookie"


class Provider:
    """The provider, with some accounts. A client must be registered, and is then known by its id and secret."""

    def __init__(self, folder: Path, accounts: Mapping[str, Mapping[str, Any]]) -> None:
        """Start it.

        Args:
            folder: for its log.
            accounts: the claims of each account by its ``sub``.
        """
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(self.port)]
        command += ["--require-registration", "true", "--require-nonce", "true"]
        for sub, claims in accounts.items():
            command += ["--user-claims", json.dumps({"sub": sub, **claims})]
        self._log = folder / "provider.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)

    def __enter__(self) -> Self:
        """Wait until it answers."""
        end = time.monotonic() + 60
        while time.monotonic() < end and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/.well-known/openid-configuration", timeout=5).close()
                return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self.__exit__()
        raise AssertionError(f"the provider did not start:\n{self._log.read_text(encoding='utf-8')[-2000:]}")

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def register(self, app: str) -> str:
        """Register the app at this address, and return what its file for `--oidc-file` says."""
        back = f"{app}/oauth2callback"
        request = urllib.request.Request(
            f"{self.url}/oauth2/clients",
            data=json.dumps({"redirect_uris": [back]}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            client = json.load(answer)
        values = {
            "redirect_uri": back,
            "cookie_secret": SECRET,
            "client_id": client["client_id"],
            "client_secret": client["client_secret"],
            "server_metadata_url": f"{self.url}/.well-known/openid-configuration",
        }
        return "[auth]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())

    def allow(self, page: Page, sub: str) -> None:
        """Choose an account on the provider's page."""
        page.wait_for_url(f"{self.url}/oauth2/authorize**")
        page.get_by_role("button", name=sub, exact=True).click()

    def deny(self, page: Page) -> None:
        """Say no on the provider's page."""
        page.wait_for_url(f"{self.url}/oauth2/authorize**")
        page.get_by_role("button", name="Deny").click()

    def end(self, page: Page) -> None:
        """Confirm on the provider's page that its session ends."""
        page.wait_for_url(f"{self.url}/oauth2/end_session**")
        page.get_by_role("button").first.click()
