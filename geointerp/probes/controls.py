"""Controls: what a probe reaches without the model's layers, or without the places."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from geointerp import models, prompts
from geointerp.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from geointerp.models import Model

log = logging.getLogger(__name__)

UNTRAINED = "untrained"
EMBEDDINGS = "input embeddings"
TOKENS = "bag of tokens"
NGRAMS = "character n-grams"
REST = "without the name"
SHUFFLED = "shuffled targets"
VECTORS = "word vectors"
ALL = (UNTRAINED, EMBEDDINGS, TOKENS, NGRAMS, REST, SHUFFLED)
# of counts, which are not standardised
COUNT_ALPHAS = (0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_IN_MEMORY = 2**30
# what stands for every name, in the control without it
_NOBODY = "X"


def chosen(controls: bool | Sequence[str], *, with_vectors: bool = False) -> list[str]:
    """Names of controls: all for True, none for False.

    Word vectors are a control wherever they are given, named or not.

    Raises
    ------
    InputError
        An unknown name.
    """
    if isinstance(controls, bool):
        return list(ALL) if controls else []
    names = [controls] if isinstance(controls, str) else list(controls)
    if VECTORS in names and not with_vectors:
        raise InputError("control 'word vectors' needs the option word_vectors.")
    names = [name for name in names if name != VECTORS]
    for name in names:
        if name not in ALL:
            raise InputError(f"control {name!r} is unknown; there are {', '.join(ALL)}.")
    return names


def model_of(acts: xr.DataArray, model: Model | None = None) -> Model:
    """The model that activations came from: the one given, or loaded by the name they carry.

    Raises
    ------
    InputError
        If they do not say what they are of, or the weights are others.
    """
    for key in ("model", "weights_sha256", "template", "site", "pool"):
        if key not in acts.attrs:
            raise InputError(
                f"these activations do not say of which {key} they are, and the controls need it: "
                "give controls=False."
            )
    if model is None:
        if acts.attrs.get("in_memory"):
            raise InputError("the model of these activations was in memory: give model=.")
        model = models.load(
            acts.attrs["model"],
            revision=acts.attrs.get("revision"),
            dtype=acts.attrs.get("computed_in", "float32"),
        )
        if acts.attrs.get("untrained_seed") is not None:
            model = model.untrained(acts.attrs["untrained_seed"])
    if model.fingerprint != acts.attrs["weights_sha256"]:
        raise InputError(f"the weights of {model.name} are not those the activations came from.")
    return model


def untrained(acts: xr.DataArray, model: Model, seed: int) -> xr.DataArray:
    """The same prompts through the same architecture with random weights.

    Returns
    -------
    DataArray, as `acts`
    """
    return _captured_alike(acts, model.untrained(seed))


def without_the_name(acts: xr.DataArray, model: Model) -> xr.DataArray | None:
    """The same prompts with one letter in place of every name: what the rest gives away.

    Returns
    -------
    DataArray, as `acts`
        None where the template holds nothing else that differs between places.
    """
    from geointerp import activations

    rendered = activations.prompts_of(acts.assign_coords(_without(acts)))
    if rendered["prompt"].nunique() == 1:
        log.info("without the name all prompts are the same; that control is left out")
        return None
    return _captured_alike(acts.assign_coords(_without(acts)), model)


def _without(acts: xr.DataArray) -> dict[str, Any]:
    """The coordinates of names, with one letter for all."""
    from geointerp.activations import about_of

    columns = {"name", about_of(acts)["names"]}
    return {column: ("place", [_NOBODY] * acts.sizes["place"]) for column in columns}


def _captured_alike(acts: xr.DataArray, model: Model) -> xr.DataArray:
    """The same capture again; on disk, as long as it is used, where it is large."""
    from geointerp import activations

    about = activations.about_of(acts)
    folder = tempfile.TemporaryDirectory() if acts.nbytes > _IN_MEMORY else None
    found = activations.capture(
        model,
        activations.places_of(acts),
        template=about["template"],
        names=about["names"],
        layers=[int(layer) for layer in np.atleast_1d(acts["layer"].values)],
        site=about["site"],
        pool=about["pool"],
        out=Path(folder.name) / "activations.zarr" if folder else None,
        store_dtype=about.get("dtype", "float32"),
        **{key: about[key] for key in ("batch_tokens", "padding_side") if key in about},
    )
    # the folder goes when the activations do
    found.attrs["folder"] = folder
    return found


def bag_of_tokens(acts: xr.DataArray, model: Model) -> sparse.csr_array:
    """How often each token occurs in each prompt.

    Returns
    -------
    csr_array of float64, shape (place, token)
        Only tokens that occur, in the order of their ids.
    """
    tokens = _tokens(acts, model)
    columns = np.concatenate([t.ids for t in tokens])
    rows = np.repeat(np.arange(len(tokens)), [len(t.ids) for t in tokens])
    _, columns = np.unique(columns, return_inverse=True)
    ones = np.ones(len(rows))
    return sparse.csr_array((ones, (rows, columns)), shape=(len(tokens), columns.max() + 1))


def input_embeddings(acts: xr.DataArray, model: Model) -> NDArray[np.float64] | None:
    """The mean of the model's own embeddings of the placename's tokens, before any layer.

    Returns
    -------
    ndarray of float64, shape (place, hidden)
        None for a model that has no table of embeddings.
    """
    backbone: Any = model.backbone
    try:
        table = backbone.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        log.info("%s has no table of input embeddings; that control is left out", model.name)
        return None
    found = [
        table[t.ids[t.first : t.last + 1]].detach().double().mean(0).cpu().numpy()
        for t in _tokens(acts, model)
    ]
    return np.stack(found)


def character_ngrams(acts: xr.DataArray) -> sparse.csr_array:
    """How often each run of one to four characters occurs in each name.

    Runs that occur in one place only are left out; a space stands for a name's ends.

    Returns
    -------
    csr_array of float64, shape (place, n-gram)
    """
    from sklearn.feature_extraction.text import CountVectorizer

    names = _names(acts)
    counter = CountVectorizer(
        analyzer="char_wb", ngram_range=(1, 4), min_df=2, lowercase=True, dtype=np.float64
    )
    return sparse.csr_array(counter.fit_transform(names))


def word_vectors(acts: xr.DataArray, vectors: pd.DataFrame) -> NDArray[np.float64]:
    """The mean of static vectors over the words of each name; zeros where there is none.

    Parameters
    ----------
    acts : DataArray
    vectors : DataFrame, index of words, shape (word, dimension)
        A word is looked up as it is written, then in lower case.

    Raises
    ------
    InputError
        No word of any name is there; a word twice; a value that is no finite number.
    """
    if not isinstance(vectors, pd.DataFrame) or not vectors.index.is_unique:
        raise InputError("word_vectors must be a DataFrame whose index names each word once.")
    kinds = all(pd.api.types.is_numeric_dtype(kind) for kind in vectors.dtypes)
    if not kinds or not np.isfinite(vectors.to_numpy(np.float64)).all():
        raise InputError("word_vectors: a value is not a finite number.")
    table, rows = vectors.to_numpy(np.float64), {str(w): i for i, w in enumerate(vectors.index)}
    found = np.zeros((acts.sizes["place"], table.shape[1]))
    missing = 0
    for i, name in enumerate(_names(acts)):
        words = name.replace("-", " ").split()
        known = [rows.get(word, rows.get(word.lower())) for word in words]
        known = [row for row in known if row is not None]
        missing += not known
        if known:
            found[i] = table[known].mean(0)
    if missing == len(found):
        raise InputError("word_vectors: no word of any name is among them.")
    log.info("word vectors: %d of %d names have none", missing, len(found))
    return found


def sources(
    names: Sequence[str], acts: xr.DataArray, model: Model | None, seed: int
) -> Iterator[tuple[str, Any]]:
    """The features of each control but the shuffled targets, which are the model's own.

    Parameters
    ----------
    names : sequence of str
    acts : DataArray
    model : Model or None
        As `checked` gives it.
    seed : int

    Yields
    ------
    name, features
        A DataArray with layers, or a matrix of shape (place, feature), dense or sparse.
    """
    own: Any = model
    makers: dict[str, Any] = {
        UNTRAINED: lambda: untrained(acts, own, seed),
        EMBEDDINGS: lambda: input_embeddings(acts, own),
        TOKENS: lambda: bag_of_tokens(acts, own),
        NGRAMS: lambda: character_ngrams(acts),
        REST: lambda: without_the_name(acts, own),
    }
    for name in names:
        features = makers[name]() if name in makers else None
        if features is not None:
            yield name, features


def checked(names: Sequence[str], acts: xr.DataArray, model: Model | None) -> Model | None:
    """The model, where a control needs it; see `model_of`."""
    return model_of(acts, model) if set(names) & {UNTRAINED, EMBEDDINGS, TOKENS, REST} else model


def _names(acts: xr.DataArray) -> list[str]:
    """What the places are called in the prompt."""
    from geointerp.activations import about_of

    return [str(name) for name in acts[about_of(acts)["names"]].values]


def _tokens(acts: xr.DataArray, model: Model) -> list[prompts.Tokens]:
    from geointerp import activations

    return prompts.tokenize(activations.prompts_of(acts), model.tokenizer)
