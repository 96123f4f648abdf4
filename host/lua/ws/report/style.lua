--- The look of a report: narrow and wide screens, light and dark, paper. Meaning is never in a colour alone.
return [[
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #ffffff; --line: #d5dae1; --text: #1b2026; --soft: #56606c; --code: #eef0f4;
  --accent: #0a55b5; --bar: #8494a8; --done: #14702f; --failed: #b3261e; --warn: #855500; --failed-soft: #fdecea;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1217; --card: #161b22; --line: #303841; --text: #e6e9ed; --soft: #a0abb8; --code: #0e1217;
    --accent: #6cb0ff; --bar: #65778f; --done: #4cc366; --failed: #ff8a80; --warn: #e0b04a; --failed-soft: #2d1719;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 3.5rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--text); font: 1rem/1.5 var(--sans); }
.wrap { max-width: 72rem; margin: 0 auto; padding: 1.25rem 1rem 3rem; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--card); padding: .5rem 1rem; z-index: 1; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 3px; }
a { color: var(--accent); text-underline-offset: .15em; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .35rem 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0 0 .75rem; }
h3 { font-size: .95rem; margin: 1rem 0 .35rem; }
p { margin: .35rem 0; }
code, pre { font-family: var(--mono); font-size: .86em; }
code { overflow-wrap: anywhere; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 6px; padding: .6rem .75rem;
  margin: .4rem 0; overflow: auto; max-height: 34rem; white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 4; }
section, header.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1rem 1.15rem; margin: 0 0 1rem; }
.soft { color: var(--soft); }
.small { font-size: .875rem; }
.quiet { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.num { font-variant-numeric: tabular-nums; white-space: nowrap; }

.badge { display: inline-block; font-weight: 600; font-size: .875rem; padding: .1rem .6rem; border-radius: 1rem;
  border: 1.5px solid currentColor; }
.done { color: var(--done); } .failed, .killed, .denied { color: var(--failed); }
.interrupted, .parked, .undone, .running { color: var(--warn); } .skipped { color: var(--soft); }

.facts { display: flex; flex-wrap: wrap; gap: .6rem 2.25rem; margin: .9rem 0 0; }
.facts div { min-width: 0; }
.facts dt { color: var(--soft); font-size: .8rem; }
.facts dd { margin: 0; overflow-wrap: anywhere; }

nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; list-style: none; padding: 0; margin: 0 0 1rem; }

.error { border-left: 5px solid var(--failed); background: var(--failed-soft); border-radius: 6px; padding: .7rem 1rem;
  margin: .5rem 0; }
.error dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 0; }
.error dt { color: var(--soft); }
.error dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; min-width: 0; }
.error .message { font-weight: 600; }

.path { padding-left: 0; list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 0; margin: .25rem 0 1rem; }
.path li:not(:last-child)::after { content: "→"; margin: 0 .5rem; color: var(--soft); }

.axis, .lane { display: grid; grid-template-columns: minmax(9rem, 17rem) 4.5rem 1fr; gap: 0 .75rem;
  align-items: center; }
.axis { color: var(--soft); font-size: .75rem; }
.lanes { list-style: none; margin: 0; padding: 0; }
.lane { border-radius: 4px; }
.lane:hover { background: var(--code); }
.lane .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.lane .name a { color: inherit; text-decoration: none; }
.lane .name a:hover { text-decoration: underline; }
.lane.on-path .name { font-weight: 650; }
.lane .time { text-align: right; color: var(--soft); font-size: .85rem; }
.d1 .name { padding-left: 1.1rem; } .d2 .name { padding-left: 2.2rem; } .d3 .name { padding-left: 3.3rem; }
svg { display: block; width: 100%; overflow: visible; }
svg text { fill: var(--soft); font: .75rem var(--sans); }
.tick { stroke: var(--line); stroke-width: 1; }
.resume { stroke: var(--warn); stroke-width: 2; stroke-dasharray: 3 3; }
.bar { fill: var(--bar); } .bar.on-path { fill: var(--accent); }
.bar.bad { fill: var(--failed); }
.bar.inner { opacity: .8; }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .75rem 0 0; color: var(--soft); font-size: .85rem; }
.key svg { display: inline-block; width: 1.4rem; height: .7rem; margin-right: .4rem; vertical-align: baseline; }

details.step { border-top: 1px solid var(--line); }
details.step:last-of-type { border-bottom: 1px solid var(--line); }
summary { cursor: pointer; border-radius: 4px; }
details.step > summary { display: grid; grid-template-columns: 1.4rem minmax(0, 1fr) auto; gap: 0 .5rem;
  padding: .5rem .25rem; list-style: none; align-items: baseline; }
details.step > summary::-webkit-details-marker { display: none; }
details.step > summary:hover { background: var(--code); }
details.step > summary .mark { font-weight: 700; text-align: center; }
details.step > summary .title { overflow-wrap: anywhere; }
details.step > summary .title b { font-weight: 600; margin-right: .6rem; }
details.step[open] > summary .title b { text-decoration: underline; text-decoration-thickness: 2px;
  text-underline-offset: .2em; }
.inside { padding: 0 .25rem 1rem 1.9rem; scroll-margin-top: 3.5rem; }
.inside .facts { margin-top: .25rem; }
.tag { border: 1px solid currentColor; border-radius: 4px; font-size: .75rem; padding: 0 .35rem; color: var(--accent);
  white-space: nowrap; }
.said { list-style: none; padding: 0; margin: .25rem 0; font-size: .9rem; }
.said li { display: grid; grid-template-columns: 4.5rem minmax(0, 1fr); gap: .5rem; overflow-wrap: anywhere; }
.said .error-level { color: var(--failed); } .said .warning-level { color: var(--warn); }
details.log { margin: .5rem 0; }
ul.plain { margin: .25rem 0; padding-left: 1.2rem; }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 500; font-size: .8rem; }
tbody th { font-weight: 500; width: 30%; }
footer { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }

@media (max-width: 40rem) {
  .wrap { padding: .75rem .6rem 2rem; }
  section, header.card { padding: .8rem .8rem; }
  .facts { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem 1rem; } .facts .num { white-space: normal; }
  .axis { grid-template-columns: 1fr; } .axis > :not(svg) { display: none; }
  .lane { grid-template-columns: minmax(0, 1fr) auto; padding: .25rem 0; }
  .lane svg { grid-column: 1 / -1; }
  .inside { padding-left: .25rem; }
  .error dl { grid-template-columns: 1fr; gap: 0; } .error dd { margin-bottom: .4rem; }
}
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
@media print {
  :root { color-scheme: light; --page: #fff; --card: #fff; --line: #bbb; --text: #000; --soft: #444; --code: #fff;
    --accent: #0a55b5; --bar: #8494a8; --done: #14702f; --failed: #b3261e; --warn: #855500; --failed-soft: #fff; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 10pt; }
  nav, .skip { display: none; }
  section, header.card { border: 0; padding: 0; }
  details.step::details-content { content-visibility: visible; block-size: auto; }
  pre { max-height: none; }
  .lane, .error, tr { break-inside: avoid; }
  h2, summary { break-after: avoid; }
}
]]
