"""Time and memory of the low-rank and the dense solve, for one edit after a hundred earlier ones.

    python benchmarks/solve.py --d-key 14336 --threads 4

Both solve ``(P(KKᵀ + K_pK_pᵀ) + λI) ΔWᵀ = P K Rᵀ`` in float64 for the same random keys and the same random orthonormal
basis of protected directions. The dense side gets its projector P and the sum K_pK_pᵀ of earlier keys ready made, as
published code does, and solves for the keys, not for the d_model columns of KRᵀ, which is faster than published code.
The low-rank side is timed twice: with the earlier keys' system kept, as in a session, and from scratch. Each side runs
in a separate process and reads the basis from disk, as a session does.

Memory is the highest resident size while a side works (`VmHWM`, reset before the solve), including what libraries
allocate. *Kept and used* subtracts the memory of interpreter, torch and keys, so it includes what a side keeps from
edit to edit (dense: P and the sum; low rank: basis and projected keys). *The solve alone* also subtracts what was ready
when the first solve began. The basis is not work memory: it holds the eigenvectors of the key statistics, from which
both sides start.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

_LAYER = 0


def main() -> None:
    """Run both sides and print a Markdown table."""
    options = _options()
    if options.side == "basis":
        _save_basis(options)
        print("{}")
        return
    if options.side:
        print(json.dumps(_measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _in_own_process(options, "basis", folder)
        low = _in_own_process(options, "low-rank", folder)
        dense = None if options.no_dense else _in_own_process(options, "dense", folder)
        difference = None if dense is None else _difference(Path(folder))
    print(_table(options, low, dense, difference))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--d-key", type=int, default=14_336, help="width of the keys")
    parser.add_argument("--edits", type=int, default=1, help="new keys")
    parser.add_argument("--earlier", type=int, default=100, help="keys of earlier edits")
    parser.add_argument("--free", type=float, default=0.8, help="share of directions that are free to write in")
    parser.add_argument("--ridge", type=float, default=1.0, help="λ")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--repeats", type=int, default=5, help="runs of the low-rank side; the median is shown")
    parser.add_argument("--dense-repeats", type=int, default=1, help="runs of the dense side")
    parser.add_argument("--no-dense", action="store_true", help="leave the dense side out")
    parser.add_argument("--side", choices=("basis", "low-rank", "dense"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_own_process(options: argparse.Namespace, side: str, folder: str) -> dict[str, float]:
    arguments = []
    for name in ("d_key", "edits", "earlier", "free", "ridge", "threads", "repeats", "dense_repeats"):
        arguments += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    threads = {"OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, __file__, *arguments, "--side", side, "--folder", folder],
        env=os.environ | threads | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _measure(options: argparse.Namespace) -> dict[str, float]:
    """Measure one side in this process."""
    import torch

    torch.set_num_threads(options.threads)
    drawn = torch.Generator().manual_seed(0)
    keys = torch.randn(options.edits, options.d_key, generator=drawn, dtype=torch.float64)
    earlier = torch.randn(options.earlier, options.d_key, generator=drawn, dtype=torch.float64)
    side = _low_rank if options.side == "low-rank" else _dense
    torch.linalg.qr(keys.T)  # warm up, so that the library's own memory counts for neither side
    before = resident_bytes("VmRSS")
    found, input_factor = side(options, keys, earlier)
    torch.save(input_factor, Path(options.folder) / f"{options.side}.pt")
    peak = found.pop("peak")
    return found | {"bytes": peak - before, "solve_bytes": peak - found.pop("ready")}


def _save_basis(options: argparse.Namespace) -> None:
    """Save random orthonormal columns (d_key, n_protected)."""
    import torch

    torch.set_num_threads(options.threads)
    n_protected = options.d_key - round(options.free * options.d_key)
    drawn = torch.Generator().manual_seed(1)
    columns = torch.linalg.qr(torch.randn(options.d_key, n_protected, generator=drawn, dtype=torch.float64)).Q
    torch.save(columns.contiguous(), Path(options.folder) / "basis.pt")


def _basis(options: argparse.Namespace) -> Any:
    import torch

    return torch.load(Path(options.folder) / "basis.pt", weights_only=True)


def _low_rank(options: argparse.Namespace, keys: Any, earlier: Any) -> tuple[dict[str, float], Any]:
    import torch

    from kgmet.write.nullspace import Cutoff, CutoffKind, NullSpace
    from kgmet.write.solve import KeySystem

    basis = _basis(options)
    free = NullSpace(
        layer=_LAYER,
        basis=basis,
        is_free=False,
        eigenvalues=torch.ones(options.d_key, dtype=torch.float64),
        rank=options.d_key - basis.shape[1],
        cutoff=Cutoff(kind=CutoffKind.RANK, value=options.free),
        moment_fingerprint="benchmark",
    )
    ready = resident_bytes("VmRSS")
    forget_peak()
    whole = _seconds(
        lambda: KeySystem(free, options.ridge).appended(earlier).appended(keys).directions(len(keys)), options.repeats
    )
    system = KeySystem(free, options.ridge).appended(earlier)
    kept = _seconds(lambda: system.appended(keys).directions(len(keys)), options.repeats)
    peak = resident_bytes("VmHWM")
    result = {"seconds": kept, "seconds_from_nothing": whole, "ready": ready, "peak": peak}
    return result, system.appended(keys).directions(len(keys))


def _dense(options: argparse.Namespace, keys: Any, earlier: Any) -> tuple[dict[str, float], Any]:
    import torch

    basis = _basis(options)
    projector = -(basis @ basis.T)
    projector.diagonal().add_(1)
    del basis
    written = earlier.T @ earlier
    ready = resident_bytes("VmRSS")
    forget_peak()

    def solve() -> Any:
        system = projector @ (keys.T @ keys + written)
        system.diagonal().add_(options.ridge)
        return torch.linalg.solve(system, projector @ keys.T).T

    found = []
    seconds = _seconds(lambda: found.append(solve()), options.dense_repeats)
    return {"seconds": seconds, "ready": ready, "peak": resident_bytes("VmHWM")}, found[-1]


def _seconds(work: Callable[[], Any], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return median(taken)


def forget_peak() -> None:
    """Let the kernel count the highest resident size from zero (Linux, proc(5): clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def resident_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"this system does not report {field}; run the benchmark on Linux")


