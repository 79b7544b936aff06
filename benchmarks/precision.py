"""Which precision the sums of key products, their eigenvectors and the solve need.

    python benchmarks/precision.py [--layers 0 3 8] [--threads 2]
    python benchmarks/precision.py --wide 14336 [--tokens 200000] [--threads 2]

The first form takes the default model's keys on the bundled text, and compares each way to work with float64
throughout: the moment, its eigenvalues above 1e-3, how many directions are free, and the update of eight edits written
on top of a hundred earlier keys. The second form takes random keys of a wide model. Its moment is too large to
decompose here, so the sum is compared in some of its entries, and the solve over a random basis of protected
directions.

Ways: *float32* sums products of float32 in float32; *folded* does so for a limited number of tokens and adds these sums
in float64, as the product does; *compensated* carries the rounding error along (Kahan) instead; *TF32* and *bfloat16*
round the factors first, as GPUs do where they are allowed to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from measure import Table, machine

from kgmet.lm.load.loaded import DEFAULT_MODEL, load_lm
from kgmet.write.corpus import bundled_corpus
from kgmet.write.moments import keys_of_text
from kgmet.write.nullspace import Cutoff, NullSpace
from kgmet.write.solve import KeySystem, solve_layer_update

BATCH, FOLD = 1536, 1 << 17
"""Tokens of one batch, and tokens between additions to the float64 sum, as in `kgmet.write.moments`."""
CUTOFF, RIDGE = Cutoff(), 1.0
N_EDIT, N_EARLIER, D_MODEL = 8, 100, 576
SLICE, COLUMNS = 64, 512
"""Rows and columns of a wide moment that are compared; an entry's error does not depend on the others."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    if options.wide:
        print(f"Random keys of width {options.wide:,}, {options.tokens:,} tokens; {machine(options.threads)}.\n")
        print(wide_table(options.wide, options.tokens))
        return
    lm, text = load_lm(DEFAULT_MODEL), bundled_corpus()
    for layer in options.layers:
        keys = keys_of_text(lm, text.lines, [layer], n_token=text.n_token)[layer]
        print(f"\nLayer {layer} of {lm.name}, {len(keys):,} tokens; {machine(options.threads, lm)}.\n", flush=True)
        print(table_of(keys), flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 3, 8])
    parser.add_argument("--wide", type=int, help="width of random keys")
    parser.add_argument("--tokens", type=int, default=200_000, help="random keys")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


# --- sums ---


def in_double(keys: Iterator[Tensor], left: slice) -> Tensor:
    """Sum in float64: the reference."""
    return sum((part.double()[:, left].T @ part.double() for part in keys), torch.zeros((), dtype=torch.float64))


def in_single(keys: Iterator[Tensor], left: slice) -> Tensor:
    """Sum in float32."""
    total: Tensor | None = None
    for part in keys:
        product = part[:, left].T @ part
        total = product if total is None else total.add_(product)
    assert total is not None
    return total.double()


def folded(keys: Iterator[Tensor], left: slice) -> Tensor:
    """Sum in float32, and every `FOLD` tokens add that to a sum in float64."""
    total, latest, n = torch.zeros((), dtype=torch.float64), torch.zeros(()), 0
    for part in keys:
        latest, n = latest + part[:, left].T @ part, n + len(part)
        if n >= FOLD:
            total, latest, n = total + latest.double(), torch.zeros(()), 0
    return total + latest.double()


def compensated(keys: Iterator[Tensor], left: slice) -> Tensor:
    """Sum in float32 with Kahan's correction."""
    total, lost = torch.zeros(()), torch.zeros(())
    for part in keys:
        product = part[:, left].T @ part - lost
        new = total + product
        lost, total = (new - total) - product, new
    return total.double()


def rounded(bits: int) -> Callable[[Iterator[Tensor], slice], Tensor]:
    """Return a sum in float32 of products whose factors keep so many bits of their mantissa."""

    def summed(keys: Iterator[Tensor], left: slice) -> Tensor:
        return folded((_shortened(part, bits) for part in keys), left)

    return summed


def _shortened(values: Tensor, bits: int) -> Tensor:
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp(torch.round(mantissa * 2 ** (bits + 1)) / 2 ** (bits + 1), exponent)


SUMS: Mapping[str, Callable[[Iterator[Tensor], slice], Tensor]] = {
    "float32": in_single,
    "folded (the product)": folded,
    "compensated": compensated,
    "TF32 factors": rounded(10),
    "bfloat16 factors": rounded(7),
}
"""Ways to sum by name."""


def moment_by(way: Callable[[Iterator[Tensor], slice], Tensor], keys: Tensor, left: slice = slice(None)) -> Tensor:
    """Return the second moment of keys (n, d_key), float64 and symmetric where it is whole, summed in some way."""
    total = way(iter(keys.float().split(BATCH)), left) / len(keys)
    return (total + total.T) / 2 if total.shape[0] == total.shape[1] else total


# --- the write ---


