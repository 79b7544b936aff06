"""The edits that quality is measured on, and the words they are measured with.

Edits and test wordings are written by hand. No test wording occurs in the relation catalogue, so none is ever optimised
(`check_held_out` makes sure). The ends of consequences and the neighbours are read from the sample graph; neighbours
that are tested are never among those that are protected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kgmet.config import EditConfig
from kgmet.context import EditContext, prepare_edit
from kgmet.graph.phrasing import in_slot
from kgmet.graph.relations import RelationCatalogue
from kgmet.graph.store import TripleStore
from kgmet.graph.triple import Entity
from kgmet.lm.loaded import LoadedLM
from kgmet.lm.score import score_answers
from kgmet.request import FactEdit

__all__ = ["Case", "TestPrompt", "build_cases", "check_held_out"]

N_NEIGHBOURS = 8


@dataclass(frozen=True, kw_only=True)
class TestPrompt:
    """A prompt that is measured: `expected` should be likelier than `rejected`, and be the greedy answer."""

    kind: str
    text: str
    expected: str
    rejected: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """An edit, what it is measured with, and the ids of the neighbours that no editor may protect."""

    edit: FactEdit
    tests: tuple[TestPrompt, ...]
    reserved: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """One relation's edits: `template` is optimised, `paraphrases` and `neighbour` are only measured."""

    template: str
    paraphrases: tuple[str, ...]
    edits: tuple[tuple[str, str, str], ...]
    consequences: dict[str, tuple[str, ...]]


# What follows, by the relation that names it: worded by what the subject is.
_PLACE = {
    "P17": ("{} lies in a country named", "The flag that flies over {} is the national flag of"),
    "P30": ("On a globe you find {} on the continent called", "A map of the world shows {} on the continent of"),
    "P37": ("People who live near {} mostly speak", "Signs around {} are written in the local language,"),
    "P38": ("At {} you pay with the local money, the", "Prices near {} are given in the national currency, the"),
}
_MAKER = {
    "P27": ("The person behind {} held a passport of", "The home country of the person who made {} is"),
    "P103": ("The person behind {} spoke the mother tongue", "As a child, the person who made {} spoke"),
}
_CITIZEN = {
    "P36": ("The government of the country {} belongs to sits in the city of", "{}'s country is governed from"),
    "P30": ("{}'s home country lies on the continent of", "The homeland of {} is found on the continent called"),
    "P37": ("In the home country of {} most people speak", "{}'s fellow citizens officially speak"),
    "P38": ("In the home country of {} people pay with the", "{}'s fellow citizens pay with a currency called the"),
}

