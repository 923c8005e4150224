"""What the probes of a model's layers found, beside their controls."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from geointerp import artefacts, cards
from geointerp.errors import InputError

MODEL = "model"


@dataclass(repr=False)
class Report:
    """What the probes found.

    Attributes
    ----------
    table : DataFrame
        A row per source, split and layer: `source` ("model" or a control), `split`, `layer`
        (missing for a control that has none), the target's scores, `n` (the places
        predicted), and `low` and `high`, the 95% interval of the main score over blocks.
    predictions : DataFrame
        Out-of-fold predictions of the best layer under the first split, on the places'
        index: `name`, `lon`, `lat`, what is predicted, and the `fold`; for points
        `predicted_lon`, `predicted_lat`, `error_km` and `radius90_km`, within which nine
        places in ten of the other folds lie.
    target : str
    summary : DataFrame
        A row per split, of the model's best layer there: its main score with its interval;
        `best_control`, the control that comes nearest, at its own best layer, with its main
        score `control`; `uplift`, the difference, with its interval; and further scores. The
        best of several layers is a little better than it would be on other places.
    main : str
        The score that layers are compared by; more is better.
    about : dict
        What was probed and how, for the card.
    control : DataFrame, optional
        As `predictions`, of the control that comes nearest under the first split: what is
        known of each place without the model.
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    target: str
    summary: pd.DataFrame = field(default_factory=pd.DataFrame)
    main: str = "r2"
    about: dict[str, Any] = field(default_factory=dict)
    control: pd.DataFrame | None = None

    def best(self, split: str | None = None, source: str = MODEL) -> pd.Series:
        """The row of the best layer of a source; under the first split if none is named."""
        rows = self._rows(split, source)
        return rows.loc[rows[self.main].idxmax()]

    def at(self, layer: int, split: str | None = None, source: str = MODEL) -> pd.Series:
        """The row of a layer of a source; under the first split if none is named."""
        rows = self._rows(split, source)
        if layer not in rows["layer"].tolist():
            raise InputError(f"the report has no layer {layer}; it has {rows['layer'].tolist()}.")
        return rows[rows["layer"] == layer].iloc[0]

    def nearest_control(self, split: str | None = None) -> str | None:
        """The control with the best main score, each at its own best layer."""
        split = self._split(split)
        rows = self.table[(self.table["split"] == split) & (self.table["source"] != MODEL)]
        return None if not len(rows) else str(rows.loc[rows[self.main].idxmax(), "source"])

    def _rows(self, split: str | None, source: str) -> pd.DataFrame:
        split = self._split(split)
        rows = self.table[(self.table["split"] == split) & (self.table["source"] == source)]
        if not len(rows):
            raise InputError(f"the report has no '{source}' under the split '{split}'.")
        return rows

    def _split(self, split: str | None) -> str:
        known = list(dict.fromkeys(self.table["split"]))
        if split is not None and split not in known:
            raise InputError(f"the report has no split '{split}'; it has {', '.join(known)}.")
        return known[0] if split is None else split

    def __repr__(self) -> str:
        wanted = ("split", "layer", self.main, "low", "high", "best_control", "uplift")
        columns = [name for name in wanted if name in self.summary]
        return f"Report of {self.target}\n{self.summary[columns].round(3).to_string(index=False)}"

    @classmethod
    def read(cls, folder: str | Path) -> Report:
        """Read back what `save` wrote."""
        folder = Path(folder)
        about = cards.read(folder).get("made by", {})
        if not (folder / "report.csv").exists() or "target" not in about:
            raise InputError(f"{folder}: there is no report of a probe here.")
        table, summary = (
            pd.read_csv(folder / f"{name}.csv", dtype={"layer": "Int64"}) for name in _TABLES
        )
        kept = [folder / f"{name}.csv" for name in _OUT_OF_FOLD]
        predictions, control = (
            _predictions(path, about["place_dtype"]) if path.exists() else None for path in kept
        )
        if predictions is None:
            raise InputError(f"{kept[0]}: there is no such file; probe anew.")
        return cls(
            table, predictions, about["target"], summary, about["main score"], about, control
        )

    def save(self, folder: str | Path) -> None:
        """Write the tables, as .csv, and the card to a new folder."""
        figures: dict[str, float] = {}
        for row in self.summary.to_dict("records"):
            what = f"{self.main}, {row['split']}"
            figures[f"{what}, layer {row['layer']}"] = row[self.main]
            if "uplift" in row:
                figures[f"{what}, above the nearest control, {row['best_control']}"] = row["uplift"]
        about = {**self.about, "place_dtype": str(self.predictions.index.dtype)}
        with artefacts.whole(Path(folder)) as part:
            part.mkdir()
            for name, table in zip(_TABLES, (self.table, self.summary), strict=True):
                table.to_csv(part / f"{name}.csv", index=False)
            for name, table in zip(_OUT_OF_FOLD, (self.predictions, self.control), strict=True):
                if table is not None:
                    table.to_csv(part / f"{name}.csv", index_label="place")
            sections = {"made by": about, "figures": figures}
            cards.write(part, f"Probe for {self.target}", sections)


_TABLES = ("report", "summary")
_OUT_OF_FOLD = ("predictions", "control")


def _predictions(path: Path, dtype: str) -> pd.DataFrame:
    """Predictions as `Report.save` wrote them."""
    # a place may be called "NA"
    table = pd.read_csv(
        path, index_col="place", keep_default_na=False, na_values=[""], dtype={"place": str}
    )
    # "00001" is no number, unless it was one
    if dtype.startswith("int"):
        table.index = table.index.astype(dtype)
    return table
