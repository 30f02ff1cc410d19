"""What the page of a comparison has beside the style of all pages."""

CSS = """
article + article { margin-top: 4rem; }
.finding { padding: .9rem 1.2rem; margin-top: .6rem; border-left: 6px solid var(--tone); }
.finding p { margin: 0 0 .5rem; white-space: pre-line; overflow-wrap: anywhere; }
.finding p:last-child { margin: 0; }
.finding a { color: inherit; font-weight: 600; text-decoration-color: var(--tone); }
.grid {
  display: grid; gap: .1rem 1rem; align-items: baseline;
  grid-template-columns: minmax(9rem, 1.25fr) minmax(8rem, 1fr) minmax(8rem, 1fr) 7rem;
}
.grid > *, .inputs > * { min-width: 0; overflow-wrap: anywhere; }
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
.grid .mark { text-align: right; }
.numbers { padding: .3rem 1.1rem 1rem 1.8rem; overflow-x: auto; }
.numbers h3 { margin: .7rem 0 .2rem; }
.facts td { text-align: left; white-space: normal; }
.facts th { text-align: left; }
.worst td { color: var(--tone); font-weight: 650; }
.tested { padding: 1rem 1.4rem; }
.tested p { margin: 0 0 .7rem; }
.tested .pair { margin-top: .8rem; }
@media (max-width: 44rem) {
  .titles { display: none; }
  .grid { grid-template-columns: 1fr auto; }
  .grid .first, .grid .second { grid-column: 1 / -1; padding-left: 1rem; }
  .grid .first::before { content: "first  "; color: var(--soft); white-space: pre; }
  .grid .second::before { content: "second "; color: var(--soft); white-space: pre; }
  .mark { grid-column: 2; grid-row: 1; }
  .numbers { padding-left: 1.1rem; }
}
"""
