"""What the pages have in common: their style sheet and their skeleton."""

from html import escape

__all__ = ["STYLE", "html_page"]

STYLE = """
:root { --ink: #111827; --soft: #4b5563; --line: #e5e7eb; --back: #f8fafc; --accent: #1d4ed8;
  --good: #047857; --bad: #b91c1c; color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--back);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main, header > div { max-width: 1180px; margin: 0 auto; padding: 0 20px; }
header { background: #fff; border-bottom: 1px solid var(--line); padding: 28px 0 22px; }
h1 { font-size: 1.65rem; line-height: 1.25; margin: 0 0 6px; letter-spacing: -0.01em; }
h2 { font-size: 1.2rem; margin: 40px 0 4px; }
h3 { font-size: 1rem; margin: 24px 0 4px; }
p { margin: 6px 0 12px; max-width: 78ch; }
.soft { color: var(--soft); font-size: 0.92rem; max-width: 110ch; }
.summary { border-left: 4px solid var(--good); background: #ecfdf5; padding: 12px 16px;
  margin: 16px 0 0; border-radius: 0 6px 6px 0; max-width: 95ch; }
.summary.bad { border-color: var(--bad); background: #fef2f2; }
.summary p { margin: 2px 0; max-width: none; }
.card { background: #fff; border: 1px solid var(--line); border-radius: 8px; margin: 12px 0 20px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.88rem; }
th, td { padding: 5px 12px; text-align: left; white-space: nowrap; }
th { position: sticky; top: 0; background: #f1f5f9; color: #334155; font-weight: 600; }
td { border-top: 1px solid #f1f5f9; }
tr.first td { border-top: 1px solid #cbd5e1; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
th.number { white-space: normal; overflow-wrap: anywhere; min-width: 4em; }
td:first-child { font-weight: 600; }
.good { color: var(--good); } .warning { color: #b45309; }
.bad, .flag { color: var(--bad); font-weight: 600; }
td.number.good { background: #ecfdf5; } td.number.bad { background: #fef2f2; }
.pictures { display: grid; gap: 18px 14px; padding: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr)); }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; border: 1px solid var(--line);
  image-rendering: pixelated; border-radius: 3px; }
figcaption { font-size: 0.82rem; line-height: 1.35; margin-top: 5px; }
figcaption b { font-size: 0.9rem; margin-right: 6px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; }
.plots { display: grid; gap: 14px; grid-template-columns:
  repeat(auto-fit, minmax(min(100%, 500px), 1fr)); }
.plots figure { background: #fff; border: 1px solid var(--line); border-radius: 8px;
  padding: 12px; max-width: 820px; }
.plots img { image-rendering: auto; border: 0; }
.key { display: inline-block; width: 2.4em; height: 0.9em; vertical-align: -1px; border-radius: 2px;
  margin: 0 4px; border: 1px solid var(--line); }
.signed { background: linear-gradient(90deg, #2d004b, #f7f7f7, #7f3b08); }
.decades { background: linear-gradient(90deg, #fcfdbf, #b73779, #000004); }
.nonfinite { background: repeating-linear-gradient(135deg, #dc2626 0 6px, #fff 6px 9px); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; max-width: 100ch;
  font-size: 0.92rem; }
dt { font-weight: 600; } dd { margin: 0; color: var(--soft); }
footer { color: var(--soft); font-size: 0.85rem; margin: 40px 0 30px;
  border-top: 1px solid var(--line); padding-top: 14px; }
@media (max-width: 600px) { body { font-size: 15px; } th, td { padding: 5px 8px; }
  .pictures { padding: 12px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; } }
@media print { th { position: static; } .card { break-inside: avoid; } }
"""


def html_page(title: str, header: str, main: str) -> str:
    """Make a page of a title in plain text, and of a header and a body in HTML."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header><div>
{header}
</div></header>
<main>
{main}
</main>
</body>
</html>
"""
