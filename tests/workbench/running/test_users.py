"""Accounts: who an answer of the provider is, who may enter, and one session for each account."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from kgmet.base.errors import ConfigError
from tests.workbench.sessions import EIFFEL
from workbench import shell
from workbench.running import users
from workbench.running.access import Access
from workbench.running.resources import Resident
from workbench.running.users import User, session_id_of, user_of
from workbench.state import session
from workbench.state.vault import vault

ROOT = Path(__file__).resolve().parents[3]
SECRET = "a secret of the cookie"
ANN = {"iss": "https://id.example.org", "sub": "1", "name": "Ann", "email": "ann@example.org", "email_verified": True}
BOB = {"iss": "https://id.example.org", "sub": "2", "name": "<b>Bob</b>", "email": "bob@other.example"}


def known(said: Mapping[str, Any]) -> User:
    found = user_of(said)
    assert found is not None
    return found


def test_claims_become_an_account_or_an_error() -> None:
    assert user_of(None) is None
    assert known(ANN) == User(issuer=ANN["iss"], subject="1", name="Ann", email="ann@example.org")
    assert known(BOB).email == "", "the provider did not say that the address is his"
    assert known({"iss": "i", "sub": "s"}).name == "s"
    for broken in ({}, {"sub": "1"}, {"iss": "i"}, {"iss": "i", "sub": 5}, {"iss": "i", "sub": ""}):
        with pytest.raises(ConfigError, match="named no account"):
            user_of(broken)


@pytest.mark.parametrize(
    ("allowed", "may"),
    [((), True), (("ANN@example.org",), True), (("@example.org",), True), (("@example",), False), (("bob@x",), False)],
)
def test_who_is_on_the_list_may_enter(allowed: tuple[str, ...], may: bool) -> None:
    assert known(ANN).is_among(allowed) is may
    assert known(BOB).is_among(("@other.example",)) is False, "an address that is not verified opens nothing"


def test_a_session_id_is_of_one_account_and_needs_the_secret() -> None:
    ids = {session_id_of(known(one), SECRET) for one in (ANN, BOB, ANN | {"iss": "https://other"})}
    assert len(ids) == 3
    assert session_id_of(known(ANN), SECRET) == session_id_of(known(ANN | {"name": "Anna"}), SECRET)
    assert session_id_of(known(ANN), SECRET) != session_id_of(known(ANN), SECRET + "!")
    assert session_id_of(known({"iss": "ab", "sub": "c"}), SECRET) != session_id_of(
        known({"iss": "a", "sub": "bc"}), SECRET
    )
    with pytest.raises(ConfigError, match="at least 16"):
        session_id_of(known(ANN), "short")


def test_signing_out_ends_this_sign_in_in_every_tab_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, Any] = ANN | {"is_logged_in": True, "nonce": "of this sign-in"}
    left: list[str] = []
    monkeypatch.setattr(users.st, "user", SimpleNamespace(to_dict=lambda: said))
    monkeypatch.setattr(users.st, "logout", lambda: left.append("signed out"))
    monkeypatch.setattr(users, "_ended", lambda ended=set(): ended)
    assert users.claims() == said
    users.sign_out()
    assert left == ["signed out"] and users.claims() is None
    said["nonce"] = "of another browser, or of the next sign-in"
    assert users.claims() == said


class Provider:
    """A fake source of claims: what `st.user` would say."""

    def __init__(self) -> None:
        self.says: Mapping[str, Any] | None = None

    def __call__(self) -> Mapping[str, Any] | None:
        return self.says


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    made = Provider()
    given = Access(is_shared=True, asks_account=True, users=frozenset({"@example.org", "@second.example"}))
    for module in (shell, session):
        monkeypatch.setattr(module, "claims", made)
        monkeypatch.setattr(module, "access", lambda: given)
    monkeypatch.setattr(session.st, "secrets", {"auth": {"cookie_secret": SECRET}})
    return made


def app() -> AppTest:
    return AppTest.from_file(str(ROOT / "workbench" / "app.py"), default_timeout=60).run()


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


def test_nothing_is_shown_before_signing_in_or_to_another_account(
    resident: Resident, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    navigation = shell.st.navigation

    def noted(pages: Any, **options: Any) -> Any:
        listed.append(options["position"])
        return navigation(pages, **options)

    monkeypatch.setattr(shell.st, "navigation", noted)
    page = app()
    assert not page.exception
    assert labels(page) == ["Sign in"]
    assert set(listed) == {"hidden"}, "nor are the pages listed"
    provider.says = BOB
    page = app()
    assert labels(page) == ["Sign out"] and set(listed) == {"hidden"}
    assert "may not enter" in page.error[0].value and "<b>" not in page.error[0].value
    assert vault()._records == {}, "no session was made"


def test_sessions_are_kept_apart_by_account_and_found_from_every_browser(
    resident: Resident, provider: Provider
) -> None:
    provider.says = ANN
    page = app()
    assert not page.exception
    assert "Sign out" in labels(page)
    ann = vault().find(session_id_of(known(ANN), SECRET))
    assert ann is not None
    ann.change(draft=EIFFEL)
    provider.says = ANN | {"sub": "3", "email": "cy@second.example"}
    app()
    other = vault().find(session_id_of(known(provider.says), SECRET))
    assert other is not None and other is not ann
    assert other.saved.draft.subject == ""
    provider.says = ANN
    again = app()
    assert EIFFEL.subject in [field.value for field in again.text_input]


def test_who_signs_in_as_another_gets_the_others_session_and_no_trace_of_the_first(
    resident: Resident, provider: Provider
) -> None:
    provider.says = ANN
    page = app()
    record = vault().find(session_id_of(known(ANN), SECRET))
    assert record is not None
    record.change(draft=EIFFEL)
    provider.says = ANN | {"sub": "3", "email": "cy@second.example"}
    page.run()
    assert EIFFEL.subject not in [field.value for field in page.text_input]
    provider.says = None
    page.run()
    assert labels(page) == ["Sign in"]
