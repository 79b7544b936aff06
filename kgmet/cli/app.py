"""``kgmet app``: serve the workbench."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import json
import os
import re
import runpy
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kgmet.cli.common import whole

__all__ = ["add_parser", "run", "settings", "visitors"]

_AUTH = ("redirect_uri", "cookie_secret", "client_id", "client_secret", "server_metadata_url")
"""Values of an OpenID Connect client that Streamlit needs."""
_LEAST_SECRET = 16


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("app", help="serve the workbench, the app in the browser")
    parser.add_argument("--port", type=whole(1, 65_535), default=8501, help="port to listen on (default: %(default)s)")
    parser.add_argument(
        "--address", default="127.0.0.1", help="address to listen on; the default is reachable from this machine only"
    )
    parser.add_argument("--password-file", type=Path, help="ask every visitor for the password that is in this file")
    parser.add_argument(
        "--oidc-file",
        type=Path,
        metavar="TOML",
        help="visitors sign in with OpenID Connect; the file has an [auth] table",
    )
    parser.add_argument(
        "--allow-user",
        action="append",
        type=_account,
        default=[],
        metavar="EMAIL",
        help="who may sign in: an address, or @domain",
    )
    parser.add_argument("--shared", action="store_true", help="others reach this server, for example through a proxy")
    parser.add_argument("--no-password", action="store_true", help="allow everyone who can reach --address")
    parser.add_argument(
        "--allow-model", action="append", default=[], metavar="ID", help="visitors may load it, besides bundled models"
    )
    parser.add_argument(
        "--allow-endpoint", action="append", default=[], metavar="URL", help="visitors may ask this SPARQL endpoint"
    )
    parser.set_defaults(run=run)


def _account(text: str) -> str:
    """Parse who may sign in: an empty list would let everyone in whom the provider knows."""
    if not re.fullmatch(r"[^@\s]*@[^@\s]+", text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is neither an address such as ann@example.org nor @domain")
    return text


def run(options: argparse.Namespace) -> int:
    """Serve until the process is stopped."""
    from kgmet.base.errors import ConfigError
    from kgmet.base.shipped import shipped

    workbench = importlib.util.find_spec("workbench")
    if workbench is None or workbench.origin is None or importlib.util.find_spec("streamlit") is None:
        raise ConfigError("The workbench needs more packages: pip install 'kgmet-workbench[app]'.")
    os.environ.update(visitors(options))
    script = Path(workbench.origin).with_name("app.py")
    chosen: dict[str, Any] = {"server.address": options.address, "server.port": options.port}
    if options.oidc_file is not None:
        chosen["secrets.files"] = str(options.oidc_file.resolve())
    flags = settings(shipped(".streamlit") / "config.toml", chosen, os.environ)
    sys.argv = ["streamlit", "run", str(script), *flags]
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)
    return 0


def visitors(options: argparse.Namespace) -> dict[str, str]:
    """Return the environment variables that control access to the workbench.

    Raises:
        ConfigError: if the server is reachable by others and neither a password nor its absence was chosen.
    """
    from kgmet.base.errors import ConfigError
    from kgmet.base.files import is_file
    from kgmet.base.password import read_password

    is_shared = not _is_loopback(options.address)
    if is_shared and options.password_file is None and options.oidc_file is None and not options.no_password:
        raise ConfigError(
            f"Others reach {options.address}. Give --password-file FILE or --oidc-file FILE, or --no-password if a "
            "proxy asks for one or everybody may enter. docs/deploy.md shows all three."
        )
    if options.oidc_file is not None:
        _check_oidc(options)
    elif options.allow_user:
        raise ConfigError("--allow-user names accounts, which only --oidc-file asks for. Give both or neither.")
    if options.password_file is not None:
        if not is_file(options.password_file):
            raise ConfigError(f"There is no file {options.password_file}. Write the password into it, on one line.")
        read_password(options.password_file)
    told = {"KGMET_MODELS": "\n".join(options.allow_model), "KGMET_ENDPOINTS": "\n".join(options.allow_endpoint)}
    asked = options.password_file is not None or options.oidc_file is not None
    told["KGMET_SHARED"] = "1" if is_shared or options.shared or asked else ""
    told["KGMET_ACCOUNTS"] = "1" if options.oidc_file is not None else ""
    told["KGMET_USERS"] = "\n".join(options.allow_user)
    if options.password_file is not None:
        told["KGMET_PASSWORD_FILE"] = str(options.password_file.resolve())
    return {name: value for name, value in told.items() if value}


def _check_oidc(options: argparse.Namespace) -> None:
    """Check the file of the OpenID Connect client before the server starts.

    Raises:
        ConfigError: if it cannot be read, lacks a value, or the package that Streamlit needs for it is missing.
    """
    from kgmet.base.errors import ConfigError, ConfigFileError
    from kgmet.base.files import read_toml

    if options.password_file is not None:
        raise ConfigError("Give --password-file or --oidc-file, not both.")
    auth = read_toml(options.oidc_file, error=ConfigFileError).get("auth")
    missing = [name for name in _AUTH if not isinstance(auth, dict) or not isinstance(auth.get(name), str)]
    if missing or not isinstance(auth, dict):
        raise ConfigError(f"{options.oidc_file} lacks {missing[0]} in its table [auth]. docs/deploy.md shows the file.")
    if len(auth["cookie_secret"].strip()) < _LEAST_SECRET:
        raise ConfigError(f"auth.cookie_secret must have at least {_LEAST_SECRET} characters. Write a longer one.")
    if not _has_authlib():
        raise ConfigError("Signing in needs one more package: pip install 'authlib>=1.3.2,<2'.")


def _has_authlib() -> bool:
    return importlib.util.find_spec("authlib") is not None


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def settings(file: Path, chosen: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """Return the settings in `file` as options of ``streamlit run``, overridden by `chosen`.

    Streamlit itself reads such a file only from the folder it is started in. A setting in `environment` is left out
    unless it is in `chosen`, because options override the environment.
    """
    from_file = dict(_flat(tomllib.loads(file.read_text(encoding="utf-8"))))
    kept = {key: value for key, value in from_file.items() if _variable(key) not in environment} | dict(chosen)
    return [part for key, value in kept.items() for part in (f"--{key}", _text(value))]


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _variable(key: str) -> str:
    """Return a setting's environment variable, such as ``STREAMLIT_SERVER_MAX_UPLOAD_SIZE``."""
    return "STREAMLIT_" + re.sub(r"(?<=[a-z])(?=[A-Z])|\.", "_", key).upper()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
