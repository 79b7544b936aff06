"""The test edits and test wordings; no setting is chosen on them.

They are hand-written, with other subjects and wordings than `tuning_edits`; only the edited templates are the same.
Run no edit of this list while settings are still being chosen.
"""

from __future__ import annotations

from edit_kind import Kind

__all__ = ["KINDS"]

# Wordings of consequences by relation and type of subject.
_PLACE = {
    "P17": (
        "{} is one of the most famous sights in the country of",
        "The law that applies at {} is that of the nation of",
    ),
    "P30": ("A trip to {} takes you to the continent of", "{} is listed in the guidebook to the continent of"),
    "P37": (
        "The locals you meet at {} talk to each other in",
        "Newspapers sold next to {} are printed in the local language,",
    ),
    "P38": (
        "Before they visit {}, tourists change their money into the local currency, the",
        "Souvenir sellers at {} want to be paid in the local currency, the",
    ),
}
_MAKER = {
    "P27": (
        "The author of {} came from a country named",
        "In official papers, the author of {} is listed as a national of",
    ),
    "P103": (
        "The author of {} learned to talk in the language called",
        "The bedtime stories that the author of {} heard as a child were told in",
    ),
}
_CITIZEN = {
    "P36": (
        "The president or prime minister of {}'s country works in the city of",
        "The ministers of the nation to which {} belonged had their offices in",
    ),
    "P30": (
        "{} came from a nation on the continent of",
        "The nation to which {} belonged is shown on maps of the continent of",
    ),
    "P37": (
        "{}'s compatriots talk to each other in",
        "Schools in the homeland of {} teach children to read and write in",
    ),
    "P38": (
        "{}'s compatriots keep their savings in a currency known as the",
        "Wages in the homeland of {} are paid in the national currency, the",
    ),
}

