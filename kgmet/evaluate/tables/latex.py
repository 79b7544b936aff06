"""`escape_latex`: text in a LaTeX table, in which no sign has a meaning."""

from __future__ import annotations

__all__ = ["escape_latex"]

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "→": r"$\rightarrow$",
    "‖": r"$\Vert$",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "“": "``",
    "”": "''",
    "…": r"\dots{}",
    **{sign: f"\\{sign}" for sign in "&%$#_"},
}


def escape_latex(text: str) -> str:
    """Return the text on one line, with every special sign escaped."""
    return "".join(_SPECIAL.get(sign, sign) for sign in " ".join(text.split()))
