"""Questions over two and three facts, asked in the model's chat form after one edit, and the four columns beside them.

    python benchmarks/multi_hop.py [--split test] [--limit 24] [--editors KGMET AlphaEdit …] [--threads 1]
        [--variant hold.questions=2,hold.paraphrases=3] [--json FILE] [--answers]

Each row edits every case on its own. A question is answered if the greedy reply of at most 24 tokens names the new end
of the chain and not the old one. *Hand* questions are in `multi_hop_questions`, *graph* questions in the catalogue; the
search uses neither. The last columns are for the questions that the unedited model answers with the old end.
A --variant changes settings of the first editor. The row "in context" tells the unedited model the fact, "in context,
with facts" also the graph's facts behind the consequences. FILE gets a line for each row; rows in it are not run again.

The last table shows how much of this the model can do without an edit: the unedited model gets the same questions about
another subject, of which the new object is true and which it knows. Only questions with such a subject count there.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
from edit_set import SPLITS, Case, build_cases, context_of, measured_on
from measure import Table, machine, measured
from multi_hop_questions import QUESTIONS
from runner import Runner
from sequence import changes_of, editors_of

from kgmet.base.fingerprint import fingerprint_value
from kgmet.calibrate.lines import LineBook
from kgmet.editing.config import EditConfig
from kgmet.editing.editors import Editor
from kgmet.editing.told import told_sentences
from kgmet.graph.phrasing import fill
from kgmet.graph.reading.probe_prompts import prompts_of
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.stores.sample import sample_store
from kgmet.graph.triple import Entity
from kgmet.lm.load.loaded import DEFAULT_MODEL, LoadedLM, load_lm
from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding, ask
from kgmet.measure.columns import COLUMNS, Counts, score_of
from kgmet.measure.metrics import wilson_interval
from kgmet.measure.question import Question, QuestionKind
from kgmet.measure.told import MOST_TOLD, told_question
from kgmet.write.patch import attached

__all__ = ["Asked", "Row", "asked_of", "counts_of"]

ANSWER_TOKENS = 24
UNEDITED, TOLD, TOLD_MORE = "unedited", "in context", "in context, with facts"
NATURAL = "unedited, a subject of which it is true"
_MOST_TRIED = 24
"""Most subjects asked for one that the model knows."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question of one case, by hand or from the graph; `template` has ``{}`` in place of the subject."""

    case: int
    is_by_hand: bool
    question: Question
    template: str = ""

    def about(self, subject: Entity) -> Asked:
        """Return the same question about another subject."""
        text = fill(self.template, subject)
        return replace(self, question=replace(self.question, text=text, rejected=None, rejected_aliases=()))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: replies in the order of the questions, the four columns if an edit was made, seconds per edit."""

    said: tuple[bool, ...]
    said_old: tuple[bool, ...]
    texts: tuple[str, ...]
    columns: Mapping[str, Counts]
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**vars(self), "columns": {kind: counts.to_json() for kind, counts in self.columns.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        """Read what `to_json` made."""
        columns = {kind: Counts.from_json(counts) for kind, counts in data["columns"].items()}
        lists = {key: tuple(data[key]) for key in ("said", "said_old", "texts")}
        return cls(columns=columns, seconds=data["seconds"], **lists)


def asked_of(
    cases: Sequence[Case], store: TripleStore, catalogue: RelationCatalogue, *, split: str, n_graph: int = 1
) -> list[Asked]:
    """Return the questions about every consequence over two or three facts that has hand-written questions."""
    known = {text.casefold() for spec in catalogue for text in spec.questions}
    found: list[Asked] = []
    for number, case in enumerate(cases):
        relation = case.edit.relation
        wordings = QUESTIONS[split].get(relation or "", {})
        shared = [text for texts in wordings.values() for text in texts if text.casefold() in known]
        if shared:
            raise SystemExit(f"{relation}: the question {shared[0]!r} is in the catalogue; write another.")
        done: set[str] = set()
        consequences = context_of(case, store, catalogue, EditConfig()).consequences
        for item in () if consequences is None else consequences.forward:
            asked = item.relation or item.path_new[-1].relation.id
            # As in `edit_set`: the nearest end answers the wording, and a neighbouring country's does not.
            is_border = any(triple.relation.id == "P47" for triple in item.path_new)
            if asked not in wordings or asked in done or item.old is None or item.hops < 2 or is_border:
                continue
            done.add(asked)
            for texts, is_by_hand in ((wordings[asked], True), (item.questions[:n_graph], False)):
                made = prompts_of("multi_hop", item, texts, form="question")
                found += [
                    Asked(
                        case=number,
                        is_by_hand=is_by_hand,
                        question=Question.from_generated(prompt),
                        template=prompt.template,
                    )
                    for prompt in made
                ]
    return found


def known_subject(lm: LoadedLM, case: Case, store: TripleStore) -> Entity | None:
    """Return another subject of which the new object is true, where the unedited model says so in the edit's words."""
    edit = case.edit
    if edit.new_object_id is None or edit.relation is None:
        return None
    triples = store.incoming(edit.new_object_id, relations=[edit.relation], limit=_MOST_TRIED)
    subjects = [triple.subject for triple in triples if triple.subject.id != edit.subject_id]
    questions = [
        Question(kind=QuestionKind.OWN, text=fill(edit.template, subject), expected=edit.new_object)
        for subject in subjects
    ]
    answers = ask(lm, questions, decoding=Decoding(max_answer_tokens=8)) if questions else []
    return next((subject for subject, answer in zip(subjects, answers, strict=True) if answer.says), None)


