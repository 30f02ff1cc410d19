"""Counts of single cells: the joint guide beside scvi-tools' LinearSCVI, on the same simulated cells.

    pip install scvi-tools    # outside of what `make` installs; 1.4.2 was tried
    python benchmarks/single_cell.py [--quick] [--seed 0] [--json FILE]

Both have the same model: K factors of each cell, standard normal; counts of a gene are negative binomial
around the cell's total times a share, softmax(loadings z + intercept), with a dispersion of each gene. Both
train all of it, in as many steps on mini-batches of the same size, LinearSCVI by its own defaults but for the
observed total and a decoder that is linear: with an intercept, without batch norm. A second row of it keeps
the batch norm of its defaults. LinearSCVI's guide is a mean and a scale of each factor.

Of cells that none has seen, nats per cell: the log evidence under the model that each has learned, whatever
its guide (importance sampling around each cell's mode); the ELBO of its own guide; the gap between them,
which the guide misses; and how far its correlations of a cell's factors are from the posterior's, as a root
mean square. The row `truth` is the model that made the cells.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from pyro.optim import CosineAnnealingLR
from reporting import console, facts, print_facts, print_table, write_json
from torch import Tensor

from pyro_impl import AutoAmortizedNormal, CompiledSVI
from twinplate.errors import InputError

GENES, FACTORS, CELLS, NEW, BATCH, EPOCHS = 100, 4, 2000, 300, 128, 400
HIDDEN, RATE = 128, 5e-3
NEWTON, DRAWS, WIDER = 60, 2000, 1.2


@dataclass(frozen=True)
class Decoder:
    """loadings (G, K), intercept (G,) and inverse dispersion (G,) of a model."""

    loadings: Tensor
    intercept: Tensor
    dispersion: Tensor

    def log_joint(self, z: Tensor, x: Tensor) -> Tensor:
        """Of factors (..., K) and counts (..., G) of a cell."""
        share = torch.softmax(z @ self.loadings.mT + self.intercept, -1)
        return log_prior(z) + counts_of(share, self.dispersion, x).log_prob(x).sum(-1)


def counts_of(share: Tensor, dispersion: Tensor, x: Tensor) -> Any:
    """The negative binomial of a cell's counts, by its total."""
    mean = x.sum(-1, keepdim=True) * share
    return dist.NegativeBinomial(dispersion, logits=(mean / dispersion).log())


def log_prior(z: Tensor) -> Tensor:
    """Standard normal, (..., K) to (...,)."""
    return dist.Normal(z.new_zeros(()), 1.0).log_prob(z).sum(-1)


def simulated(cells: int, rng: np.random.Generator) -> tuple[Decoder, np.ndarray]:
    """A model, and counts (N, G) of cells; loadings overlap, so that factors of a cell are correlated."""
    common = 0.5 * rng.normal(size=(GENES, 1))
    loadings = common + 0.5 * rng.normal(size=(GENES, FACTORS))
    intercept, dispersion = rng.normal(size=GENES), rng.gamma(4.0, 1.0, GENES) + 1.0
    decoder = Decoder(*map(torch.tensor, (loadings, intercept, dispersion)))
    z = torch.tensor(rng.normal(size=(cells, FACTORS)))
    share = torch.softmax(z @ decoder.loadings.mT + decoder.intercept, -1).numpy()
    mean = np.exp(rng.normal(np.log(300.0), 0.3, (cells, 1))) * share
    x = rng.poisson(rng.gamma(dispersion, mean / dispersion))
    return decoder, x[x.sum(1) > 0]


