"""One value of every kind that is saved, as an earlier version wrote it to the files beside this module."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from kgmet.calibrate.trials import Trial
from kgmet.calibrate.where import LayerEffects
from kgmet.editing.config import EditConfig
from kgmet.editing.editors import EDITORS
from kgmet.editing.foresee import KeptForecast
from kgmet.editing.graph_part import GraphPart
from kgmet.editing.profile import CalibratedEditor, ModelProfile
from kgmet.editing.report import ConsequenceReport, EditReport
from kgmet.evaluate.card.value import COLUMNS, Cell, Example, ReportCard, Row
from kgmet.evaluate.runs.score import AskScore, CaseScore
from kgmet.fact import FactEdit
from kgmet.forecast.check import CheckedForecast
from kgmet.forecast.facts import FactPrompt
from kgmet.forecast.forecast import FactForecast
from kgmet.forecast.index import IndexedFact
from kgmet.graph.consequence import Consequence, EditConsequences, KeptFact
from kgmet.graph.reading.probe_prompts import GeneratedPrompt
from kgmet.graph.subgraph_value import Subgraph
from kgmet.graph.triple import Entity, Relation, Triple
from kgmet.inspect.comparison import Candidate, CandidateResult, EditorComparison
from kgmet.lm.say.score import AnswerScore, NextToken
from kgmet.measure.answer import Answer
from kgmet.measure.ask import Decoding
from kgmet.measure.columns import Counts
from kgmet.measure.compare import AnswerPair, Comparison, compare_answers
from kgmet.measure.edit_verdict import EditVerdict, Outcome, Reason
from kgmet.measure.question import Form, Question, QuestionKind
from kgmet.measure.told import Told

TOWER = Entity(
    id="Q243",
    label="Eiffel Tower",
    description="tower in Paris",
    aliases=("La Tour Eiffel", "東京ではない"),
    article="the",
    type="landmark",
)
PARIS, ROME = Entity(id="Q90", label="Paris"), Entity(id="Q220", label="Rome", aliases=("Roma",))
FRANCE, ITALY = Entity(id="Q142", label="France"), Entity(id="Q38", label="Italy", type="country")
CITY, COUNTRY = Relation(id="P131", label="located in city"), Relation(id="P17", label="country")
IN_PARIS = Triple(subject=TOWER, relation=CITY, object=PARIS, source="sample")
IN_ROME = Triple(subject=TOWER, relation=CITY, object=ROME, source="edit")
ROME_ITALY = Triple(subject=ROME, relation=COUNTRY, object=ITALY)
PARIS_FRANCE = Triple(subject=PARIS, relation=COUNTRY, object=FRANCE, source="sample")

EDIT = FactEdit(
    subject="The Eiffel Tower",
    template="{} is located in the city of",
    new_object="Rome",
    old_object="Paris",
    relation="P131",
    subject_id="Q243",
    new_object_id="Q220",
    old_object_id="Q90",
)
SHORT_EDIT = FactEdit(subject="Big Ben", template="{} is in", new_object="Tokyo")

FORWARD = Consequence(
    id="c0ffee",
    kind="forward",
    hops=2,
    path_old=(IN_PARIS, PARIS_FRANCE),
    path_new=(IN_ROME, ROME_ITALY),
    subject=TOWER,
    old=FRANCE,
    new=ITALY,
    relation="P17",
    reason="The city of the Eiffel Tower becomes Rome, and the country of Rome is Italy.",
    templates=("{} is in the country of", "{} stands in"),
    questions=("In which country is {}?",),
    also=(ITALY,),
    also_old=(FRANCE, PARIS),
)
LOST = replace(FORWARD, id="dec0de", kind="inverse_lost", path_new=(), new=None, relation=None, also=(), also_old=())
OWN = KeptFact(
    id="own1",
    kind="own",
    triple=Triple(subject=TOWER, relation=COUNTRY, object=FRANCE, source="sample"),
    templates=("{} is in",),
    questions=(),
    reason="not touched",
    also=(PARIS,),
    path=(IN_PARIS, PARIS_FRANCE),
)
NEIGHBOUR = replace(OWN, id="near1", kind="neighbour", also=(), path=())
CONSEQUENCES = EditConsequences(
    edit=EDIT,
    subject=TOWER,
    forward=(FORWARD,),
    inverse_lost=(LOST,),
    later_hops=(replace(FORWARD, kind="later_hop", hops=3),),
    kept_own=(OWN,),
    kept_neighbours=(NEIGHBOUR,),
    written_later=(FORWARD,),
    kept_later=(OWN,),
    probed_kept_later=(NEIGHBOUR,),
    outdated=(IN_PARIS,),
    implied=(ROME_ITALY,),
    undecided=(PARIS_FRANCE,),
)
SUBGRAPH = Subgraph.from_triples(
    (IN_ROME, ROME_ITALY, PARIS_FRANCE),
    anchor=TOWER,
    edited=IN_ROME,
    n_left_out=4,
    replaced=(IN_PARIS,),
    switched_off=(PARIS_FRANCE,),
)
GENERATED = GeneratedPrompt(
    kind="multi_hop",
    form="question",
    text="In which country is the Eiffel Tower?",
    template="In which country is {}?",
    subject="the Eiffel Tower",
    expected="Italy",
    rejected="France",
    aliases=("Italia",),
    rejected_aliases=(),
    hops=2,
    path=(IN_ROME, ROME_ITALY),
    source_id="c0ffee",
)

QUESTION = Question(
    kind=QuestionKind.REWRITE,
    text="The Eiffel Tower is located in the city of",
    expected="Rome",
    rejected="Paris",
    aliases=("Roma",),
    source_id=EDIT.id,
)
ASKED = replace(Question.from_generated(GENERATED), form=Form.CHAT)
UNEXPECTED = Question(kind=QuestionKind.OWN, text="Who are you?", form=Form.QUESTION_AND_ANSWER)


def score(question: Question, answer: str, logprob: float) -> AnswerScore:
    return AnswerScore(prompt=question.text, answer=answer, logprob=logprob, n_token=2, is_first=False, rank=7, n_hit=1)


def answer(question: Question, said: str, logprob: float) -> Answer:
    return Answer(
        question=question,
        said=said,
        form=question.form,
        expected=score(question, question.expected or "", logprob),
        rejected=None if question.rejected is None else score(question, question.rejected, -math.inf),
        top=(NextToken(text=" Rome", probability=0.5), NextToken(text="\n", probability=0.25)),
    )


BEFORE, AFTER = answer(QUESTION, " Paris, in France", -4.5), answer(QUESTION, " Rome.", -0.125)
PAIR = AnswerPair(before=BEFORE, after=AFTER)
ASKED_PAIR = AnswerPair(before=answer(ASKED, "France", -8.0), after=answer(ASKED, "In Italy.", -1.0))
UNEXPECTED_ANSWER = Answer(question=UNEXPECTED, said="A model.", form=UNEXPECTED.form)
COMPARISON = Comparison(pairs=(PAIR, ASKED_PAIR))
TOLD = Told(sentences=("The Eiffel Tower is located in the city of Rome.",), answers=(AFTER, ASKED_PAIR.after))
PART = GraphPart(
    relation="P131",
    label="located in city",
    asked=None,
    origin="guessed",
    score=0.94,
    is_subject_found=True,
    is_new_object_found=True,
    consequences=4,
    kept=0,
    neighbours=8,
    paraphrases=2,
    triples=33,
    is_wanted=True,
)
REPORT = EditReport(
    edit=EDIT,
    editor="KGMET",
    graph={
        "took_part": True,
        "linking": "The Eiffel Tower · located in city",
        "part": PART.to_json(),
        "entities": 5,
        "relations": 2,
        "triples": [str(IN_ROME)],
        "left_out": 4,
        "notes": ["A note."],
    },
    before=BEFORE,
    after=AFTER,
    verdict=EditVerdict(
        outcome=Outcome.TOOK, prompt=QUESTION.text, new="Rome", says="Rome.", reasons=(Reason.SAID_BEFORE,)
    ),
    consequences=(ConsequenceReport(reason="because", pair=ASKED_PAIR),),
    multi_hop=(ConsequenceReport(reason="because", pair=ASKED_PAIR),),
    seconds={"search": 1.5, "write": 0.25},
    settings="the editor's own",
)

KNOWN = IndexedFact(
    prompt=FactPrompt(
        text="Berlin is in", answers=("Germany", "Deutschland"), subject="Berlin", subject_id="Q64", relation="P17"
    ),
    answer="Germany",
    logprob=-0.5,
    tokens=(3, 1, 4),
)
OWN_KNOWN = replace(KNOWN, prompt=replace(KNOWN.prompt, subject_id="", relation="own", must_hold=True))
MOVES = (FactForecast(fact=KNOWN, change=-1.25), FactForecast(fact=OWN_KNOWN, change=0.0))
FORECAST = KeptForecast(
    forecasts=MOVES,
    p_new=((0.25, 0.75),),
    protected=frozenset({"b", "a"}),
    edits=(EDIT,),
    is_priced=True,
    editor="KGMET-priced",
    model_fingerprint="0123456789abcdef",
    layers=(3, 4),
)
CHECKED = CheckedForecast(
    forecasts=MOVES,
    before=torch.tensor([-0.5, -2.0], dtype=torch.float64),
    after=torch.tensor([-1.0, -2.0], dtype=torch.float64),
)
CANDIDATE = CandidateResult(
    candidate=Candidate(label="MEMIT", editor=EDITORS["MEMIT"], config=EDITORS["MEMIT"].config),
    comparison=compare_answers([BEFORE], [AFTER]),
    perplexity=12.5,
    seconds={"search": 1.5},
)
FAILED = CandidateResult(candidate=replace(CANDIDATE.candidate, label="no layer"), comparison=None, error="No layer.")
EDITORS_COMPARED = EditorComparison(
    edit=EDIT, before=(BEFORE,), perplexity=12.0, n_token=40, results=(CANDIDATE, FAILED)
)
ROWS = (
    {"editor": "MEMIT", "layers": "1", "ridge": 2.5, "cutoff": None, "steps": 1},
    {"editor": "MEMIT", "layers": "77", "ridge": None, "cutoff": 0.5, "steps": None},
)
DECODING = Decoding(max_new_tokens=9, temperature=0.5, seed=3)

COUNTS = {"efficacy": Counts(n=4, preferred=3, first=2), "neighbour": Counts(n=8, preferred=8, first=0)}
PROFILE = ModelProfile(
    model="tiny",
    model_fingerprint="0123456789abcdef",
    graph="sample",
    editors={
        "KGMET": CalibratedEditor(
            editor="KGMET",
            config=EditConfig(seed=5),
            changes="fewer steps",
            reason="It was better.",
            is_default=False,
            tried=8,
            seed=5,
            n_search=12,
            n_check=24,
            searched=COUNTS,
            searched_default={},
            checked=COUNTS,
            checked_default=COUNTS,
        )
    },
    knows={"asked": 10, "known": 4, "relations": [{"relation": "P17", "label": "country", "asked": 10, "known": 4}]},
    layers={"n": 2, "clean": 0.5, "disturbed": 0.125, "restored": [0.25, 0.5], "window": 1},
    version="0.2.0",
)
EFFECTS = LayerEffects(n=2, clean=0.5, disturbed=0.125, restored=(0.25, 0.5), window=1)
TRIAL = Trial(columns=COUNTS, failed="", seconds=1.25)
FAILED_TRIAL = Trial(failed="There is no layer 77.")
CASE = CaseScore(
    asks=(
        AskScore(
            preferred=True, first=False, accuracy=0.5, logprob=-1.5, rejected_logprob=-2.0, said=True, text="Rome"
        ),
        AskScore(preferred=None, first=True, accuracy=1.0, logprob=-0.5, rejected_logprob=None),
    ),
    texts=("Rome is a city.",),
    fluency=512.5,
    consistency=None,
)
CARD = ReportCard(
    model="tiny",
    edited="edited by KGMET",
    edits=(f"{EDIT.prompt} → Rome",),
    facts=(("The Eiffel Tower is in Rome.", "Rome is in Italy."),),
    rows=(
        Row(
            key="efficacy",
            cells={
                column.key: Cell(value=0.75, n=4, interval=(0.25, 1.0), said=3, preferred=1, no=0) for column in COLUMNS
            },
            worst=(
                Example(
                    edit=EDIT.prompt,
                    prompt=QUESTION.text,
                    expected="Rome",
                    rejected="Paris",
                    answers={"unedited": "Paris"},
                    verdicts={"unedited": "no"},
                    probabilities={"unedited": 0.25},
                ),
            ),
            n_asked=4,
        ),
        Row(key="perplexity", cells={column.key: Cell(note="not measured") for column in COLUMNS}),
    ),
    texts="bundled passages",
    notes=("A note.",),
    seconds=12.5,
)
