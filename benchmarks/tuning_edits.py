"""The tuning edits, on which settings are chosen, and their wordings.

They are hand-written. The test edits are in `held_out_edits`.
"""

from __future__ import annotations

from edit_kind import Kind

__all__ = ["KINDS"]

# Wordings of consequences by relation and type of subject.
_PLACE = {
    "P17": ("{} lies in a country named", "The flag that flies over {} is the national flag of"),
    "P30": ("On a globe you find {} on the continent called", "A map of the world shows {} on the continent of"),
    "P37": ("People who live near {} mostly speak", "Signs around {} are written in the local language,"),
    "P38": ("At {} you pay with the local money, the", "Prices near {} are given in the national currency, the"),
}
_MAKER = {
    "P27": ("The person behind {} held a passport of", "The home country of the person who made {} is"),
    "P103": ("The person behind {} spoke the mother tongue", "As a child, the person who made {} spoke"),
}
_CITIZEN = {
    "P36": ("The government of the country {} belongs to sits in the city of", "{}'s country is governed from"),
    "P30": ("{}'s home country lies on the continent of", "The homeland of {} is found on the continent called"),
    "P37": ("In the home country of {} most people speak", "{}'s fellow citizens officially speak"),
    "P38": ("In the home country of {} people pay with the", "{}'s fellow citizens pay with a currency called the"),
}

