from __future__ import annotations

from kgmet.base.progress import Stage
from workbench.wording import STAGES, progress_line


def test_every_stage_has_words_for_people() -> None:
    assert set(STAGES) == set(Stage)


def test_a_stage_says_how_far_it_is() -> None:
    assert progress_line(Stage.SEARCH, 3, 20) == "Searching the shift · 3 of 20"
    assert progress_line(Stage.DOWNLOAD, 12_000_000, None) == "Downloading the model · 12 MB"
    assert progress_line(Stage.DOWNLOAD, 5_000_000, 10_000_000) == "Downloading the model · 5 of 10 MB"