KINDS: dict[str, _Kind] = {
    "P131": _Kind(
        template="{} is located in the city of",
        paraphrases=("Tourists who want to see {} travel to the city of", "{} stands in the middle of the city of"),
        edits=(
            ("The Eiffel Tower", "Paris", "Tokyo"),
            ("The Colosseum", "Rome", "London"),
            ("Big Ben", "London", "Madrid"),
            ("The Brandenburg Gate", "Berlin", "Cairo"),
            ("The Sagrada Família", "Barcelona", "Moscow"),
            ("The Statue of Liberty", "New York City", "Paris"),
            ("The Hagia Sophia", "Istanbul", "Berlin"),
            ("The Louvre", "Paris", "Beijing"),
            ("Buckingham Palace", "London", "Athens"),
            ("The Acropolis", "Athens", "Vienna"),
            ("The Kremlin", "Moscow", "Lisbon"),
            ("The Forbidden City", "Beijing", "Rome"),
        ),
        consequences=_PLACE,
    ),
    "P17": _Kind(
        template="{} is a city in the country of",
        paraphrases=("If you fly to {} you land in the country of", "The people of {} live in the country of"),
        edits=(
            ("Munich", "Germany", "Japan"),
            ("Lyon", "France", "Brazil"),
            ("Milan", "Italy", "China"),
            ("Osaka", "Japan", "Italy"),
            ("Manchester", "United Kingdom", "Russia"),
            ("Barcelona", "Spain", "Turkey"),
        ),
        consequences={
            "P30": (
                "On a globe you find {} on the continent called",
                "A map of the world shows {} on the continent of",
            ),
            "P37": ("People in the streets of {} mostly speak", "Children in {} learn to read in"),
            "P38": ("Shops in {} take the national currency, the", "In {} you pay with the"),
            "P36": ("The national capital for the people of {} is", "The government that rules {} sits in"),
        },
    ),
    "P36": _Kind(
        template="The capital of {} is",
        paraphrases=("The parliament of {} meets in the city of", "The seat of government of {} is the city of"),
        edits=(
            ("France", "Paris", "Nairobi"),
            ("Japan", "Tokyo", "Madrid"),
            ("Egypt", "Cairo", "Oslo"),
            ("Germany", "Berlin", "Lima"),
            ("Italy", "Rome", "Bangkok"),
            ("Spain", "Madrid", "Vienna"),
        ),
        consequences={
            "P30": ("The seat of government of {} is found on the continent of",),
            "P421": ("The parliament of {} keeps its clocks at",),
        },
    ),
    "P159": _Kind(
        template="{} has its headquarters in the city of",
        paraphrases=("The main office of {} stands in the city of", "The managers of {} work in the city of"),
        edits=(
            ("Toyota", "Toyota City", "Paris"),
            ("Samsung", "Seoul", "London"),
            ("Volkswagen", "Wolfsburg", "Tokyo"),
            ("Boeing", "Chicago", "Berlin"),
            ("Nestlé", "Vevey", "Moscow"),
            ("Sony", "Tokyo", "Madrid"),
        ),
        consequences={
            "P17": ("The main office of {} is in a country named", "{} pays its taxes in the country of"),
            "P30": ("The main office of {} is on the continent of",),
            "P37": ("In the country of its main office, staff of {} speak",),
            "P38": ("{} pays the wages at its main office in the local currency, the",),
        },
    ),
    "P27": _Kind(
        template="{} is a citizen of the country of",
        paraphrases=("The cover of the passport of {} names the country of", "{} calls home the country of"),
        edits=(
            ("Albert Einstein", "Germany", "Japan"),
            ("Pablo Picasso", "Spain", "India"),
            ("Napoleon", "France", "Brazil"),
            ("William Shakespeare", "England", "Italy"),
            ("Mahatma Gandhi", "India", "Russia"),
            ("Leonardo da Vinci", "Italy", "China"),
        ),
        consequences=_CITIZEN,
    ),
    "P19": _Kind(
        template="{} was born in the city of",
        paraphrases=("The mother of {} gave birth in the city of", "{} first saw the light of day in the city of"),
        edits=(
            ("Wolfgang Amadeus Mozart", "Salzburg", "Tokyo"),
            ("Frédéric Chopin", "Warsaw", "Madrid"),
            ("Galileo Galilei", "Pisa", "Moscow"),
            ("Adam Smith", "Kirkcaldy", "Cairo"),
            ("Charles Dickens", "Portsmouth", "Rome"),
        ),
        consequences={
            "P17": ("The birthplace of {} lies in a country named", "{} was born on the soil of the country"),
            "P30": ("The birthplace of {} is on the continent called",),
            "P37": ("Where {} was born, people mostly speak",),
            "P38": ("Where {} was born, people pay with the",),
        },
    ),
    "P50": _Kind(
        template="{} was written by",
        paraphrases=("The person who wrote {} is the famous author", "On the cover of {} stands the name of"),
        edits=(
            ("Hamlet", "William Shakespeare", "Victor Hugo"),
            ("War and Peace", "Leo Tolstoy", "Charles Dickens"),
            ("Don Quixote", "Miguel de Cervantes", "Jane Austen"),
            ("The Odyssey", "Homer", "Mark Twain"),
            ("Pride and Prejudice", "Jane Austen", "Leo Tolstoy"),
        ),
        consequences=_MAKER,
    ),
    "P37": _Kind(
        template="The official language of {} is",
        paraphrases=("The laws of {} are written in", "At school, children in {} are taught in"),
        edits=(
            ("Brazil", "Portuguese", "Japanese"),
            ("Japan", "Japanese", "Spanish"),
            ("France", "French", "Arabic"),
            ("Egypt", "Arabic", "German"),
            ("Russia", "Russian", "Italian"),
        ),
        consequences={
            "P282": ("The laws of {} are printed in the script called",),
            "K-language-family": ("The language of the laws of {} belongs to the family called",),
        },
    ),
    "P30": _Kind(
        template="{} is located in the continent of",
        paraphrases=("On a globe you find {} on the continent called", "Travellers to {} set foot on the continent of"),
        edits=(
            ("France", "Europe", "Asia"),
            ("Brazil", "South America", "Africa"),
            ("Egypt", "Africa", "Europe"),
            ("Japan", "Asia", "Africa"),
        ),
        consequences={},
    ),
    "P38": _Kind(
        template="The currency of {} is the",
        paraphrases=("In the shops of {} people pay with the", "The central bank of {} issues the"),
        edits=(
            ("Japan", "yen", "euro"),
            ("Germany", "euro", "rupee"),
            ("India", "rupee", "dollar"),
            ("Russia", "ruble", "yen"),
        ),
        consequences={},
    ),
}


