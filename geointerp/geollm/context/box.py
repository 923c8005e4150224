"""Boxes: what a map covers, from west to east and from south to north."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geointerp import sphere


class Box(NamedTuple):
    """In degrees; if it goes across the date line, east is less than west."""

    west: float
    south: float
    east: float
    north: float

    def __str__(self) -> str:
        west, south, east, north = (f"{side:.5g}" for side in self)
        return f"longitude {west} to {east} and latitude {south} to {north}"

    def inside_km(self, *, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.float64]:
        """How far each point is inside: its distance to the nearest edge, negative outside.

        The poles are no edges, nor is a meridian where the box goes round the globe. The
        distance to an edge in the west or east is that to the half of its great circle from
        pole to pole, and so at most too short; outside, it is that beyond the farthest edge.

        Parameters
        ----------
        lon, lat : array_like, shape (n,)
            Degrees.

        Returns
        -------
        ndarray of float64, shape (n,)
            Great-circle kilometres; infinite if there are no edges.
        """
        lon, lat = np.asarray(lon, float), np.asarray(lat, float)
        inside = np.full(lon.shape, np.inf)
        if self.south > -90:
            inside = np.minimum(inside, np.radians(lat - self.south))
        if self.north < 90:
            inside = np.minimum(inside, np.radians(self.north - lat))
        half = ((self.east - self.west) % 360 or 360) / 2
        if half < 180:
            off = (lon - self.west - half + 180) % 360 - 180
            degrees = np.clip(half - np.abs(off), -90, 90)
            east_west = np.arcsin(np.sin(np.radians(degrees)) * np.cos(np.radians(lat)))
            inside = np.minimum(inside, east_west)
        return inside * sphere.EARTH_RADIUS_KM
