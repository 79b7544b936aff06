"""Blocks of the Probe page."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from kgmet.base.errors import KgmetError
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.ask import Decoding
from kgmet.measure.question import Form, Question, QuestionKind
from workbench import wording
from workbench.drawing.answers import AnswerRow, answer_table
from workbench.drawing.hop_line import HopLine, State, hop_line_html, hop_line_sentence
from workbench.drawing.hop_svg import hop_line_svg
from workbench.drawing.tables import csv_text
from workbench.screens.probe import tables as probe_tables
from workbench.screens.probe.tables import KINDS
from workbench.screens.probe.values import ProbeRun
from workbench.shared.panels import downloads, message, theme
from workbench.shared.table_panel import table
from workbench.shared.told import form_caption
from workbench.state.values import StackEntry

__all__ = ["choose_decoding", "choose_kinds", "fits", "own_prompts", "show", "typed_prompts"]

_MOST_OWN = 50


def fits(entry: StackEntry, lm: LoadedLM) -> bool:
    """Return whether the edit was made for the resident model, and show a message if not."""
    if entry.patch.model_fingerprint == lm.fingerprint:
        return True
    st.warning("This edit was made for another model. Load that one on the Models page, or make the edit again.")
    return False


def choose_kinds(prompts: Sequence[Question]) -> tuple[tuple[Question, ...], dict[QuestionKind, int]]:
    """Let the user choose the kinds of generated prompts."""
    counts = {kind: sum(prompt.kind is kind for prompt in prompts) for kind in QuestionKind}
    offered = [kind for kind in QuestionKind if counts[kind]]
    chosen = st.pills(
        "Kinds of prompts, made from the graph",
        [kind.value for kind in offered],
        selection_mode="multi",
        default=[kind.value for kind in offered],
        format_func=lambda value: f"{KINDS[QuestionKind(value)][0]} ({counts[QuestionKind(value)]})",
        key="probe-kinds",
        help="None of these wordings was optimised.",
    )
    return tuple(prompt for prompt in prompts if prompt.kind.value in chosen), counts


def typed_prompts() -> tuple[Question, ...]:
    """Show the field for own prompts, one per line."""
    text = st.text_area(
        "Your own prompts, one a line",
        key="probe-own",
        height=90,
        placeholder="The country where the Eiffel Tower stands is | Japan | France",
        help="Optional answers after bars: prompt | expected | rejected.",
        persist_state="session",
    )
    form = st.segmented_control(
        "Your own are asked",
        list(_FORMS),
        default=next(iter(_FORMS)),
        required=True,
        key="probe-template",
        help="Probabilities, ranks and verdicts refer to the form of the prompt.",
    )
    try:
        return own_prompts(text, _FORMS[form])
    except KgmetError as error:
        message(str(error))
        return ()


def own_prompts(text: str, form: Form | None = None) -> tuple[Question, ...]:
    """Parse one prompt per line, each with up to two answers after bars.

    Args:
        text: the typed text.
        form: form of the questions; by default a question is asked in chat, and other texts are continued.

    Raises:
        EmptyTextError: if a line has answers but no prompt.
    """
    prompts = []
    for line in [line for line in text.splitlines() if line.strip()][:_MOST_OWN]:
        parts = [part.strip() for part in line.split("|")] + ["", ""]
        prompts.append(Question.typed(parts[0], expected=parts[1] or None, rejected=parts[2] or None, form=form))
    return tuple(dict.fromkeys(prompts))


_FORMS = {"questions in chat": None, "all in chat": Form.CHAT, "all plain": Form.CLOZE}


def choose_decoding() -> Decoding:
    """Let the user choose greedy or sampled answers, and their length."""
    first, second, third, fourth = st.columns(4, vertical_alignment="bottom")
    way = first.segmented_control("Decoding", ["greedy", "sampled"], default="greedy", required=True, key="probe-way")
    length = second.number_input("Longest continuation, tokens", 1, 200, 12, key="probe-length")
    answer = third.number_input("Longest answer to a question, tokens", 1, 200, 32, key="probe-answer-length")
    seed = fourth.number_input(
        "Seed", 0, 2**31 - 1, 0, key="probe-seed", disabled=way != "sampled", help="The same before and after."
    )
    return Decoding(
        max_new_tokens=int(length),
        max_answer_tokens=int(answer),
        temperature=1.0 if way == "sampled" else 0.0,
        seed=int(seed) if way == "sampled" else 0,
    )


def show(run: ProbeRun, *, edit: str) -> None:
    """Show the chains, the summary, the prompts by kind, and downloads."""
    if run.chains:
        _hop_by_hop(run, edit)
    st.subheader("By kind", anchor=False)
    st.caption("With few prompts the interval is wide.", help=wording.VERDICT_HELP)
    share = st.column_config.ProgressColumn("said or unchanged", format="%.0f %%", min_value=0, max_value=100)
    table(
        probe_tables.summary_frame(run),
        stem="by-kind",
        column_config={"said or unchanged": share},
        alt="How many prompts of each kind are said",
    )
    st.subheader("Prompt by prompt", anchor=False)
    sides = "before and after" if run.told is None else "before, after and told"
    is_silent = any(not pair.after.said.strip() for pair in run.comparison.pairs)
    silent = " ∅: the model ends its text at once." if is_silent else ""
    st.caption(
        f"{wording.count(len(run.comparison.pairs), 'prompt')} {sides} in {run.seconds:.1f} s. Names of the expected "
        f"and the rejected answer are marked.{silent} KL: how far the probabilities of the next token are from those "
        "before.",
        help=wording.VERDICT_HELP,
    )
    if run.told is not None:
        form_caption(run.told.sentences)
    for kind, (name, about) in KINDS.items():
        rows = probe_tables.answer_rows(run, kind)
        if rows:
            with st.expander(f"{name}: {_counted(kind, rows)}", expanded=kind in _OPEN):
                st.caption(f"{about}.")
                st.html(answer_table(rows))
    _downloads(run)


def _hop_by_hop(run: ProbeRun, edit: str) -> None:
    lines = [line for chain in run.chains if (line := probe_tables.hop_line(run, chain)) is not None]
    if not lines:
        return
    st.subheader("Hop by hop", anchor=False)
    st.caption("Each fact of a chain asked on its own, then all of them in one question, without and with the edit.")
    longest = max(range(len(lines)), key=lambda number: len(lines[number].stations))
    chosen = st.selectbox(
        "Chain", range(len(lines)), index=longest, format_func=lambda n: _chain_name(lines[n]), key="probe-chain"
    )
    line = lines[chosen]
    st.markdown(wording.safe(hop_line_sentence(line)))
    st.html(hop_line_html(line))
    st.download_button(
        "SVG",
        hop_line_svg(line, title=edit, theme=theme()),
        "hop-by-hop.svg",
        "image/svg+xml",
        icon=":material/download:",
        on_click="ignore",
        key="get-hops",
        help="The line as a picture, with the edit's sentence and what the signs mean",
    )


def _chain_name(line: HopLine) -> str:
    ends = " → ".join([line.start, *(station.name for station in line.stations)])
    holds = line.whole is not None and line.whole.state is State.HELD
    where = "every hop is said" if line.breaks_at is None else f"breaks at hop {line.breaks_at}"
    whole = "" if line.whole is None else f", the whole question {'is answered' if holds else 'is not'}"
    return f"{ends}: {where}{whole}"


_OPEN = (QuestionKind.MULTI_HOP, QuestionKind.REWRITE, QuestionKind.OWN)


def _counted(kind: QuestionKind, rows: Sequence[AnswerRow]) -> str:
    """Describe how many of a kind are said: before, after, told."""
    judged = [row for row in rows if row.pair.holds is not None]
    if not judged:
        return f"{len(rows)} asked"
    said = sum(row.pair.holds is True for row in judged)
    pairs = [row.told_pair for row in judged if row.told_pair is not None]
    told = f", {sum(pair.holds is True for pair in pairs)} told" if pairs else ""
    if kind.should_stay:
        return f"{said} of {len(judged)} unchanged{told}"
    return f"says {said} of {len(judged)}, {sum(row.pair.before.says for row in judged)} before{told}"


def _downloads(run: ProbeRun) -> None:
    files = {
        "csv": csv_text(probe_tables.probe_frame(run)),
        "json": probe_tables.probe_json(run),
        "md": probe_tables.probe_markdown(run),
    }
    with st.container(horizontal=True):
        downloads("probes", files, key="get")