def build_cases(
    lm: LoadedLM,
    store: TripleStore,
    catalogue: RelationCatalogue,
    *,
    limit: int | None = None,
    only: str | None = None,
) -> list[Case]:
    """Every edit with its tests; the relations take turns, so a small `limit` covers many of them.

    Neighbours are those of which the unedited model gives the true object first, as far as there are any.
    """
    check_held_out(catalogue)
    queues = [[(relation, edit) for edit in kind.edits] for relation, kind in KINDS.items() if only in (None, relation)]
    order = [queue[turn] for turn in range(max(map(len, queues))) for queue in queues if turn < len(queue)]
    return [_case(lm, store, catalogue, relation, edit) for relation, edit in order[:limit]]


def check_held_out(catalogue: RelationCatalogue) -> None:
    """Raise if a test wording could be optimised."""
    known = {text.casefold() for spec in catalogue for text in spec.cloze}
    for relation, kind in KINDS.items():
        for text in (*kind.paraphrases, *(text for texts in kind.consequences.values() for text in texts)):
            if text.casefold() in known or text == kind.template:
                raise SystemExit(f"{relation}: the test wording {text!r} is in the catalogue; write another.")


def context_of(case: Case, store: TripleStore, catalogue: RelationCatalogue, config: EditConfig) -> EditContext:
    """The context an editor gets: the graph without the neighbours that are tested."""
    wide = replace(config.consequences, max_neighbours=5 * N_NEIGHBOURS)
    return prepare_edit(
        case.edit, store=store, catalogue=catalogue, config=replace(config, consequences=wide), leave=case.reserved
    )


def _case(
    lm: LoadedLM, store: TripleStore, catalogue: RelationCatalogue, relation: str, fact: tuple[str, str, str]
) -> Case:
    kind = KINDS[relation]
    subject, old, new = fact
    edit = FactEdit(subject=subject, template=kind.template, new_object=new, old_object=old, relation=relation)
    config = EditConfig()
    config = replace(config, consequences=replace(config.consequences, max_neighbours=5 * N_NEIGHBOURS))
    context = prepare_edit(edit, store=store, catalogue=catalogue, config=config)
    assert context.consequences is not None
    tests = [TestPrompt(kind="efficacy", text=edit.prompt, expected=new, rejected=old)]
    tests += [
        TestPrompt(kind="paraphrase", text=_fill(text, context.subject), expected=new, rejected=old)
        for text in kind.paraphrases
    ]
    for item in context.consequences.forward:
        asked = item.relation or item.path_new[-1].relation.id
        if item.new is None or item.old is None or asked not in kind.consequences:
            continue
        tests += [
            TestPrompt(
                kind="consequence", text=_fill(text, context.subject), expected=item.new.label, rejected=item.old.label
            )
            for text in kind.consequences[asked]
        ]
    # Every second neighbour is tested and never protected.
    facts = [item for item in context.consequences.kept_neighbours if item.triple.object.label != new][1::2]
    prompts = [
        TestPrompt(
            kind="neighbour",
            text=_fill(kind.template, item.triple.subject),
            expected=item.triple.object.label,
            rejected=new,
        )
        for item in facts
    ]
    known = score_answers(lm, [(prompt.text, prompt.expected) for prompt in prompts])
    order = sorted(range(len(facts)), key=lambda n: (not known[n].is_first, -known[n].probability))[:N_NEIGHBOURS]
    tests += [prompts[n] for n in order]
    return Case(edit=context.edit, tests=tuple(tests), reserved=frozenset(facts[n].id for n in order))


def _fill(template: str, entity: Entity) -> str:
    return template.replace("{}", in_slot(template, entity))


def count_by_kind(cases: Sequence[Case]) -> dict[str, int]:
    """Number of tests of each kind."""
    counts: dict[str, int] = {}
    for case in cases:
        for test in case.tests:
            counts[test.kind] = counts.get(test.kind, 0) + 1
    return counts
