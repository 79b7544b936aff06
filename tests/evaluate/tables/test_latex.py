from __future__ import annotations

from kgmet.evaluate.tables.latex import escape_latex


def test_no_sign_of_a_text_means_anything_in_latex() -> None:
    assert escape_latex("MEMIT_rect: 50 % & 3–4\n#1 $x$") == r"MEMIT\_rect: 50 \% \& 3--4 \#1 \$x\$"
    assert escape_latex(r"\input{~/x^2}") == r"\textbackslash{}input\{\textasciitilde{}/x\textasciicircum{}2\}"
