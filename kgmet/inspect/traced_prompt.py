"""`TracedPrompt`: a prompt, the answer that is traced, its rival, and the entity in between; and where they stand."""

from __future__ import annotations

from dataclasses import dataclass

from kgmet.base.errors import EmptyTextError
from kgmet.inspect.shift import token_texts
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase, locate_all

__all__ = ["LocatedPrompt", "TracedPrompt", "locate_prompt"]


@dataclass(frozen=True, kw_only=True)
class TracedPrompt:
    """What is looked into. `phrase` marks the subject with ``{}``.

    `answer` is followed and explained, `rival` is what it is weighed against, `bridge` the entity that a prompt of
    several hops has to pass: for a consequence of an edit, the edited object.
    """

    phrase: Phrase
    answer: str
    rival: str | None = None
    bridge: str | None = None

    @property
    def text(self) -> str:
        """As the model reads it."""
        return self.phrase.prompt


@dataclass(frozen=True, kw_only=True)
class LocatedPrompt:
    """A prompt in tokens. The next token of `ids` is where answer and rival part.

    Tokens that both begin with are `shared`: they stand at the end of `ids`. `subject` is empty for a prompt without
    one. `rival` is ``None`` where there is none, or where one of both is the beginning of the other.
    """

    source: TracedPrompt
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    subject: range
    shared: str
    answer: int
    rival: int | None
    bridge: int | None
    answer_text: str
    """The token that stands for the answer, for people."""


def locate_prompt(lm: LoadedLM, prompt: TracedPrompt) -> LocatedPrompt:
    """Find tokens and positions.

    Raises:
        EmptyTextError: if prompt or answer is empty.
        SubjectNotFoundError: if the subject has no token of its own.
        TextError: if the prompt is longer than the model reads.
    """
    if not prompt.text.strip():
        raise EmptyTextError("The prompt is empty. Type a text for the model to go on with.")
    followed = [prompt.answer, *(text for text in (prompt.rival, prompt.bridge) if text)]
    phrase = prompt.phrase
    spans = locate_all(
        lm,
        [
            Phrase(template=phrase.template, subject=phrase.subject, prefix=phrase.prefix, target=target)
            for target in followed
        ],
    )
    span = spans[0]
    answer = span.target_ids
    rival = spans[1].target_ids if prompt.rival else ()
    n = 0
    while n < min(len(answer), len(rival)) and answer[n] == rival[n]:
        n += 1
    if n == len(answer) or n == len(rival):  # one begins with all of the other: nothing tells them apart here
        n, rival = 0, ()
    shared = answer[:n]
    return LocatedPrompt(
        source=prompt,
        ids=(*span.input_ids[: span.n_prompt], *shared),
        tokens=token_texts(lm, (*span.input_ids[: span.n_prompt], *shared)),
        subject=span.subject if "{}" in phrase.template else range(0),
        shared="".join(token_texts(lm, shared)).strip(),
        answer=answer[n],
        rival=rival[n] if rival else None,
        bridge=spans[-1].target_ids[0] if prompt.bridge else None,
        answer_text=token_texts(lm, [answer[n]])[0].strip(),
    )
