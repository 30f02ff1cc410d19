"""The style sheet of all pages: light and dark, wide and narrow, on the screen and on paper."""

# (name, light, dark); every colour of words reaches a contrast of 4.5 on page, card and its own tint.
COLOURS = (
    ("page", "#f6f7f9", "#12161c"),
    ("card", "#ffffff", "#1a2028"),
    ("ink", "#1d2430", "#e4e9f0"),
    ("soft", "#5b6677", "#97a3b4"),
    ("line", "#e3e7ed", "#2c3541"),
    ("same", "#16713f", "#5fc98f"),
    ("same-tint", "#eef8f1", "#17291f"),
    ("note", "#47702c", "#a5c878"),
    ("note-tint", "#f3f8ea", "#212a18"),
    ("undecided", "#8a5a00", "#e6b450"),
    ("undecided-tint", "#fdf6e0", "#2e2715"),
    ("difference", "#b82c26", "#ff8a80"),
    ("difference-tint", "#fdeeec", "#371d1d"),
    ("plus", "#0b62a4", "#6cb6ff"),
    ("minus", "#b3480a", "#ff9d5c"),
    ("series1", "#0b62a4", "#6cb6ff"),
    ("series2", "#b3480a", "#ff9d5c"),
    ("series3", "#0a7452", "#4fd1a1"),
    ("series4", "#8a3fa0", "#d69af0"),
    ("series5", "#76590a", "#e0c15a"),
    ("series6", "#a02860", "#ff9ec4"),
)
SERIES = sum(name.startswith("series") for name, *_ in COLOURS)


def _variables(scheme: int) -> str:
    return " ".join(f"--{colour[0]}: {colour[scheme]};" for colour in COLOURS)


_RULES = """
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 72rem;
  background: var(--page); color: var(--ink); font: 15px/1.55 system-ui, sans-serif;
}
h1, h2, h3 { font-weight: 600; line-height: 1.3; margin: 0; }
h1 { font-size: 1.35rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .6rem; }
h3, small, .soft, th, caption, figcaption { color: var(--soft); font-weight: 500; font-size: .83rem; }
code, pre, table, .shape { font: .85rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
a { color: var(--plus); }
:focus-visible { outline: 2px solid var(--plus); outline-offset: 2px; border-radius: 4px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { position: static; display: inline-block; margin-bottom: .8rem; }
.same { --tone: var(--same); --tint: var(--same-tint); }
.note { --tone: var(--note); --tint: var(--note-tint); }
.undecided { --tone: var(--undecided); --tint: var(--undecided-tint); }
.unknown { --tone: var(--soft); --tint: var(--card); }
.difference, .execution { --tone: var(--difference); --tint: var(--difference-tint); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.headline { padding: 1.2rem 1.4rem; border-left: 6px solid var(--tone); }
.headline p { margin: .55rem 0 0; white-space: pre-line; overflow-wrap: anywhere; }
.verdict, .mark { color: var(--tone); font-weight: 650; }
.verdict { font-size: .85rem; letter-spacing: .06em; text-transform: uppercase; }
.mark { font-size: .85rem; white-space: nowrap; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .3rem 1.2rem; }
.pair > * { min-width: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; }
th, td { text-align: right; padding: .12rem 1.1rem .12rem 0; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; color: var(--soft); }
caption { text-align: left; padding-bottom: .3rem; }
thead th { border-bottom: 1px solid var(--line); }
tbody th { text-align: left; }
.scroll {
  overflow-x: auto; padding: .8rem 1rem; margin-top: .6rem;
  /* A shade at each end that has more to scroll to: the covers move with the table, the shades do not. */
  background:
    linear-gradient(to right, var(--card) 40%, transparent) left / 2.4rem 100% no-repeat local,
    linear-gradient(to left, var(--card) 40%, transparent) right / 2.4rem 100% no-repeat local,
    linear-gradient(to right, var(--soft), transparent) left / .7rem 100% no-repeat scroll,
    linear-gradient(to left, var(--soft), transparent) right / .7rem 100% no-repeat scroll,
    var(--card);
  border: 1px solid var(--line); border-radius: 12px;
}
.figures {
  display: grid; gap: 1rem; margin-top: .8rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr));
}
figure {
  margin: 0; max-width: 36rem; min-width: 0; padding: .9rem 1rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
}
figcaption { margin-top: .5rem; }
@media (min-width: 60rem) { /* a picture without a neighbour has its caption beside it */
  .figures > figure:only-child {
    display: grid; grid-template-columns: minmax(0, 30rem) 1fr; gap: 1.4rem;
    max-width: none; align-items: center;
  }
}
.key { display: block; color: var(--ink); }
.key > span { display: inline-block; margin-right: .9rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; max-width: 30rem; }
svg text { font: 13px system-ui, sans-serif; fill: var(--soft); }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .tick { stroke: var(--line); }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .level { stroke: var(--ink); stroke-width: 1.6; stroke-dasharray: 5 4; fill: none; }
svg .said { fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
svg .empty { fill: var(--page); }
svg .exact { stroke: var(--soft); }
svg.swatch {
  display: inline-block; width: 28px; height: 10px; margin-right: .35rem; vertical-align: middle;
}
@media (max-width: 44rem) {
  body { padding: 1rem .75rem 3rem; }
  .pair { grid-template-columns: 1fr; }
  table { font-size: .78rem; }
  th, td { padding-right: .8rem; font-size: inherit; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 11px; }
  nav, .skip { display: none; }
  .card, figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .figures { grid-template-columns: 1fr 1fr; }
  .scroll { overflow: visible; background: var(--card); }
  * { print-color-adjust: exact; }
}
"""

# On paper the colours are the light ones, whatever the screen has.
CSS = (
    f":root {{ color-scheme: light dark; {_variables(1)} }}\n"
    f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(2)} }} }}{_RULES}"
)
