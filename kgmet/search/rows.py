"""`ProblemRows`: the loss of every prompt of several problems for given shifts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import EditSpan, locate_all
from kgmet.lm.run.suffixes import Suffixes, encode_suffixes
from kgmet.search.objective import mean_within
from kgmet.search.problem import ShiftProblem, Term
from kgmet.search.readout import Readout

__all__ = ["ProblemRows"]


class ProblemRows:
    """Prompts of several problems as rows, encoded up to the shifted layer.

    `before` (n_edit, d_model) is the state at each problem's lookup token, taken from its first prompt in which that is
    not the first token (the attention sink). `terms` gives each row's loss term; `members` lists, for each problem, its
    rows by term.
    """

    def __init__(self, lm: LoadedLM, problems: Sequence[ShiftProblem], layer: int) -> None:
        self.lm = lm
        rows = [(number, prompt) for number, problem in enumerate(problems) for prompt in problem.prompts]
        owners = [number for number, _ in rows]
        spans = locate_all(lm, [prompt.phrase(problems[number].edit.subject) for number, prompt in rows])
        starts = [span.lookup.position for span in spans]
        # The last token of an answer predicts nothing that is scored.
        ids = [span.input_ids[:-1] if span.target else span.input_ids for span in spans]
        self.suffixes: Suffixes = encode_suffixes(lm, ids, starts, layer=layer, together=owners)
        device = self.suffixes.hidden.device
        self.terms = [prompt.term for _, prompt in rows]
        self.members: list[dict[Term, list[int]]] = [{} for _ in problems]
        for row, (number, prompt) in enumerate(rows):
            self.members[number].setdefault(prompt.term, []).append(row)
        tree_of, first = self.suffixes.tree_of, [path[0] for path in self.suffixes.paths]
        own = [[row for row, owner in enumerate(owners) if owner == n] for n in range(len(problems))]
        chosen = [next((row for row in mine if starts[row] > 0), mine[0]) for mine in own]
        places = torch.tensor([(tree_of[row], first[row]) for row in chosen], dtype=torch.long, device=device)
        self.before = self.suffixes.hidden[places[:, 0], places[:, 1]].float()
        # Texts with a common beginning share their start token: it is shifted once.
        lookups = sorted({(tree_of[row], first[row], owners[row]) for row in range(len(rows))})
        self.lookups = torch.tensor(lookups, dtype=torch.long, device=device)
        device = self.suffixes.final.device  # the last layer's, where a model is spread over several
        self.asked = torch.tensor(self._asked(spans, starts), device=device, dtype=torch.long).reshape(-1, 4)
        held = [
            (row, tree_of[row], self.suffixes.paths[row][-1]) for row, span in enumerate(spans) if span.target is None
        ]
        self.held = torch.tensor(held, device=device, dtype=torch.long).reshape(-1, 3)
        self.readout = Readout(lm, self.asked[:, 3], self._at(self.suffixes.final, self.held))

    def losses(self, deltas: Tensor) -> Tensor:
        """Return the loss of each row, (n_row,), for shifts (n_edit, d_model): NLL per answer token, or divergence."""
        hidden = self.suffixes.hidden
        tree, node, owner = self.lookups.T
        final = self.suffixes.resume(hidden.index_put((tree, node), deltas.to(hidden.dtype)[owner], accumulate=True))
        nll, divergence = self.readout.of(self._at(final, torch.cat([self.asked[:, :3], self.held])))
        losses = mean_within(nll, self.asked[:, 0], len(self.terms)).index_add(0, self.held[:, 0], divergence)
        return losses.to(deltas.device)

    def _asked(self, spans: Sequence[EditSpan], starts: Sequence[int]) -> list[tuple[int, int, int, int]]:
        """Return (row, tree, node, token) for each token of an answer and the place that predicts it."""
        return [
            (
                row,
                self.suffixes.tree_of[row],
                self.suffixes.paths[row][position - 1 - starts[row]],
                span.input_ids[position],
            )
            for row, span in enumerate(spans)
            for position in (span.target or ())
        ]

    @staticmethod
    def _at(states: Tensor, where: Tensor) -> Tensor:
        """Return the states (n, d_model) at the (row, tree, node) of `where`."""
        return states[where[:, 1], where[:, 2]]
