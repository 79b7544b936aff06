"""Frame of every page: navigation, style sheet, the sidebar with model and edits, the first-visit guide."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import streamlit as st

from kgmet.base.errors import ConfigError
from workbench import wording
from workbench.drawing.graph_svg import INKS
from workbench.running import uploads
from workbench.running.access import access, door
from workbench.running.resources import model_holder, threads
from workbench.running.users import User, claims, sign_out, user_of
from workbench.screens.chat import kept as chat_kept
from workbench.screens.forensics import kept as forensics_kept
from workbench.screens.foresee import kept as foresee_kept
from workbench.screens.models import actions as model_actions
from workbench.screens.orthogonality import kept as protection_kept
from workbench.screens.probe import kept as probe_kept
from workbench.screens.report_card import kept as card_kept
from workbench.screens.shift import kept as shift_kept
from workbench.screens.trace import kept as trace_kept
from workbench.shared import link_panels, publishing, told
from workbench.shared.live_region import live_region
from workbench.state import compared, session
from workbench.state.kept import keeps
from workbench.state.session import WorkbenchState

__all__ = ["COLOURS", "KEPT", "PAGES", "run"]

PAGES = {
    "Edit": (("edit", "Edit", "edit"), ("graph", "Graph", "hub"), ("foresee", "Foresee", "query_stats")),
    "Look inside": (
        ("shift", "Shift", "moving"),
        ("trace", "Trace", "timeline"),
        ("orthogonality", "Orthogonality", "grid_on"),
    ),
    "Check": (
        ("probe", "Probe", "quiz"),
        ("chat", "Chat", "forum"),
        ("report_card", "Report card", "fact_check"),
        ("compare", "Compare", "compare"),
        ("benchmark", "Benchmark", "speed"),
        ("forensics", "Inspect an edit", "policy"),
    ),
    "Keep": (("ledger", "Ledger", "history"), ("share", "Share", "ios_share")),
    "About": (("models", "Models", "memory"), ("method", "Method", "menu_book")),
}
"""Section → (script in `pages/`, title, icon). Missing scripts are not listed."""
COLOURS = {
    theme: {
        "good": ink.good,
        "near": near,
        "bad": ink.bad,
        "old-words": ink.old_words,
        "quiet": ink.grey,
        "active": active,
        "ground": ink.ground,
    }
    for theme, ink, near, active in (
        ("light", INKS["light"], "#855600", "#0064a1"),
        ("dark", INKS["dark"], "#f0b429", "#7cc4f0"),
    )
}
"""Theme → colours of words, by the name of their variable in the style sheets, and the ground they stand on."""
_PAGE = "kg-page"
"""Id of the place where a page begins."""

KEPT = (
    told.CODEC,
    publishing.CODEC,
    compared.CODEC,
    *chat_kept.CODECS,
    *probe_kept.CODECS,
    *foresee_kept.CODECS,
    *card_kept.CODECS,
    *shift_kept.CODECS,
    *protection_kept.CODECS,
    *trace_kept.CODECS,
    *forensics_kept.CODECS,
)
"""Results that survive a restart."""

# Before any session is read back, and so before its screens are imported.
keeps(*KEPT)


def run(root: Path) -> None:
    """Run one page inside the frame."""
    # Before the pages are declared; otherwise the browser fetches the tab's icon from another server.
    st.set_page_config(page_title=wording.APP_TITLE, page_icon=_asset(root, "icon.svg"), layout="wide")
    start = st.Page(_start, title=wording.APP_TITLE, default=True, visibility="hidden")
    listed = _pages(root)
    try:
        is_open, why_not = _may_enter(), ""
    except ConfigError as error:
        is_open, why_not = False, str(error)
    page = st.navigation({"": [start], **listed}, expanded=True, position="sidebar" if is_open else "hidden")
    if page == start:
        # The default page has only the root address, so it is none of ours: a link to /edit must work too.
        st.switch_page(next(iter(listed.values()))[0], query_params=st.query_params.to_dict())
    st.set_page_config(page_title=f"{page.title} · {wording.APP_TITLE}")
    _style(root)
    if not is_open:
        uploads.dismiss()
        _ask_to_enter(why_not)
        return
    uploads.admit()
    threads()
    state = session.current()
    _skip_link()
    # These slots are always there: were they to come and go, all that follows would be another element to the browser,
    # and what is being typed into it would be lost.
    with st.container(key="remember"):
        _remember(state)
    if _asset(root, "logo.svg"):
        st.logo(str(root / "assets" / "logo.svg"), size="large", icon_image=str(root / "assets" / "icon.svg"))
    with st.container(key="session-notes"):
        _session_notes(state)
    with st.container(key="link-slot"):
        link_panels.opened_link(
            state, model_holder().resident, partial(model_actions.load_again, state, model_holder())
        )
    with st.container(key="guide-slot"):
        if not state.is_guide_seen and link_panels.PARAMETER not in st.query_params:
            _guide(state)
    with st.sidebar:
        _sidebar(state)
    with st.container(key="live-slot"):
        live_region(state)
    with st.container(key="page-begins"):
        st.html(f'<span id="{_PAGE}" tabindex="-1"></span>')
    page.run()


def _pages(root: Path) -> dict[str, list[st.Page]]:
    listed: dict[str, list[st.Page]] = {}
    for section, scripts in PAGES.items():
        found = [
            st.Page(root / "pages" / f"{name}.py", title=title, icon=f":material/{icon}:")
            for name, title, icon in scripts
            if (root / "pages" / f"{name}.py").is_file()
        ]
        if found:
            listed[section] = found
    return listed


def _skip_link() -> None:
    """Show, to the keyboard alone, a first link that leads past the navigation to the page itself."""
    with st.container(key="skip"):
        st.html(f'<a class="kg-skip" href="#{_PAGE}" tabindex="1">Skip to the page</a>')


def _start() -> None:
    """Show nothing: the root redirects to the first page."""


def _asset(root: Path, name: str) -> str | None:
    path = root / "assets" / name
    return str(path) if path.is_file() else None


def _style(root: Path) -> None:
    colours = COLOURS["dark" if st.context.theme.type == "dark" else "light"]
    st.html(f"<style>:root {{ {' '.join(f'--kg-{name}: {colour};' for name, colour in colours.items())} }}</style>")
    for sheet in ("style.css", "answers.css"):
        if _asset(root, sheet):
            st.html(root / "assets" / sheet)


def _may_enter() -> bool:
    """Return whether the visitor is signed in with an account that may enter, or gave the password, where one is asked.

    Raises:
        ConfigError: if the provider or the settings do not say who that is.
    """
    if access().asks_account:
        user = user_of(claims())
        return user is not None and user.is_among(access().users)
    return door().is_open_to(session.known_id())


def _ask_to_enter(why_not: str) -> None:
    """Show how to enter; nothing of the pages or of any session is shown before."""
    if why_not:
        st.error(wording.safe(why_not))
        if claims() is not None:
            st.button("Sign out", icon=":material/logout:", on_click=sign_out, key="sign-out")
    elif access().asks_account:
        _ask_account(user_of(claims()))
    else:
        _ask_password()


def _ask_account(user: User | None) -> None:
    with st.container(border=True, key="door"):
        st.subheader(wording.APP_TITLE, anchor=False)
        if user is None:
            st.button("Sign in", type="primary", icon=":material/login:", on_click=st.login, key="sign-in")
            if link_panels.PARAMETER in st.query_params:
                st.caption("Open the link to the result once more after you have signed in.")
        else:
            st.error(wording.safe(f"{user.email or user.name} may not enter. Ask the operator of this server."))
            st.button("Sign out", icon=":material/logout:", on_click=sign_out, key="sign-out")


def _ask_password() -> None:
    with st.container(border=True, key="door"), st.form("password", border=False):
        st.subheader(wording.APP_TITLE, anchor=False)
        typed = st.text_input("Password", type="password", max_chars=400, key="typed-password")
        if st.form_submit_button("Enter", type="primary") and typed:
            if door().fits(typed):
                door().let_in(session.current().session_id)
                st.rerun()
            st.error("Wrong password. Ask the operator of this server.")


def _remember(state: WorkbenchState) -> None:
    """Give the browser the session's id, so that it finds its edits after a reload or a restart of the server."""
    if access().asks_account or st.context.cookies.get(session.cookie_name()) == state.session_id:
        return
    cookie = f"{session.cookie_name()}={state.session_id}; path=/; max-age=31536000; SameSite=Strict"
    only_encrypted = 'location.protocol === "https:" ? "; Secure" : ""'  # behind a proxy the server does not know
    st.html(
        f"<script>document.cookie = {json.dumps(cookie)} + ({only_encrypted});</script>", unsafe_allow_javascript=True
    )


