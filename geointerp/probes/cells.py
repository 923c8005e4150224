"""Geocells as a target: a distribution over the globe instead of a point."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from geointerp import sphere
from geointerp.errors import InputError
from geointerp.probes import scores
from geointerp.probes.targets import Matrix, _Located


class Cells(_Located):
    """The cell that a place lies in, of cells that are small where places are many.

    The globe is quartered again and again, in longitude and in the sine of latitude so that
    the quarters are of one area, until no cell holds more than `most` places (after PlaNet,
    Weyand, Kostrikov & Philbin 2016, who quarter the faces of a cube). Labels are smoothed
    by distance as PIGEON's are (Haas et al. 2024, eq. 2): the weight of cell i for a place
    in cell n falls with exp(-(d_i - d_n) / τ), d the great-circle distance to a cell's
    centre, the mean of its places. The answer is a distribution over the cells; its best
    cell's centre stands for a point. Cells without a place can never be the answer.

    Parameters
    ----------
    most : int
        Places per cell.
    least : int
        A cell of fewer is merged into its nearest.
    tau_km : float
        Smoothing; PIGEON's 75 km. 0 for none.
    """

    name = "cells"
    main = "mcfadden_r2"
    relative = False

    def __init__(self, most: int = 150, *, least: int = 20, tau_km: float = 75.0) -> None:
        if not most >= least >= 1:
            raise InputError(f"least is {least} and most is {most}; it must be 1 ≤ least ≤ most.")
        if not tau_km >= 0:
            raise InputError(f"tau_km is {tau_km}; it must be 0 or more.")
        self.most, self.least, self.tau_km = most, least, tau_km

    def __repr__(self) -> str:
        return f"Cells({self.most}, least={self.least}, tau_km={self.tau_km:g})"

    def _learn(self, table: pd.DataFrame) -> None:
        self.lon_lat = table[["lon", "lat"]].to_numpy(np.float64)
        points = sphere.unit_vectors(lon=table["lon"], lat=table["lat"])
        code, area = quadtree(lon=table["lon"], lat=table["lat"], most=self.most)
        code, area = merged(code, area, points, self.least)
        self.cell, self.area_km2 = code, area
        count = len(area)
        if count < 2:
            raise InputError(
                f"{len(table)} places make one cell of {self.least} to {self.most}: take smaller "
                "cells or more places."
            )
        centre = np.stack([np.bincount(code, points[:, i], count) for i in range(3)], axis=1)
        lon, lat = sphere.lon_lat(centre)
        self.centre = np.stack([lon, lat], axis=1)
        self.columns = [f"{a:.1f},{b:.1f}" for a, b in self.centre]
        km = sphere.distance_km(
            lon=self.lon_lat[:, :1], lat=self.lon_lat[:, 1:], to_lon=lon, to_lat=lat
        )
        own = km[np.arange(len(code)), code][:, None]
        if self.tau_km:
            # a centre may be nearer than that of a place's own cell
            weight = np.exp(-np.maximum(km - own, 0) / self.tau_km)
        else:
            weight = (np.arange(count) == code[:, None]).astype(np.float64)
        self.values = weight / weight.sum(1, keepdims=True)
        # the country and the first-level division of each place, whose codes repeat
        self._parts: dict[str, NDArray[np.int64]] = {}
        named = [c for c in ("country", "admin1") if c in table and table[c].notna().all()]
        for depth, column in enumerate(named, 1):
            if column != "admin1" or "country" in named:
                label = table[named[:depth]].astype(str).agg(".".join, axis=1)
                self._parts[column] = np.unique(label, return_inverse=True)[1]

    def answer(self, predicted: Matrix, rows: NDArray[np.int64]) -> Matrix:
        """Probability of each cell, shape (m, cell)."""
        return scores.probabilities(predicted, self.cell[rows])

    def block_sums(
        self, answer: Matrix, rows: NDArray[np.int64], block: NDArray[np.int64], count: int
    ) -> Matrix:
        truth = self.cell[rows]
        surprise = -np.log(answer[np.arange(len(rows)), truth])
        found = np.zeros((count, 1 + len(self.area_km2)))
        found[:, 0] = np.bincount(block, surprise, count)
        np.add.at(found, (block, 1 + truth), 1)
        return found

    def skill(self, sums: Matrix) -> Matrix:
        """McFadden's R² of sums: against the cells' own shares in the draw."""
        n = sums[:, 1:]
        of_shares = -special.xlogy(n, n / n.sum(1, keepdims=True)).sum(1)
        return 1 - sums[:, 0] / of_shares

    def _points(self, predicted: Matrix) -> Matrix:
        return self.centre[predicted.argmax(1)]

    def scores(self, predicted: Matrix, rows: NDArray[np.int64]) -> dict[str, float]:
        km = self._error_km(predicted, rows)
        together = np.zeros(len(rows), np.int64)
        return {
            "mcfadden_r2": float(self.skill(self.block_sums(predicted, rows, together, 1))[0]),
            "accuracy": float((predicted.argmax(1) == self.cell[rows]).mean()),
            "median_km": float(np.median(km)),
            "mean_km": float(km.mean()),
        }

    def details(self, predicted: Matrix, rows: NDArray[np.int64]) -> dict[str, float]:
        truth = self.cell[rows]
        found = {"cells": float(len(self.area_km2))}
        found |= scores.of_distribution(predicted, truth)
        recall = scores.recall_area(predicted, truth, self.area_km2)
        found |= {f"area{share}_km2": float(np.quantile(recall, share / 100)) for share in (50, 90)}
        for column in self._parts:
            found[f"accuracy_{column}"] = self._accuracy(predicted, rows, column)
        points = self._points(predicted)
        return (
            found
            | scores.within_km(self._error_km(predicted, rows))
            | {"proximity_error": float(scores.proximity_error(self.lon_lat[rows], points).mean())}
        )

    def decode(self, predicted: Matrix, rows: NDArray[np.int64]) -> pd.DataFrame:
        searched = scores.recall_area(predicted, self.cell[rows], self.area_km2)
        return super().decode(predicted, rows).assign(search_km2=searched)

    def _accuracy(self, chance: Matrix, rows: NDArray[np.int64], column: str) -> float:
        """How often the label that the cells' other places make likeliest is right."""
        part, count = self._parts[column], int(self._parts[column].max()) + 1
        size = np.bincount(self.cell)
        held = np.zeros((len(size), count))
        np.add.at(held, (self.cell, part), 1.0)
        votes = (chance / size) @ held
        own, cell = part[rows], self.cell[rows]
        # its own label is no place's to vote for
        votes[np.arange(len(rows)), own] -= chance[np.arange(len(rows)), cell] / size[cell]
        return float((votes.argmax(1) == own).mean())


