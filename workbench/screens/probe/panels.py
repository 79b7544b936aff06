"""The blocks of the Probe page."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from kgmet.base.errors import KgmetError
from kgmet.lm.load.loaded import LoadedLM
from kgmet.measure.prompts import ProbeKind, ProbePrompt
from kgmet.measure.run import Decoding
from workbench import wording
from workbench.screens.probe import tables as probe_tables
from workbench.screens.probe.actions import ProbeRun
from workbench.screens.probe.tables import KINDS
from workbench.shared.panels import message
from workbench.state.values import StackEntry

__all__ = ["choose_decoding", "choose_kinds", "fits", "own_prompts", "show", "typed_prompts"]

_MOST_OWN = 50


def fits(entry: StackEntry, lm: LoadedLM) -> bool:
    """Whether the edit was made for the resident model; says so if not."""
    if entry.patch.model_fingerprint == lm.fingerprint:
        return True
    st.warning("This edit was made for another model. Load that one on the Models page, or make the edit again.")
    return False


def choose_kinds(prompts: Sequence[ProbePrompt]) -> tuple[tuple[ProbePrompt, ...], dict[ProbeKind, int]]:
    """Which kinds of generated prompts are asked."""
    counts = {kind: sum(prompt.kind is kind for prompt in prompts) for kind in ProbeKind}
    offered = [kind for kind in ProbeKind if counts[kind]]
    chosen = st.pills(
        "Kinds of prompts, made from the graph",
        [kind.value for kind in offered],
        selection_mode="multi",
        default=[kind.value for kind in offered],
        format_func=lambda value: f"{KINDS[ProbeKind(value)][0]} ({counts[ProbeKind(value)]})",
        key="probe-kinds",
        help="None of them was optimised in these words.",
    )
    return tuple(prompt for prompt in prompts if prompt.kind.value in chosen), counts


def typed_prompts() -> tuple[ProbePrompt, ...]:
    """Prompts a person types, one a line."""
    text = st.text_area(
        "Your own prompts, one a line",
        key="probe-own",
        height=90,
        placeholder="The country where the Eiffel Tower stands is | Japan | France",
        help="Bars may add what you expect and what you do not: prompt | expected | rejected.",
        persist_state="session",
    )
    try:
        return own_prompts(text)
    except KgmetError as error:
        message(str(error))
        return ()


def own_prompts(text: str) -> tuple[ProbePrompt, ...]:
    """One prompt a line, each with up to two answers after bars.

    Raises:
        EmptyTextError: if a line has answers but no prompt.
    """
    prompts = []
    for line in [line for line in text.splitlines() if line.strip()][:_MOST_OWN]:
        parts = [part.strip() for part in line.split("|")] + ["", ""]
        is_question = parts[0].endswith("?")
        prompts.append(
            ProbePrompt(
                kind=ProbeKind.OWN,
                text=parts[0],
                expected=parts[1] or None,
                rejected=parts[2] or None,
                is_question=is_question,
            )
        )
    return tuple(dict.fromkeys(prompts))


def choose_decoding() -> Decoding:
    """Plain or chat, greedy or sampled."""
    first, second, third, fourth = st.columns(4, vertical_alignment="bottom")
    is_chat = first.segmented_control(
        "Template", ["plain", "chat"], default="plain", required=True, key="probe-template"
    )
    way = second.segmented_control("Decoding", ["greedy", "sampled"], default="greedy", required=True, key="probe-way")
    length = third.number_input("Longest answer, tokens", 1, 200, 12, key="probe-length")
    seed = fourth.number_input(
        "Seed", 0, 2**31 - 1, 0, key="probe-seed", disabled=way != "sampled", help="The same before and after."
    )
    if is_chat == "chat":
        st.caption(
            "Answers are written inside the chat template; probabilities, ranks and KL stay those of the plain prompt."
        )
    return Decoding(
        max_new_tokens=int(length),
        temperature=1.0 if way == "sampled" else 0.0,
        seed=int(seed) if way == "sampled" else 0,
        chat=is_chat == "chat",
    )


def show(run: ProbeRun) -> None:
    """Summary, chains, the prompts kind by kind, and files to take away."""
    st.subheader("By kind", anchor=False)
    st.caption(
        "Preferred: the expected answer is likelier than the rejected one. First answer: greedy decoding "
        "gives it. What *holds* means is said below; with few prompts the interval is wide."
    )
    frame = probe_tables.summary_frame(run.comparison.summaries())
    share = st.column_config.ProgressColumn(
        "holds", format="%.0f %%", min_value=0, max_value=100, help=wording.VERDICT_HELP
    )
    st.dataframe(frame, hide_index=True, column_config={"holds": share}, alt="How many prompts of each kind hold")
    if run.chains:
        st.subheader("Hop by hop", anchor=False)
        st.caption("Each fact of a chain asked on its own, with the edit on. The first ✗ is where the chain breaks.")
        for chain in run.chains:
            st.html(probe_tables.chain_html(run, chain)[0])
    st.subheader("Prompt by prompt", anchor=False)
    asked = f"{len(run.comparison.pairs)} prompts before and after in {run.seconds:.1f} s"
    is_silent = any(not pair.after.answer.strip() for pair in run.comparison.pairs)
    silent = (
        " ∅: the model ends its text at once; questions are best asked with the chat template." if is_silent else ""
    )
    st.caption(f"{asked}. Words that differ are marked. {wording.VERDICT_HELP}{silent}")
    pairs = list(zip(run.comparison.pairs, run.divergence, strict=True))
    for kind, (name, about) in KINDS.items():
        mine = [(pair, value) for pair, value in pairs if pair.after.prompt.kind is kind]
        if mine:
            holds = sum(pair.holds is True for pair, _ in mine)
            judged = sum(pair.holds is not None for pair, _ in mine)
            said = f"{holds} of {judged} hold" if judged else f"{len(mine)} asked"
            with st.expander(f"{name}: {said}", expanded=kind in (ProbeKind.REWRITE, ProbeKind.OWN)):
                st.caption(about)
                st.html(probe_tables.pair_table(mine))
    _downloads(run)


def _downloads(run: ProbeRun) -> None:
    with st.container(horizontal=True):
        for name, data, mime in (
            ("csv", probe_tables.probe_frame(run).to_csv(index=False), "text/csv"),
            ("json", probe_tables.probe_json(run), "application/json"),
            ("md", probe_tables.probe_markdown(run), "text/markdown"),
        ):
            st.download_button(
                f"{name.upper()}",
                data,
                f"probes.{name}",
                mime,
                icon=":material/download:",
                on_click="ignore",
                key=f"get-{name}",
            )
