"""Small records of every schema, made up for the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LANDMARKS = [
    ("The Eiffel Tower", "Paris", "Rome"),
    ("Big Ben", "London", "Berlin"),
    ("The Louvre", "Paris", "London"),
    ("The Colosseum", "Rome", "Paris"),
    ("The Reichstag", "Berlin", "Rome"),
    ("The Pantheon", "Rome", "London"),
]


def counterfact(number: int = 0, **changes: Any) -> dict[str, Any]:
    subject, true, new = LANDMARKS[number % len(LANDMARKS)]
    subject = subject if number < len(LANDMARKS) else f"{subject} {number}"
    record = {
        "case_id": number,
        "requested_rewrite": {
            "prompt": "{} is located in the city of",
            "relation_id": "P131",
            "target_new": {"str": new, "id": None},
            "target_true": {"str": true, "id": None},
            "subject": subject,
        },
        "paraphrase_prompts": [f"It is well known. {subject} is in", f"As the guide said, {subject} is in"],
        "neighborhood_prompts": ["The Louvre is located in the city of", "The towers of the city of"],
        "generation_prompts": [f"{subject} is known for", f"The city of {subject}"],
    }
    return record | changes


def zsre(**changes: Any) -> dict[str, Any]:
    record = {
        "subject": "Big Ben",
        "prompt": "Which city is Big Ben in?",
        "target_new": "Rome",
        "ground_truth": ["London"],
        "rephrase_prompt": "In what city does Big Ben stand?",
        "locality": {"Relation_Specificity": [{"prompt": "The river at Big Ben is", "ground_truth": ["Thames"]}]},
        "portability": {"Reasoning": [{"prompt": "Which country is Big Ben in?", "ground_truth": "Italy"}]},
    }
    return record | changes


def mquake(number: int = 1, **changes: Any) -> dict[str, Any]:
    def hop(question: str, cloze: str, answer: str, *aliases: str) -> dict[str, Any]:
        return {"question": question, "cloze": cloze, "answer": answer, "answer_alias": list(aliases)}

    record = {
        "case_id": number,
        "requested_rewrite": [
            {
                "prompt": "{} is located in the city of",
                "relation_id": "P131",
                "target_new": {"str": "Rome", "id": "Q220"},
                "target_true": {"str": "London", "id": "Q84"},
                "subject": "Big Ben",
                "question": "Which city is Big Ben in?",
            }
        ],
        "questions": ["What is the country of the city of Big Ben?", "In which country is Big Ben?"],
        "answer": "England",
        "answer_alias": ["UK"],
        "new_answer": "Italy",
        "new_answer_alias": ["Italia"],
        "single_hops": [
            hop("Which city?", "Big Ben is located in the city of", "London"),
            hop("Which country?", "London is in", "England"),
        ],
        "new_single_hops": [
            hop("Which city?", "Big Ben is located in the city of", "Rome"),
            hop("Which country?", "Rome is in", "Italy", "Italia"),
        ],
        "orig": {
            "new_triples": [["Q1", "P131", "Q220"], ["Q220", "P17", "Q38"]],
            "new_triples_labeled": [["Big Ben", "city", "Rome"], ["Rome", "country", "Italy"]],
        },
    }
    return record | changes


def written(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path
