"""Training curves to point at: one self-contained HTML file, no library and no network behind it."""

import json
from html import escape
from pathlib import Path

import pandas as pd

from emohelpers.config import files
from emohelpers.report import style

LINES = {  # column -> colour
    "train_loss": style.QUIET, "val_loss": style.FIRST, "train_accuracy": "#8f9bb0", "val_accuracy": style.SECOND,
    "val_macro_f1": "#6f8f3a", "val_weighted_f1": "#8a5a9e", "lr_backbone": "#e3a72f", "lr_head": "#3d4f8f",
}  # fmt: skip
PAGE = """<!doctype html>
<meta charset="utf-8">
<title>TITLE</title>
<style>
  body { font: 14px system-ui; margin: 1.5em; color: INK }
  label { margin-right: 1em }
  svg { border: 1px solid #c9cdd3 }
  #tip { position: fixed; display: none; padding: 4px 8px; background: #fff; border: 1px solid #c9cdd3 }
  #tip { white-space: pre }
</style>
<h2>TITLE</h2>
<div id="keys"></div>
<svg id="plot" width="900" height="420"></svg>
<div id="tip"></div>
<script>
const rows = ROWS, colours = COLOURS, W = 900, H = 420, P = 50
const svg = document.getElementById("plot"), tip = document.getElementById("tip")
const shown = new Set(Object.keys(colours).filter(name => !name.startsWith("lr_")))
const x = i => P + (W - 2 * P) * (rows.length > 1 ? i / (rows.length - 1) : 0.5)
const words = name => name.replaceAll("_", " ")

function add(kind, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", kind)
  for (const name in attributes) element.setAttribute(name, attributes[name])
  element.textContent = text
  svg.appendChild(element)
}

function draw() {
  svg.replaceChildren()
  const values = [...shown].flatMap(name => rows.map(row => row[name]))
  const low = Math.min(0, ...values), high = Math.max(1e-9, ...values)
  const y = value => H - P - (H - 2 * P) * (value - low) / (high - low)
  for (let k = 0; k <= 4; k++) {
    const value = low + (high - low) * k / 4
    add("line", { x1: P, x2: W - P, y1: y(value), y2: y(value), stroke: "#e8eaee" })
    add("text", { x: 4, y: y(value) + 4, "font-size": 11 }, value.toPrecision(3))
  }
  rows.forEach((row, i) => {
    add("text", { x: x(i), y: H - P + 18, "font-size": 11, "text-anchor": "middle" }, row.epoch)
    const stage = i && row.phase !== rows[i - 1].phase
    if (stage) add("line", { x1: x(i - .5), x2: x(i - .5), y1: P, y2: H - P, stroke: "#6b7280", "stroke-dasharray": 3 })
  })
  for (const name of shown) {
    const points = rows.map((row, i) => x(i) + "," + y(row[name])).join(" ")
    add("polyline", { fill: "none", stroke: colours[name], "stroke-width": 2, points })
  }
}

for (const name in colours) {
  const key = document.createElement("label"), box = document.createElement("input")
  box.type = "checkbox"
  box.checked = shown.has(name)
  box.onchange = () => { box.checked ? shown.add(name) : shown.delete(name); draw() }
  key.style.color = colours[name]
  key.append(box, words(name))
  document.getElementById("keys").append(key)
}
svg.onmousemove = event => {
  const i = Math.round((event.offsetX - P) / (W - 2 * P) * (rows.length - 1))
  const row = rows[Math.max(0, Math.min(rows.length - 1, i))]
  const lines = [...shown].map(name => words(name) + "  " + row[name].toPrecision(4))
  tip.textContent = ["epoch " + row.epoch + " (" + row.phase + ")", ...lines].join("\\n")
  tip.style.left = event.clientX + 14 + "px"
  tip.style.top = event.clientY + 14 + "px"
  tip.style.display = "block"
}
svg.onmouseleave = () => tip.style.display = "none"
draw()
</script>
"""


def curves(history: pd.DataFrame, path: str | Path, title: str = "Training", demo: bool = False) -> Path:
    """Writes the page: point at an epoch for its figures, tick the lines to be seen."""
    columns = [name for name in LINES if name in history]
    data = {"ROWS": history[["epoch", "phase", *columns]].to_json(orient="records")}
    data |= {"COLOURS": json.dumps({name: LINES[name] for name in columns}), "INK": style.INK}
    data["TITLE"] = escape(f"{title} · demo data (drawn faces)" if demo else title)
    page = PAGE
    for name, text in data.items():
        page = page.replace(name, text)
    return files.write_text(path, page)
