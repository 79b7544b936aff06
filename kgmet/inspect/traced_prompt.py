"""`TracedPrompt`: a prompt with the traced answer, its rival and the bridge entity, and their token positions."""

from __future__ import annotations

from dataclasses import dataclass

from kgmet.base.errors import EmptyTextError
from kgmet.inspect.shift import token_texts
from kgmet.lm.load.loaded import LoadedLM
from kgmet.lm.run.spans import Phrase, locate_all

__all__ = ["LocatedPrompt", "TracedPrompt", "locate_prompt"]


@dataclass(frozen=True, kw_only=True)
class TracedPrompt:
    """A prompt to trace. `phrase` marks the subject with ``{}``.

    `answer` is traced, `rival` is compared with it, and `bridge` is the intermediate entity of a multi-hop prompt: for
    a consequence of an edit, the edited object.
    """

    phrase: Phrase
    answer: str
    rival: str | None = None
    bridge: str | None = None

    @property
    def text(self) -> str:
        """The full text as the model reads it."""
        return self.phrase.prompt


@dataclass(frozen=True, kw_only=True)
class LocatedPrompt:
    """A tokenised prompt, up to the point where answer and rival differ.

    Tokens that both begin with are `shared` and are at the end of `ids`. `subject` is empty for a prompt without one.
    `rival` is ``None`` if there is none, or if one is a prefix of the other.
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
    """Display text of the token that represents the answer."""


def locate_prompt(lm: LoadedLM, prompt: TracedPrompt) -> LocatedPrompt:
    """Tokenise the prompt and locate subject, answer and rival.

    Raises:
        EmptyTextError: if prompt or answer is empty.
        SubjectNotFoundError: if the subject has no token of its own.
        TextError: if the prompt is longer than the model reads.
    """
    if not prompt.text.strip():
        raise EmptyTextError("The prompt is empty. Type a text for the model to continue.")
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
    if n == len(answer) or n == len(rival):  # one is a prefix of the other, so they cannot be distinguished here
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
