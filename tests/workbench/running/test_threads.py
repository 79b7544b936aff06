"""The app leaves cores to others, and never overrides what a person set."""

from __future__ import annotations

import threading

import pytest
import torch

from workbench.running.threads import MOST, SETTING, choose_threads, limit_threads


@pytest.mark.parametrize(("cores", "wanted"), [(1, 1), (2, 1), (3, 1), (4, 2), (12, 6), (16, 8), (128, MOST)])
def test_half_the_cores_within_limits(cores: int, wanted: int) -> None:
    assert choose_threads({}, cores).count == wanted


def test_the_setting_goes_before_the_half() -> None:
    assert choose_threads({SETTING: " 3 "}, 16).count == 3
    assert choose_threads({SETTING: "  "}, 16).count == 8


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_what_is_set_for_all_programs_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_threads({name: "1", SETTING: "5"}, 16).count is None
    before = torch.get_num_threads()
    monkeypatch.setenv(name, "1")
    monkeypatch.setenv(SETTING, str(before + 1))
    assert limit_threads().count == torch.get_num_threads() == before


@pytest.mark.parametrize("wrong", ["0", "-2", "many", "1.5", "9" * 30, "²"])
def test_what_is_no_number_is_said_and_not_used(wrong: str) -> None:
    chosen = choose_threads({SETTING: wrong}, 8)
    assert chosen.count == 4
    assert SETTING in chosen.why


def test_the_limit_holds_in_the_thread_that_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    wanted = 1 if before > 1 else 2
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(SETTING, str(wanted))
    seen: list[int] = []

    def work() -> None:
        torch.ones(300, 300) @ torch.ones(300, 300)
        seen.append(torch.get_num_threads())

    try:
        assert limit_threads().count == wanted
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        assert seen == [wanted]
    finally:
        torch.set_num_threads(before)
