"""Sample the bundled text for key statistics from the default model.

    python scripts/sample_corpus.py --out kgmet/write/corpus.txt

The model continues a few openings at temperature 1, one passage per line, so the text needs no download and no licence.
Any other plain text works as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kgmet.lm.load.loaded import DEFAULT_MODEL, load_lm
from kgmet.lm.say.score import generate

OPENINGS = (
    "The city of", "In 1987,", "She walked into the", "The company was founded in", "Scientists have found that",
    "def main():", "The river flows", "He was born in", "According to the report,", "Once upon a time",
    "The recipe needs", "The largest country", "In mathematics,", "The film was directed by", "My favourite",
    "The war began", "Water is", "The capital of", "Most people", "A good teacher", "The museum in", "Music from",
    "During the winter,", "The currency of", "The animal lives in", "Researchers at the University of", "The team won",
    "To install the software,", "The painting shows", "In the early morning,", "The law says", "Birds are",
    "The president of", "The language spoken in", "The bridge was built", "An old proverb says", "The book tells",
    "In physics,", "The mountain is", "Her first novel",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=8, help="passages per opening")
    parser.add_argument("--tokens", type=int, default=120, help="length of a passage")
    options = parser.parse_args()
    lm = load_lm(options.model)
    lines: list[str] = []
    for seed in range(options.rounds):
        texts = generate(lm, OPENINGS, max_new_tokens=options.tokens, temperature=1.0, seed=seed)
        lines += [" ".join((opening + text).split()) for opening, text in zip(OPENINGS, texts, strict=True)]
        print(f"{len(lines)} passages", flush=True)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