def quadtree(
    *, lon: ArrayLike, lat: ArrayLike, most: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The cell of each place, and each cell's area.

    Parameters
    ----------
    lon, lat : array_like, shape (n,)
        Degrees.
    most : int
        Places in a cell that is not quartered again.

    Returns
    -------
    code : ndarray of int, shape (n,)
    area : ndarray of float64, shape (cell,)
        Square kilometres.
    """
    across = (np.asarray(lon, float) + 180) % 360 / 360
    up = (np.sin(np.radians(np.asarray(lat, float))) + 1) / 2
    code = np.zeros(len(across), np.int64)
    areas: list[float] = []
    globe = 4 * np.pi * sphere.EARTH_RADIUS_KM**2
    # places at one point would be quartered for ever
    deepest = 20
    waiting = [(np.arange(len(across)), 0.0, 0.0, 0)]
    while waiting:
        rows, left, low, depth = waiting.pop()
        if len(rows) <= most or depth == deepest:
            code[rows] = len(areas)
            areas.append(globe / 4**depth)
            continue
        half = 0.5 ** (depth + 1)
        east, north = across[rows] >= left + half, up[rows] >= low + half
        for i in (0, 1):
            for j in (0, 1):
                inside = rows[(east == i) & (north == j)]
                if len(inside):
                    waiting.append((inside, left + i * half, low + j * half, depth + 1))
    return code, np.array(areas)


def merged(
    code: NDArray[np.int64],
    area: NDArray[np.float64],
    points: NDArray[np.float64],
    least: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cells with fewer than `least` places joined to the nearest, the smallest first.

    Parameters
    ----------
    code : ndarray of int, shape (n,)
    area : ndarray of float64, shape (cell,)
    points : ndarray, shape (n, 3)
        Unit vectors.
    least : int
    """
    code, area = code.copy(), area.copy()
    count = np.bincount(code, minlength=len(area)).astype(float)
    total = np.stack([np.bincount(code, p, len(area)) for p in points.T], axis=1)
    alive = count > 0
    while alive.sum() > 1 and count[alive].min() < least:
        small = int(np.argmin(np.where(alive, count, np.inf)))
        centre = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300)
        near = np.where(alive, centre @ centre[small], -np.inf)
        near[small] = -np.inf
        into = int(np.argmax(near))
        code[code == small] = into
        for sums in (count, total, area):
            sums[into] += sums[small]
        alive[small] = False
    return np.unique(code, return_inverse=True)[1], area[alive]
