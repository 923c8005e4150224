"""Templates: what of a place a prompt says, and in which words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from geointerp.errors import InputError
from geointerp.prompts import parts

SCALE = "On a Scale from 0.0 to 9.9"

FIELDS = ("coordinates", "lon", "lat", "address", "nearby", "task", "scale")

# GeoLLM's prompt, section by section
_SECTIONS = {
    "coordinates": "Coordinates: {coordinates}\n\n",
    "address": 'Address: "{address}"\n\n',
    "nearby": 'Nearby Places:\n"\n{nearby}"\n\n',
}
_QUESTION = "{task} ({scale}): "

TEMPLATE = "".join(_SECTIONS.values()) + _QUESTION

_ABOUT = (
    "You will be given data about a specific location randomly sampled from all human-populated "
    "locations on Earth.\nYou give your rating keeping in mind that it is relative to all other "
    "human-populated locations on Earth (from all continents, countries, etc.).\n"
)

INSTRUCTIONS = {
    "zero-shot": _ABOUT + 'You provide ONLY your answer in the exact format "My answer is X.X." '
    "where 'X.X' represents your rating for the given topic.",
    "chain-of-thought": _ABOUT + "You first think step by step, in a few sentences, about what the "
    "data and all you know of the location say about the given topic.\nYou then end with your "
    "answer on a line of its own, in the exact format \"My answer is X.X.\" where 'X.X' "
    "represents your rating for the given topic.",
}

# whatever ends a line somewhere (as str.splitlines knows them) and all other control characters
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def without(sections: str | Sequence[str]) -> str:
    """GeoLLM's template with some of its sections left out, headings and all.

    Parameters
    ----------
    sections : str or sequence of str
        Of "coordinates", "address" and "nearby".

    Returns
    -------
    str

    Raises
    ------
    InputError
        A section that is none of the three.
    """
    left_out = [sections] if isinstance(sections, str) else list(sections)
    for section in left_out:
        if section not in _SECTIONS:
            raise InputError(
                f"leave_out holds {section!r}; it can be any of {', '.join(_SECTIONS)}."
            )
    kept = (text for section, text in _SECTIONS.items() if section not in left_out)
    return "".join(kept) + _QUESTION


def fields(template: str) -> set[str]:
    """The fields in a template, once it is sure that they can be filled.

    Parameters
    ----------
    template : str

    Returns
    -------
    set of str

    Raises
    ------
    InputError
        Unbalanced braces; a field that is not one of `FIELDS`; no ``{task}``.
    """
    found = {field for _, field in parts(template) if field is not None}
    for field in sorted(found.difference(FIELDS)):
        nearest = difflib.get_close_matches(field, FIELDS, n=1, cutoff=0)[0]
        raise InputError(
            f"template: there is no field {{{field}}}; {{{nearest}}} is the nearest of "
            f"{', '.join(FIELDS)} (for a brace that is no field, write it twice)."
        )
    if "task" not in found:
        raise InputError("template: it never names the {task}, so nobody knows what to rate.")
    return found


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with its fields replaced, once: braces in a value mean nothing.

    Parameters
    ----------
    template : str
        As `fields` found it good.
    values : mapping of str to str
        One for every field in it.

    Returns
    -------
    str
    """
    return "".join(
        text + (values[field] if field is not None else "") for text, field in parts(template)
    )


def written(
    *, lon: float, lat: float, address: str, nearby: Iterable[tuple[float, str, str]], task: str
) -> dict[str, str]:
    """The fields of one place, as GeoLLM writes them.

    Address and names are made one line each (`one_line`), so that every line of the prompt
    still begins as GeoLLM's does, whatever the map says; quotes stay, as in GeoLLM's.

    Parameters
    ----------
    lon, lat : float
        Degrees; written with five decimals, latitude first in `coordinates`.
    address : str
        From fine to coarse; "None" is written where it is empty.
    nearby : iterable of (float, str, str)
        Kilometres, direction and name, in the order in which they are to be written, a line
        each; every line ends with a line break.
    task : str

    Returns
    -------
    dict
        A text for each of `FIELDS`.
    """
    lines = "".join(f"{km:.1f} km {where}: {one_line(name)}\n" for km, where, name in nearby)
    return {
        "coordinates": f"({lat:.5f}, {lon:.5f})",
        "lon": f"{lon:.5f}",
        "lat": f"{lat:.5f}",
        "address": one_line(address) or "None",
        "nearby": lines,
        "task": task,
        "scale": SCALE,
    }


def one_line(text: str) -> str:
    """The text with every run of line breaks and control characters as one space.

    Nothing else changes: quotes, double spaces and the joiners of Burmese or Persian stay.
    """
    return _BREAKS.sub(" ", text).strip() if _BREAKS.search(text) else text
