// Small charts in SVG, each with its numbers in words.
(() => {
  const { make, fixed, figure, whole, atPlaces } = Atlas;
  const label = (x, y, anchor, name, words) => make("text", { x, y, "text-anchor": anchor, class: name }, words);

  // ---------------------------------------------------------------- R² by layer
  function layerChart(layers, split, low, first, last) {
    const width = 412, height = 250, left = 34, right = 152, top = 10, bottom = 34;
    const [from, to] = first === last ? [first - 1, last + 1] : [first, last];
    const across = (layer) => left + ((layer - from) / (to - from)) * (width - left - right);
    const up = (r2) => top + ((1 - Math.min(1, Math.max(r2, low))) / (1 - low)) * (height - top - bottom);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    for (let tick = Math.ceil(low * 5) / 5; tick <= 1.001; tick += 0.2) {
      const y = up(tick);
      svg.append(make("line", { x1: left, x2: width - right, y1: y, y2: y, class: Math.abs(tick) < 0.01 ? "zero" : "grid" }),
        label(left - 7, y + 4, "end", "tick", fixed(tick, 1)));
    }
    const every = Math.ceil((last - first + 1) / 10);
    for (let layer = first; layer <= last; layer += every) svg.append(label(across(layer), height - bottom + 17, "middle", "tick", layer));
    svg.append(label(across((first + last) / 2), height - 2, "middle", "tick", "layer"));
    const tags = [];
    layers.sources.forEach((source, i) => {
      let points = (split.lines[source] || []).filter(([, r2]) => r2 !== null);
      if (!points.length) return;
      const level = points[0][0] === null, color = `var(--hue${i === 0 ? 0 : i % 2 ? 6 : 1})`;
      if (level) points = [from, to].map((end) => [end, ...points[0].slice(1)]);
      points.sort((a, b) => a[0] - b[0]);
      const path = (k, list = points) => list.map((p, n) => `${n ? "L" : "M"}${across(p[0]).toFixed(1)} ${up(p[k]).toFixed(1)}`).join("");
      const bounded = points.filter((p) => p[2] !== null && p[3] !== null && p.length > 3);
      if (bounded.length > 1) { // the interval
        const band = make("path", { d: path(2, bounded) + path(3, [...bounded].reverse()).replace("M", "L") + "Z", class: "band" });
        band.style.fill = color; svg.append(band);
      }
      const line = make("path", { d: path(1), class: "line", "stroke-width": i ? 1.6 : 2.4, "stroke-dasharray": i === 0 ? "none" : level ? "2 4" : "6 4" });
      line.style.stroke = color; svg.append(line);
      if (i === 0) for (const [layer, r2] of points) {
        const point = make("circle", { cx: across(layer), cy: up(r2), r: points.length > 24 ? 2 : 3.6 }, make("title", {}, `${source}, layer ${layer}: R² ${fixed(r2, 3)}`));
        point.style.fill = color; svg.append(point);
      }
      tags.push({ y: up(points.at(-1)[1]), words: `${source} ${fixed(Math.max(...points.map((p) => p[1])), 2)}`, color });
    });
    tags.sort((a, b) => a.y - b.y);
    tags.forEach((tag, i) => { if (i && tag.y < tags[i - 1].y + 15) tag.y = tags[i - 1].y + 15; });
    for (const tag of tags) {
      const text = label(width - right + 10, tag.y + 4, "start", "tag", tag.words);
      text.style.fill = tag.color; svg.append(text);
    }
    svg.setAttribute("aria-label", `R² by layer, held out: ${split.name}. Best: ` + tags.map((t) => t.words).join(", "));
    return make("figure", {}, make("figcaption", {}, "held out: " + split.name), svg);
  }

  // ---------------------------------------------------------------- histogram
  function histogram(values, idle) {
    const low = Math.min(0, values.at(-1) ?? 0), high = values[0] ?? 0, bins = 24, counts = Array(bins).fill(0);
    for (const value of values) counts[Math.min(bins - 1, Math.floor(((value - low) / (high - low || 1)) * bins))]++;
    const width = 360, height = 170, left = 40, bottom = 30, top = 8, most = Math.max(...counts, 1);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Histogram of the activation at ${atPlaces(values.length)}, from ${figure(round(low))} to ${figure(round(high))}; half of them have ${figure(round(values[values.length >> 1] ?? 0))} or more` });
    const wide = (width - left - 6) / bins, tall = height - top - bottom;
    for (const share of [0, 0.5, 1]) {
      const y = top + (1 - share) * tall, n = share * most;
      svg.append(make("line", { x1: left, x2: width - 6, y1: y, y2: y, class: share ? "grid" : "zero" }));
      if (Number.isInteger(n)) svg.append(label(left - 7, y + 4, "end", "tick", whole(n)));
    }
    counts.forEach((n, i) => {
      if (!n) return;
      const bar = make("rect", { x: left + i * wide + 0.5, width: wide - 1, y: top + (1 - n / most) * tall, height: (n / most) * tall },
        make("title", {}, `${figure(round(low + (i / bins) * (high - low)))} to ${figure(round(low + ((i + 1) / bins) * (high - low)))}: ${atPlaces(n)}`));
      bar.style.fill = "var(--accent)"; svg.append(bar);
    });
    svg.append(label(left, height - 12, "start", "tick", figure(round(low))), label(width - 6, height - 12, "end", "tick", figure(round(high))),
      label((left + width - 6) / 2, height - 12, "middle", "tick", "activation"));
    return make("figure", {}, svg,
      make("p", { class: "note" }, `Not at all at ${atPlaces(idle)}.`));
  }
  const round = (value) => Number(value.toPrecision(3));

  // ---------------------------------------------------------------- correlogram
  function correlogram([moran, expected, z], edges, reach) {
    const width = 360, height = 190, left = 40, bottom = 44, top = 10, right = 10;
    const known = [...moran, ...expected].filter((v) => v !== null), high = Math.max(0.1, ...known) * 1.08, low = Math.min(0, ...known) * 1.15;
    const bands = moran.length, wide = (width - left - right) / bands;
    const up = (v) => top + ((high - v) / (high - low)) * (height - top - bottom);
    const km = (i) => `${whole(edges[i])} to ${whole(edges[i + 1])} km`;
    const words = moran.map((v, i) => `${km(i)}: ${fixed(v, 2)}`).join("; ");
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Correlogram, Moran’s I by distance. ${words}` });
    const step = high > 1.8 ? 1 : high > 0.8 ? 0.4 : high > 0.35 ? 0.2 : 0.1;
    for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) {
      svg.append(make("line", { x1: left, x2: width - right, y1: up(tick), y2: up(tick), class: Math.abs(tick) < 1e-6 ? "zero" : "grid" }),
        label(left - 7, up(tick) + 4, "end", "tick", fixed(tick, 1)));
    }
    edges.forEach((edge, i) => {
      const words = edge >= 1000 ? `${Number((edge / 1000).toFixed(1))}k` : String(edge);
      svg.append(label(left + i * wide, height - bottom + 18, "middle", "tick", words));
    });
    svg.append(label((left + width - right) / 2, height - 8, "middle", "tick", "distance between two places, km"));
    const pointsOf = (values) => values.map((v, i) => (v === null ? null : [left + (i + 0.5) * wide, up(v), i])).filter(Boolean);
    const path = (list) => list.map(([x, y], n) => `${n ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    const points = pointsOf(moran);
    svg.append(make("path", { class: "line expected", "stroke-width": 1.6, "stroke-dasharray": "5 4", d: path(pointsOf(expected)) }),
      make("path", { class: "line model", "stroke-width": 2.2, d: path(points) }));
    for (const [x, y, i] of points) {
      const far = z[i] !== null && Math.abs(z[i]) >= 3;
      svg.append(make("circle", { cx: x, cy: y, r: 4, class: far ? "full" : "empty" },
        make("title", {}, `${km(i)}: I ${fixed(moran[i], 3)}, z ${fixed(z[i], 1)}`)));
    }
    const far = reach === null ? "" : reach >= edges.at(-1) ? ` Above its expectation up to ${whole(edges.at(-1))} km.`
      : reach === 0 ? " At or below its expectation from the nearest on." : ` I first falls to its expectation at about ${whole(Math.round(reach))} km.`;
    return make("figure", {}, svg,
      make("p", { class: "note" }, "Moran’s I of all pairs of places so far apart; filled where |z| ≥ 3; dashed: its expectation." + far));
  }

  Object.assign(Atlas, { layerChart, histogram, correlogram });
})();
