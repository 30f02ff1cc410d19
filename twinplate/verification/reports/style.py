"""The style sheet of the HTML report: light and dark, wide and narrow."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --ink: #1d2430; --soft: #667085; --line: #e3e7ed;
  --same: #1a7f4b; --same-tint: #eef8f1; --note: #5d8f3a; --note-tint: #f3f8ea;
  --undecided: #a06a00; --undecided-tint: #fdf6e0;
  --difference: #c0322b; --difference-tint: #fdeeec;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1a2028; --ink: #e4e9f0; --soft: #97a3b4; --line: #2c3541;
    --same: #5fc98f; --same-tint: #17291f; --note: #a5c878; --note-tint: #212a18;
    --undecided: #e6b450; --undecided-tint: #2e2715;
    --difference: #ff8a80; --difference-tint: #371d1d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 68rem;
  background: var(--page); color: var(--ink); font: 15px/1.55 system-ui, sans-serif;
}
h1, h2, h3 { font-weight: 600; line-height: 1.3; margin: 0; }
h1 { font-size: 1.35rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .6rem; }
h3, small, .soft, th { color: var(--soft); font-weight: 500; font-size: .83rem; }
code, pre, table, .shape { font: .85rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
article + article { margin-top: 4rem; }
.same { --tone: var(--same); --tint: var(--same-tint); }
.note { --tone: var(--note); --tint: var(--note-tint); }
.undecided { --tone: var(--undecided); --tint: var(--undecided-tint); }
.unknown { --tone: var(--soft); --tint: var(--card); }
.difference, .execution { --tone: var(--difference); --tint: var(--difference-tint); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.headline { padding: 1.2rem 1.4rem; border-left: 6px solid var(--tone); }
.headline p { margin: .55rem 0 0; }
.verdict, .mark { color: var(--tone); font-weight: 650; }
.verdict { font-size: .85rem; letter-spacing: .06em; text-transform: uppercase; }
.finding { padding: .9rem 1.2rem; margin-top: .6rem; border-left: 6px solid var(--tone); }
.finding p { margin: 0 0 .5rem; }
.finding p, .headline p { white-space: pre-line; overflow-wrap: anywhere; }
.finding p:last-child { margin: 0; }
.finding a { color: inherit; font-weight: 600; text-decoration-color: var(--tone); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .3rem 1.2rem; }
.grid {
  display: grid; gap: .1rem 1rem; align-items: baseline;
  grid-template-columns: minmax(9rem, 1.25fr) minmax(8rem, 1fr) minmax(8rem, 1fr) 7rem;
}
.grid > *, .pair > *, .inputs > * { min-width: 0; overflow-wrap: anywhere; }
.rows { overflow: hidden; }
.titles { padding: .7rem 1.1rem; }
.group { padding: .45rem 1.1rem; border-top: 1px solid var(--line); background: var(--page); }
details { border-top: 1px solid var(--line); border-left: 5px solid var(--tone); background: var(--tint); }
summary { padding: .5rem 1.1rem .5rem .8rem; cursor: pointer; list-style: none; }
summary::-webkit-details-marker { display: none; }
summary:hover, summary:focus-visible { outline: none; box-shadow: inset 0 0 0 2px var(--tone); }
.name { font-weight: 600; position: relative; padding-left: 1rem; }
.name::before { content: "›"; position: absolute; left: 0; color: var(--soft); }
details[open] .name::before { transform: rotate(90deg); }
.name small { font-weight: 400; margin-left: .35rem; white-space: nowrap; display: inline-block; }
.mark { text-align: right; font-size: .85rem; white-space: nowrap; }
.numbers { padding: .3rem 1.1rem 1rem 1.8rem; overflow-x: auto; }
.numbers h3 { margin: .7rem 0 .2rem; }
table { border-collapse: collapse; }
th, td { text-align: right; padding: .12rem 1.1rem .12rem 0; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; color: var(--soft); }
.facts td { text-align: left; white-space: normal; }
.facts th { text-align: left; }
.worst td { color: var(--tone); font-weight: 650; }
.tested { padding: 1rem 1.4rem; }
.tested p { margin: 0 0 .7rem; }
.tested .pair { margin-top: .8rem; }
@media (max-width: 44rem) {
  body { padding: 1rem .75rem 3rem; }
  .titles { display: none; }
  .grid { grid-template-columns: 1fr auto; }
  .grid .first, .grid .second { grid-column: 1 / -1; padding-left: 1rem; }
  .grid .first::before { content: "first  "; color: var(--soft); white-space: pre; }
  .grid .second::before { content: "second "; color: var(--soft); white-space: pre; }
  .mark { grid-column: 2; grid-row: 1; }
  .pair { grid-template-columns: 1fr; }
  .numbers { padding-left: 1.1rem; }
  table { font-size: .74rem; }
  th, td { padding-right: .6rem; font-size: inherit; }
}
"""
