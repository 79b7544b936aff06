"""MkDocs hooks: pages generated from the code, and links that lead out of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

from scripts.docs.commands import commands_page
from scripts.docs.modules import front_page, module_pages
from scripts.docs.settings import editors_page, settings_page

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
_FETCHED = re.compile(r"<(?:script|img|iframe|link)[^>]* (?:src|href)=\"?(?:https?:)?//[^>]*>")
_OUTSIDE = re.compile(r"(!?)\[([^\]]*)\]\(\.\./([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace ``reference/modules`` in the navigation by one page per package."""
    pages = [{f"kgmet.{name.removesuffix('.md')}": f"reference/modules/{name}"} for name in module_pages()]
    for section in config.nav or []:
        for entries in section.values():
            if isinstance(entries, list):
                entries[:] = [
                    {label: pages if place == "reference/modules" else place}
                    for entry in entries
                    for label, place in entry.items()
                ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and the pictures of assets/."""
    made = {
        "reference/python.md": front_page(),
        "reference/settings.md": settings_page(),
        "reference/editors.md": editors_page(),
        "reference/command_line.md": commands_page(),
    } | {f"reference/modules/{name}": text for name, text in module_pages().items()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    for picture in sorted((ROOT / "assets").glob("*.svg")):
        files.append(File.generated(config, f"assets/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point ``../assets/…`` at the copies in the site; other files outside docs/ are shown by name only."""

    def moved(found: re.Match[str]) -> str:
        mark, label, target = found.groups()
        if not (ROOT / target.split("#")[0]).exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to ../{target}, which does not exist")
        return f"{mark}[{label}]({target})" if target.startswith("assets/") else f"`{target}`"

    return markdown if page.file.src_uri.startswith("reference/") else _OUTSIDE.sub(moved, markdown)


def on_post_build(*, config: MkDocsConfig) -> None:
    """Fail if a page of the site would fetch anything from outside."""
    for file in sorted(Path(config.site_dir).rglob("*.html")):
        if fetched := _FETCHED.search(file.read_text(encoding="utf-8")):
            raise ValueError(f"{file} fetches from outside: {fetched.group(0)}")