def laplace(decoder: Decoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mode (N, K) of every cell's factors, and a factor (N, K, K) of the inverse curvature there."""

    def minus(z: Tensor, row: Tensor) -> Tensor:
        return -decoder.log_joint(z, row)

    gradient = torch.func.grad(minus)
    slope = torch.func.vmap(gradient)
    curvature = torch.func.vmap(torch.func.jacrev(gradient))
    z = torch.zeros(len(x), decoder.loadings.shape[1], dtype=x.dtype)
    for _ in range(NEWTON):  # steps of at most one standard deviation of the prior
        step = torch.linalg.solve(_positive(curvature(z, x)), slope(z, x))
        z = z - step / step.norm(dim=-1, keepdim=True).clamp(min=1.0)
    return z, torch.linalg.cholesky(torch.linalg.inv(_positive(curvature(z, x))))


def _positive(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ (values.abs().clamp(min=1e-2)[..., None] * vectors.mT)


def evidence(decoder: Decoder, x: Tensor, draws: int = DRAWS) -> tuple[Tensor, Tensor]:
    """Log evidence (N,) of every cell, and the correlations (N, K, K) of its factors' posterior."""
    mode, factor = laplace(decoder, x)
    proposal = dist.MultivariateNormal(mode, scale_tril=WIDER * factor)
    z = proposal.sample((draws,))
    weight = decoder.log_joint(z, x) - proposal.log_prob(z)
    share = torch.softmax(weight, 0)[..., None]
    middle = z - (share * z).sum(0)
    covariance = torch.einsum("sn,snj,snk->njk", share[..., 0], middle, middle)
    return weight.logsumexp(0) - np.log(draws), _correlation(covariance)


def elbo(decoder: Decoder, x: Tensor, loc: Tensor, tril: Tensor, draws: int = 500) -> Tensor:
    """Of a guide that is normal, (N,)."""
    guide = dist.MultivariateNormal(loc, scale_tril=tril)
    z = guide.sample((draws,))
    return (decoder.log_joint(z, x) - guide.log_prob(z)).mean(0)


def _correlation(covariance: Tensor) -> Tensor:
    scale = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    return covariance / (scale[..., None] * scale[..., None, :])


def ours(x: Tensor, new: Tensor, epochs: int, seed: int) -> tuple[Decoder, Tensor, Tensor]:
    """What the joint guide learns, and its normals of new cells."""
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    genes = x.shape[1]

    def decoder() -> tuple[Tensor, Tensor, Tensor]:
        loadings = pyro.param("loadings", lambda: 0.1 * torch.randn(genes, FACTORS))
        intercept = pyro.param("intercept", lambda: (x.mean(0) + 0.01).log())
        above = dist.constraints.positive
        dispersion = pyro.param("dispersion", lambda: torch.ones(genes), constraint=above)
        return loadings, intercept, dispersion

    def model(x: Tensor, batch_size: int | None = None) -> None:
        loadings, intercept, dispersion = decoder()
        with pyro.plate("cells", len(x), batch_size, dim=-1):
            x = pyro.subsample(x, event_dim=1)
            z = pyro.sample("z", dist.Normal(torch.zeros(FACTORS), 1.0).to_event(1))
            share = torch.softmax(z @ loadings.mT + intercept, -1)
            pyro.sample("x", counts_of(share, dispersion, x).to_event(1), obs=x)

    layers = [torch.nn.Linear(genes, HIDDEN), torch.nn.SiLU()]
    encoder = torch.nn.Sequential(*layers, torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.SiLU())
    guide = AutoAmortizedNormal(model, "cells", encoder, features=lambda x, *_: torch.log1p(x))
    steps = epochs * -(-len(x) // BATCH)
    adam = {"optimizer": torch.optim.Adam, "optim_args": {"lr": RATE}, "T_max": steps}
    scheduler = CosineAnnealingLR(adam)
    svi = CompiledSVI(model, guide, scheduler, Trace_ELBO())
    for _ in range(steps):
        svi.step(x, BATCH)
        scheduler.step()
    with torch.no_grad():
        normal = guide.posterior(new)
        learned = Decoder(*(value.detach().double() for value in decoder()))
        return learned, normal.loc.double(), normal.scale_tril.double()


def linear_scvi(
    x: Tensor, new: Tensor, epochs: int, seed: int, batch_norm: bool
) -> tuple[Decoder, Tensor, Tensor]:
    """What LinearSCVI learns, and its normals of new cells. Raises InputError where it is not installed."""
    try:
        import anndata
        import scvi
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed; expected scvi-tools: pip install scvi-tools"
        ) from None
    scvi.settings.seed = seed
    old, fresh = (anndata.AnnData(part.numpy()) for part in (x, new))
    scvi.model.LinearSCVI.setup_anndata(old)
    options = {} if batch_norm else {"use_batch_norm": False, "bias": True}
    model = scvi.model.LinearSCVI(
        *(old,), n_latent=FACTORS, gene_likelihood="nb", use_observed_lib_size=True, **options
    )
    quiet = {"enable_progress_bar": False, "accelerator": "cpu"}
    model.train(max_epochs=epochs, batch_size=BATCH, train_size=1.0, **quiet)
    module = model.module.eval()
    with torch.no_grad():
        lines = module.decoder.factor_regressor
        points = torch.cat([torch.zeros(1, FACTORS), torch.eye(FACTORS)])
        at = lines(points, torch.zeros(len(points), 1))  # all of one batch
        learned = Decoder((at[1:] - at[0]).mT.double(), at[0].double(), module.px_r.exp().double())
    loc, variance = model.get_latent_representation(fresh, return_dist=True)
    scale = torch.tensor(variance).double().sqrt()
    return learned, torch.tensor(loc).double(), scale.diag_embed()


def row(name: str, decoder: Decoder, new: Tensor, guide: tuple[Tensor, Tensor] | None) -> dict:
    """Figures of a model and its guide, if it has one, on new cells: means."""
    exact, correlation = evidence(decoder, new)
    found: dict[str, Any] = {"model": name, "evidence": float(exact.mean())}
    if guide is not None:
        loc, tril = guide
        bound = elbo(decoder, new, loc, tril)
        off = (_correlation(tril @ tril.mT) - correlation)[..., *np.tril_indices(FACTORS, -1)]
        found |= {
            "elbo": float(bound.mean()),
            "gap": float((exact - bound).mean()),
            "correlation_error": float(off.square().mean().sqrt()),
        }
    return found


def main(arguments: list[str] | None = None) -> None:
    """Simulate, train all, print and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    epochs, cells, fresh = (20, 500, 50) if options.quick else (EPOCHS, CELLS, NEW)
    truth, counts = simulated(cells + fresh, np.random.default_rng(options.seed))
    x, new = (torch.tensor(part, dtype=torch.float32) for part in np.split(counts, [cells]))
    known = facts(cells=cells, new=len(new), genes=GENES, factors=FACTORS, epochs=epochs)
    print_facts({**known, "batch_size": BATCH, "seed": options.seed})
    rows = [row("truth", truth, new.double(), None)]
    fits = {
        "joint guide": lambda: ours(x, new, epochs, options.seed),
        "LinearSCVI": lambda: linear_scvi(x, new, epochs, options.seed, batch_norm=False),
        "LinearSCVI, batch norm": lambda: linear_scvi(
            x, new, epochs, options.seed, batch_norm=True
        ),
    }
    for name, fit in fits.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoder, *guide = fit()
        rows.append(row(name, decoder, new.double(), tuple(guide)))
        console.print(rows[-1])
        write_json(options.json, {"facts": known, "rows": rows})
    names = ["evidence", "elbo", "gap", "correlation_error"]
    columns = ["nats per new cell", "log evidence", "ELBO", "gap", "correlations off by"]
    cells_of = [[r["model"], *(f"{r[n]:.3f}" if n in r else "–" for n in names)] for r in rows]
    print_table("Held-out cells", columns, cells_of)


if __name__ == "__main__":
    main()
