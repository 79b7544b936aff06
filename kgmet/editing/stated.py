"""What edits make true, as facts of an index for the price in later writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from kgmet.editing.config import EditConfig
from kgmet.editing.context import EditContext
from kgmet.editing.problem import held_consequences
from kgmet.fact import FactEdit
from kgmet.forecast.facts import stated_prompt
from kgmet.forecast.index import FactIndex, IndexedFact, measured_index
from kgmet.forecast.pairs import joined_pairs
from kgmet.graph.phrasing import N_PROBE_WORDINGS, split_templates
from kgmet.lm.load.loaded import LoadedLM
from kgmet.write.patch import attached
from kgmet.write.so_far import EditsSoFar
from kgmet.write.stated import MeasuredStatement, StatedFact, own_statement, still_stated

__all__ = ["STATED_FACTS", "stated_index", "statements_of", "with_stated"]

STATED_FACTS = 64
"""Facts made true by earlier edits in a forecast; each takes a backward pass."""
_LEAST = 0.1
"""Least probability of an answer that counts as made true; below it the edit did not take, and nothing can be kept."""


def statements_of(context: EditContext, config: EditConfig) -> tuple[StatedFact, ...]:
    """Return the edited fact, and the consequences that the search held in the first wording it held them in."""
    found = [own_statement(context.edit)]
    if config.hold.shuffled:  # the control holds nonsense
        return tuple(found)
    for item in held_consequences(context, config):
        assert item.new is not None
        templates = split_templates(item.templates, N_PROBE_WORDINGS)[0]
        found.append(
            StatedFact(
                prompt=item.text(templates[0]),
                answer=item.new.label,
                subject=item.subject.label,
                subject_id=item.subject.id,
                relation=item.relation or (item.path_new[-1].relation.id if item.path_new else ""),
                edit_id=context.edit.id,
            )
        )
    return tuple(found)


def with_stated(
    lm: LoadedLM,
    index: FactIndex,
    earlier: EditsSoFar,
    *,
    edits: Sequence[FactEdit],
    most: int = STATED_FACTS,
    check: Callable[[], None] = lambda: None,
) -> FactIndex:
    """Return the index with what earlier edits made true, in place of what the model knew of it before.

    Args:
        lm: the model, with nothing attached.
        index: facts of the unedited model.
        earlier: the earlier edits.
        edits: the new edits, as the graph links them; a fact that they replace is left out, with all that follows.
        most: most facts added, newest first.
        check: called before every batch; may raise.
    """
    stated = stated_index(lm, index.layers, earlier, edits=edits, most=most, check=check)
    known = index.without({fact.prompt.fact for fact in stated.facts if fact.prompt.subject_id})
    return known.extended(stated)


def stated_index(
    lm: LoadedLM,
    layers: Sequence[int],
    earlier: EditsSoFar,
    *,
    edits: Sequence[FactEdit] = (),
    most: int = STATED_FACTS,
    check: Callable[[], None] = lambda: None,
) -> FactIndex:
    """Return an index of what earlier edits made true, measured with them attached, each fact once per sequence."""
    new = tuple(own_statement(edit) for edit in edits)
    kept = [fact for fact in still_stated([earlier.stated, new]) if fact not in new]
    wanted = kept[-most:] if most else []
    missing = [fact for fact in wanted if not _has(earlier, fact, layers)]
    if missing:
        with attached(list(earlier.patches), lm):
            asked = [(stated_prompt(fact), fact.answer) for fact in missing]
            found = measured_index(lm, asked, layers, check=check)
        for number, fact in enumerate(missing):
            earlier.measured[fact] = _single(found, number, fact)
    rows = [earlier.measured[fact] for fact in wanted]
    return _index_of(lm, layers, [row for row in rows if row.logprob >= math.log(_LEAST)])


def _has(earlier: EditsSoFar, fact: StatedFact, layers: Sequence[int]) -> bool:
    known = earlier.measured.get(fact)
    return known is not None and set(layers) <= set(known.pairs)


def _single(index: FactIndex, number: int, fact: StatedFact) -> MeasuredStatement:
    found, chosen = index.facts[number], torch.tensor([number], dtype=torch.long)
    pairs = {layer: own.of(chosen) for layer, own in index.pairs.items()}
    return MeasuredStatement(fact=fact, logprob=found.logprob, tokens=found.tokens, pairs=pairs)


def _index_of(lm: LoadedLM, layers: Sequence[int], rows: Sequence[MeasuredStatement]) -> FactIndex:
    numbers = range(len(rows))
    return FactIndex(
        model_fingerprint=lm.fingerprint,
        facts=tuple(
            IndexedFact(prompt=stated_prompt(row.fact), answer=row.fact.answer, logprob=row.logprob, tokens=row.tokens)
            for row in rows
        ),
        pairs={layer: joined_pairs([row.pairs[layer] for row in rows], lm, offsets=numbers) for layer in layers},
    )
