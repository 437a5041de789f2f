/** The style sheet of the report: light and dark by the reader's system, one column on a phone, readable when printed. */
export const pageStyle = `
:root { color-scheme: light dark;
  --bg: #f6f7f9; --panel: #fff; --ink: #1b1f24; --muted: #59636e; --line: #d8dee4; --faint: #b6bfc9;
  --c0: #0b6bb8; --c1: #c94a05; --c2: #0a8060; --c3: #a03a8c; --c4: #8a6200; --c5: #1f8fb8; --c6: #6b7280; --c7: #b02a37; --c8: #5b4bb5; --c9: #4d7c0f; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #0d1116; --panel: #161b22; --ink: #e6edf3; --muted: #9aa7b4; --line: #2d353f; --faint: #4a5562;
  --c0: #58a6ff; --c1: #ff9a4d; --c2: #3fca98; --c3: #e08bcf; --c4: #e3b341; --c5: #7cd3f2; --c6: #9ca3af; --c7: #ff8182; --c8: #b3a6ff; --c9: #a3d65c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
header, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; line-height: 1.3; margin: 0 0 .4rem; }
h3 { font-size: .85rem; font-weight: 600; margin: 0 0 .35rem; }
p { margin: 0 0 .8rem; max-width: 80ch; }
.muted, .reading { color: var(--muted); }
.reading { font-size: .92rem; }
nav { margin: 1rem 0 0; font-size: .9rem; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; }
a { color: var(--c0); }
section { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 18px 20px; margin: 18px 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 18px 0 0; padding: 0; list-style: none; }
.facts li { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; font-size: .82rem; color: var(--muted); }
.facts b { display: block; font-size: 1.3rem; line-height: 1.3; color: var(--ink); font-variant-numeric: tabular-nums; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 22px 26px; }
.panels.wide { grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); }
figure { margin: 0; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; }
figure svg text { font-family: system-ui, sans-serif; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 0 0 .9rem; padding: 0; list-style: none; font-size: .85rem; }
.legend svg { width: 16px; height: 12px; margin-right: 6px; vertical-align: -1px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; min-width: 100%; }
caption { text-align: left; color: var(--muted); padding: 0 0 .4rem; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; overflow-wrap: normal; }
th { font-weight: 600; vertical-align: bottom; }
th.text, td.text, tbody th { text-align: left; }
td.text, tbody th { white-space: normal; min-width: 7rem; vertical-align: middle; }
tbody th { font-weight: 400; }
tbody.group { border-top: 2px solid var(--line); }
details { margin-top: .8rem; }
summary { cursor: pointer; color: var(--c0); font-size: .9rem; }
details[open] > summary { margin-bottom: .6rem; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .15rem 1.2rem; margin: 0; font-size: .88rem; }
dt { color: var(--muted); } dd { margin: 0; }
button { margin-top: 1rem; font: inherit; font-size: .9rem; padding: .35rem .9rem; border-radius: 6px; border: 1px solid var(--line); background: var(--bg); color: var(--ink); cursor: pointer; }
footer { padding-bottom: 40px; font-size: .85rem; color: var(--muted); }
#tip { position: fixed; z-index: 2; max-width: min(360px, 90vw); padding: 4px 9px; border-radius: 5px; background: var(--ink); color: var(--bg); font-size: .8rem; pointer-events: none; }
figure [aria-label][aria-roledescription]:hover { stroke: var(--ink); stroke-width: 1.5; }
@media (max-width: 560px) { header, main, footer { padding-left: 12px; padding-right: 12px; } section { padding: 14px 12px; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { section { break-inside: avoid; } nav, button { display: none; } body { background: #fff; } }
`.trim();
