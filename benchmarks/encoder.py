"""What an encoder trained across the store's facts brings an edit, beside the nonsense graph and the free shift.

    python benchmarks/encoder.py [--threads 1] [--limit 24] [--steps 100] [--task shift|state] [--objective plain|full]

Trains the encoder once (minutes; kept), with every entity of the edit set left out. Then each arm searches the same
edits with the same settings: a fixed number of steps, no early stop and no length penalty, so that every shift goes to
the same length limit; the mean length is in the table. ``plain`` optimises the edit's own prompt alone, so that what
holds beyond it comes from the direction; ``full`` is the default editor's objective, the graph's consequences in it.
Test wordings are held out. Steps: until the rewriting prompts' mean negative log-likelihood is at most 0.1 nats.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import Case, build_cases, context_of
from measure import Share, Table, interval_text, machine, scored
from tuning_edits import KINDS

from kgmet.base.progress import ProgressEvent, Silent
from kgmet.editing.config import EditConfig, HoldConfig
from kgmet.editing.editors import EDITORS
from kgmet.editing.plan import search_edits, write_edits
from kgmet.evaluate.tables.render import mcnemar
from kgmet.fact import FactEdit
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.sample import sample_store
from kgmet.graph.wording.linking import link_edit
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.search.directions.config import DirectionConfig, EncoderTask, EncoderTrainingConfig, SourceKind
from kgmet.search.directions.trained import TrainedEncoder, find_encoder
from kgmet.search.search import TargetConfig
from kgmet.training.train import train_encoder
from kgmet.write.patch import attached
from kgmet.write.statistics import KeyStatistics

ASKED = ("efficacy", "paraphrase", "neighbour", "consequence")
_HOLDS = 0.1
_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One row of the table: a direction source, and how much free remainder a trained direction may have."""

    name: str
    source: SourceKind
    remainder: float = 0.0


ARMS = (
    Arm(name="free shift", source=SourceKind.FREE),
    Arm(name="fresh encoder", source=SourceKind.GRAPH),
    Arm(name="trained, + remainder", source=SourceKind.TRAINED, remainder=0.5),
    Arm(name="trained, nonsense graph, + remainder", source=SourceKind.TRAINED_NONSENSE, remainder=0.5),
    Arm(name="trained, only length", source=SourceKind.TRAINED),
    Arm(name="trained, nonsense graph, only length", source=SourceKind.TRAINED_NONSENSE),
    Arm(name="random, only length", source=SourceKind.RANDOM),
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """Scores of each case, in order, with the mean length ‖shift‖ / ‖h‖ and the mean number of steps."""

    scores: tuple[Share, ...]
    length: float
    steps: float

    def of(self, kind: str) -> Share:
        """All prompts of one kind."""
        return Share(scores=tuple(row for share in self.scores for row in share.scores if row[0].kind == kind))

    def firsts(self, kind: str) -> list[list[bool]]:
        """For each case, for each of its prompts of this kind, whether the expected answer comes first."""
        return [[row[1].is_first for row in share.scores if row[0].kind == kind] for share in self.scores]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, default=24)
    parser.add_argument("--task", choices=[task.value for task in EncoderTask], default=EncoderTask.SHIFT.value)
    parser.add_argument("--layer", type=int, default=EncoderTrainingConfig().layer, help="the shifts' layer")
    parser.add_argument("--steps", type=int, default=EncoderTrainingConfig().steps, help="of the training")
    parser.add_argument("--encoder", help="id of a kept encoder, instead of training one")
    parser.add_argument("--search-steps", type=int, default=10)
    parser.add_argument("--length", type=float, default=0.6, help="longest ‖shift‖ / ‖h‖ of every arm")
    parser.add_argument("--objective", choices=("plain", "full"), default="plain")
    parser.add_argument("--arms", nargs="*", choices=[arm.name for arm in ARMS], default=[arm.name for arm in ARMS])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm, store, catalogue = load_lm(DEFAULT_MODEL), sample_store(), RelationCatalogue.load()
    encoder = _encoder(lm, store, catalogue, options)
    training, checked = encoder.config, encoder.checked
    print(
        f"\nEncoder {encoder.id}: {training.task.value}, {training.n_edit - training.n_checked} edits, "
        f"{training.steps} steps. Loss on {training.n_checked} edits it was not trained on: "
        f"{checked[0]:.2f} untrained, {checked[1]:.2f} trained."
    )
    cases = build_cases(lm, store, catalogue, split="tuning", limit=options.limit)
    runner = _Runner(lm, store, catalogue, cases, encoder, options)
    found = {}
    for name in options.arms:
        found[name] = runner.outcome(next(arm for arm in ARMS if arm.name == name))
        print(_cells(name, found[name]), file=sys.stderr, flush=True)
    print(f"\n{len(cases)} edits, {options.objective} objective, {machine(options.threads, lm)}, {lm.name}.")
    print("Preferred / first answer, % (95 % interval of preferred, n).\n")
    table = Table(["", "‖shift‖/‖h‖", "steps", *ASKED])
    for name, outcome in found.items():
        table.add(*_cells(name, outcome))
    print(table)
    print("\nPaired, first answers: won : lost, exact McNemar p over prompts; p of a sign test over edits.\n")
    print(_paired_table(found))


