// The table of features: only the rows in sight are in the page, so that thousands don't stall it.
(() => {
  const { $, make, fill, said, whole, fixed, small, plainly } = Atlas;
  const MARGIN = 10;
  let rowHeight = 36;
  let columns = [], heads = [], words = null, wordsOf = null, sorted = null, down = true, rows = [];

  const featureName = (row) => Atlas.data.features.id?.[row] ?? String(row);
  function build() {
    const f = Atlas.data.features, top = (r) => (f.top[r] < 0 ? null : Atlas.data.places.name[f.top[r]]);
    const region = (r) => (f.region === null || f.region[r] < 0 ? null : f.regions[f.region[r]]);
    const last = f.edges_km?.at(-1), km = (v) => (v === null ? "–" : v >= last ? `> ${whole(last)}` : whole(Math.round(v)));
    wordsOf = () => f.n.map((_, r) => plainly([featureName(r), top(r) ?? "", region(r) ?? ""].map((w) => w.slice(0, 200)).join("\n")));
    columns = [
      { word: "feature", get: (r) => r, up: true },
      { word: "strongest at", get: top, text: true },
      { word: "Moran’s I", get: (r) => f.I[r], show: (v) => fixed(v, 3) },
      f.z && { word: "z", get: (r) => f.z[r], show: (v) => fixed(v, 1) },
      { word: "q", get: (r) => f.q[r], show: small, up: true },
      ...f.within.map(({ by, q }) => ({ word: `q within ${by}`, get: (r) => q[r], show: small, up: true })),
      { word: "fires at", get: (r) => f.n[r], show: whole },
      f.region && { word: "region", get: region, text: true },
      ...(f.region ? ["precision", "recall"] : []).map((name) => ({ word: name, get: (r) => f[name][r], show: (v) => fixed(v, 2) })),
      f.reach_km && { word: "reach, km", get: (r) => f.reach_km[r], show: km },
      f.spread_km && { word: "spread, km", get: (r) => f.spread_km[r], show: (v) => (v === null ? "–" : whole(Math.round(v))) },
      f.reasons.length > 0 && { word: "why not tested", get: (r) => f.reasons[f.reason[r]] ?? null, text: true },
    ].filter(Boolean);
    sorted = columns.findIndex((c) => c.word === "Moran’s I");
    heads = columns.map((column, i) => {
      const button = make("button", { type: "button", onclick: () => {
        down = sorted === i ? !down : !(column.text || column.up);
        sorted = i; update();
      } }, column.word, make("span", { "aria-hidden": "true", class: "arrow" }));
      return make("th", { scope: "col", class: column.text ? "words" : null }, button);
    });
    fill($("columns"), heads);
    fill($("null"), ["all places", ...f.within.map(({ by }) => `within ${by}`)].map((name, i) => make("option", { value: i }, name)));
    const sizes = new Map();
    if (f.region) for (const code of f.region) if (code >= 0) sizes.set(code, (sizes.get(code) ?? 0) + 1);
    const named = [...sizes].sort((a, b) => (f.regions[a[0]] < f.regions[b[0]] ? -1 : 1));
    fill($("region"), make("option", { value: "" }, "any"), named.map(([code, n]) => make("option", { value: code }, `${Atlas.short(f.regions[code])} (${n})`)));
    $("region-field").hidden = !f.region; $("match-note").hidden = !f.region;
    for (const field of document.querySelectorAll(".reach-field")) field.hidden = !f.reach_km;
    $("reach-note").hidden = !f.reach_km; $("within-note").hidden = !f.within.length;

    for (const field of [$("search"), ...$("filters").querySelectorAll("input, select")]) field.addEventListener("input", update);
    $("reset").addEventListener("click", () => {
      for (const field of [$("search"), ...$("filters").querySelectorAll("input")]) field.value = "";
      for (const field of $("filters").querySelectorAll("select")) field.selectedIndex = 0;
      update();
    });
    $("table").addEventListener("scroll", () => draw());
    new ResizeObserver(() => draw()).observe($("table"));
    $("rows").addEventListener("keydown", keys);
    update();
  }

  // ---------------------------------------------------------------- which rows, in which order
  function update() {
    const f = Atlas.data.features, number = (id) => ($(id).value === "" ? null : Number($(id).value));
    const text = plainly($("search").value.trim()), under = Number($("null").value);
    const q = under ? f.within[under - 1].q : f.q, region = $("region").value, tested = $("tested").value;
    const [leastI, mostQ, leastN, mostN, leastKm, mostKm] = ["least-i", "most-q", "least-n", "most-n", "least-km", "most-km"].map(number);
    // what is not known is neither below nor above
    const within = (value, least, most) => (least === null || (value !== null && value >= least)) && (most === null || (value !== null && value <= most));
    if (text) words ??= wordsOf();
    const found = [];
    for (let r = 0; r < f.n.length; r++) {
      if (text && !words[r].includes(text)) continue;
      if (!within(f.I[r], leastI, null) || !within(q[r], null, mostQ) || !within(f.n[r], leastN, mostN)) continue;
      if (region !== "" && f.region[r] !== Number(region)) continue;
      if (f.reach_km && !within(f.reach_km[r], leastKm, mostKm)) continue;
      if (tested && (tested === "yes") !== (q[r] !== null)) continue;
      found.push(r);
    }
    const { get, text: worded } = columns[sorted], sign = down ? -1 : 1, values = new Map(found.map((r) => [r, get(r)]));
    const order = worded ? new Intl.Collator("en").compare : (a, b) => a - b;
    found.sort((a, b) => { // what is not known comes last, either way
      const x = values.get(a), y = values.get(b);
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return sign * order(x, y) || a - b;
    });
    rows = found;
    heads.forEach((head, i) => {
      if (i === sorted) head.setAttribute("aria-sort", down ? "descending" : "ascending"); else head.removeAttribute("aria-sort");
      head.querySelector(".arrow").textContent = i === sorted ? (down ? " ↓" : " ↑") : "";
    });
    $("count").textContent = `${whole(rows.length)} of ${whole(f.n.length)} features`;
    $("table").querySelector("table").setAttribute("aria-rowcount", rows.length + 1);
    $("table").scrollTop = 0;
    draw();
  }

  // ---------------------------------------------------------------- the rows in sight
  function draw(focus = null) {
    const box = $("table");
    if (!box.clientHeight) return;
    const held = focus ?? indexOf(document.activeElement);
    const first = Math.max(0, Math.floor(box.scrollTop / rowHeight) - MARGIN);
    const last = Math.min(rows.length, first + Math.ceil(box.clientHeight / rowHeight) + 2 * MARGIN);
    const space = (n) => { const cell = make("td", { colspan: columns.length }); cell.style.height = n * rowHeight + "px"; return make("tr", { class: "space", "aria-hidden": "true" }, cell); };
    fill($("rows"), first > 0 && space(first), rows.slice(first, last).map((r, i) => line(r, first + i)), last < rows.length && space(rows.length - last));
    const one = $("rows").querySelector("tr:not(.space)");
    if (one && Math.abs(one.offsetHeight - rowHeight) > 0.5) { rowHeight = one.offsetHeight; draw(held); return; }
    if (held !== null) $("rows").querySelector(`[data-at="${held}"] a`)?.focus({ preventScroll: true });
  }
  function line(r, at) {
    return make("tr", { "data-at": at, "aria-rowindex": at + 2 }, columns.map((column, i) => {
      const value = column.get(r);
      if (i === 0) return make("td", {}, make("a", { href: Atlas.hash("feature", r) }, said(featureName(r))));
      if (column.text) return make("td", { class: "words" }, value === null ? "" : said(value));
      return make("td", {}, column.show(value));
    }));
  }
  const indexOf = (node) => { const row = node?.closest?.("#rows tr[data-at]"); return row ? Number(row.dataset.at) : null; };
  function keys(event) {
    const at = indexOf(event.target), step = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -Infinity, End: Infinity }[event.key];
    if (at === null || step === undefined) return;
    event.preventDefault(); event.stopPropagation();
    const next = Math.max(0, Math.min(rows.length - 1, at + step)), box = $("table");
    const top = next * rowHeight, seen = box.clientHeight - $("columns").offsetHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + rowHeight > box.scrollTop + seen) box.scrollTop = top + rowHeight - seen;
    draw(next);
  }

  // the feature before or after one, as the table has them
  function beside(row, step) {
    const order = rows.includes(row) ? rows : Atlas.data.features.n.map((_, r) => r);
    return order[order.indexOf(row) + step] ?? null;
  }
  const place = (row) => { const at = rows.indexOf(row); return at < 0 ? null : { at: at + 1, of: rows.length }; };
  Object.assign(Atlas, { table: build, drawTable: draw, featureName, beside, placeInTable: place });
})();
