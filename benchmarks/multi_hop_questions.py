"""Hand-written questions over several facts, by split, edited relation and asked relation; none is in the catalogue.

The two splits share no wording. Each question has one ``{}`` for the edit's subject, and names or implies the facts in
between.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["QUESTIONS"]

Wordings = Mapping[str, tuple[str, ...]]

_CITIZEN_TUNING: Wordings = {
    "P36": (
        "Which city is the seat of government in the home country of {}?",
        "Where does the parliament meet that makes the laws for the fellow citizens of {}?",
    ),
    "P30": (
        "The home country of {} lies on which continent?",
        "Which continent do the fellow citizens of {} live on?",
    ),
    "P37": (
        "In the home country of {}, which language do officials use?",
        "Which language do the fellow citizens of {} officially speak?",
    ),
    "P38": (
        "In the home country of {}, which money do people pay with?",
        "Which currency do the fellow citizens of {} carry in their pockets?",
    ),
}
_PLACE_TUNING: Wordings = {
    "P17": (
        "The city that is home to {} belongs to which country?",
        "Which nation's flag flies over {}?",
    ),
    "P30": (
        "The city that is home to {} is on which continent?",
        "On which continent does a visitor of {} spend the day?",
    ),
    "P37": (
        "In the country around {}, which language is official?",
        "Which language do the officials around {} speak?",
    ),
    "P38": (
        "In the country around {}, which currency do people use?",
        "With which currency does a visitor buy a postcard at {}?",
    ),
}
_CITIZEN_TEST: Wordings = {
    "P36": (
        "The nation to which {} belonged has its ministries in which city?",
        "Which city was the seat of the rulers of {}'s compatriots?",
    ),
    "P30": (
        "The nation to which {} belonged is part of which continent?",
        "Where on the world map is {}'s homeland, on which continent?",
    ),
    "P37": (
        "The nation to which {} belonged prints its laws in which language?",
        "Which official language do {}'s compatriots share?",
    ),
    "P38": (
        "The nation to which {} belonged issues which currency?",
        "Which money is used for wages in {}'s homeland?",
    ),
}
_PLACE_TEST: Wordings = {
    "P17": (
        "The town around {} lies in which country?",
        "Which country's police keep order at {}?",
    ),
    "P30": (
        "The town around {} lies on which continent?",
        "Which continent do you fly to for a trip to {}?",
    ),
    "P37": (
        "The country whose guidebooks list {} has which official language?",
        "Which language do you have to learn to talk to officials near {}?",
    ),
    "P38": (
        "The country whose guidebooks list {} has which currency?",
        "Which money do you have to change for a trip to {}?",
    ),
}

QUESTIONS: Mapping[str, Mapping[str, Wordings]] = {
    "tuning": {
        "P131": _PLACE_TUNING,
        "P17": {
            "P30": ("The country around {} is on which continent?", "Which continent do the people of {} live on?"),
            "P37": (
                "In the country around {}, which language is official?",
                "Which language do the officials of {} speak?",
            ),
            "P38": (
                "In the country around {}, which currency do people use?",
                "With which currency do the people of {} pay their rent?",
            ),
            "P36": (
                "Which city is the seat of government in the country around {}?",
                "In which city are the laws made that the people of {} obey?",
            ),
        },
        "P36": {"P30": ("The seat of government of {} is on which continent?",)},
        "P159": {
            "P17": (
                "The city with the main office of {} belongs to which country?",
                "In which country do the managers of {} work?",
            ),
            "P30": (
                "The city with the main office of {} is on which continent?",
                "On which continent do the managers of {} work?",
            ),
            "P37": ("In the country with the main office of {}, which language is official?",),
            "P38": ("In the country with the main office of {}, which currency do people use?",),
        },
        "P27": _CITIZEN_TUNING,
        "P19": {
            "P17": (
                "The city in which the parents of {} had their baby belongs to which country?",
                "On the soil of which country was {} born?",
            ),
            "P30": ("The city in which the parents of {} had their baby is on which continent?",),
            "P37": ("In the country in which {} came into the world, which language is official?",),
            "P38": ("In the country in which {} came into the world, which currency do people use?",),
        },
        "P50": {
            "P27": (
                "The person behind {} held the passport of which country?",
                "Which country does the person who thought up {} come from?",
            ),
            "P103": ("As a child, which language did the person behind {} learn first?",),
        },
        "P37": {
            "P282": ("The laws of {} are printed in which script?",),
            "K-language-family": ("The language of the laws of {} belongs to which family of languages?",),
        },
    },
    "test": {
        "P131": _PLACE_TEST,
        "P17": {
            "P30": (
                "The nation whose team {} cheers for is part of which continent?",
                "Which continent do you fly to for a trip to {}?",
            ),
            "P37": (
                "The nation whose team {} cheers for has which official language?",
                "Which language is printed on official forms in {}?",
            ),
            "P38": (
                "The nation whose team {} cheers for issues which currency?",
                "Which money do you have to change for a trip to {}?",
            ),
            "P36": (
                "The nation whose team {} cheers for has its ministries in which city?",
                "Which city sends its laws to the people of {}?",
            ),
        },
        "P36": {"P30": ("Foreign ambassadors to {} work on which continent?",)},
        "P159": {
            "P17": (
                "The chief executive of {} works in a city of which country?",
                "Which country does the board of {} meet in?",
            ),
            "P30": (
                "The chief executive of {} works in a city on which continent?",
                "Which continent does the board of {} meet on?",
            ),
            "P37": ("The country in which the board of {} meets has which official language?",),
            "P38": ("The country in which the board of {} meets has which currency?",),
        },
        "P27": _CITIZEN_TEST,
        "P19": {
            "P17": (
                "The town of {}'s birth lies in which country?",
                "Which country keeps the birth certificate of {}?",
            ),
            "P30": ("The town of {}'s birth lies on which continent?",),
            "P37": ("The country that keeps the birth certificate of {} has which official language?",),
            "P38": ("The country that keeps the birth certificate of {} has which currency?",),
        },
        "P50": {
            "P27": (
                "The pen behind {} was held by a national of which country?",
                "Which country takes pride in the writer of {}?",
            ),
            "P103": ("In which language did the mother of the writer of {} speak to her child?",),
        },
        "P37": {
            "P282": ("Road signs in {} are painted in which script?",),
            "K-language-family": ("The television news of {} is read in a language of which family?",),
        },
    },
}
