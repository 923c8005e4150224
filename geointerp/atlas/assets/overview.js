// The first page: what the run found in all, and its cards.
(() => {
  const { $, make, fill, said, plural, whole, atPlaces, figure, km, fixed, small, percent, css, shade, dot, still } = Atlas;

  function head() {
    const { title, about, tiles, figures, versions } = Atlas.data.overview;
    fill($("title"), said(title));
    fill($("about"), about.map(([key, value]) => make("div", {}, make("dt", {}, key), make("dd", {}, said(value)))));
    fill($("tiles"), tiles.map((tile) => make("li", {}, make("div", { class: "value" }, tile.value),
      make("div", { class: "label" }, tile.label), make("div", { class: "note" }, tile.note))));
    fill($("groups"), figures.map((group) => make("section", {}, make("h3", {}, said(group.heading)), pairs(group.rows))));
    $("figures").hidden = !figures.length;
    $("versions").textContent = "Made with " + Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ") + ".";
  }
  const pairs = (rows) => make("dl", { class: "pairs" }, rows.map(([key, value]) => make("div", {},
    make("dt", key.startsWith(" ") ? { class: "inner" } : {}, said(key.trim().replaceAll("_", " "))),
    make("dd", typeof value === "number" ? { title: String(value) } : {}, value === null ? "not known" : said(figure(value))))));

  function cards() {
    fill($("run-cards"), Atlas.data.overview.cards.map((card) => make("details", { class: "run-card" },
      make("summary", {}, make("b", {}, said(card.name)), " ", said(card.title)),
      make("div", { class: "groups" }, card.sections.map((part) => make("section", {}, make("h2", {}, said(part.heading)), pairs(part.rows)))))));
  }

  // ---------------------------------------------------------------- R² by layer
  function byLayer() {
    const { layers } = Atlas.data.overview;
    if (!layers) return;
    $("layers").hidden = false;
    $("target").textContent = layers.target === "coordinates" ? "longitude and latitude" : layers.target;
    $("control-note").hidden = layers.sources.length < 2;
    if (layers.splits.length > 1) $("split-note").textContent = "Where whole blocks or countries are held out, near neighbours help less.";
    const all = layers.splits.flatMap((split) => Object.values(split.lines).flat());
    const known = all.map(([layer]) => layer).filter((layer) => layer !== null);
    const low = Math.max(-1, Math.min(0, ...all.map(([, r2]) => r2 ?? 0)) - 0.02);
    const bounds = all.some((point) => point.length > 3);
    $("interval-note").hidden = !bounds;
    const rows = layers.splits.flatMap((split) => Object.entries(split.lines).flatMap(([source, points]) =>
      points.map(([layer, r2, least, most]) => make("tr", {}, make("td", {}, source), make("td", { class: "words" }, split.name),
        make("td", {}, layer ?? "–"), make("td", {}, fixed(r2, 4)), bounds && make("td", {}, `${fixed(least, 3)} to ${fixed(most, 3)}`)))));
    fill($("charts"), layers.splits.map((split) => Atlas.layerChart(layers, split, low, Math.min(...known), Math.max(...known))));
    const heads = ["source", "held out", "layer", "R²", ...(bounds ? ["95% interval"] : [])];
    fill($("layer-table"), table(heads, rows, [1]));
  }
  const table = (heads, rows, words = []) => make("table", {},
    make("thead", {}, make("tr", {}, heads.map((word, i) => make("th", { scope: "col", class: words.includes(i) ? "words" : null }, word)))),
    make("tbody", {}, rows));

  // ---------------------------------------------------------------- significance under each null
  function nulls() {
    const { nulls: rows, q } = Atlas.data.overview.counts, n = Atlas.data.features.n.length;
    if (rows.length < 2) return;
    fill($("nulls"), make("table", { class: "nulls" },
      make("caption", {}, `Features with q ≤ ${q}, by what the null leaves to chance`),
      make("thead", {}, make("tr", {}, ["places are permuted among", "tested", "significant", ""].map((word, i) => word
        ? make("th", { scope: "col", class: i ? null : "words" }, word) : make("td", { "aria-hidden": "true" })))),
      make("tbody", {}, rows.map((row) => {
        const bar = make("i");
        bar.style.width = (100 * row.significant) / (n || 1) + "%";
        return make("tr", {}, make("th", { scope: "row", class: "words" }, said(row.name.replace(/^within /, "those of one "))),
          make("td", {}, whole(row.tested)), make("td", {}, whole(row.significant)),
          make("td", { class: "meter", "aria-hidden": "true" }, make("span", { class: "bar" }, bar)));
      }))));
  }

  // ---------------------------------------------------------------- the probe's map
  async function probeMap() {
    const { probe } = Atlas.data.overview;
    if (!probe) return;
    $("probe").hidden = false;
    const { lon, lat } = probe.at ? Atlas.data.places : probe, place = (i) => (probe.at ? probe.at[i] : i);
    const n = probe.to_lon.length;
    const each = (of) => Array.from({ length: n }, (_, i) => of(i));
    // all of it: what the probe puts far away is on the map too
    const view = await Atlas.filled(...each((i) => Atlas.unit(probe.to_lon[i], probe.to_lat[i])));
    const from = each((i) => view.project(lon[place(i)], lat[place(i)])), to = each((i) => view.project(probe.to_lon[i], probe.to_lat[i]));
    $("probe-map").classList.toggle("world", view.name === "world");
    const name = (i) => (probe.at ? Atlas.placeName(probe.at[i]) : Atlas.quoted(probe.name[i]));
    const ranked = [...probe.error].sort((a, b) => a - b), high = ranked[Math.floor(0.98 * (ranked.length - 1))] || 1;
    let share = 1, byError = probe.groups.length < 2, only = null, running = 0;
    const at = (i) => [from[i][0] + (to[i][0] - from[i][0]) * share, from[i][1] + (to[i][1] - from[i][1]) * share];
    const way = (i) => Atlas.way([lon[place(i)], lat[place(i)]], [probe.to_lon[i], probe.to_lat[i]]).map((p) => view.project(...p));
    // a fixed shuffle, so that no continent lies on top of the others
    const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => ((a * 7919) % 10007) - ((b * 7919) % 10007));
    const paint = (pen, spot, ratio, width, marked) => {
      const hues = probe.groups.map((_, i) => css(`--hue${i % 7}`)), size = ratio * Math.max(1, Math.min(2.1, width / 520));
      for (const i of order) {
        pen.globalAlpha = only !== null && probe.group[i] !== only ? 0.06 : 0.78;
        pen.fillStyle = byError ? shade(probe.error[i] / high) : hues[probe.group[i]];
        dot(pen, spot(...at(i)), size);
      }
      pen.globalAlpha = 1;
      if (marked !== null) {
        pen.strokeStyle = css("--ring"); pen.lineWidth = 1.6 * ratio;
        Atlas.trace(pen, spot, way(marked));
        pen.fillStyle = css("--ring"); dot(pen, spot(...from[marked]), 3 * ratio);
      }
    };
    const open = probe.at && ((i) => { location.hash = Atlas.hash("place", probe.at[i]); });
    const map = new Atlas.Chart($("probe-map"), { view, paint, dots: { count: n, at, open },
      dust: false, describe: (i) => `${name(i)}\n${km(probe.error[i])} km off` });
    $("probe-map").setAttribute("aria-label", `${Atlas.titled(view)} of ${atPlaces(n)} where the probe puts them; ` +
      "median error " + probe.groups.map((g) => `${g.name} ${km(g.median)} km`).join(", "));
    $("probe-median").textContent = `Layer ${probe.layer}, held out: ${probe.split}; ` +
      `median error over ${atPlaces(n)}: ${km(probe.median)} km.`;
    fill($("probe-table"), table(["continent", "places", "median error, km"], probe.groups.map((g) =>
      make("tr", {}, make("td", {}, g.name), make("td", {}, whole(g.n)), make("td", {}, km(g.median))))));
    const pressed = () => {
      $("show-true").setAttribute("aria-pressed", share === 0);
      $("show-predicted").setAttribute("aria-pressed", share === 1);
      $("by-group").setAttribute("aria-pressed", !byError);
      $("by-error").setAttribute("aria-pressed", byError);
      $("morph").value = Math.round(share * 100);
    };
    const go = (goal) => {
      cancelAnimationFrame(running);
      const start = share, begun = performance.now();
      const step = (now) => {
        const t = still.matches ? 1 : Math.min(1, Math.max(0, (now - begun) / 1100)), eased = t * t * (3 - 2 * t);
        share = t === 1 ? goal : start + (goal - start) * eased;
        pressed(); map.refresh();
        if (t < 1) running = requestAnimationFrame(step);
      };
      step(begun);
    };
    $("show-true").addEventListener("click", () => go(0));
    $("show-predicted").addEventListener("click", () => go(1));
    $("morph").addEventListener("input", () => {
      cancelAnimationFrame(running); share = $("morph").value / 100; pressed(); map.refresh();
    });
    const legend = () => {
      if (byError) return fill($("probe-legend"), Atlas.rampLegend(0, high, "error, km:", ranked.at(-1) > high));
      fill($("probe-legend"), probe.groups.map((group, i) => {
        const mark = make("span", { class: "dot" });
        mark.style.background = `var(--hue${i % 7})`;
        return make("button", { type: "button", "aria-pressed": String(only === i), id: `group-${i}`, onclick: () => {
          only = only === i ? null : i; legend(); map.refresh(); $(`group-${i}`).focus();
        } }, mark, group.name, make("small", {}, `${atPlaces(group.n)}, median ${km(group.median)} km`));
      }));
    };
    $("colours").hidden = probe.groups.length < 2;
    $("by-group").addEventListener("click", () => { byError = false; pressed(); legend(); map.refresh(); });
    $("by-error").addEventListener("click", () => { byError = true; only = null; pressed(); legend(); map.refresh(); });
    pressed(); legend();
  }

  // ---------------------------------------------------------------- the strongest features
  async function strongest() {
    const { tested, significant, q } = Atlas.data.overview.counts;
    const shown = await Atlas.strongest();
    const among = `Of ${plural(tested, "feature", "features")} tested`, found = `${among}, ${plural(significant, "has", "have")} q ≤ ${q}`;
    $("shown-note").textContent = tested === 0 ? "No feature was tested; the table says why."
      : significant === 0 ? `${among}, none has q ≤ ${q}.`
      : shown.length < significant ? `${found}; mapped here: the ${whole(shown.length)} with the largest I.`
      : `${found}; ${significant === 1 ? "here it is" : "here they all are"}.`;
    fill($("cards"), shown.map(card));
  }
  function card(feature) {
    const row = feature.row, [low, high] = Atlas.rangeOf(feature), href = Atlas.hash("feature", row);
    const map = Atlas.mapCanvas(Atlas.filling, Atlas.described(feature, Atlas.titled(Atlas.filling)));
    Atlas.valueMap(map, Atlas.filling, feature.at, feature.value, low, high, "activation");
    const where = Atlas.sharesOf(feature).filter(([, part]) => part >= 0.015).slice(0, 3);
    return make("article", { class: "card" },
      make("h3", {}, make("a", { href }, "Feature ", said(Atlas.featureName(row)))),
      make("p", { class: "numbers" }, "Moran’s I ", make("b", {}, fixed(Atlas.data.features.I[row], 3)), " · q ",
        make("b", {}, small(Atlas.data.features.q[row])), " · fires at ", make("b", {}, whole(Atlas.data.features.n[row])),
        ` of ${whole(Atlas.data.places.name.length)}`),
      map,
      where.length > 0 && make("p", { class: "where" }, where.flatMap(([name, part], i) => [i ? " · " : "", said(name), ` ${percent(part)}`])),
      Atlas.topPlaces(feature, 5));
  }

  async function overview() { head(); nulls(); byLayer(); cards(); await probeMap(); }
  Object.assign(Atlas, { overview, showStrongest: strongest, pairs, plainTable: table });
})();
