"""What the Ledger gives away, taken in a real browser and used elsewhere: a script and a merged checkpoint."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import torch
from playwright.sync_api import Page, expect
from transformers import AutoModelForCausalLM, AutoTokenizer

from kgmet.lm.load.loaded import load_lm
from kgmet.write.patch import attached, load_patch
from tests.browser.running import PATIENCE, ROOT, Server, Visit, Watched

PROMPT = "The Eiffel Tower is located in the city of"


def test_an_edit_is_taken_elsewhere_as_script_and_as_checkpoint(
    visit: Visit, tower: str, server: Server, tmp_path: Path
) -> None:
    person = visit("ledger", session_id=tower)
    page = person.page
    page.get_by_text("Export", exact=True).first.click()
    script = taken(person, "Python script", tmp_path / "repeat_edits.py")
    archive = taken(person, "patch", tmp_path / "patch.zip")
    choose(person, "merged checkpoint")
    expect(page.get_by_text("Written to this folder")).to_be_visible(timeout=PATIENCE)
    folder = Path(page.locator('[data-testid="stCode"]').last.inner_text().strip())
    assert_repeats(script, after_on(page), server)
    assert_same_model(folder, archive)
    assert person.outside() == []


def choose(person: Watched, form: str) -> None:
    person.page.get_by_text(form, exact=True).click()
    person.settle()
    person.page.get_by_role("button", name="Export", exact=True).click()


def taken(person: Watched, form: str, to: Path) -> Path:
    """Export in this form and download it."""
    choose(person, form)
    name = {"patch.zip": "kgmet-patch.zip"}.get(to.name, to.name)
    with person.page.expect_download(timeout=PATIENCE) as got:
        person.page.get_by_role("button", name=re.compile(f"^Download {re.escape(name)}")).click()
    got.value.save_as(to)
    return to


def after_on(page: Page) -> float:
    """The new object's probability after the edit, in percent, as the card says."""
    entry, said = page.locator(".kg-entry"), re.compile(r"→ (\d+(?:\.\d+)?)\s% when it was made")
    expect(entry).to_contain_text(said)
    return float(said.findall(entry.inner_text())[0])


def assert_repeats(script: Path, shown: float, server: Server) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "KGMET_CACHE": str(server.cache)}
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=script.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert f"{PROMPT} … 'Paris" in ran.stdout and "→ 'Tokyo" in ran.stdout
    found = re.search(r"probability of 'Tokyo': ([\d.]+) → ([\d.]+)", ran.stdout)
    assert found is not None
    assert abs(100 * float(found[2]) - shown) < 0.5


def assert_same_model(folder: Path, archive: Path) -> None:
    """The checkpoint, read by transformers alone, gives the logits of the model with the patch beside it."""
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(archive.parent / "patch")
    patch, lm = load_patch(archive.parent / "patch"), load_lm()
    merged, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    with torch.no_grad():
        with attached(patch, lm):
            wanted = lm.model(ids).logits
        plain, got = lm.model(ids).logits, merged(ids).logits
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-2)
    assert tokenizer.decode(got[0, -1].argmax()).strip() == "Tokyo"
    assert (plain - wanted).abs().max() > 1
