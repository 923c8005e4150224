// A feature's page: where it fires, where it clusters, and what else is known of it.
(() => {
  const { $, make, fill, said, short, quoted, whole, plural, atPlaces, figure, fixed, small, percent, hash } = Atlas;
  const FIRST = 12, MORE = 200;
  const BROKEN = "some of its activations are no finite numbers, so none is shown";
  let wide = false; // whether the reader has asked for the whole world

  // ---------------------------------------------------------------- what a feature says of itself
  const rangeOf = (feature) => [Math.min(0, feature.value.at(-1) ?? 0), Math.max(0, feature.value[0] ?? 0)];
  const described = (feature, kind) => `${kind} of feature ${quoted(Atlas.featureName(feature.row))}: ${feature.finite ? `fires at ${atPlaces(feature.at.length)}` : BROKEN}`
    + (feature.at.length ? ", most at " + [...feature.at.slice(0, 3)].map(Atlas.placeName).join("; ") : "");
  function sharesOf(feature) { // of the activation, by country
    const { country, countries } = Atlas.data.places, sums = new Map();
    let total = 0;
    feature.at.forEach((at, i) => {
      const v = Math.abs(feature.value[i]); total += v;
      if (country[at] >= 0) sums.set(country[at], (sums.get(country[at]) ?? 0) + v);
    });
    return [...sums].sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([code, sum]) => [countries[code], sum / total]);
  }
  function topPlaces(feature, n, chart = null) {
    const [, high] = rangeOf(feature);
    return make("ol", { class: "top", "aria-label": "Places that fire it most" }, [...feature.at.slice(0, n)].map((at, i) => {
      const bar = make("i");
      bar.style.width = (100 * Math.max(0, feature.value[i])) / (high || 1) + "%";
      const on = () => chart?.mark(i), off = () => chart?.mark(null);
      return make("li", {}, make("a", { href: hash("place", at), onfocus: on, onblur: off, onpointerenter: on, onpointerleave: off },
        make("span", { class: "name" }, said(Atlas.data.places.name[at]), " ", make("small", {}, said(Atlas.country(at)))),
        make("span", { class: "bar", "aria-hidden": "true" }, bar),
        make("span", { class: "number" }, figure(Number(feature.value[i].toPrecision(3))))));
    }));
  }

  // ---------------------------------------------------------------- the parts of the page
  function nullsTable(row) {
    const f = Atlas.data.features;
    const rows = [{ name: "all places", of: f }, ...f.within.map((of) => ({ name: `within ${of.by}`, of }))].map(({ name, of }) =>
      ({ name, expected: of.expected_I?.[row], z: of.z?.[row], p: of.p?.[row], q: of.q[row] }));
    const least = Atlas.data.overview.counts.q;
    return make("section", {}, make("h2", {}, "Is it more than chance?"),
      make("p", { class: "note" }, "Moran’s I is ", make("b", {}, fixed(f.I[row], 3)), "."),
      Atlas.plainTable(["null", "I by chance", "z", "p", "q", `q ≤ ${least}`], rows.map((each) => make("tr", {},
        make("th", { scope: "row", class: "words" }, said(each.name)), make("td", {}, fixed(each.expected, 3)), make("td", {}, fixed(each.z, 1)), make("td", {}, small(each.p)), make("td", {}, small(each.q)),
        make("td", {}, each.q === null ? "not tested" : each.q <= least ? "yes" : "no"))), [0]));
  }
  function region(row) {
    const f = Atlas.data.features;
    if (!f.region || f.region[row] < 0) return null;
    return make("section", {}, make("h2", {}, "The region that it tells best"),
      make("p", { class: "region" }, said(f.regions[f.region[row]])),
      make("dl", { class: "pairs" }, [["precision", "of the places where it fires strongly, are in the region"], ["recall", "of the region’s places, fire it strongly"], ["f1", "their harmonic mean"]]
        .filter(([name]) => f[name]).map(([name, words]) => make("div", {}, make("dt", {}, name === "f1" ? "F1" : name, make("small", {}, ` ${words}`)), make("dd", {}, fixed(f[name][row], 2))))));
  }
  function extent(row) {
    const f = Atlas.data.features, rows = [];
    if (f.spread_km?.[row] != null) rows.push(["spread about its centre", `${whole(Math.round(f.spread_km[row]))} km`]);
    if (f.n_patches?.[row] != null) rows.push(["patches", whole(f.n_patches[row])]);
    if (f.largest_patch?.[row] != null) rows.push(["share of its places in the largest", percent(f.largest_patch[row])]);
    return rows.length ? Atlas.pairs(rows) : null;
  }
  function nearest(feature) {
    if (!feature.nearest?.length) return null;
    return make("section", {}, make("h2", {}, "Nearest features"),
      make("p", { class: "note" }, "By the cosine of what they write to the model."),
      make("ol", { class: "near" }, feature.nearest.map(([row, cosine]) => {
        const top = Atlas.data.features.top[row];
        return make("li", {}, make("a", { href: hash("feature", row) }, "Feature ", said(Atlas.featureName(row))),
          make("span", { class: "soft" }, top < 0 ? "" : said(Atlas.data.places.name[top])), make("span", { class: "number" }, fixed(cosine, 2)));
      })));
  }
  const token = (text) => text.replace(/^ /, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥") || "∅";
  function words(feature) {
    if (!feature.words) return null;
    const side = (list, name) => make("div", {}, make("h3", {}, name), make("ul", { class: "words-list" }, list.map(([text, logit]) =>
      make("li", {}, said(token(text), { class: "token" }), make("span", { class: "number" }, fixed(logit, 2))))));
    return make("section", {}, make("h2", {}, "Vocabulary"),
      make("p", { class: "note" }, "What it writes, read by the model’s last norm and unembedding: the change in logits."),
      make("div", { class: "two" }, side(feature.words[0], "promoted"), side(feature.words[1], "suppressed")));
  }
  const swatch = (kind) => { const box = make("span", { class: "dot" }); box.style.background = `var(--${kind})`; return box; };
  function clusterLegend(clusters) {
    const size = (kind) => clusters.find((c) => c.kind === kind).at.length, kinds = ["HH", "HL", "LH", "LL"];
    const item = (color, words, n) => make("li", {}, swatch(color), `${words} `, make("b", {}, whole(n)));
    return make("ul", { class: "legend" }, kinds.map((kind) => item(kind, Atlas.KINDS[kind], size(kind))),
      item("idle", "in no cluster", kinds.reduce((rest, kind) => rest - size(kind), Atlas.data.places.name.length)));
  }
  // what the map leaves out, kept right when another part of the world is shown
  function leftOut(chart, one, more) {
    const note = make("p", { class: "note" }), n = chart.dots.count;
    const tell = () => {
      const out = n - chart.shown();
      note.hidden = out === 0;
      note.textContent = `${whole(out)} of its ${plural(n, one, more)} ${out === 1 ? "lies" : "lie"} outside this map.`;
    };
    tell();
    return { note, tell };
  }

  // ---------------------------------------------------------------- the page
  async function show(row) {
    const focused = document.activeElement?.id, feature = await Atlas.feature(row), f = Atlas.data.features;
    const fitted = await Atlas.fittedTo(feature), world = Atlas.theWorld();
    const region_ = fitted.name === "region";
    return () => {
      const { alpha } = Atlas.data.overview.counts, name = Atlas.featureName(row), view = wide ? world : fitted, [low, high] = rangeOf(feature);
      const map = Atlas.canvas(described(feature, Atlas.titled(view)));
      const chart = Atlas.valueMap(map, view, feature.at, feature.value, low, high, "activation");
      const charts = [chart], notes = [leftOut(chart, "place", "places")];
      const figures = [make("figure", {}, make("figcaption", {}, "Activation"), map, notes[0].note, Atlas.rampLegend(low, high, "activation"))];
      if (feature.clusters) {
        const counted = feature.clusters.map(({ kind, at }) => `${Atlas.KINDS[kind]} ${whole(at.length)}`).join(", ");
        const second = Atlas.canvas(`Map of the clusters of feature ${quoted(name)}, places by local Moran’s I: ${counted}`);
        charts.push(Atlas.clusterMap(second, view, feature.clusters));
        notes.push(leftOut(charts[1], "place in a cluster", "places in clusters"));
        figures.push(make("figure", {}, make("figcaption", {}, `Clusters, local Moran’s I at q ≤ ${alpha}`), second, notes[1].note, clusterLegend(feature.clusters)));
      } else if (alpha !== null) {
        figures.push(make("figure", {}, make("figcaption", {}, "Clusters"), make("p", { class: "note" }, feature.untested ?? "They were sought for other features, not for this one.")));
      }

      const toggle = (label, isWide) => make("button", { type: "button", "aria-pressed": String(wide === isWide), onclick: (event) => {
        wide = isWide;
        for (const each of charts) each.show(wide ? world : fitted);
        for (const each of notes) each.tell();
        for (const button of event.target.parentNode.children) button.setAttribute("aria-pressed", String(button === event.target));
        map.setAttribute("aria-label", described(feature, Atlas.titled(wide ? world : fitted)));
      } }, label);
      const step = (id, row, label, arrow) => make(row === null ? "span" : "a", row === null ? { class: "step off" }
        : { class: "step", id, href: hash("feature", row), "aria-label": `${label} feature` }, arrow);
      const at = Atlas.placeInTable(row), shares = sharesOf(feature).filter(([, part]) => part >= 0.01).slice(0, 6), spread = extent(row);
      const rest = feature.at.length - FIRST;
      const list = make("div", {}, topPlaces(feature, FIRST, chart));
      if (rest > 0) list.append(make("button", { type: "button", onclick: () => fill(list, topPlaces(feature, MORE, chart)) },
        rest + FIRST > MORE ? `Show the first ${MORE} of ${whole(feature.at.length)}` : `Show all ${whole(feature.at.length)}`));

      fill($("view-feature"),
        make("div", { class: "steps" }, step("before", Atlas.beside(row, -1), "Previous", "←"), step("after", Atlas.beside(row, 1), "Next", "→"),
          make("span", { class: "soft" }, at ? `${whole(at.at)} of ${whole(at.of)} in the ` : "", make("a", { href: "#features" }, "table")),
          make("button", { type: "button", id: "copy", onclick: copy }, "Copy link")),
        make("h1", { tabindex: -1 }, "Feature ", said(name)),
        make("p", { class: "facts" }, "Moran’s I ", make("b", {}, fixed(f.I[row], 3)), " · q ", make("b", {}, small(f.q[row])),
          " · fires at ", make("b", {}, whole(f.n[row])), ` of ${atPlaces(Atlas.data.places.name.length)}`,
          f.reason[row] >= 0 && make("span", { class: "reason" }, " · ", said(f.reasons[f.reason[row]]))),
        region_ && make("div", { class: "controls" }, make("div", { class: "switch", role: "group", "aria-label": "Part of the world" }, toggle("where it fires", false), toggle("the world", true))),
        make("div", { class: "maps" }, figures),
        shares.length > 0 && make("p", { class: "where" }, make("b", {}, "Activation by country: "), shares.flatMap(([country, part], i) => [i ? " · " : "", said(country), ` ${percent(part)}`])),
        make("div", { class: "parts" },
          make("section", {}, make("h2", {}, "Places that fire it most"), feature.at.length ? list : make("p", { class: "note" }, feature.finite ? "It fires nowhere." : `${BROKEN[0].toUpperCase()}${BROKEN.slice(1)}.`)),
          feature.finite && make("section", {}, make("h2", {}, "How strongly it fires"), feature.at.length > 0 && Atlas.histogram(feature.value, Atlas.data.places.name.length - feature.at.length)),
          feature.correlogram && make("section", {}, make("h2", {}, "How far its likeness reaches"), Atlas.correlogram(feature.correlogram, f.edges_km, f.reach_km[row]), spread),
          !feature.correlogram && spread && make("section", {}, make("h2", {}, "How far it spreads"), spread),
          nullsTable(row), region(row), nearest(feature), words(feature)));
      if (focused && ["before", "after"].includes(focused)) $(focused)?.focus({ preventScroll: true });
      // what comes next is read ahead
      for (const next of [Atlas.beside(row, 1), Atlas.beside(row, -1)]) if (next !== null) setTimeout(() => Atlas.feature(next).catch(() => {}), 250);
      return `Feature ${short(name, 60)}`;
    };
  }
  async function copy(event) {
    const button = event.target;
    try { await navigator.clipboard.writeText(location.href); button.textContent = "Copied"; } catch { button.textContent = "Copy it from the address bar"; }
  }
  Object.assign(Atlas, { rangeOf, described, sharesOf, topPlaces, showFeature: show });
})();
