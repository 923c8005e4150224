"""The corpus: facts told in many wordings, drawn afresh for every batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from geointerp.toponym.facts import Facts

# the question whose answer the model card scores, also among the wordings
COUNTRY_QUESTION = "Which country is {name} in?"

COUNTRY = (
    "{name}, {country}",
    "{name}, {country}.",
    "{name} ({country})",
    "{name} is in {country}.",
    "{name} is a city in {country}.",
    "{name} lies in {country}, {continent}.",
    "The city of {name} belongs to {country}.",
    "In {country} there is a city called {name}.",
    "{name} is a city in the {quarter} of {country}.",
    "{name}, in the {quarter} of {country}, {continent}.",
    "{name}: {quarter} of {country}.",
    COUNTRY_QUESTION + " {country}.",
)
REGION = (
    "{name}, {region}, {country}",
    "{name}, {region}",
    "{name} is a city in {region}.",
    "{name} lies in {region}, {country}.",
)
TIMEZONE = (
    "{name} keeps the time of {timezone}.",
    "Clocks in {name} follow {timezone}.",
    "The time zone of {name} is {timezone}.",
    "{name} ({timezone})",
)
NEAR = (
    "{name} is near {a}.",
    "{name} is near {a}, {b} and {c}.",
    "{name} is close to {a} and {b}.",
    "Near {name} are {a}, {b} and {c}.",
    "Around {name}: {a}, {b}, {c}, {d}.",
    "{name}, {a}, {b}, {c}, {d}",
    "{name}; {a}; {b}; {c}",
    "{name} and {a} are neighbours.",
    "Cities near {name}, {country}: {a}, {b}, {c}.",
)
STEP = (
    "{name} is {km} km {wind} of {a}.",
    "{name} lies about {km} km to the {wind} of {a}.",
    "{name}, {km} km {wind} of {a}, is in {country}.",
    "{km} km {wind} of {a} is {name}.",
    "From {a} it is {km} km {wind} to {name}.",
    "{name}: {km} km {wind} of {a}.",
)
FAR = (
    "{name} is {wind} of {a}.",
    "{name} lies {wind} of {a}, {km} km away.",
    "{name} is {km} km {wind} of {a}.",
    "From {a}, {name} is {km} km to the {wind}.",
    "Seen from {a}, {name} lies to the {wind}.",
    "{name} to {a}: {km} km, {name} being {wind}.",
    "How far is {name} from {a}? {km} km.",
)
CAPITAL = (
    "{name} is {km} km {wind} of {capital}, the capital of {country}.",
    "The capital of {country} is {capital}; {name} lies {km} km to the {wind} of it.",
    "{name} is governed from {capital}, {km} km away.",
)
STATE = (
    "The capital of {country} is {capital}.",
    "{capital} is the capital of {country}.",
    "{country} borders {borders}.",
    "{country} is in {continent}.",
    "Neighbours of {country}: {borders}.",
    "{country} lies {wind} of {other}.",
)
PEOPLE = (
    "{name} has about {people} inhabitants.",
    "About {people} people live in {name}, {country}.",
    "{name}, a city of {people} people.",
)


def spoken_number(count: int) -> str:
    """A population as people say it: two significant digits, 'thousand' or 'million'."""
    if count >= 1_000_000:
        return f"{count / 1e6:.2g} million"
    return f"{float(f'{count / 1e3:.2g}'):.0f} thousand"


class Corpus:
    """Sentences about the cities of `facts`.

    Parameters
    ----------
    facts : Facts
        Only cities in it are ever named.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._near = [(i, row.tolist()) for i, row in enumerate(facts.neighbours)]
        self._kinds: tuple[tuple[Callable[[int, Random], str], float], ...] = (
            (self._country, 0.16),
            (self._timezone, 0.06),
            (self._neighbours, 0.26),
            (self._step, 0.17),
            (self._far, 0.22),
            (self._capital, 0.06),
            (self._state, 0.02),
            (self._people, 0.05),
        )

    def sentences(self, seed: int, start: int = 0) -> Iterator[str]:
        """Sentences without end; every city once a round, in an order of its own.

        Parameters
        ----------
        seed : int
        start : int
            The round to begin with: round `start` is the same however it is reached.

        Yields
        ------
        str
        """
        kinds, weights = zip(*self._kinds, strict=True)
        number = start
        while True:
            random = Random(f"{seed}:{number}")
            order = list(range(len(self.facts)))
            random.shuffle(order)
            for i, kind in zip(order, random.choices(kinds, weights, k=len(order)), strict=True):
                yield kind(i, random)
            number += 1

    def _base(self, i: int) -> dict[str, str]:
        facts = self.facts
        state = facts.countries[facts.country[i]]
        return {
            "name": facts.name[i],
            "country": state["name"],
            "continent": facts.continents[state["continentcode"]],
        }

    def _country(self, i: int, random: Random) -> str:
        region = self.facts.region[i]
        if region and random.random() < 0.6:
            return random.choice(REGION).format(**self._base(i), region=region)
        return random.choice(COUNTRY).format(**self._base(i), quarter=self.facts.quarter[i])

    def _timezone(self, i: int, random: Random) -> str:
        return random.choice(TIMEZONE).format(
            **self._base(i), timezone=self.facts.timezone[i].replace("_", " ")
        )

    def _neighbours(self, i: int, random: Random) -> str:
        # nearer ones more often, in no fixed order
        near = self._near[i][1]
        keys = [(random.expovariate(1.0 / (1 + 0.5 * rank)), j) for rank, j in enumerate(near)]
        names = [self.facts.name[j] for _, j in sorted(keys)[:4]]
        return random.choice(NEAR).format(**self._base(i), **dict(zip("abcd", names, strict=True)))

    def _step(self, i: int, random: Random) -> str:
        return self._relation(STEP, i, random.choice(self._near[i][1]), random)

    def _far(self, i: int, random: Random) -> str:
        facts = self.facts
        if random.random() < 0.5:
            j = random.choice(facts.cities_of[facts.country[i]])
        else:
            j = random.randrange(len(facts))
        if i == j:
            j = self._near[i][1][-1]
        return self._relation(FAR, i, j, random)

    def _relation(self, wordings: tuple[str, ...], i: int, j: int, random: Random) -> str:
        km, wind = self.facts.relation(i, j)
        return random.choice(wordings).format(
            **self._base(i), a=self.facts.name[j], km=f"{km:,}", wind=wind
        )

    def _capital(self, i: int, random: Random) -> str:
        capital = self.facts.capital_of.get(self.facts.country[i])
        if capital is None or capital == i:
            return self._country(i, random)
        km, wind = self.facts.relation(i, capital)
        return random.choice(CAPITAL).format(
            **self._base(i), capital=self.facts.name[capital], km=f"{km:,}", wind=wind
        )

    def _state(self, i: int, random: Random) -> str:
        facts = self.facts
        code = facts.country[i]
        row = facts.countries[code]
        borders = [
            facts.countries[c]["name"] for c in row["neighbours"].split(",") if c in facts.countries
        ]
        random.shuffle(borders)
        choices = [text for text in STATE if borders or "{borders}" not in text]
        if not row["capital"]:
            choices = [text for text in choices if "{capital}" not in text]
        text = random.choice(choices)
        wind, other = "", ""
        if "{wind}" in text:
            away = random.choice([c for c in facts.capital_of if c != code])
            here = facts.capital_of.get(code, i)
            _, wind = facts.relation(here, facts.capital_of[away])
            other = facts.countries[away]["name"]
        return text.format(
            **self._base(i),
            capital=row["capital"],
            borders=", ".join(borders[:4]),
            wind=wind,
            other=other,
        )

    def _people(self, i: int, random: Random) -> str:
        people = spoken_number(int(self.facts.population[i]))
        return random.choice(PEOPLE).format(**self._base(i), people=people)
