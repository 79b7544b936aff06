"""`kgmet app` hands Streamlit the settings of its file, wherever it is started."""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path

import pytest
from streamlit.config import get_config_options
from streamlit.web.cli import main_run

from kgmet.__main__ import main
from kgmet.base.errors import ConfigError
from kgmet.base.shipped import shipped
from kgmet.cli.app import add_parser, settings, visitors

FILE = shipped(".streamlit") / "config.toml"


def pairs(flags: list[str]) -> dict[str, str]:
    return dict(zip(flags[::2], flags[1::2], strict=True))


def test_every_setting_of_the_file_is_handed_over() -> None:
    given = pairs(settings(FILE, {}, {}))
    read = tomllib.loads(FILE.read_text(encoding="utf-8"))
    assert given["--server.address"] == "127.0.0.1"
    assert given["--server.maxUploadSize"] == "64"
    assert given["--server.enableStaticServing"] == "false"
    assert given["--theme.dark.sidebar.backgroundColor"] == read["theme"]["dark"]["sidebar"]["backgroundColor"]
    assert json.loads(given["--theme.light.chartCategoricalColors"]) == read["theme"]["light"]["chartCategoricalColors"]


def test_streamlit_has_every_option() -> None:
    known = {option for parameter in main_run.params for option in parameter.opts}
    assert set(pairs(settings(FILE, {}, {}))) <= known


def test_what_is_chosen_outranks_the_file_and_the_environment() -> None:
    environment = {"STREAMLIT_SERVER_PORT": "1", "STREAMLIT_SERVER_MAX_UPLOAD_SIZE": "5"}
    given = pairs(settings(FILE, {"server.port": 9000}, environment))
    assert given["--server.port"] == "9000"
    assert "--server.maxUploadSize" not in given


def test_the_names_of_environment_variables_are_streamlits() -> None:
    options = get_config_options()
    for flag in pairs(settings(FILE, {}, {})):
        variable = options[flag.removeprefix("--")].env_var
        assert flag not in pairs(settings(FILE, {}, {variable: "1"}))


def test_a_port_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for port, why in (("0", "not a whole number of at least 1"), ("65536", "at most 65535")):
        with pytest.raises(SystemExit) as stopped:
            main(["app", "--port", port])
        assert stopped.value.code == 2
        assert why in capsys.readouterr().err


def test_what_is_shipped_lies_beside_the_package_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgmet.base.shipped._PACKAGES", tmp_path)
    assert shipped("pages") == tmp_path / "pages"
    (tmp_path / "workbench" / "shipped" / "pages").mkdir(parents=True)
    assert shipped("pages") == tmp_path / "workbench" / "shipped" / "pages"


def told(*arguments: str) -> dict[str, str]:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return visitors(parser.parse_args(["app", *arguments]))


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_on_this_machine_alone_nobody_is_asked(address: str) -> None:
    assert told("--address", address) == {}


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.5", "lab.example.org"])
def test_where_others_reach_the_server_somebody_must_say_whether_they_may(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--password-file"):
        told("--address", address)
    assert told("--address", address, "--no-password") == {"KGMET_SHARED": "1"}
    file = tmp_path / "password"
    with pytest.raises(ConfigError, match="There is no file"):
        told("--address", address, "--password-file", str(file))
    file.write_text("correct horse")
    assert told("--address", address, "--password-file", str(file)) == {
        "KGMET_SHARED": "1",
        "KGMET_PASSWORD_FILE": str(file),
    }


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"        \n", b"short\n", b"two lines\nof a password\n", b"\xff\xfe" * 8]
)
def test_a_file_that_holds_no_password_is_refused_before_the_server_starts(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="password"):
        told("--address", "0.0.0.0", "--password-file", str(file))


def test_behind_a_proxy_the_lists_hold_too() -> None:
    found = told("--shared", "--allow-model", "a/b", "--allow-model", "/m", "--allow-endpoint", "https://x/sparql")
    assert found == {"KGMET_SHARED": "1", "KGMET_MODELS": "a/b\n/m", "KGMET_ENDPOINTS": "https://x/sparql"}


AUTH = """[auth]
redirect_uri = "https://kgmet.example.org/oauth2callback"
cookie_secret = "{secret}"
client_id = "kgmet"
client_secret = "s"
server_metadata_url = "https://id.example.org/.well-known/openid-configuration"
"""


def test_accounts_replace_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "auth.toml"
    words = ("--address", "0.0.0.0", "--oidc-file", str(file))
    with pytest.raises(ConfigError, match="is missing"):
        told(*words)
    file.write_text("[auth]\nclient_id = 'kgmet'\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"lacks redirect_uri in its table \[auth\]"):
        told(*words)
    file.write_text(AUTH.format(secret="short"), encoding="utf-8")
    with pytest.raises(ConfigError, match="at least 16"):
        told(*words)
    file.write_text(AUTH.format(secret="long enough for a cookie"), encoding="utf-8")
    monkeypatch.setattr("kgmet.cli.app._has_authlib", lambda: False)
    with pytest.raises(ConfigError, match=r"authlib"):
        told(*words)
    monkeypatch.setattr("kgmet.cli.app._has_authlib", lambda: True)
    assert told(*words, "--allow-user", "@example.org") == {
        "KGMET_SHARED": "1",
        "KGMET_ACCOUNTS": "1",
        "KGMET_USERS": "@example.org",
    }
    file.write_text(AUTH.format(secret=" " * 20), encoding="utf-8")
    with pytest.raises(ConfigError, match="at least 16"):
        told(*words)
    file.write_text(AUTH.format(secret="long enough for a cookie"), encoding="utf-8")
    with pytest.raises(ConfigError, match="not both"):
        told(*words, "--password-file", str(file))
    with pytest.raises(ConfigError, match="--allow-user"):
        told("--allow-user", "ann@example.org")


@pytest.mark.parametrize("account", ["", " ", "*", "ann", "@", "ann@", "ann@a b", "a@b\nc@d", "a@b@c"])
def test_a_list_that_would_let_everyone_in_is_refused(account: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty ``--allow-user "$USERS"`` is no list, and without a list everyone may enter whom the provider knows."""
    with pytest.raises(SystemExit) as stopped:
        told("--oidc-file", "auth.toml", "--allow-user", account)
    assert stopped.value.code == 2
    assert "is neither an address such as ann@example.org nor @domain" in capsys.readouterr().err
