"""Eight threads on one model for a while, each with an edit of its own: no answer shows another's edit."""

from __future__ import annotations

import os
import threading
import time

import pytest
import torch

from kgmet.write.patch import attached
from tests.tiny_models import tiny_lm
from tests.write.tiny_edits import logits_of, random_patch

SOAK = os.environ.get("KGMET_SOAK") == "1"
pytestmark = [pytest.mark.soak] if SOAK else []
N_THREAD, SECONDS = 8, 60.0 if SOAK else 2.0


def test_no_answer_shows_the_edit_of_another_thread() -> None:
    lm = tiny_lm()
    plain = logits_of(lm)
    patches = [random_patch(lm, seed=number) for number in range(N_THREAD)]
    expected = []
    for patch in patches:
        with attached(patch, lm):
            expected.append(logits_of(lm))
    assert all(not torch.equal(one, plain) for one in expected)
    end, n_asked, wrong = time.monotonic() + SECONDS, [0] * N_THREAD, list[str]()

    def visitor(number: int) -> None:
        while time.monotonic() < end:
            with attached(patches[number], lm):
                if not torch.equal(logits_of(lm), expected[number]):
                    wrong.append(f"thread {number}, with its edit")
            if not torch.equal(logits_of(lm), plain):
                wrong.append(f"thread {number}, without an edit")
            n_asked[number] += 1

    threads = [threading.Thread(target=visitor, args=(number,)) for number in range(N_THREAD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"threads: {N_THREAD}; answers: {2 * sum(n_asked)}; of another's edit: {len(wrong)}")
    assert wrong == []
    assert min(n_asked) > 0
    assert torch.equal(logits_of(lm), plain)
