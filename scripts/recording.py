"""Make docs/img/tour.gif: one edit from the example to the undo, in 60 silent seconds.

`python scripts/recording.py` needs a Chromium (see scripts/screenshots.py), Pillow (comes with Streamlit) and minutes:
the pages are photographed where something happens, and each picture stands as long as it takes to read. So the film
has no waiting in it, and is the same on a slow machine.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Browser
from screenshots import (
    FOLDER,
    NONE_FOUND,
    PATIENCE,
    Server,
    Watched,
    chromium,
    ensure_bundled,
    launched,
    linked_cache,
    visit,
)

FILE = FOLDER / "tour.gif"
SIZE = {"width": 1180, "height": 700}
WIDTH, CAPTION = 880, 38
"""Width of the film and height of the line below it, in pixels."""
SECONDS, MOST_BYTES = 60.0, 4_000_000
COLOURS = 64


@dataclass
class Film:
    """Pictures with the seconds each is shown, and the caption that stands below them."""

    person: Watched
    pictures: list[Image.Image] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    caption: str = ""

    def take(self, seconds: float, caption: str | None = None) -> None:
        """Photograph the page as it is."""
        self.caption = caption or self.caption
        page = Image.open(io.BytesIO(self.person.page.screenshot())).convert("RGB")
        page = page.resize((WIDTH, round(page.height * WIDTH / page.width)), Image.Resampling.LANCZOS)
        picture = Image.new("RGB", (WIDTH, page.height + CAPTION), "#1b2733")
        picture.paste(page, (0, 0))
        pen = ImageDraw.Draw(picture)
        pen.text((16, page.height + 9), self.caption, fill="#ffffff", font=ImageFont.load_default(18))
        self.pictures.append(picture)
        self.seconds.append(seconds)

    def scroll(self, selector: str, *, above: int = 90) -> None:
        """Move the page until an element stands near its upper edge."""
        self.person.page.locator(selector).first.evaluate(
            """(part, above) => { const main = document.querySelector('[data-testid="stMain"]');
            main.scrollBy(0, part.getBoundingClientRect().top - above); }""",
            above,
        )
        self.person.page.wait_for_timeout(500)

    def save(self, path: Path) -> None:
        """Write the film in `SECONDS`, each picture's share as it was asked for."""
        scale = SECONDS / sum(self.seconds)
        palette = self.pictures[len(self.pictures) // 2].quantize(COLOURS, dither=Image.Dither.NONE)
        frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in self.pictures]
        times = [round(1000 * scale * seconds / 10) * 10 for seconds in self.seconds]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)


def tour(film: Film) -> None:
    """Make the edit, look at the graph, ask, look inside, undo."""
    person, page = film.person, film.person.page
    film.take(2.0, "1 of 6 · Type a fact, or take an example")
    page.get_by_role("textbox", name="Subject", exact=True).fill("The Eiffel Tower")
    page.get_by_role("textbox", name="Template, with").fill("{} is located in the city of")
    film.take(1.2)
    person.type_fact("The Eiffel Tower", "{} is located in the city of", "Rome")
    page.wait_for_timeout(800)
    film.take(2.5)
    film.scroll(".kg-story")
    film.take(4.0, "1 of 6 · The graph says what else would change, and what must stay")
    film.scroll("h1")
    page.get_by_role("button", name="Apply the edit").click()
    page.wait_for_timeout(1500)
    film.take(1.5, "2 of 6 · Apply: the edit lies beside the weights, and changes none of them")
    page.get_by_text("multi-hop questions (").wait_for(timeout=PATIENCE)
    person.settle()
    film.scroll(".kg-sides")
    film.take(5.0, "2 of 6 · Before and after")
    film.scroll(".kg-answers")
    film.take(4.0, "2 of 6 · Multi-hop questions, asked in chat")
    graph(film)
    hops(film)
    inside(film)
    undo(film)


def graph(film: Film) -> None:
    """Light two paths in the graph."""
    person, page = film.person, film.person.page
    person.go("Graph")
    page.locator(".kg-story .spot").nth(5).wait_for()
    page.wait_for_timeout(800)
    film.take(3.0, "3 of 6 · Graph: what follows from the old object, and from the new one")
    for name in ("Italian", "Lazio"):
        page.locator(".kg-story .spot", has=page.locator(f'text="{name}"')).first.hover()
        page.wait_for_timeout(400)
        film.take(2.2)
    page.mouse.move(5, 5)


def hops(film: Film) -> None:
    """Ask the questions before and after."""
    person, page = film.person, film.person.page
    person.go("Probe")
    page.get_by_role("button", name=re.compile("^Ask ")).click()
    page.get_by_role("heading", name="Prompt by prompt").wait_for(timeout=PATIENCE)
    person.settle()
    film.scroll(".kg-hops", above=160)
    film.take(6.5, "4 of 6 · Probe: a chain of facts, hop by hop, before and after")
    film.scroll(".kg-answers")
    film.take(5.5, "4 of 6 · Every answer, before and after, with its verdict")


def inside(film: Film) -> None:
    """Show the heat map of the shift."""
    person, page = film.person, film.person.page
    person.go("Shift")
    page.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=PATIENCE)
    person.settle()
    page.wait_for_timeout(1500)
    film.take(3.5, "5 of 6 · Shift: what the edit changes, by layer and token")
    film.scroll(".js-plotly-plot")
    film.take(4.5)


def undo(film: Film) -> None:
    """Take the edit back."""
    person, page = film.person, film.person.page
    person.go("Edit")
    page.get_by_role("button", name="Undo").wait_for()
    film.take(2.0, "6 of 6 · Undo")
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("bit for bit").wait_for(timeout=PATIENCE)
    person.settle()
    film.scroll(".kg-sides", above=200)
    film.take(5.0, "6 of 6 · The same numbers as before, bit for bit")


def record(browser: Browser, url: str) -> Film:
    """Return the film of one visit."""
    person = visit(browser, url, scheme="light")
    person.page.set_viewport_size(SIZE)
    person.settle()
    film = Film(person=person)
    tour(film)
    return film


def main() -> int:
    path = chromium()
    if path is None:
        return NONE_FOUND
    with tempfile.TemporaryDirectory() as place, launched(path) as browser:
        server = Server(linked_cache(ensure_bundled(), Path(place)))
        server.start()
        try:
            record(browser, server.url).save(FILE)
        finally:
            server.stop()
    size = FILE.stat().st_size
    print(f"{FILE}: {size / 1e6:.1f} MB")
    if size > MOST_BYTES:
        print(
            f"That is more than {MOST_BYTES / 1e6:.0f} MB. Lower COLOURS or WIDTH, and run it again.", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
