"""Block of the Models page: choose settings for this model on facts it knows, and put the result to use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from kgmet.calibrate.calibrate import FEWEST_FACTS, CalibrationConfig
from kgmet.calibrate.halving import Budget
from kgmet.editing.editors import EDITORS
from kgmet.editing.profile import ModelProfile
from kgmet.lm.load.loaded import LoadedLM
from workbench import wording
from workbench.running.jobs import Job, JobState
from workbench.running.resources import Resident
from workbench.screens.models import measuring, view
from workbench.shared import panels
from workbench.shared.table_panel import set_table
from workbench.state.session import WorkbenchState, default_of

__all__ = ["calibration", "settings_in_use"]

_UNITS = ("settings", "minutes")
_MOST_SETTINGS = 200
_REMARKS_SHOWN = 12
_DEFAULTS = {"budget-unit": _UNITS[0], "budget-settings": 9, "budget-minutes": 10, "calibrate-facts": 20}
_KEYS = ("calibrate-editors", *_DEFAULTS)
_CHOICES = "calibrate-choices"
"""What was chosen in the form when a calibration was started last."""


def settings_in_use(state: WorkbenchState, lm: LoadedLM) -> None:
    """Say for the chosen editor where its settings for this model come from."""
    st.markdown(
        f"Settings of **{wording.safe(state.editor.name)}**: {wording.safe(default_of(state.editor).sentence)}."
    )


def calibration(state: WorkbenchState, resident: Resident) -> None:
    """Show the form, the running job, the result, and what is in use."""
    lm = resident.lm
    st.caption(
        "Settings do not carry over between models. Calibrating tries some on facts this model knows, keeps the best, "
        "and checks them once on other facts in other words. Everything measured is kept, so stop at any time."
    )
    job = state.job(measuring.CALIBRATE)
    if job is not None and not job.is_finished:
        panels.job_panel(job, draw=_explain, n_remark=_REMARKS_SHOWN)
    else:
        _outcome(job)
        _form(state, resident)
    _result(lm)
    _in_use(lm)


def _explain(job: Job) -> None:
    """Say what the lines of the running job mean."""
    if job.remarks:
        st.caption(
            "A line for each setting tried: score from 0 to 1, what differs from the uncalibrated settings, and "
            "preferred / first answer in % of the prompts."
        )


def _form(state: WorkbenchState, resident: Resident) -> None:
    lm = resident.lm
    _restore({"calibrate-editors": [state.editor.name], **_DEFAULTS})
    editors = st.multiselect("Editors", list(EDITORS), key="calibrate-editors", help="Each gets the same budget.")
    first, second, third = st.columns(3, vertical_alignment="bottom")
    unit = first.segmented_control("Budget of each editor in", _UNITS, key="budget-unit", required=True)
    if unit == _UNITS[0]:
        amount = second.number_input(
            "Settings compared", 2, _MOST_SETTINGS, key="budget-settings", help="The same choices give the same result."
        )
        budget = Budget(settings=int(amount))
    else:
        amount = second.number_input(
            "Minutes of search", 1, 600, key="budget-minutes", help="The result then depends on the machine."
        )
        budget = Budget(settings=_MOST_SETTINGS, seconds=60.0 * int(amount))
    facts = third.number_input(
        "Facts edited",
        2 * FEWEST_FACTS,
        400,
        key="calibrate-facts",
        help="Two fifths to choose settings on, the others for the check.",
    )
    config = CalibrationConfig(budget=budget, facts=int(facts))
    found, n_kept = measuring.estimated(state, lm, config, n_editor=len(editors))
    st.caption(wording.safe(view.estimate_words(found, n_kept)))
    if st.button("Calibrate", type="primary", icon=":material/tune:", key="calibrate", disabled=state.is_busy):
        st.session_state[_CHOICES] = {key: st.session_state[key] for key in _KEYS if key in st.session_state}
        said = measuring.start_calibration(state, resident, editors, config)
        panels.message(said, kind="warning")
        if said is None:
            st.rerun()


def _restore(defaults: Mapping[str, Any]) -> None:
    """Give each field what was chosen last: a widget that is not drawn while the job runs is forgotten."""
    chosen = st.session_state.get(_CHOICES, {})
    for key, value in defaults.items():
        if key not in st.session_state:
            st.session_state[key] = chosen.get(key, value)


def _outcome(job: Job | None) -> None:
    if job is None:
        return
    panels.job_result(
        job, stopped="Stopped. What was measured is kept: calibrate with the same choices to go on from there."
    )
    if job.state is JobState.DONE and job.value:
        panels.message(f"Not calibrated. {job.value}", kind="warning")


def _result(lm: LoadedLM) -> None:
    found, fault = measuring.found_profile(lm)
    panels.message(fault, kind="warning")
    if found is None:
        return
    st.subheader("Result of the last calibration", anchor=False)
    for name, editor in found.editors.items():
        st.markdown(wording.safe(view.profile_words(editor)))
        set_table(view.check_table(editor), stem=f"check-{name}")
        st.caption(
            f"Check on {editor.n_check} facts that no settings were chosen on: preferred / first answer, n prompts, "
            "95 % interval of preferred."
        )
    used = measuring.profile_in_use(lm)[0]
    with st.container(horizontal=True, vertical_alignment="center"):
        if view.same_settings(used, found):
            st.badge("in use", color="green", icon=":material/check:")
        elif st.button("Use this profile", type="primary", icon=":material/check:", key="profile-use"):
            said = measuring.use_profile(lm, found)
            panels.message(said)
            if said is None:
                st.rerun()
        _download(lm, found, key="profile-found")


def _in_use(lm: LoadedLM) -> None:
    st.subheader("Profile in use", anchor=False)
    used, is_own, fault = measuring.profile_in_use(lm)
    panels.message(fault, kind="warning")
    if used is None:
        st.markdown("None: every editor has its uncalibrated settings.")
    else:
        where = "Calibrated or brought along on this machine." if is_own else "It comes with the program."
        st.caption(f"{where} Everybody who uses this workbench edits this model with it.")
        st.markdown("\n".join(f"- {wording.safe(view.profile_words(editor))}" for editor in used.editors.values()))
        _download(lm, used, key="profile-used")
    if is_own and st.button("Stop using it", icon=":material/restart_alt:", key="profile-drop"):
        said = measuring.drop_profile(lm)
        panels.message(said)
        if said is None:
            st.rerun()
    with st.expander("Use a profile from a file", icon=":material/upload_file:"):
        given = st.file_uploader(
            "Profile, as downloaded here or written by calibrate --out", type=["json"], key="profile-file"
        )
        if st.button("Use it", key="profile-upload", disabled=given is None) and given is not None:
            said = measuring.upload_profile(lm, given.getvalue(), name=given.name)
            panels.message(said)
            if said is None:
                panels.message("This profile is in use now.", kind="success")


def _download(lm: LoadedLM, profile: ModelProfile, *, key: str) -> None:
    st.download_button(
        "Download",
        measuring.profile_text(profile),
        f"profile-{lm.fingerprint}.json",
        "application/json",
        icon=":material/download:",
        on_click="ignore",
        key=key,
    )
