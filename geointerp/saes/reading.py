"""Reading: what one feature of an autoencoder is, by its places, neighbours and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from geointerp.errors import InputError
from geointerp.saes.splicing import check_model, check_predicts, replaced

if TYPE_CHECKING:
    import anndata
    import torch

    from geointerp.models import Model
    from geointerp.probes.ridge import RidgeProbe

# what is read at these is part of the residual stream, or added to it
_WRITTEN = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")


def top_places(features: anndata.AnnData, feature: int | str, n: int = 10) -> pd.DataFrame:
    """The places for which a feature is most active.

    Parameters
    ----------
    features : AnnData
        As `geointerp.saes.encode` gives it.
    feature : int or str
        By its name in `var`, which it keeps when features are chosen.
    n : int
        At most so many; places for which it is not active are none.

    Returns
    -------
    DataFrame
        On the index of `obs`, the most active first and equal ones in the order of `obs`:
        `name`; `lon` and `lat` in degrees; `activation`.

    Raises
    ------
    InputError
        A feature that is not there; features without names or coordinates.
    """
    values = _activations(features, feature)
    if "name" not in features.obs:
        raise InputError("the features do not say their places' names: obs has no column 'name'.")
    if "spatial" not in features.obsm:
        raise InputError("the features do not say where their places are: no obsm['spatial'].")
    _check_count(n)
    order = np.argsort(-values, kind="stable")[: min(n, int((values > 0).sum()))]
    lon, lat = np.asarray(features.obsm["spatial"])[order, :2].T
    columns = {
        "name": features.obs["name"].to_numpy()[order],
        "lon": lon,
        "lat": lat,
        "activation": values[order],
    }
    return pd.DataFrame(columns, index=features.obs.index[order])


def activation_histogram(
    features: anndata.AnnData, feature: int | str, *, bins: int = 30, spacing: str = "log"
) -> pd.DataFrame:
    """How often a feature is active, and how strongly.

    Parameters
    ----------
    features : AnnData
        As `geointerp.saes.encode` gives it.
    feature : int or str
        By its name in `var`.
    bins : int
        From the smallest to the greatest activation above 0; one, if these are the same.
    spacing : {"log", "linear"}
        Whether the bins' edges have the same ratio or the same distance.

    Returns
    -------
    DataFrame
        A row for the places for which it is not active, with `low` and `high` 0, and one per
        bin: `low`, `high`, both in units of the activation; `count` of places with
        low ≤ activation < high, the last bin's with ≤ high; `share` of all places.

    Raises
    ------
    InputError
        A feature that is not there; another spacing; no places.
    """
    values = _activations(features, feature)
    if spacing not in ("log", "linear"):
        raise InputError(f"spacing is {spacing!r}; it must be 'log' or 'linear'.")
    if bins < 1:
        raise InputError(f"bins is {bins}; it must be 1 or more.")
    if not len(values):
        raise InputError("there are no places.")
    active = values[values > 0]
    low = high = counts = np.empty(0)
    if len(active):
        ends = active.min(), active.max()
        spaced = np.geomspace if spacing == "log" else np.linspace
        edges = spaced(*ends, bins + 1) if ends[0] < ends[1] else np.array(ends)
        low, high, counts = edges[:-1], edges[1:], np.histogram(active, edges)[0]
    table = pd.DataFrame(
        {
            "low": [0.0, *low],
            "high": [0.0, *high],
            "count": [len(values) - len(active), *counts.astype(int)],
        }
    )
    return table.assign(share=table["count"] / len(values))


def neighbours(sae: Any, feature: int, n: int = 10) -> pd.DataFrame:
    """The features that write most nearly the same to the activations.

    Parameters
    ----------
    sae : sae_lens.SAE
    feature : int
    n : int
        At most so many.

    Returns
    -------
    DataFrame
        The nearest first and equal ones by their number: `feature`, and `cosine` of the two
        decoder rows; 0 for a row of zeros.

    Raises
    ------
    InputError
        A feature that is not there.
    """
    _check_feature(sae, feature)
    _check_count(n)
    rows = directions(sae)
    cosines = rows @ rows[feature]
    order = np.argsort(-cosines, kind="stable")
    order = order[order != feature][:n]
    return pd.DataFrame({"feature": order, "cosine": cosines[order]})


def promoted(sae: Any, model: Model, feature: int, n: int = 10) -> pd.DataFrame:
    """The words that a feature, by what it writes to the residual stream, makes more likely.

    The feature's decoder row takes the place of the residual stream after the last block, and
    goes through the final norm and the unembedding: the logit lens (nostalgebraist 2020) of a
    direction, or its direct contribution to the logits (Elhage et al. 2021). What later blocks
    make of the feature is not in it, so that it says most of late layers.

    Parameters
    ----------
    sae : sae_lens.SAE
        Of a site of the residual stream or of what is added to it: `resid_pre`, `resid_mid`,
        `resid_post`, `attn_out` or `mlp_out`. One that does not say its site is taken to be.
    model : Model
        A causal language model.
    feature : int
    n : int
        At most so many each way.

    Returns
    -------
    DataFrame
        The n most promoted tokens and then the n most suppressed ones, each the strongest
        first: `side`, "promoted" or "suppressed"; `token`, its text; `id`; `logit`.

    Raises
    ------
    InputError
        A feature that is not there; a model without next-token logits or with vectors of
        another length than the autoencoder's; an autoencoder of another model or of another
        site.

    Notes
    -----
    With d the decoder row brought to the length √hidden, `logit` is half the difference of the
    logits that d and −d give. Biases cancel in it, and of the final norm there remains its
    linear part at the scale of d: its weight, and the centring where it is a LayerNorm. So
    tokens can be compared with each other, but `logit` is not what the feature adds in some
    prompt: that is smaller by the ratio of what it writes to the whole residual stream. Where
    a model bounds its logits, as Gemma 2 does, it is half the difference of the bounded ones,
    in the same order.

    References
    ----------
    nostalgebraist 2020, Interpreting GPT: the logit lens.
    Elhage et al. 2021, A mathematical framework for transformer circuits.
    """
    _check_count(n)
    (logits,) = direct_logits(sae, model, [feature])
    tables = []
    for side, sign in (("promoted", -1), ("suppressed", 1)):
        order = np.argsort(sign * logits, kind="stable")[:n]
        text = [model.tokenizer.decode([int(i)]) for i in order]
        columns = {"side": side, "token": text, "id": order, "logit": logits[order]}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def direct_logits(sae: Any, model: Model, features: Sequence[int]) -> NDArray[np.float64]:
    """The logits of `promoted`, of every token, for several features in one forward pass.

    Parameters
    ----------
    sae, model
        As for `promoted`.
    features : sequence of int, length F

    Returns
    -------
    ndarray of float64, shape (F, vocabulary)

    Raises
    ------
    InputError
        As `promoted`.
    """
    import torch

    for feature in features:
        _check_feature(sae, feature)
    site = sae.cfg.metadata.get("site")
    if site is not None and site not in _WRITTEN:
        raise InputError(
            f"the autoencoder was trained on site {site!r}, which is not part of the residual "
            f"stream; what it promotes is known for {', '.join(_WRITTEN)}."
        )
    if sae.cfg.d_in != model.hidden:
        raise InputError(
            f"the autoencoder reads vectors of {sae.cfg.d_in}; {model.name} has a residual stream "
            f"of {model.hidden}."
        )
    check_predicts(model)
    check_model(sae, model)
    decoded = sae.W_dec.detach()[list(features)].float().cpu().numpy()
    rows = torch.from_numpy(_unit(decoded)) * model.hidden**0.5

    def write(values: torch.Tensor) -> None:
        values[:] = torch.cat([rows, -rows])[:, None].to(values)

    # which token it is does not matter: what is known of it is replaced
    ids = torch.zeros((2 * len(rows), 1), dtype=torch.long, device=model.device)
    with replaced(model, model.depth - 1, "resid_post", write), torch.inference_mode():
        logits = model.model(input_ids=ids).logits[:, -1].double().cpu().numpy()
    # an unembedding may have rows to spare, which are no tokens
    return (logits[: len(rows)] - logits[len(rows) :])[:, : len(model.tokenizer)] / 2


def probe_cosines(sae: Any, probe: RidgeProbe) -> pd.DataFrame:
    """How far each feature writes along the directions that a probe reads.

    A probe's direction is the gradient of its prediction with respect to the activation, in
    the activation's own units, `coef_`. Times the activation of a feature, its decoder row's
    product with it is what the feature adds to the prediction.

    Parameters
    ----------
    sae : sae_lens.SAE
    probe : RidgeProbe
        Fitted to activations of the same model, layer and site.

    Returns
    -------
    DataFrame of float64
        On `feature`: `cosine_0` and on for each target, such as longitude and latitude; 0 for
        a row of zeros. Two random directions of width d have a cosine of about 1 / sqrt(d).

    Raises
    ------
    InputError
        A probe of activations of another size.
    """
    check_is_fitted(probe)
    if probe.n_features_in_ != sae.cfg.d_in:
        raise InputError(
            f"the autoencoder reads vectors of {sae.cfg.d_in}; the probe is "
            f"{probe.n_features_in_} wide."
        )
    cosines = directions(sae).astype(np.float64) @ _unit(np.atleast_2d(probe.coef_)).T
    index = pd.RangeIndex(len(cosines), name="feature")
    return pd.DataFrame(cosines, index=index).add_prefix("cosine_")


def directions(sae: Any) -> NDArray[np.float32]:
    """Decoder rows brought to length 1, shape (latent, hidden); a row of zeros stays one."""
    return _unit(sae.W_dec.detach().float().cpu().numpy())


def _unit(rows: NDArray[Any]) -> NDArray[Any]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def _activations(features: anndata.AnnData, feature: int | str) -> NDArray[np.float64]:
    """One feature of every place."""
    names = features.var_names
    if str(feature) not in names:
        known = f"these are {names[0]} to {names[-1]}" if len(names) else "there are none"
        raise InputError(f"feature {feature}: it is not among the features; {known}.")
    column: Any = features.X[:, [names.get_loc(str(feature))]]
    dense = column.toarray() if sparse.issparse(column) else np.asarray(column)
    return dense.astype(np.float64).ravel()


def _check_feature(sae: Any, feature: int) -> None:
    if not 0 <= feature < sae.cfg.d_sae:
        raise InputError(
            f"feature {feature}: the autoencoder has features 0 to {sae.cfg.d_sae - 1}."
        )


def _check_count(n: int) -> None:
    if n < 1:
        raise InputError(f"n is {n}; it must be 1 or more.")
