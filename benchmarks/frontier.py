r"""Side effects against consequences, every editor a curve over its strength.

    python benchmarks/frontier.py [--threads 1] [--each 2] [--keep FILE] [--picture docs/img/frontier.svg]
        [--editors KGMET KGMET-priced AlphaEdit MEMIT ROME NSE] [--strengths 0.6 0.8 1] [--chromium FILE]

Each edit of the test split is searched and written once by each editor. Its update is then multiplied by each strength,
and measured:

- consequences whose first answer is right, as in the tables of the docs;
- unrelated facts that the model knows and whose answer loses more than 0.5 nats: of the edit's relation, of those of
  its consequences and of others, the same for every editor; none is priced, and no editor protects their subjects;
- the divergence of the next token's distribution from the unedited model's, in nats a token, on a passage of text.

KGMET-priced has an index as `near_index` chooses it, without these facts. Finished rows of FILE are not run again; the
picture is drawn by the browser that the tests use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import torch
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import Case, context_of
from forecast import LOSS
from kept_rows import KeptRows
from measure import Table, machine, measured
from price_index import Bench, cases_of

from kgmet.editing.editors import Editor, editor_named
from kgmet.editing.plan import EditPlan, plan_edits
from kgmet.forecast.leave_out import unpriced
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.lm.run.encoding import encode_texts
from kgmet.measure.general import bundled_passages, next_token_states
from kgmet.write.patch import EditPatch, attached

EDITORS = ("KGMET", "KGMET-priced", "AlphaEdit", "MEMIT", "ROME", "NSE")
ASKED = {"own": 15, "following": 10, "other": 20}
"""Unrelated facts asked per edit."""
INDEX = ("near", 120)
N_PASSAGE = 1
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00", "#009e73", "#cc79a7")
"""Colours that readers with any kind of colour vision can tell apart (Okabe and Ito)."""


def main() -> None:
    options = parsed()
    torch.set_num_threads(options.threads)
    lm = load_lm(options.model)
    cases = cases_of(lm, "test", options.each)
    rows = KeptRows(options.keep)
    frontier: Frontier | None = None
    for number, case in enumerate(cases):
        for name in options.editors:
            keys = {strength: f"{lm.fingerprint} {case.edit.id} {name} {strength:g}" for strength in options.strengths}
            missing = [strength for strength, key in keys.items() if key not in rows]
            if missing:
                frontier = frontier or Frontier(lm, cases)
                made = frontier.rows(case, editor_named(name), missing)
                rows.add({keys[strength]: row for strength, row in zip(missing, made, strict=True)})
        print(f"edit {number + 1} of {len(cases)}: {case.edit.subject}", file=sys.stderr, flush=True)
    curves = {
        name: [
            (strength, joined([rows[f"{lm.fingerprint} {case.edit.id} {name} {strength:g}"] for case in cases]))
            for strength in sorted(options.strengths)
        ]
        for name in options.editors
    }
    print(f"\n{lm.name}, {len(cases)} edits of the test split, each alone; {machine(options.threads, lm)}.\n")
    print(table_of(curves))
    if options.picture:
        save_picture(figure_of(curves, len(cases)), options.picture, options.chromium)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--each", type=int, default=2, help="edits of each relation of `price_index.RELATIONS`")
    parser.add_argument("--editors", nargs="*", default=list(EDITORS))
    parser.add_argument("--strengths", nargs="*", type=float, default=[0.6, 0.8, 1.0])
    parser.add_argument("--keep", type=Path, help="a JSON file of finished rows")
    parser.add_argument("--picture", type=Path, help="where the picture is saved: .svg or .png")
    parser.add_argument("--chromium", default=os.environ.get("KGMET_CHROMIUM"))
    return parser.parse_args()


class Frontier:
    """What is measured of one edit at several strengths."""

    def __init__(self, lm: LoadedLM, cases: Sequence[Case]) -> None:
        self.lm, self.bench = lm, Bench(lm, cases)
        self.ids = [list(row.ids) for row in encode_texts(lm, bundled_passages()[:N_PASSAGE])]
        with torch.no_grad():
            self.before = logprobs(lm, self.ids)

    def rows(self, case: Case, editor: Editor, strengths: Sequence[float]) -> list[dict[str, Any]]:
        """Search and write once, then measure at each strength."""
        bench = self.bench
        context = context_of(case, bench.store, bench.catalogue, editor.config)
        known = unpriced(bench.known, [(context.edit, context.consequences, ())])
        index = bench.index_of(*INDEX, context, known) if editor.config.write.price.weight else None
        plan = plan_edits(self.lm, [context], editor=editor, statistics=bench.statistics, index=index)
        groups = bench.held_out(context, known)
        facts = [fact for group, n in ASKED.items() for fact in groups[group][:n]]
        asked = replace(case, tests=tuple(test for test in case.tests if test.kind in ("efficacy", "consequence")))
        return [self.row(asked, facts, times(plan, strength)) for strength in strengths]

    def row(self, case: Case, facts: Sequence[Any], patch: EditPatch) -> dict[str, Any]:
        """Measure one patch."""
        shares = measured(self.lm, [case], [patch])
        with attached(patch, self.lm), torch.no_grad():
            after = logprobs(self.lm, self.ids)
        divergence = (self.before.exp() * (self.before - after)).sum(-1)
        return {
            "changes": self.bench.changes(facts, patch),
            "divergence": float(divergence.double().mean()),
            "quality": {kind: share.to_json() for kind, share in shares.items()},
        }


def logprobs(lm: LoadedLM, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return log-probabilities (n_token, d_vocab) of all next tokens of the rows."""
    return lm.vocabulary_logits(next_token_states(lm, ids)[0]).log_softmax(-1)


