"""What random static programs are made of; each twin builds its own from the same plan."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

ITEMS = 6
PRIORS = ("beta", "gamma", "half-cauchy", "lognormal", "normal", "student")
LIKELIHOODS = ("bernoulli", "laplace", "normal", "poisson")
GUIDES = (
    "AutoNormal",
    "AutoDiagonalNormal",
    "AutoMultivariateNormal",
    "AutoLowRankMultivariateNormal",
)


@dataclass(frozen=True)
class Plan:
    """A chain of latents, some local to the items, masked, scaled, with parameters; guide and loss."""

    chain: list[str]
    local: bool
    likelihood: str
    scale: float | None
    masked: bool
    with_param: bool
    particles: int
    loss: str
    vectorised: bool
    guide: str


@st.composite
def plans(draw):
    return Plan(
        chain=draw(st.lists(st.sampled_from(PRIORS), min_size=1, max_size=3)),
        local=draw(st.booleans()),
        likelihood=draw(st.sampled_from(LIKELIHOODS)),
        scale=draw(st.sampled_from([None, 0.5, 3.0])),
        masked=draw(st.booleans()),
        with_param=draw(st.booleans()),
        particles=draw(st.sampled_from([1, 2])),
        loss=draw(st.sampled_from(["Trace_ELBO", "TraceMeanField_ELBO"])),
        vectorised=draw(st.booleans()),
        guide=draw(st.sampled_from(GUIDES)),
    )