def _difference(folder: Path) -> float:
    """Return the largest difference between the two sides' results, relative to the largest value."""
    import torch

    low, dense = (torch.load(folder / f"{side}.pt", weights_only=True) for side in ("low-rank", "dense"))
    return float((low - dense).abs().max() / dense.abs().max())


def _table(
    options: argparse.Namespace, low: dict[str, float], dense: dict[str, float] | None, difference: float | None
) -> str:
    lines = [
        f"d_key {options.d_key:,}, {options.edits} new and {options.earlier} earlier keys, {options.free:.0%} of the "
        f"directions free, λ {options.ridge:g}, float64, {options.threads} thread(s); median of {options.repeats} "
        f"(dense: {options.dense_repeats})",
        "",
        "| solve | seconds | times faster | kept and used, MB | times smaller | the solve alone, MB | times smaller |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [("low rank, earlier keys' system kept", "seconds"), ("low rank, from nothing", "seconds_from_nothing")]
    for name, which in rows:
        cells = [name, f"{low[which]:.4f}", _times(dense, "seconds", low[which])]
        for memory in ("bytes", "solve_bytes"):
            cells += [f"{low[memory] / 1e6:,.0f}", _times(dense, memory, low[memory])]
        lines.append(f"| {' | '.join(cells)} |")
    if dense is not None and difference is not None:
        memory = [f"{dense[which] / 1e6:,.0f}" for which in ("bytes", "solve_bytes")]
        lines.append(f"| dense | {dense['seconds']:.3f} | | {memory[0]} | | {memory[1]} | |")
        lines += ["", f"Largest difference between the two: {difference:.1e} of the largest value."]
    return "\n".join(lines)


def _times(dense: dict[str, float] | None, which: str, low: float) -> str:
    return "–" if dense is None or low <= 0 else f"{dense[which] / low:,.0f}"


if __name__ == "__main__":
    main()