def _session_notes(state: WorkbenchState) -> None:
    """Say what of this session is not saved, or could not be read back."""
    if state.unsaved:
        st.error(f"**Not saved:** {wording.safe(state.unsaved)}\n\n{wording.UNSAVED}", icon=":material/cloud_off:")
        st.button("Save again", on_click=state.save_again, icon=":material/save:", key="save-again")
    if state.damage:
        lines = wording.at_most([*state.damage, wording.kept_aside(state.damaged_folder)], 12)
        st.warning(
            f"{wording.DAMAGED}\n\n" + "\n".join(f"- {wording.safe(line)}" for line in lines), icon=":material/healing:"
        )
        st.button("Close this note", on_click=state.close_damage, icon=":material/check:", key="close-damage")


def _guide(state: WorkbenchState) -> None:
    with st.container(border=True, key="guide"):
        st.subheader("Five steps", anchor=False)
        for column, (number, (name, text)) in zip(
            st.columns(len(wording.GUIDE)), enumerate(wording.GUIDE, start=1), strict=True
        ):
            column.markdown(f"**{number}. {wording.safe(name)}**")
            column.caption(wording.safe(text))
        st.button("Got it", on_click=state.close_guide, icon=":material/check:")


def _sidebar(state: WorkbenchState) -> None:
    resident = model_holder().resident
    with st.container(key="sidebar-state"):
        if resident is None:
            st.caption("Model: not loaded yet")
        else:
            lm = resident.lm
            st.caption("Model")
            st.text(wording.short(lm.name, 40))
            st.caption(
                f"{lm.device} · {str(lm.dtype).removeprefix('torch.')} · {lm.n_parameter / 1e6:.0f} M parameters"
            )
            is_ready = resident.statistics.is_ready(state.config.write.layers)
            st.caption(f"Statistics: {'ready' if is_ready else 'measured with the first edit'}")
        live = len(state.live(None if resident is None else resident.lm))
        live_words = f"{wording.count(live, 'edit')} live"
        st.badge(live_words, color="blue" if live else "gray", icon=":material/layers:")
        job = state.job()
        if job is not None and not job.is_finished:
            st.badge("work under way", color="orange", icon=":material/hourglass:")
        if access().asks_account:
            user = user_of(claims())
            st.caption(wording.safe("" if user is None else f"Signed in as {user.name}"))
            st.button("Sign out", on_click=sign_out, type="tertiary", icon=":material/logout:", key="sign-out")
        if state.is_guide_seen:
            st.button("Show the guide", on_click=state.open_guide, type="tertiary", icon=":material/help:")