def counts_of(row: Row, asked: Sequence[Asked], *, hops: int, is_by_hand: bool | None = None) -> tuple[int, int]:
    """Return (questions of so many hops answered, all such questions), of one origin or of both."""
    origins = (True, False) if is_by_hand is None else (is_by_hand,)
    mine = [n for n, one in enumerate(asked) if one.is_by_hand in origins and one.question.hops == hops]
    return sum(row.said[n] for n in mine), len(mine)


class Asker:
    """Runner of rows on the same cases and questions."""

    def __init__(self, lm: LoadedLM, cases: Sequence[Case], asked: Sequence[Asked], runner: Runner) -> None:
        self._lm, self._cases, self._asked, self._runner = lm, cases, asked, runner
        self._decoding = Decoding(max_answer_tokens=ANSWER_TOKENS)

    def unedited(self) -> Row:
        """Ask the unedited model."""
        columns = {kind: share.counts for kind, share in measured(self._lm, self._cases, None).items()}
        return self._row(self._ask([one.question for one in self._asked]), columns)

    def told(self, catalogue: RelationCatalogue, contexts: Sequence[Any], *, with_facts: bool) -> Row:
        """Ask the unedited model with the facts in context."""
        questions = []
        for one in self._asked:
            sentences = told_sentences(contexts[one.case], catalogue, most=MOST_TOLD if with_facts else 0)
            questions.append(told_question(one.question, sentences))
        return self._row(self._ask(questions), {})

    def natural(self, subjects: Sequence[Entity | None]) -> Row:
        """Ask the unedited model about another subject of the new object, where there is one."""
        about = [one.about(subject) for one in self._asked if (subject := subjects[one.case]) is not None]
        return self._row(self._ask([one.question for one in about]), {})

    def edited(self, editor: Editor) -> Row:
        """Edit each case on its own, and ask."""
        plans = self._runner.one_at_a_time(editor)
        patches = [plan.patch for plan in plans]
        columns = {kind: share.counts for kind, share in measured(self._lm, self._cases, patches).items()}
        answers: dict[int, Answer] = {}
        for number, patch in enumerate(patches):
            mine = [n for n, one in enumerate(self._asked) if one.case == number]
            with attached([patch], self._lm):
                answers |= zip(mine, self._ask([self._asked[n].question for n in mine]), strict=True)
        return self._row([answers[n] for n in range(len(answers))], columns, self._runner.seconds[editor.name])

    def _ask(self, questions: Sequence[Question]) -> list[Answer]:
        return ask(self._lm, questions, decoding=self._decoding) if questions else []

    @staticmethod
    def _row(answers: Sequence[Answer], columns: Mapping[str, Counts], seconds: float = 0.0) -> Row:
        return Row(
            said=tuple(answer.says for answer in answers),
            said_old=tuple(answer.says_rejected for answer in answers),
            texts=tuple(answer.text for answer in answers),
            columns=columns,
            seconds=seconds,
        )


