"""Saved values are read by many threads at once, in a process of its own: what is tested for is that it lives on."""

from __future__ import annotations

import subprocess
import sys

THREADS = """
import dataclasses, sys, threading, typing
from kgmet.base.values import value_from

sys.setswitchinterval(1e-6)
for n in range(40):
    fields = [(f"f{i}", int) for i in range(30)]
    leaves = [dataclasses.make_dataclass(f"L{n}_{i}", fields) for i in range(20)]
    kind = dataclasses.make_dataclass(f"T{n}", [(f"x{i}", typing.Optional[leaf]) for i, leaf in enumerate(leaves)])
    start = threading.Barrier(4)

    def read():
        start.wait()
        value_from(kind, {f"x{i}": None for i in range(20)}, "This is none")

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("lives")
"""


def test_many_threads_that_meet_a_type_first_do_not_end_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "lives"), done.stderr[-500:]
