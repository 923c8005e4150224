"""Commands for features on the map: moran, regions, local."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from geointerp import artefacts
from geointerp.cli.reading import (
    anndata_of,
    check_seed,
    fingerprint,
    new_csv,
    polygons_of,
    words,
)
from geointerp.errors import InputError

_NEIGHBOURS = 8


def map_features(
    features: str,
    *,
    out: str = "run/moran.csv",
    k: int | None = None,
    km: float | None = None,
    within: str | None = None,
    permutations: int = 999,
    max_permutations: int = 9999,
    alternative: str = "greater",
    min_active: int = 10,
    seed: int = 0,
) -> None:
    """Moran's I of every feature on great-circle neighbours, with q-values.

    Args:
        features: A .h5ad file that `geointerp sae encode` wrote.
        out: A new .csv file, a row per feature.
        k: Nearest neighbours; 8 if neither this nor km is given.
        km: Instead of k, all places within so many kilometres, whose weights add up to 1.
        within: Column of the places, such as country, admin1 or continent; places are then
            permuted within these regions only, which asks for anything finer than them.
        permutations: Of the permutation test.
        max_permutations: Most of them, for features that fewer don't settle.
        alternative: greater (neighbours alike), less or two-sided.
        min_active: Features that fire on fewer places are not tested.
        seed: Of the permutations.
    """
    from geointerp import spatial

    check_seed(seed)
    _check_neighbours(k, km)
    new_csv(Path(out))
    encoded = anndata_of(Path(features))
    graph, near = _neighbours(encoded, k, km)
    options: dict[str, Any] = {
        "within": within,
        "permutations": permutations,
        "max_permutations": max_permutations,
        "alternative": alternative,
        "min_active": min_active,
        "seed": seed,
    }
    table = spatial.moran(encoded, graph, **options)
    about = {
        "function": "geointerp.spatial.moran",
        "features": features,
        "features_sha256": fingerprint(encoded),
        **near,
        **options,
        **table.attrs,
    }
    artefacts.write_file(
        Path(out), table.rename_axis("feature").to_csv, "Moran's I of every feature", about
    )
    print(table.sort_values("I", ascending=False).head(10).to_string())
    for reason, count in table["reason"].value_counts().items():
        print(f"{count} not tested: {reason}")
    print(f"null: {table.attrs['null']}" + (f", by {within}" if within else ""))
    without = 0 if within is None else spatial.region_of(encoded, within).isna().sum()
    if without:
        print(f"{without} of {encoded.n_obs} places have no {within}: permuted among themselves")
    tested = table["q"].notna()
    curve = (table.loc[tested, "permutations"] == 0).sum()
    print(f"p rests on the Pearson III curve for {curve}, on permutations for", end=" ")
    print(f"{tested.sum() - curve}")
    found = (table["q"] <= 0.05).sum()
    print(
        f"{tested.sum()} of {len(table)} features tested; "
        f"{found} {'has' if found == 1 else 'have'} q ≤ 0.05"
    )


def match_features(
    features: str,
    *,
    by: str | None = None,
    polygons: str | None = None,
    column: str | None = None,
    out: str = "run/regions.csv",
    k: int = _NEIGHBOURS,
    min_places: int = 5,
    permutations: int = 0,
    seed: int = 0,
) -> None:
    """Find the region that each feature tells best from all others, and where it fires.

    Args:
        features: A .h5ad file that `geointerp sae encode` wrote.
        by: Column of the places, such as country, admin1 or continent; country if neither this
            nor polygons are given.
        polygons: Instead of a column, a .geojson, .gpkg, .shp or .parquet file of regions.
        column: Column of the polygons that names them.
        out: A new .csv file, a row per feature.
        k: Nearest neighbours, which join places into patches.
        min_places: Regions with fewer places are not considered.
        permutations: Of the labels, for a p-value; 0 for none.
        seed: Of the permutations.
    """
    from geointerp import spatial

    check_seed(seed)
    if by is not None and polygons is not None:
        raise InputError("--by and --polygons both say which regions there are; give one of them.")
    new_csv(Path(out))
    encoded = anndata_of(Path(features))
    if polygons is None:
        by = "country" if by is None else by
        labels = spatial.region_of(encoded, by, column=column)
    else:
        labels = spatial.region_of(encoded, polygons_of(Path(polygons)), column=column)
    graph = spatial.knn(encoded, k=k)
    options = {"min_places": min_places, "permutations": permutations, "seed": seed}
    matched = spatial.match_regions(encoded, labels, **options)
    where = spatial.extent(encoded, encoded, graph)
    table = matched.join(where.drop(columns="n_active"), rsuffix="_extent")
    about = {
        "function": "geointerp.spatial.match_regions, geointerp.spatial.extent",
        "features": features,
        "features_sha256": fingerprint(encoded),
        "by": by,
        "polygons": polygons,
        "column": column,
        "k": k,
        **options,
        **matched.attrs,
        "min_patch": where.attrs["min_patch"],
        "statistic": "best F1, extent",
    }
    artefacts.write_file(
        Path(out), table.rename_axis("feature").to_csv, "Region and extent of every feature", about
    )
    shown = ["region", "precision", "recall", "f1", "n_active", "n_region"]
    shown += ["p"] if permutations else []
    shown += ["n_patches", "largest_patch"]
    best = table.sort_values("f1", ascending=False, kind="stable")
    print(best[shown].head(10).round(3).to_string())
    for reason, count in table["reason"].value_counts().items():
        print(f"{count} not matched: {reason}")
    print(
        f"{matched.attrs['n_matched']} of {len(table)} features matched to one of "
        f"{matched.attrs['n_regions']} regions of {min_places} places or more; "
        f"median F1 {table['f1'].median():.3f}"
    )


def map_clusters(
    features: str,
    *,
    feature: str | list[str],
    out: str = "run/local.csv",
    k: int | None = None,
    km: float | None = None,
    permutations: int = 9999,
    alternative: str = "two-sided",
    alpha: float = 0.05,
    seed: int = 0,
) -> None:
    """Local Moran's I of chosen features at every place: where are neighbours alike?

    Args:
        features: A .h5ad file that `geointerp sae encode` wrote.
        feature: Name of a feature; several as 5,17.
        out: A new .csv file, a row per feature and place.
        k: As for `geointerp moran`.
        km: As for `geointerp moran`.
        permutations: Conditional ones, of a place's neighbours.
        alternative: two-sided, greater (neighbours high) or less (neighbours low).
        alpha: Largest q, over the places of a feature, of a cluster: HH (high among high), LL,
            LH (low among high) or HL.
        seed: Of the permutations.
    """
    import pandas as pd

    from geointerp import spatial

    check_seed(seed)
    _check_neighbours(k, km)
    new_csv(Path(out))
    encoded = anndata_of(Path(features))
    chosen = _chosen(encoded.var_names, feature)
    graph, near = _neighbours(encoded, k, km)
    options: dict[str, Any] = {
        "permutations": permutations,
        "alternative": alternative,
        "alpha": alpha,
        "seed": seed,
    }
    found = spatial.local_moran(encoded[:, chosen], graph, **options)
    lon, lat = encoded.obsm["spatial"].T
    place = {"place": encoded.obs_names, "name": encoded.obs.get("name", encoded.obs_names)}
    parts = []
    for name in chosen:
        one = found.sel(feature=name)
        columns = {key: one[key].values for key in ("I", "z", "p", "q", "cluster")}
        parts.append(pd.DataFrame({"feature": name, **place, "lon": lon, "lat": lat, **columns}))
    table = pd.concat(parts).set_index(["feature", "place"])
    about = {
        "function": "geointerp.spatial.local_moran",
        "features": features,
        "features_sha256": fingerprint(encoded),
        "feature": chosen,
        **near,
        **options,
        **found.attrs,
    }
    artefacts.write_file(Path(out), table.to_csv, "Local Moran's I of chosen features", about)
    for name in chosen:
        rows, reason = table.loc[name], str(found["reason"].sel(feature=name).values)
        if reason:
            print(f"feature {name} not tested: {reason}")
            continue
        counts = [f"{(rows['cluster'] == kind).sum()} {kind}" for kind in ("HH", "LL", "LH", "HL")]
        print(f"feature {name}: {', '.join(counts)} of {len(rows)} places, q ≤ {alpha:g}")
        high = rows[rows["cluster"] == "HH"].sort_values("I", ascending=False, kind="stable")
        if len(high):
            print(f"  HH, largest I first: {', '.join(map(str, high['name'].head(10)))}")


def _check_neighbours(k: int | None, km: float | None) -> None:
    if k is not None and km is not None:
        raise InputError("--k and --km both say who is whose neighbour; give one of them.")


def _neighbours(features: Any, k: int | None, km: float | None) -> tuple[Any, dict[str, Any]]:
    """The row-standardised graph of the places, and what is said of it on a card."""
    from geointerp import spatial

    if km is None:
        k = _NEIGHBOURS if k is None else k
        return spatial.knn(features, k=k), {"k": k}
    graph = spatial.distance_band(features, km=km)
    if not graph.n_edges:
        raise InputError(f"no place has another within {km:g} km; give a larger --km.")
    alone = len(graph.isolates)
    if alone:
        print(f"{alone} of {graph.n} places have no other within {km:g} km")
    # I stays comparable with that of nearest neighbours
    return graph.transform("R"), {"km": km, "weights": "row-standardised", "islands": alone}


def _chosen(names: Any, given: str | list[str]) -> list[str]:
    """Features by their names, each once."""
    if not names.is_unique:
        raise InputError(f"two features are called {names[names.duplicated()][0]!r}.")
    wanted = [given] if isinstance(given, str) and given in names else words(given)
    if not wanted:
        raise InputError("--feature names none; write it as 5 or 5,17.")
    for name in wanted:
        if name in names:
            continue
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names[:3].tolist()
        more = ", …" if len(names) > len(near) else ""
        raise InputError(
            f"there is no feature {name!r} among the {len(names)}; there are "
            f"{', '.join(map(repr, near))}{more}."
        )
    return list(dict.fromkeys(wanted))