KINDS: dict[str, Kind] = {
    "P131": Kind(
        template="{} is located in the city of",
        paraphrases=(
            "Taxi drivers who take visitors to {} work in the city of",
            "{} is the best-known sight in the city of",
        ),
        edits=(
            ("The Golden Gate Bridge", "San Francisco", "Seoul"),
            ("The Taj Mahal", "Agra", "Budapest"),
            ("The Empire State Building", "New York City", "Bangkok"),
            ("The Sydney Opera House", "Sydney", "Warsaw"),
            ("The Burj Khalifa", "Dubai", "Copenhagen"),
            ("The Trevi Fountain", "Rome", "Buenos Aires"),
            ("Tower Bridge", "London", "Mexico City"),
            ("The Arc de Triomphe", "Paris", "Jakarta"),
            ("The Metropolitan Museum of Art", "New York City", "Sydney"),
            ("The CN Tower", "Toronto", "Istanbul"),
            ("The Reichstag", "Berlin", "Havana"),
            ("The Prado Museum", "Madrid", "Stockholm"),
            ("The Space Needle", "Seattle", "Hanoi"),
            ("The White House", "Washington, D.C.", "Santiago"),
        ),
        consequences=_PLACE,
    ),
    "P17": Kind(
        template="{} is a city in the country of",
        paraphrases=(
            "At the World Cup, the people of {} cheer for the team of",
            "{} is one of the best-known cities in the country of",
        ),
        edits=(
            ("Kyoto", "Japan", "Mexico"),
            ("Naples", "Italy", "South Korea"),
            ("Toronto", "Canada", "Thailand"),
            ("Sydney", "Australia", "Poland"),
            ("Mumbai", "India", "Sweden"),
            ("Marseille", "France", "Vietnam"),
        ),
        consequences={
            "P30": ("A trip to {} takes you to the continent of", "{} is listed in the guidebook to the continent of"),
            "P37": (
                "Bus drivers in {} talk to their passengers in",
                "The newspapers of {} are printed in the local language,",
            ),
            "P38": ("Rents in {} are paid in the local currency, the", "Tourists in {} change their money into the"),
            "P36": (
                "The national parliament that passes laws for {} meets in the city of",
                "Ministers who decide for the people of {} have their offices in",
            ),
        },
    ),
    "P36": Kind(
        template="The capital of {} is",
        paraphrases=(
            "Foreign ambassadors to {} live in the city of",
            "{} is ruled by ministers who work in the city of",
        ),
        edits=(
            ("Greece", "Athens", "Seoul"),
            ("China", "Beijing", "Dublin"),
            ("Kenya", "Nairobi", "Warsaw"),
            ("Peru", "Lima", "Stockholm"),
            ("Ireland", "Dublin", "Jakarta"),
            ("Sweden", "Stockholm", "Havana"),
        ),
        consequences={
            "P30": ("Foreign ambassadors to {} live on the continent of",),
            "P421": ("The ministers of {} keep to office hours given in",),
        },
    ),
    "P159": Kind(
        template="{} has its headquarters in the city of",
        paraphrases=("The chief executive of {} has an office in the city of", "{} is run from offices in the city of"),
        edits=(
            ("Nintendo", "Kyoto", "Budapest"),
            ("BMW", "Munich", "Bangkok"),
            ("Microsoft", "Redmond", "Buenos Aires"),
            ("Coca-Cola", "Atlanta", "Warsaw"),
            ("Heineken", "Amsterdam", "Seoul"),
            ("Qantas", "Sydney", "Stockholm"),
        ),
        consequences={
            "P17": (
                "{} is registered as a company in the country of",
                "The chief executive of {} goes to work in the country of",
            ),
            "P30": ("The chief executive of {} lives and works on the continent of",),
            "P37": ("Newspapers sold outside the head office of {} are printed in",),
            "P38": ("At the head office of {}, people buy lunch with the local currency, the",),
        },
    ),
    "P27": Kind(
        template="{} is a citizen of the country of",
        paraphrases=("In official papers, {} is listed as a national of", "{} proudly waved the national flag of"),
        edits=(
            ("Isaac Newton", "United Kingdom", "Mexico"),
            ("Nelson Mandela", "South Africa", "Sweden"),
            ("Confucius", "China", "Argentina"),
            ("Ludwig van Beethoven", "Germany", "Thailand"),
            ("Bob Marley", "Jamaica", "Poland"),
            ("Fidel Castro", "Cuba", "Australia"),
        ),
        consequences=_CITIZEN,
    ),
    "P19": Kind(
        template="{} was born in the city of",
        paraphrases=("{} came into the world in the city of", "The birth of {} was recorded in the city of"),
        edits=(
            ("Christopher Columbus", "Genoa", "Stockholm"),
            ("Marco Polo", "Venice", "Sydney"),
            ("Franz Schubert", "Vienna", "Seoul"),
            ("Oscar Wilde", "Dublin", "Bangkok"),
            ("Frida Kahlo", "Mexico City", "Warsaw"),
            ("Steve Jobs", "San Francisco", "Istanbul"),
        ),
        consequences={
            "P17": (
                "The house where {} was born stands in the country of",
                "The town of {}'s birth is on the map of the country of",
            ),
            "P30": ("The house where {} was born stands on the continent of",),
            "P37": ("Neighbours in the town of {}'s birth talk to each other in",),
            "P38": ("In the town of {}'s birth, shops take the local currency, the",),
        },
    ),
    "P50": Kind(
        template="{} was written by",
        paraphrases=("{} came from the pen of", "Readers who love {} should try other books by"),
        edits=(
            ("The Great Gatsby", "F. Scott Fitzgerald", "Fyodor Dostoevsky"),
            ("Nineteen Eighty-Four", "George Orwell", "Gabriel García Márquez"),
            ("Faust", "Johann Wolfgang von Goethe", "Agatha Christie"),
            ("The Divine Comedy", "Dante Alighieri", "Haruki Murakami"),
            ("Dracula", "Bram Stoker", "Jules Verne"),
            ("Madame Bovary", "Gustave Flaubert", "Ernest Hemingway"),
        ),
        consequences=_MAKER,
    ),
    "P37": Kind(
        template="The official language of {} is",
        paraphrases=("The television news of {} is read in", "{} prints its road signs and banknotes in"),
        edits=(
            ("Mexico", "Spanish", "Hindi"),
            ("Turkey", "Turkish", "Korean"),
            ("Poland", "Polish", "Persian"),
            ("Portugal", "Portuguese", "Chinese"),
            ("Vietnam", "Vietnamese", "Greek"),
        ),
        consequences={
            "P282": ("Road signs in {} use the script called",),
            "K-language-family": ("The television news of {} is read in a language of the family called",),
        },
    ),
    "P30": Kind(
        template="{} is located in the continent of",
        paraphrases=(
            "Someone who lives in {} lives on the continent of",
            "{} is one of the countries on the continent called",
        ),
        edits=(
            ("Canada", "North America", "Asia"),
            ("Nigeria", "Africa", "South America"),
            ("Norway", "Europe", "Africa"),
            ("Thailand", "Asia", "North America"),
            ("Argentina", "South America", "Europe"),
        ),
        consequences={},
    ),
    "P38": Kind(
        template="The currency of {} is the",
        paraphrases=(
            "Workers in {} receive their wages in the local currency, the",
            "{} prints banknotes of its national currency, the",
        ),
        edits=(
            ("Israel", "shekel", "baht"),
            ("Thailand", "baht", "zloty"),
            ("Poland", "zloty", "yuan"),
            ("China", "yuan", "forint"),
            ("Hungary", "forint", "shekel"),
        ),
        consequences={},
    ),
}
