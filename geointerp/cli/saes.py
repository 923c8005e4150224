"""Commands for sparse autoencoders: sae train, sae sweep, sae encode."""

from __future__ import annotations

from pathlib import Path

from geointerp import artefacts
from geointerp.cli.reading import check_seed, one_layer, one_prompt
from geointerp.errors import InputError


def train_sae(
    acts: str,
    *,
    layer: int,
    prompt: int | None = None,
    out: str = "run/sae",
    architecture: str = "topk",
    width: int = 1024,
    k: float = 16,
    steps: int = 1000,
    batch: int = 1024,
    learning_rate: float = 4e-3,
    patience: int | None = None,
    seed: int = 0,
    device: str | None = None,
    precision: str | None = None,
) -> None:
    """Train a sparse autoencoder on one layer's activations, in sae-lens's format.

    A run that was stopped goes on from its checkpoint, OUT.checkpoint.

    Args:
        acts: A store that `geointerp capture` wrote.
        layer: Block number.
        prompt: As for `geointerp probe`.
        out: A new folder.
        architecture: topk, batchtopk, matryoshka, jumprelu, gated or standard.
        width: Number of latents.
        k: Latents active at once, on average.
        steps: Updates.
        batch: Places in each.
        learning_rate: Of Adam.
        patience: Stop after so many fiftieths of the steps without a lesser validation error.
        seed: Of the weights, the batches and the held-out places.
        device: cpu, cuda, …; cuda if there is one.
        precision: float32 or bfloat16; bfloat16 on a GPU if not given.
    """
    from geointerp import activations, cards, saes

    check_seed(seed)
    artefacts.check_folder(Path(out))
    saes.train(
        one_layer(one_prompt(activations.open(acts), prompt), layer),
        architecture=architecture,
        width=width,
        k=k,
        out=out,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
        device=device,
        precision=precision,
    )
    print(f"{out}: {architecture}, {width} latents")
    for name, value in cards.read(Path(out))["figures"].items():
        print(f"{name}: {value:.4g}")


def sweep_saes(
    acts: str,
    *,
    layer: int,
    prompt: int | None = None,
    out: str = "run/sweep",
    architectures: list[str] = ["topk"],  # noqa: B006
    widths: list[int] = [256, 1024],  # noqa: B006
    ks: list[float] = [8, 16, 32],  # noqa: B006
    seeds: list[int] = [0],  # noqa: B006
    steps: int = 1000,
    batch: int = 1024,
    learning_rate: float = 4e-3,
    patience: int | None = None,
    device: str | None = None,
    precision: str | None = None,
) -> None:
    """Train sparse autoencoders of several kinds in one pass, and draw what each keeps.

    Args:
        acts: A store that `geointerp capture` wrote.
        layer: Block number.
        prompt: As for `geointerp probe`.
        out: A new folder, with a folder for each, sweep.csv and fidelity.png.
        architectures: Of topk, batchtopk, matryoshka, jumprelu, gated and standard.
        widths: Numbers of latents.
        ks: Latents active at once, on average.
        seeds: Of the weights; the first is that of the batches and the held-out places.
        steps: Updates.
        batch: Places in each.
        learning_rate: Of Adam.
        patience: As for `geointerp sae train`.
        device: cpu, cuda, …; cuda if there is one.
        precision: float32 or bfloat16; bfloat16 on a GPU if not given.
    """
    from geointerp import activations, plot, saes

    for seed in seeds:
        check_seed(seed)
    artefacts.refuse_existing(Path(out))
    table = saes.sweep(
        one_layer(one_prompt(activations.open(acts), prompt), layer),
        out=out,
        architectures=architectures,
        widths=widths,
        ks=ks,
        seeds=seeds,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        patience=patience,
        device=device,
        precision=precision,
    )
    figure = plot.fidelity(table).get_figure(root=True)
    assert figure is not None
    figure.savefig(Path(out) / "fidelity.png", dpi=150, bbox_inches="tight")
    print(table[["explained_variance", "l0", "alive", "dense"]].round(4).to_string())


def encode_places(
    sae: str,
    acts: str,
    *,
    sae_id: str | None = None,
    layer: int | None = None,
    prompt: int | None = None,
    out: str = "run/features.h5ad",
) -> None:
    """Encode activations as sparse features, an AnnData file.

    Args:
        sae: A folder with a sparse autoencoder; with --sae-id a release of sae-lens or a
            repository of the Hub.
        acts: A store that `geointerp capture` wrote.
        sae_id: The id in the release, or the folder in the repository.
        layer: Block number; the one that the autoencoder was trained on if not given.
        prompt: As for `geointerp probe`.
        out: A new .h5ad file.
    """
    from geointerp import activations, cards, saes

    artefacts.refuse_existing(Path(out))
    if Path(out).suffix != ".h5ad":
        raise InputError(f"{out}: features are written as .h5ad; choose such a name.")
    autoencoder = saes.load(sae, sae_id)
    if layer is None:
        layer = None if sae_id else cards.read(Path(sae)).get("made by", {}).get("layer")
        if layer is None:
            raise InputError(f"{sae}: it does not say of which layer it is; give --layer.")
    opened = one_prompt(activations.open(acts), prompt)
    features = saes.encode(autoencoder, one_layer(opened, layer))
    about = {
        "function": "geointerp.saes.encode",
        "sae": sae if sae_id is None else f"{sae}, {sae_id}",
        "activations": acts,
        "layer": layer,
        "prompt": prompt or 0,
    }
    artefacts.write_file(Path(out), features.write_h5ad, "Features", about)
    fire = int((features.var["n_active"] > 0).sum())
    print(f"{out}: {features.n_obs} places, {features.n_vars} features, {features.X.nnz} active")
    print(f"{fire} of {features.n_vars} features {'fires' if fire == 1 else 'fire'} on some place")
