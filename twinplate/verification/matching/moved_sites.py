"""Sites, draws and unconstrained images of one program, in the names and layouts of the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from twinplate.records.record import Array, Parameter, Site
from twinplate.verification.matching.site_layouts import laid_out, layout_of
from twinplate.verification.matching.sites import SiteMatch, split, stack


def image_sites(
    sites: Mapping[str, Site], images: Mapping[str, Parameter], which: str
) -> dict[str, Site]:
    """The sites with the "value" or "gradient" of their unconstrained images in place of their values."""
    found = {}
    for name, p in images.items():
        if name in sites and p.constraint == "unconstrained":
            site = sites[name]
            event_shape = p.value.shape[1 + len(site.batch_shape) :]
            found[name] = dataclasses.replace(
                site,
                value=getattr(p, which),
                event_shape=event_shape,
                log_prob=None,
                mask=None,
                arguments={},
            )
    return found


def drawn(
    match: SiteMatch,
    mine: Mapping[str, Site],
    theirs: Mapping[str, Site],
    draws: Mapping[str, Array],
) -> dict[str, Array]:
    """Values of the sites of one match, in the second program's layout."""
    if not all(name in draws for name in match.first):
        return {}
    parts = [dataclasses.replace(mine[name], value=draws[name]) for name in match.first]
    targets = [theirs[name] for name in match.second]
    if len(targets) > len(parts):
        parts = split(parts[0], len(targets)) or []
    elif len(targets) < len(parts):
        parts = [stack(parts)]
    own = {}
    for name, part, target in zip(match.second, parts, targets, strict=False):
        layout = layout_of(match, part, target)
        if layout is not None and part.value is not None:
            own[name] = layout.to_second(part.value)
    return own


def renamed_sites(
    matches: tuple[SiteMatch, ...], mine: Mapping[str, Site], theirs: Mapping[str, Site]
) -> dict[str, Site]:
    """Sites under the first program's names, values in its layouts; unmatched ones keep their names."""
    renamed: dict[str, Site] = {}
    by_second = {name: match for match in matches for name in match.second}
    for name, site in theirs.items():
        match = by_second.get(name)
        if match is None:
            renamed[name] = site
            continue
        if any(other not in theirs for other in match.second):
            continue
        if len(match.second) > 1:
            sites = [stack([theirs[other] for other in match.second])]
        else:
            sites = [site] if len(match.first) == 1 else split(site, len(match.first)) or []
        for target, part in zip(match.first, sites, strict=False):
            renamed[target] = laid_out(match, mine[target], part) if target in mine else part
    return renamed
