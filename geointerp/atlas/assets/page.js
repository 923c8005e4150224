// The atlas's page, from the data that stands in it and the tools of maps.js.
"use strict";
(() => {
  const { data, $, make, whole, plural, atPlaces, figure, fixed, small, css, country, placeName, dark, setRamp, shade,
    project, positions, bases, WorldMap, dot, valueMap, rampLegend } = Atlas;
  const { places, features, shown, probe, layers, counts } = data;
  const CARD_PLACES = 7, PAGE = 200;

  // ---------------------------------------------------------------- header and tiles
  function overview() {
    document.title = data.title;
    $("title").textContent = data.title;
    for (const [key, value] of data.about) {
      $("about").append(make("div", {}, make("dt", {}, key), make("dd", {}, value)));
    }
    for (const tile of data.tiles) {
      $("tiles").append(make("li", {}, make("div", { class: "value" }, tile.value),
        make("div", { class: "label" }, tile.label), make("div", { class: "note" }, tile.note)));
    }
    for (const group of data.figures) {
      const list = make("dl");
      for (const [label, value] of group.rows) {
        const exact = value === null ? "not known" : String(value);
        list.append(make("div", {}, make("dt", label.startsWith(" ") ? { class: "inner" } : {}, label.trim().replaceAll("_", " ")),
          make("dd", { title: exact }, figure(value))));
      }
      $("groups").append(make("section", {}, make("h3", {}, group.heading), list));
    }
    $("figures").hidden = !data.figures.length;
    $("versions").textContent = "Made with " + Object.entries(data.versions)
      .map(([name, version]) => `${name} ${version}`).join(", ") + ".";
  }

  function contents() {
    for (const section of document.querySelectorAll("main > section[id]")) {
      if (section.hidden) continue;
      $("nav").append(make("a", { href: "#" + section.id }, section.dataset.nav));
    }
  }

  // ---------------------------------------------------------------- R² by layer
  function chart(split, low, first, last) {
    const width = 412, height = 250, left = 34, right = 152, top = 10, bottom = 34;
    const across = (layer) => left + ((layer - first) / (last - first || 1)) * (width - left - right);
    const up = (r2) => top + ((1 - Math.max(r2, low)) / (1 - low)) * (height - top - bottom);
    const text = (x, y, anchor, name, words) => make("text", { x, y, "text-anchor": anchor, class: name }, words);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    for (let tick = Math.ceil(low * 5) / 5; tick <= 1.001; tick += 0.2) {
      const y = up(tick);
      svg.append(make("line", { x1: left, x2: width - right, y1: y, y2: y, class: Math.abs(tick) < 0.01 ? "zero" : "grid" }),
        text(left - 7, y + 4, "end", "tick", tick.toFixed(1).replace("-0.0", "0.0")));
    }
    const every = Math.ceil((last - first + 1) / 10);
    for (let layer = first; layer <= last; layer += every) svg.append(text(across(layer), height - bottom + 17, "middle", "tick", layer));
    svg.append(text(across((first + last) / 2), height - 2, "middle", "tick", "layer"));
    const tags = [];
    layers.sources.forEach((source, i) => {
      let points = (split.lines[source] || []).filter(([, r2]) => r2 !== null);
      if (!points.length) return;
      const level = points[0][0] === null, color = `var(--hue${i === 0 ? 0 : i % 2 ? 6 : 1})`;
      if (level) points = [[first, points[0][1]], [last, points[0][1]]];
      points.sort((a, b) => a[0] - b[0]);
      const path = points.map(([layer, r2], k) => `${k ? "L" : "M"}${across(layer).toFixed(1)} ${up(r2).toFixed(1)}`).join("");
      const line = make("path", { d: path, class: "line", "stroke-width": i ? 1.6 : 2.4, "stroke-dasharray": i === 0 ? "none" : level ? "2 4" : "6 4" });
      line.style.stroke = color; svg.append(line);
      if (i === 0) for (const [layer, r2] of points) {
        const point = make("circle", { cx: across(layer), cy: up(r2), r: points.length > 24 ? 2 : 3.6 }, make("title", {}, `${source}, layer ${layer}: R² ${fixed(r2, 3)}`));
        point.style.fill = color; svg.append(point);
      }
      const best = Math.max(...points.map(([, r2]) => r2));
      tags.push({ y: up(points.at(-1)[1]), words: `${source} ${fixed(best, 2)}`, color });
    });
    tags.sort((a, b) => a.y - b.y);
    tags.forEach((tag, i) => { if (i && tag.y < tags[i - 1].y + 15) tag.y = tags[i - 1].y + 15; });
    for (const tag of tags) {
      const label = text(width - right + 10, tag.y + 4, "start", "tag", tag.words);
      label.style.fill = tag.color; svg.append(label);
    }
    svg.setAttribute("aria-label", `R² by layer, held out: ${split.name}. Best: ` + tags.map((t) => t.words).join(", "));
    return make("figure", {}, make("figcaption", {}, "held out: " + split.name), svg);
  }

  function byLayer() {
    if (!layers) return;
    $("layers").hidden = false;
    $("target").textContent = layers.target === "coordinates" ? "longitude and latitude" : layers.target;
    $("control-note").hidden = layers.sources.length < 2;
    if (layers.splits.length > 1) $("split-note").textContent = "Where whole blocks or countries are held out, a near neighbour no longer helps.";
    const all = layers.splits.flatMap((split) => Object.values(split.lines).flat());
    const known = all.map(([layer]) => layer).filter((layer) => layer !== null);
    const low = Math.max(-0.4, Math.min(0, ...all.map(([, r2]) => r2 ?? 0)) - 0.02);
    const rows = [];
    for (const split of layers.splits) {
      $("charts").append(chart(split, low, Math.min(...known), Math.max(...known)));
      for (const [source, points] of Object.entries(split.lines)) for (const [layer, r2] of points) {
        rows.push(make("tr", {}, make("td", {}, source), make("td", { class: "words" }, split.name),
          make("td", {}, layer ?? "–"), make("td", {}, fixed(r2, 4))));
      }
    }
    const head = make("tr", {}, ...["source", "held out", "layer", "R²"].map((word, i) => make("th", { scope: "col", class: i === 1 ? "words" : "" }, word)));
    $("layer-table").append(make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  // ---------------------------------------------------------------- the probe's map
  function probeMap() {
    if (!probe) return;
    $("probe").hidden = false;
    const from = probe.at ? probe.at.map((at) => positions[at]) : probe.lon.map((lon, i) => project(lon, probe.lat[i]));
    const to = probe.to_lon.map((lon, i) => project(lon, probe.to_lat[i]));
    const name = (i) => (probe.at ? placeName(probe.at[i]) : probe.name[i]);
    const ranked = [...probe.error].sort((a, b) => a - b), high = ranked[Math.floor(0.98 * (ranked.length - 1))] || 1;
    let share = 1, byError = probe.groups.length < 2, only = null, running = 0;
    const at = (i) => [from[i][0] + (to[i][0] - from[i][0]) * share, from[i][1] + (to[i][1] - from[i][1]) * share];
    // a fixed shuffle, so that no continent lies on top of the others
    const order = from.map((_, i) => i).sort((a, b) => ((a * 7919) % 10007) - ((b * 7919) % 10007));
    const paint = (pen, spot, ratio, width, marked) => {
      const hues = probe.groups.map((_, i) => css(`--hue${i % 7}`));
      const radius = ratio * Math.max(1, Math.min(2.1, width / 520));
      for (const i of order) {
        const dim = only !== null && probe.group[i] !== only;
        pen.globalAlpha = dim ? 0.06 : 0.78;
        pen.fillStyle = byError ? shade(probe.error[i] / high) : hues[probe.group[i]];
        dot(pen, spot(at(i)), radius);
      }
      pen.globalAlpha = 1;
      if (marked !== null) {
        pen.beginPath(); pen.moveTo(...spot(from[marked])); pen.lineTo(...spot(to[marked]));
        pen.strokeStyle = css("--ring"); pen.lineWidth = 1.6 * ratio; pen.stroke();
        pen.fillStyle = css("--ring"); dot(pen, spot(from[marked]), 3 * ratio);
      }
      return order.length;
    };
    const map = new WorldMap($("probe-map"), paint, { count: from.length, at },
      (i) => `${name(i)}\n${whole(probe.error[i])} km off`);
    $("probe-map").setAttribute("aria-label", `World map of ${atPlaces(from.length)} where the probe puts them; ` +
      "median error " + probe.groups.map((g) => `${g.name} ${figure(Math.round(g.median))} km`).join(", "));
    $("probe-median").textContent = `Layer ${probe.layer}, held out: ${probe.split}; ` +
      `median error over ${atPlaces(from.length)}: ${figure(Math.round(probe.median))} km.`;
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
      const quick = matchMedia("(prefers-reduced-motion: reduce)").matches;
      const step = (now) => {
        const t = quick ? 1 : Math.min(1, Math.max(0, (now - begun) / 1100)), eased = t * t * (3 - 2 * t);
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
      if (byError) {
        const box = make("div", { class: "ramp" });
        rampLegend(box, 0, Math.round(high), "error, km:");
        return $("probe-legend").replaceChildren(box);
      }
      $("probe-legend").replaceChildren(...probe.groups.map((group, i) => {
        const mark = make("span", { class: "dot" }), button = make("button", { type: "button", "aria-pressed": only === i });
        mark.style.background = `var(--hue${i % 7})`;
        button.append(mark, group.name, make("small", {}, `${atPlaces(group.n)}, median ${whole(Math.round(group.median))} km`));
        button.addEventListener("click", () => { only = only === i ? null : i; legend(); map.refresh(); });
        return button;
      }));
    };
    $("colours").hidden = probe.groups.length < 2;
    $("by-group").addEventListener("click", () => { byError = false; pressed(); legend(); map.refresh(); });
    $("by-error").addEventListener("click", () => { byError = true; only = null; pressed(); legend(); map.refresh(); });
    pressed(); legend();
  }

  // ---------------------------------------------------------------- features
  const title = (row) => "Feature " + features.id[row];
  function numbers(row) {
    const line = make("p", { class: "numbers" });
    line.append("Moran’s I ", make("b", {}, fixed(features.I[row], 3)), " · q ", make("b", {}, small(features.q[row])),
      " · fires at ", make("b", {}, whole(features.n[row])), ` of ${whole(places.name.length)}`);
    return line;
  }
  function describe(feature) {
    const names = feature.at.slice(0, 3).map(placeName).join("; ");
    return `World map of ${title(feature.row)}: fires at ${atPlaces(feature.at.length)}, most at ${names}`;
  }
  const range = (feature) => [Math.min(0, feature.value.at(-1)), Math.max(0, feature.value[0])];

  function card(feature) {
    const row = feature.row, [low, high] = range(feature);
    const canvas = make("canvas", { class: "map", role: "img", tabindex: 0, "aria-label": describe(feature) });
    const map = valueMap(canvas, feature.at, feature.value, low, high, "activation");
    const enlarge = make("button", { type: "button", class: "enlarge", "aria-label": "Enlarge the map of " + title(row) }, "Enlarge");
    enlarge.addEventListener("click", () => large(feature));
    const key = make("div", { class: "ramp" });
    rampLegend(key, low, high, "activation");
    const where = feature.countries.filter(([, part]) => part >= 0.015).map(([code, part]) => `${places.countries[code]} ${Math.round(100 * part)}%`);
    const list = make("ol", { class: "top", "aria-label": "Places that fire it most" });
    feature.at.slice(0, CARD_PLACES).forEach((at, i) => {
      const fill = make("i"), code = country(at);
      fill.style.width = (100 * Math.max(0, feature.value[i])) / (high || 1) + "%";
      fill.style.background = "var(--accent)";
      const name = make("span", { class: "name" }, places.name[at], " ", make("small", {}, code));
      const button = make("button", { type: "button" }, name, make("span", { class: "bar", "aria-hidden": "true" }, fill),
        make("span", { class: "number" }, fixed(feature.value[i], high >= 100 ? 0 : high >= 10 ? 1 : 2)));
      for (const kind of ["focus", "pointerenter"]) button.addEventListener(kind, () => map.mark(i));
      for (const kind of ["blur", "pointerleave"]) button.addEventListener(kind, () => map.mark(null));
      list.append(make("li", {}, button));
    });
    const head = make("header", {}, make("h3", {}, make("a", { href: "#f" + row }, title(row))), enlarge);
    const article = make("article", { class: "card", id: "f" + row }, head, numbers(row), canvas, key);
    if (where.length) article.append(make("p", { class: "where" }, make("b", {}, "Activation: "), where.join(" · ")));
    article.append(list);
    return article;
  }

  let largeMap = null;
  function large(feature) {
    const canvas = make("canvas", { class: "map", role: "img", tabindex: 0, id: "large-map", "aria-label": describe(feature) });
    $("large-map").replaceWith(canvas);
    $("large-title").textContent = title(feature.row);
    WorldMap.all = WorldMap.all.filter((map) => map !== largeMap);
    $("large").append($("tip")); // a dialog lies over everything that is not in it
    $("large").showModal();
    largeMap = valueMap(canvas, feature.at, feature.value, ...range(feature), "activation");
  }
  $("large").addEventListener("close", () => { $("tip").hidden = true; document.body.append($("tip")); });

  function featureCards() {
    $("cards").append(...shown.map(card));
    $("shown-note").textContent = foundNote();
  }

  function foundNote() {
    const { tested, significant, q } = counts;
    if (tested === 0) return "No feature was tested; the table says why.";
    const among = `Of ${plural(tested, "feature", "features")} tested`;
    if (significant === 0) return `${among}, none has q ≤ ${q}.`;
    const found = `${among}, ${plural(significant, "has", "have")} q ≤ ${q}`;
    if (shown.length < significant) return `${found}; mapped here: the ${whole(shown.length)} with the largest I. The table has them all.`;
    return `${found}; ${significant === 1 ? "here it is" : "here they all are"}.`;
  }

  // ---------------------------------------------------------------- the table
  function table() {
    const mapped = new Map(shown.map((feature) => [feature.row, feature]));
    const match = features.matched;
    const columns = [
      ["feature", (r) => r, null], ["Moran’s I", (r) => features.I[r], (v) => fixed(v, 3)],
      ["z", (r) => features.z && features.z[r], (v) => fixed(v, 1)], ["p", (r) => features.p && features.p[r], small],
      ["q", (r) => features.q[r], small],
      ...features.within.map(({ by, q }) => [`q within ${by}`, (r) => q[r], small]),
      ["places it fires at", (r) => features.n[r], whole],
      ...(match ? [["region", (r) => match.region[r], (v) => v ?? ""], ["precision", (r) => match.precision[r], (v) => fixed(v, 2)],
        ["recall", (r) => match.recall[r], (v) => fixed(v, 2)]] : []),
      ["why not tested", (r) => features.reason[r], (v) => v ?? ""],
    ].filter(([word]) => !(word.length === 1 && word !== "q" && !features[word]));
    $("within-note").hidden = !features.within.length;
    $("match-note").hidden = !match;
    const worded = columns.map(([word]) => word === "region" || word === "why not tested");
    let sorted = 1, down = true, limit = PAGE;
    const kind = (r) => (features.q[r] === null ? "untested" : features.q[r] <= counts.q ? "significant" : "rest");
    const heads = columns.map(([word], i) => {
      const button = make("button", { type: "button" }, word), cell = make("th", { scope: "col" }, button);
      button.addEventListener("click", () => {
        down = sorted === i ? !down : i !== 0 && !/^(p|q|q within .*|region)$/.test(word);
        sorted = i; render();
      });
      if (worded[i]) cell.className = "words";
      return cell;
    });
    $("columns").append(...heads);
    function render() {
      const wanted = $("filter").value, text = $("search").value.trim().toLowerCase();
      const value = columns[sorted][1];
      const rows = features.id.map((_, r) => r).filter((r) => (wanted === "all" || kind(r) === wanted) &&
        (!text || features.id[r].toLowerCase().includes(text)));
      rows.sort((a, b) => { // what is not known comes last, either way
        const x = value(a), y = value(b);
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1) || a - b;
      });
      heads.forEach((head, i) => {
        if (i === sorted) head.setAttribute("aria-sort", down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
        head.firstChild.textContent = columns[i][0] + (i === sorted ? (down ? " ↓" : " ↑") : "");
      });
      $("rows").replaceChildren(...rows.slice(0, limit).map((r) => {
        const label = mapped.has(r) ? make("a", { href: "#f" + r }, features.id[r]) : features.id[r];
        return make("tr", {}, make("td", {}, label), ...columns.slice(1).map(([, get, show], i) =>
          make("td", worded[i + 1] ? { class: "words" } : {}, show(get(r)))));
      }));
      $("count").textContent = `${whole(rows.length)} of ${whole(features.id.length)} features`;
      $("more").hidden = rows.length <= limit;
    }
    for (const id of ["filter", "search"]) $(id).addEventListener("input", () => { limit = PAGE; render(); });
    $("more").addEventListener("click", () => { limit += PAGE; render(); });
    render();
  }

  function ratings() {
    const { at, value, task, mass } = data.ratings || { at: [] };
    if (!at.length) return;
    $("ratings").hidden = false;
    if (mass != null && mass < 0.5) {
      $("ratings-caution").hidden = false;
      $("ratings-caution").textContent = "But it hardly answers with a rating at all: the probability of that has a median of "
        + mass.toPrecision(2) + ". Such a map shows no knowledge.";
    }
    if (task) $("ratings-title").textContent = "How the model rates places: " + task;
    const low = Math.min(...value), high = Math.max(...value);
    valueMap($("ratings-map"), at, value, low, high, "rating");
    $("ratings-map").setAttribute("aria-label", `World map of ${atPlaces(at.length)} by rating, from ${low} to ${high}`);
    rampLegend($("ratings-legend"), low, high, "rating");
  }

  setRamp();
  dark.addEventListener("change", () => { setRamp(); bases.clear(); WorldMap.all.forEach((map) => map.refresh()); });
  addEventListener("beforeprint", () => WorldMap.all.forEach((map) => map.draw()));
  overview(); byLayer(); probeMap(); featureCards(); table(); ratings(); contents();
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  document.documentElement.dataset.ready = "yes";
})();
