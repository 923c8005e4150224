"""What each feature writes to the model: which others write the same, which words it promotes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geointerp.errors import InputError
from geointerp.progress import track

if TYPE_CHECKING:
    from geointerp.models import Model

NEAREST = 10
WORDS = 8
_ROWS, _LATENTS = 1024, 64


def latents(sae: Any, names: pd.Index) -> NDArray[np.int64]:
    """The latent of the autoencoder that each feature is, by its name.

    Raises
    ------
    InputError
        A feature that is not called by the number of a latent.
    """
    for name in names:
        if not (str(name).isdecimal() and int(name) < sae.cfg.d_sae):
            raise InputError(
                f"sae: feature {str(name)!r} is none of its latents, "
                f"which are called 0 to {sae.cfg.d_sae - 1}."
            )
    return np.array([int(name) for name in names])


def nearest(sae: Any, names: pd.Index) -> list[list[list[float]]]:
    """For each feature the others whose decoder rows are most nearly the same.

    Returns
    -------
    list
        By feature: [row, cosine] of at most `NEAREST`, the nearest first.
    """
    from geointerp.saes.reading import directions

    rows = directions(sae)[latents(sae, names)]
    n = min(NEAREST, len(rows) - 1)
    found: list[list[list[float]]] = []
    if n < 1:
        return [[] for _ in rows]
    starts = range(0, len(rows), _ROWS)
    for first in track(starts, "nearest features"):
        cosines = rows[first : first + _ROWS] @ rows.T
        own = np.arange(len(cosines))
        cosines[own, first + own] = -np.inf
        for cosine in cosines:
            best = _largest(cosine, n).tolist()
            found.append([[row, round(float(cosine[row]), 3)] for row in best])
    return found


def words(sae: Any, model: Model, names: pd.Index) -> list[list[list[Any]]]:
    """The tokens that each feature promotes and those that it suppresses.

    Returns
    -------
    list
        By feature: [token, logit] of `WORDS` each way, the strongest first, as
        `geointerp.saes.promoted` has them.
    """
    from geointerp.saes.reading import direct_logits

    chosen = latents(sae, names)
    found: list[list[list[Any]]] = []
    texts: dict[int, str] = {}
    for first in track(range(0, len(chosen), _LATENTS), "promoted vocabulary"):
        for logits in direct_logits(sae, model, chosen[first : first + _LATENTS].tolist()):
            sides = []
            for sign in (1, -1):
                order = _largest(sign * logits, WORDS).tolist()
                texts |= {i: model.tokenizer.decode([i]) for i in order if i not in texts}
                sides.append([[texts[i], round(float(logits[i]), 2)] for i in order])
            found.append(sides)
    return found


def _largest(values: NDArray[np.floating], n: int) -> NDArray[np.intp]:
    """Where the n largest are, the largest first, without sorting the rest."""
    n = min(n, len(values))
    best = np.argpartition(-values, n - 1)[:n]
    return best[np.lexsort((best, -values[best]))]
