"""Word stemming: founded, founder and founding share a stem; founded and found do not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from kgmet.graph.names import fold

__all__ = ["pairs", "stems"]

_SAME = {
    "birth": ("born", "birthplace", "births"),
    "die": ("died", "dies", "dying", "death", "dead", "deceased"),
    "write": ("wrote", "writes", "writer", "writers"),
    "sing": ("sang", "sung", "sings", "singer", "singers", "vocalist"),
    "speak": ("spoke", "spoken", "speaks", "speaker", "speakers", "speaking"),
    "make": ("made", "makes", "making", "maker", "makers"),
    "win": ("won", "wins", "winner"),
    "lead": ("led", "leads", "leader", "leading"),
    "begin": ("began", "begun", "begins", "beginning", "start", "started", "starts"),
    "be": ("is", "are", "was", "were", "been", "being"),
    "do": ("does", "did", "done"),
    "have": ("has", "had", "having"),
    "person": ("people", "persons", "somebody", "someone"),
    "child": ("children", "kid", "kids"),
    "wife": ("wives",),
    "study": ("studied", "studies", "student", "students"),
    "establish": ("founded", "founder", "founders", "founding", "foundation", "foundations", "establishment"),
    "find": ("found", "finds"),
    "buy": ("bought", "buys"),
    "marry": ("married", "marriage", "wed", "wedded"),
    "locate": ("location", "situated", "lies", "lie", "located"),
    "film": ("movie", "movies", "films"),
    "firm": ("company", "companies", "corporation", "business"),
    "kind": ("type", "sort", "types", "kinds", "sorts"),
    "job": ("occupation", "profession", "jobs"),
    "headquarters": ("headquarter", "headquartered", "hq"),
    "tongue": ("language", "languages", "tongues"),
    "faith": ("religion", "religions", "religious"),
    "town": ("city", "cities", "towns"),
    "nation": ("country", "countries", "nations"),
    "specialise": ("specialize", "specializes", "specialises", "specialist", "specialty", "specialized", "expertise"),
    "employ": ("employer", "employed", "employee", "employment", "employs", "hired"),
    "own": ("owner", "owners", "owned", "owns", "ownership"),
    "year": ("date", "when"),
    "run": ("ran", "runs", "running"),
    "come": ("came", "comes", "coming"),
    "take": ("took", "taken", "takes", "taking"),
    "give": ("gave", "given", "gives", "giving"),
    "hold": ("held", "holds", "holding", "holder"),
    "keep": ("kept", "keeps", "keeping"),
    "know": ("known", "knew", "knows"),
    "grow": ("grew", "grown", "grows"),
    "build": ("built", "builds", "builder"),
    "fight": ("fought", "fights", "fighting"),
    "draw": ("drew", "drawn", "draws"),
    "sell": ("sold", "sells", "selling"),
    "teach": ("taught", "teaches", "teacher", "teaching"),
    "eat": ("ate", "eaten", "eats", "eating", "eater"),
    "bear": ("bore", "bears"),
    "bury": ("buried", "burial", "buries"),
    "fly": ("flew", "flown", "flies", "flying"),
    "live": ("lives", "lived", "living"),
    "reside": ("residence", "resident", "residents", "residing", "resided", "resides"),
    "discover": ("discovery", "discovered", "discovers", "discoverer", "discoverers", "discoveries"),
    "compose": ("composer", "composers", "composed", "composition"),
    "publish": ("published", "publisher", "publishers", "publication", "publishes"),
    "perform": ("performer", "performed", "performs", "performance", "performers"),
    "succeed": ("succeeded", "successor", "succeeds", "succession"),
    "precede": ("preceded", "predecessor", "precedes"),
    "manage": ("manager", "managed", "manages", "management"),
    "believe": ("belief", "believer", "believers", "believes", "beliefs"),
    "neighbour": ("neighbor", "neighbours", "neighbors", "neighbouring", "neighboring"),
    "licence": ("license", "licensed", "licences", "licenses"),
    "centre": ("center", "central"),
    "mother": ("mum", "mom", "mama"),
    "father": ("dad", "papa"),
    "programme": ("program", "programs", "programmes", "programmed", "programmer", "programmers", "programming"),
    "organisation": ("organization", "organizations", "organisations"),
    "border": ("borders", "bordered", "bordering"),
    "suffer": ("suffers", "suffered", "suffering", "sufferer"),
    "enter": ("enters", "entered", "entering", "entry"),
    "author": ("authors", "authored"),
    "honour": ("honor", "honoured", "honored", "honours", "honors"),
    "disease": ("illness", "ailment", "ill", "sick", "sickness", "diseases", "illnesses"),
    "attend": ("attended", "attends", "attendance"),
    "compete": ("competes", "competed", "competing", "competitor"),
    "serve": ("serves", "served", "serving"),
    "inhabitant": ("inhabitants", "inhabits", "inhabit", "inhabited"),
}
"""Synonyms in prompts, and irregular forms."""
_CANON = {form: word for word, forms in _SAME.items() for form in (word, *forms)}
_ENDINGS = ("ations", "ation", "ions", "ion", "ings", "ing", "ed", "ers", "er", "ors", "or", "es", "s", "e")
_SHORTEST = 3
"""Fewest letters left after an ending is removed."""


def stems(text: str) -> tuple[str, ...]:
    """Return the stems of a text's words in order; ``{}`` stays as the subject's slot."""
    parts = text.replace("’", "'").split("{}")
    row: list[str] = []
    for number, part in enumerate(parts):
        if number:
            row.append("{}")
        row += [_stem(word) for word in fold(_apart(part)).split() if word not in _EMPTY]
    return tuple(row)


_EMPTY = frozenset({"the", "a", "an", "s", "name", "names"})


def pairs(row: Sequence[str]) -> tuple[str, ...]:
    """Return adjacent words as pairs."""
    return tuple(f"{first} {second}" for first, second in pairwise(row))


def _apart(text: str) -> str:
    return text.replace("'s ", " ").removesuffix("'s")


@lru_cache(maxsize=20_000)
def _stem(word: str) -> str:
    if word in _CANON:
        return _CANON[word]
    if word.endswith(("ies", "ied")) and len(word) > _SHORTEST + 2:
        return word[:-3] + "y"
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            return word[: -len(ending)]
    return word