class Rows:
    """Rows in a file of JSON lines, by name, settings and questions."""

    def __init__(self, file: Path | None, made_from: str) -> None:
        self._book, self._made_from = None if file is None else LineBook(file), made_from

    def row(self, name: str, settings: object, make: Any) -> Row:
        """Return a row of the file, or make it and add it."""
        key = fingerprint_value([self._made_from, name, settings])
        known = None if self._book is None else self._book.find(key)
        if known is not None:
            return Row.from_json(known["row"])
        start = time.perf_counter()
        row: Row = make()
        if self._book is not None:
            self._book.add(key, {"name": name, "row": row.to_json()})
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--editors", nargs="*", default=["KGMET", "AlphaEdit", "MEMIT"])
    parser.add_argument("--variant", action="append", default=[], type=changes_of)
    parser.add_argument("--graph", type=int, default=1, help="questions in the catalogue's words per consequence")
    parser.add_argument("--no-context", action="store_true", help="leave out the rows that tell the facts in context")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--answers", action="store_true", help="print every reply of the last row")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm, store, catalogue = load_lm(DEFAULT_MODEL), sample_store(), RelationCatalogue.load()
    cases = build_cases(lm, store, catalogue, split=options.split, limit=options.limit)
    asked = asked_of(cases, store, catalogue, split=options.split, n_graph=options.graph)
    asker = Asker(lm, cases, asked, Runner(lm, store, catalogue, cases=cases))
    made_from = fingerprint_value([measured_on(lm, cases), [(one.case, one.question.text) for one in asked]])
    rows, found = Rows(options.json, made_from), {}
    found[UNEDITED] = rows.row(UNEDITED, None, asker.unedited)
    if not options.no_context:
        contexts = [context_of(case, store, catalogue, EditConfig()) for case in cases]
        for name, with_facts in ((TOLD, False), (TOLD_MORE, True)):
            found[name] = rows.row(name, None, lambda more=with_facts: asker.told(catalogue, contexts, with_facts=more))
    subjects = [known_subject(lm, case, store) for case in cases]
    natural = rows.row(
        NATURAL, [None if each is None else each.id for each in subjects], lambda: asker.natural(subjects)
    )
    for editor in editors_of(options.editors, options.variant):
        found[editor.name] = rows.row(editor.name, editor.config, lambda one=editor: asker.edited(one))
        print(f"\n{table_of(found, asked)}\n\n{natural_table(natural, found, asked, subjects)}", flush=True)
    print(f"\n{len(cases)} edits of the {options.split} split, one at a time; {len(asked)} questions; "
          f"{machine(options.threads, lm)}; {lm.name}.")  # fmt: skip
    if options.answers:
        *_, last = found.values()
        for one, text, said in zip(asked, last.texts, last.said, strict=True):
            hand = "hand" if one.is_by_hand else "graph"
            print(f"{'+' if said else '-'} {one.question.hops} {hand} {one.question.text} [{one.question.expected}, "
                  f"not {one.question.rejected}] {text}")  # fmt: skip


def table_of(found: Mapping[str, Row], asked: Sequence[Asked]) -> Table:
    """Return the table: answered over two and three hops by hand and from the graph, then the four columns."""
    old = found[UNEDITED].said_old
    kinds = [(hops, hand) for hand in (True, False) for hops in (2, 3)]
    heads = [f"{hops} hops, {'hand' if hand else 'graph'}" for hops, hand in kinds]
    table = Table(["", *heads, "2 hops, known", "3 hops, known", *COLUMNS, "score", "s"])
    for name, row in found.items():
        cells = [share_text(*counts_of(row, asked, hops=hops, is_by_hand=hand)) for hops, hand in kinds]
        for hops in (2, 3):
            mine = [n for n, one in enumerate(asked) if one.question.hops == hops and old[n]]
            cells.append(share_text(sum(row.said[n] for n in mine), len(mine)))
        columns = [row.columns.get(kind) for kind in COLUMNS]
        cells += [f"{100 * c.preferred / c.n:.1f} / {100 * c.first / c.n:.1f}" if c else "–" for c in columns]
        table.add(name, *cells, f"{score_of(row.columns):.3f}" if row.columns else "–", f"{row.seconds:.2f}")
    return table


def natural_table(
    natural: Row, found: Mapping[str, Row], asked: Sequence[Asked], subjects: Sequence[Entity | None]
) -> Table:
    """Return the table of the questions that `natural` answers about another subject, over two and three hops."""
    places = [n for n, one in enumerate(asked) if subjects[one.case] is not None]
    mine = [asked[n] for n in places]
    table = Table(["", "2 hops", "3 hops"])
    both = {NATURAL: natural} | {
        name: replace(row, said=tuple(row.said[n] for n in places)) for name, row in found.items()
    }
    for name, row in both.items():
        table.add(name, *(share_text(*counts_of(row, mine, hops=hops)) for hops in (2, 3)))
    return table


def share_text(hits: int, n: int) -> str:
    """Format ``40 (24–58, n 30)``."""
    if not n:
        return "–"
    low, high = wilson_interval(hits, n)
    return f"{100 * hits / n:.0f} ({100 * low:.0f}–{100 * high:.0f}, n {n})"


if __name__ == "__main__":
    main()