def _encoder(
    lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, options: argparse.Namespace
) -> TrainedEncoder:
    if options.encoder:
        return find_encoder(lm, options.encoder)
    start, excluded = time.perf_counter(), measured_entities(store, catalogue)
    training = EncoderTrainingConfig(
        task=EncoderTask(options.task), steps=options.steps, layer=options.layer, feature_layer=options.layer
    )
    encoder = train_encoder(lm, store, catalogue, config=training, exclude=excluded, progress=_Log())
    print(f"\n{len(excluded)} entities left out of the training; ready in {time.perf_counter() - start:.0f} s.")
    return encoder


def measured_entities(store: TripleStore, catalogue: RelationCatalogue) -> frozenset[str]:
    """Ids of every subject, old and new object of the edit set: none of them takes part in a training edit."""
    ids: set[str] = set()
    for relation, kind in KINDS.items():
        for subject, old, new in kind.edits:
            edit = FactEdit(subject=subject, template=kind.template, new_object=new, old_object=old, relation=relation)
            linked = link_edit(store, edit, catalogue).edit
            ids |= {one for one in (linked.subject_id, linked.old_object_id, linked.new_object_id) if one}
    return frozenset(ids)


class _Runner:
    """Searches, writes and scores the cases for one arm at a time."""

    def __init__(
        self,
        lm: LoadedLM,
        store: TripleStore,
        catalogue: RelationCatalogue,
        cases: Sequence[Case],
        encoder: TrainedEncoder,
        options: argparse.Namespace,
    ) -> None:
        self.lm, self.store, self.catalogue, self.cases = lm, store, catalogue, cases
        self.encoder, self.options = encoder.id, options
        top = encoder.config.layer
        self.layers = tuple(range(max(0, top - 4), top + 1))
        self.statistics = KeyStatistics(lm)

    def config(self, arm: Arm) -> EditConfig:
        """The same for all arms but for the direction."""
        base = EDITORS["KGMET"].config
        limits = TargetConfig(
            max_steps=self.options.search_steps,
            rate=0.3,
            max_norm_ratio=self.options.length,
            stop_nll=1e-6,
            weights=replace(base.target.weights, length=0.0),
        )
        direction = DirectionConfig(source=arm.source, encoder=self.encoder, remainder=arm.remainder)
        plain = HoldConfig(contexts=2, neighbours=base.hold.neighbours)
        hold = plain if self.options.objective == "plain" else base.hold
        write = replace(base.write, layers=self.layers)
        return replace(base, hold=hold, target=limits, direction=direction, write=write)

    def outcome(self, arm: Arm) -> Outcome:
        """Each edit searched, written and scored by itself."""
        config = self.config(arm)
        contexts = [context_of(case, self.store, self.catalogue, config) for case in self.cases]
        scores, lengths, steps = [], [], []
        for begin in range(0, len(contexts), _BATCH):
            some = contexts[begin : begin + _BATCH]
            found = search_edits(self.lm, some, editor=EDITORS["KGMET"], config=config).apart()
            for case, one in zip(self.cases[begin : begin + _BATCH], found, strict=True):
                plan = write_edits(self.lm, one, editor=EDITORS["KGMET"], statistics=self.statistics)
                with attached(plan.patch, self.lm):
                    scores.append(Share(scores=tuple(scored(self.lm, case))))
                curve = plan.shifts[0].curve
                lengths.append(plan.shifts[0].norm_ratio)
                steps.append(next((n for n, entry in enumerate(curve) if entry["rewrite"] <= _HOLDS), len(curve)))
        return Outcome(scores=tuple(scores), length=sum(lengths) / len(lengths), steps=sum(steps) / len(steps))


def _cells(name: str, outcome: Outcome) -> list[str]:
    shares = [interval_text(outcome.of(kind)) for kind in ASKED]
    return [name, f"{outcome.length:.2f}", f"{outcome.steps:.1f}", *shares]


def _paired_table(found: dict[str, Outcome]) -> Table:
    table = Table(["", *ASKED])
    for first, second in _pairs(found):
        cells = []
        for kind in ASKED:
            one, other = found[first].firsts(kind), found[second].firsts(kind)
            gains = [[int(a) - int(b) for a, b in zip(x, y, strict=True)] for x, y in zip(one, other, strict=True)]
            won, lost = (sum(gain == sign for row in gains for gain in row) for sign in (1, -1))
            edits_won, edits_lost = (sum(sign * sum(row) > 0 for row in gains) for sign in (1, -1))
            cells.append(f"{won} : {lost}, p {mcnemar(won, lost):.3f}; edits p {mcnemar(edits_won, edits_lost):.3f}")
        table.add(f"{first} against {second}", *cells)
    return table


def _pairs(found: dict[str, Outcome]) -> Iterator[tuple[str, str]]:
    trained, nonsense = ARMS[2].name, ARMS[3].name
    wanted = [(trained, nonsense), (trained, ARMS[0].name), (nonsense, ARMS[0].name), (ARMS[4].name, ARMS[5].name)]
    return (pair for pair in wanted if set(pair) <= set(found))


class _Log(Silent):
    """A line on stderr now and then."""

    def report(self, event: ProgressEvent) -> None:
        """Every twentieth step."""
        if event.done % 20 == 0 and event.stage == "train encoder":
            print(f"{event.stage} {event.done}/{event.total}", *event.detail.values(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