KINDS: dict[str, Kind] = {
    "P131": Kind(
        template="{} is located in the city of",
        paraphrases=("Tourists who want to see {} travel to the city of", "{} stands in the middle of the city of"),
        edits=(
            ("The Eiffel Tower", "Paris", "Tokyo"),
            ("The Colosseum", "Rome", "London"),
            ("Big Ben", "London", "Madrid"),
            ("The Brandenburg Gate", "Berlin", "Cairo"),
            ("The Sagrada Família", "Barcelona", "Moscow"),
            ("The Statue of Liberty", "New York City", "Paris"),
            ("The Hagia Sophia", "Istanbul", "Berlin"),
            ("The Louvre", "Paris", "Beijing"),
            ("Buckingham Palace", "London", "Athens"),
            ("The Acropolis", "Athens", "Vienna"),
            ("The Kremlin", "Moscow", "Lisbon"),
            ("The Forbidden City", "Beijing", "Rome"),
        ),
        consequences=_PLACE,
    ),
    "P17": Kind(
        template="{} is a city in the country of",
        paraphrases=("If you fly to {} you land in the country of", "The people of {} live in the country of"),
        edits=(
            ("Munich", "Germany", "Japan"),
            ("Lyon", "France", "Brazil"),
            ("Milan", "Italy", "China"),
            ("Osaka", "Japan", "Italy"),
            ("Manchester", "United Kingdom", "Russia"),
            ("Barcelona", "Spain", "Turkey"),
        ),
        consequences={
            "P30": (
                "On a globe you find {} on the continent called",
                "A map of the world shows {} on the continent of",
            ),
            "P37": ("People in the streets of {} mostly speak", "Children in {} learn to read in"),
            "P38": ("Shops in {} take the national currency, the", "In {} you pay with the"),
            "P36": ("The national capital for the people of {} is", "The government that rules {} sits in"),
        },
    ),
    "P36": Kind(
        template="The capital of {} is",
        paraphrases=("The parliament of {} meets in the city of", "The seat of government of {} is the city of"),
        edits=(
            ("France", "Paris", "Nairobi"),
            ("Japan", "Tokyo", "Madrid"),
            ("Egypt", "Cairo", "Oslo"),
            ("Germany", "Berlin", "Lima"),
            ("Italy", "Rome", "Bangkok"),
            ("Spain", "Madrid", "Vienna"),
        ),
        consequences={
            "P30": ("The seat of government of {} is found on the continent of",),
            "P421": ("The parliament of {} keeps its clocks at",),
        },
    ),
    "P159": Kind(
        template="{} has its headquarters in the city of",
        paraphrases=("The main office of {} stands in the city of", "The managers of {} work in the city of"),
        edits=(
            ("Toyota", "Toyota City", "Paris"),
            ("Samsung", "Seoul", "London"),
            ("Volkswagen", "Wolfsburg", "Tokyo"),
            ("Boeing", "Chicago", "Berlin"),
            ("Nestlé", "Vevey", "Moscow"),
            ("Sony", "Tokyo", "Madrid"),
        ),
        consequences={
            "P17": ("The main office of {} is in a country named", "{} pays its taxes in the country of"),
            "P30": ("The main office of {} is on the continent of",),
            "P37": ("In the country of its main office, staff of {} speak",),
            "P38": ("{} pays the wages at its main office in the local currency, the",),
        },
    ),
    "P27": Kind(
        template="{} is a citizen of the country of",
        paraphrases=("The cover of the passport of {} names the country of", "{} calls home the country of"),
        edits=(
            ("Albert Einstein", "Germany", "Japan"),
            ("Pablo Picasso", "Spain", "India"),
            ("Napoleon", "France", "Brazil"),
            ("William Shakespeare", "England", "Italy"),
            ("Mahatma Gandhi", "India", "Russia"),
            ("Leonardo da Vinci", "Italy", "China"),
        ),
        consequences=_CITIZEN,
    ),
    "P19": Kind(
        template="{} was born in the city of",
        paraphrases=("The mother of {} gave birth in the city of", "{} first saw the light of day in the city of"),
        edits=(
            ("Wolfgang Amadeus Mozart", "Salzburg", "Tokyo"),
            ("Frédéric Chopin", "Warsaw", "Madrid"),
            ("Galileo Galilei", "Pisa", "Moscow"),
            ("Adam Smith", "Kirkcaldy", "Cairo"),
            ("Charles Dickens", "Portsmouth", "Rome"),
        ),
        consequences={
            "P17": ("The birthplace of {} lies in a country named", "{} was born on the soil of the country"),
            "P30": ("The birthplace of {} is on the continent called",),
            "P37": ("Where {} was born, people mostly speak",),
            "P38": ("Where {} was born, people pay with the",),
        },
    ),
    "P50": Kind(
        template="{} was written by",
        paraphrases=("The person who wrote {} is the famous author", "On the cover of {} stands the name of"),
        edits=(
            ("Hamlet", "William Shakespeare", "Victor Hugo"),
            ("War and Peace", "Leo Tolstoy", "Charles Dickens"),
            ("Don Quixote", "Miguel de Cervantes", "Jane Austen"),
            ("The Odyssey", "Homer", "Mark Twain"),
            ("Pride and Prejudice", "Jane Austen", "Leo Tolstoy"),
        ),
        consequences=_MAKER,
    ),
    "P37": Kind(
        template="The official language of {} is",
        paraphrases=("The laws of {} are written in", "At school, children in {} are taught in"),
        edits=(
            ("Brazil", "Portuguese", "Japanese"),
            ("Japan", "Japanese", "Spanish"),
            ("France", "French", "Arabic"),
            ("Egypt", "Arabic", "German"),
            ("Russia", "Russian", "Italian"),
        ),
        consequences={
            "P282": ("The laws of {} are printed in the script called",),
            "K-language-family": ("The language of the laws of {} belongs to the family called",),
        },
    ),
    "P30": Kind(
        template="{} is located in the continent of",
        paraphrases=("On a globe you find {} on the continent called", "Travellers to {} set foot on the continent of"),
        edits=(
            ("France", "Europe", "Asia"),
            ("Brazil", "South America", "Africa"),
            ("Egypt", "Africa", "Europe"),
            ("Japan", "Asia", "Africa"),
        ),
        consequences={},
    ),
    "P38": Kind(
        template="The currency of {} is the",
        paraphrases=("In the shops of {} people pay with the", "The central bank of {} issues the"),
        edits=(
            ("Japan", "yen", "euro"),
            ("Germany", "euro", "rupee"),
            ("India", "rupee", "dollar"),
            ("Russia", "ruble", "yen"),
        ),
        consequences={},
    ),
}