@dataclass(frozen=True, eq=False, kw_only=True)
class Writing:
    """Keys and residuals of a write."""

    keys: Tensor
    earlier: Tensor
    residuals: Tensor

    @classmethod
    def of(cls, keys: Tensor) -> Writing:
        """Take edits' and earlier keys from the last tokens, with random residuals."""
        drawn = torch.Generator().manual_seed(0)
        return cls(
            keys=keys[-N_EDIT:].float(),
            earlier=keys[-N_EDIT - N_EARLIER : -N_EDIT].float(),
            residuals=torch.randn(N_EDIT, D_MODEL, generator=drawn),
        )

    def update(self, free: NullSpace) -> Tensor:
        """Return the update, (d_model, d_key), as the product solves for it."""
        system = KeySystem(free, RIDGE).appended(self.earlier)
        found = solve_layer_update(self.keys, self.residuals, written=system, layer=0)
        return found.output_factor.double().T @ found.input_factor.double()

    def update_in_single(self, free: NullSpace) -> Tensor:
        """Return the update with every number of the solve in float32."""
        every = torch.cat([self.earlier, self.keys])
        projected = free.project(every)
        system = projected @ projected.T
        system.diagonal().add_(RIDGE)
        chosen = torch.eye(len(every))[:, N_EARLIER:]
        directions = torch.cholesky_solve(chosen, torch.linalg.cholesky(system)).T @ projected
        return (self.residuals.T @ directions).double()


def free_of(values: Tensor, vectors: Tensor, *, single: bool = False) -> NullSpace:
    """Return the free directions of a spectrum, kept in float64, or in float32 as on a GPU."""
    free = NullSpace.from_eigen(values.double(), vectors.double(), layer=0, cutoff=CUTOFF, source="precision")
    return with_basis(free, free.basis.float()) if single else free


def with_basis(free: NullSpace, basis: Tensor) -> NullSpace:
    """Return the free directions with another basis."""
    return NullSpace(
        layer=free.layer,
        basis=basis,
        is_free=free.is_free,
        eigenvalues=free.eigenvalues,
        rank=free.rank,
        cutoff=free.cutoff,
        moment_fingerprint=free.moment_fingerprint,
    )


def apart(found: Tensor, exact: Tensor) -> float:
    """Return ‖found − exact‖ / ‖exact‖."""
    return float((found.double() - exact.double()).norm() / exact.double().norm())


def table_of(keys: Tensor) -> Table:
    """Compare every way on some keys, (n_token, d_key)."""
    table = Table(["what is not in float64", "moment", "eigenvalues above 1e-3", "free directions", "update"])
    writing, exact = Writing.of(keys), moment_by(in_double, keys)
    values, vectors = torch.linalg.eigh(exact)
    free = free_of(values, vectors)
    wanted = writing.update(free)

    def add(name: str, moment: Tensor, seen: Tensor, other: NullSpace, update: Tensor | None = None) -> None:
        large = values > 1e-3
        off = float(((seen.double() - values)[large] / values[large]).abs().max())
        change = f"{other.rank:,} ({other.rank - free.rank:+d})"
        update = writing.update(other) if update is None else update
        table.add(name, f"{apart(moment, exact):.0e}", f"{off:.0e}", change, f"{apart(update, wanted):.0e}")

    for name, way in SUMS.items():
        moment = moment_by(way, keys)
        seen = torch.linalg.eigh(moment)
        add(f"sums: {name}", moment, seen.eigenvalues, free_of(*seen))
    low = torch.linalg.eigh(exact.float())
    add("eigenvectors in float32", exact, low.eigenvalues, free_of(*low))
    single = free_of(values, vectors, single=True)
    add("basis kept in float32 (a GPU)", exact, values, single)
    add("basis and solve in float32", exact, values, single, writing.update_in_single(single))
    product = moment_by(folded, keys)
    seen = torch.linalg.eigh(product)
    add("the product on a GPU", product, seen.eigenvalues, free_of(*seen, single=True))
    return table


def wide_table(d_key: int, n_token: int, *, protected: float = 0.2) -> Table:
    """Compare sums and solves for random keys of a wide model."""
    table = Table(["what is not in float64", "moment", "update"])
    scales = torch.logspace(-1.5, 1, d_key)  # keys of very different size, as a model's neurons have
    some = torch.linspace(0, d_key - 1, min(COLUMNS, d_key)).long()

    def drawn() -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(1)
        for begin in range(0, n_token, BATCH):
            yield torch.randn(min(BATCH, n_token - begin), len(some), generator=generator) * scales[some]

    exact = in_double(drawn(), slice(SLICE))
    for name, way in SUMS.items():
        table.add(f"sums: {name}", f"{apart(way(drawn(), slice(SLICE)), exact):.0e}", "")
    generator = torch.Generator().manual_seed(2)
    columns = torch.randn(d_key, round(protected * d_key), generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(columns).Q.contiguous()
    free = NullSpace(
        layer=0,
        basis=basis,
        is_free=False,
        eigenvalues=torch.ones(d_key, dtype=torch.float64),
        rank=d_key - basis.shape[1],
        cutoff=CUTOFF,
        moment_fingerprint="precision",
    )
    writing = Writing.of(torch.randn(N_EARLIER + N_EDIT, d_key, generator=generator) * scales)
    wanted, single = writing.update(free), with_basis(free, basis.float())
    table.add("basis kept in float32 (a GPU)", "", f"{apart(writing.update(single), wanted):.0e}")
    table.add("basis and solve in float32", "", f"{apart(writing.update_in_single(single), wanted):.0e}")
    return table


if __name__ == "__main__":
    main()