def times(plan: EditPlan, strength: float) -> EditPatch:
    """Return the plan's patch with every update multiplied."""
    updates = tuple(
        replace(update, output_factor=update.output_factor * strength)
        if not update.is_whole
        else replace(update, input_factor=update.input_factor * strength)
        for update in plan.patch.updates
    )
    return replace(plan.patch, updates=updates, keys={}, asked={}, features={})


def joined(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the figures over all edits, in % and nats."""
    changes = [change for row in rows for change in row["changes"]]

    def share(kind: str) -> float:
        counts = [row["quality"][kind] for row in rows if kind in row["quality"]]
        return 100 * sum(c["first"] for c in counts) / max(sum(c["n"] for c in counts), 1)

    return {
        "lost": 100 * sum(change < -LOSS for change in changes) / len(changes),
        "n": len(changes),
        "divergence": sum(row["divergence"] for row in rows) / len(rows),
        "efficacy": share("efficacy"),
        "consequence": share("consequence"),
        "n consequence": sum(row["quality"].get("consequence", {"n": 0})["n"] for row in rows),
    }


Curves = dict[str, list[tuple[float, dict[str, float]]]]


def table_of(curves: Curves) -> Table:
    """Return every point of every curve."""
    some = next(iter(curves.values()))[0][1]
    table = Table(
        [
            "editor",
            "strength",
            "efficacy first",
            f"consequences first (n {some['n consequence']:.0f})",
            f"facts losing > {LOSS} nats, % (n {some['n']:.0f})",
            "divergence, mnats a token",
        ]
    )
    for name, points in curves.items():
        for strength, row in points:
            values = (row["efficacy"], row["consequence"])
            cells = [*(f"{value:.0f}" for value in values), f"{row['lost']:.1f}", f"{1000 * row['divergence']:.2f}"]
            table.add(name, f"{strength:g}", *cells)
    return table


def figure_of(curves: Curves, n_edit: int) -> go.Figure:
    """Draw both side effects against consequences."""
    some = next(iter(curves.values()))[0][1]
    figure = make_subplots(cols=2, shared_yaxes=True, horizontal_spacing=0.05)
    for column, (what, factor) in enumerate((("lost", 1.0), ("divergence", 1000.0)), start=1):
        for (name, points), colour in zip(curves.items(), COLOURS * 3, strict=False):
            figure.add_scatter(
                x=[factor * row[what] for _, row in points],
                y=[row["consequence"] for _, row in points],
                mode="lines+markers",
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                line={"color": colour, "width": 2},
                marker={
                    "size": [5 + 4 * strength for strength, _ in points],
                    "symbol": ["circle" if strength == 1 else "circle-open" for strength, _ in points],
                },
                row=1,
                col=column,
            )
    figure.update_xaxes(
        title=f"% of unrelated facts losing > {LOSS} nats (n {some['n']:.0f})", rangemode="tozero", col=1
    )
    figure.update_xaxes(title="divergence on text, mnats a token", rangemode="tozero", col=2)
    figure.update_yaxes(title=f"consequences said first, % (n {some['n consequence']:.0f})", rangemode="tozero", col=1)
    return figure.update_layout(
        template="plotly_white",
        width=1000,
        height=460,
        font={"family": "sans-serif", "size": 13},
        title={"text": f"{n_edit} edits, each alone; larger marks: stronger; filled: as written", "font": {"size": 13}},
        margin={"l": 60, "r": 20, "t": 50, "b": 60},
    )


def save_picture(figure: go.Figure, path: Path, executable: str | None) -> None:
    """Draw the figure in a browser without a network and save what it gives."""
    from playwright.sync_api import sync_playwright

    kind = path.suffix.lstrip(".")
    size = {"format": kind, "width": figure.layout.width, "height": figure.layout.height}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_content("<div id='figure'></div>")
        page.add_script_tag(content=get_plotlyjs())
        address = page.evaluate(
            "async ([figure, size]) => { await Plotly.newPlot('figure', figure.data, figure.layout);"
            " return await Plotly.toImage('figure', size); }",
            [json.loads(figure.to_json()), size],
        )
        data = page.evaluate(
            "async (address) => Array.from(new Uint8Array(await (await fetch(address)).arrayBuffer()))", address
        )
        browser.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(data))


if __name__ == "__main__":
    main()
