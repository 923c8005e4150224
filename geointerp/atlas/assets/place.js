// Places: type a placename, see what it fires and where the probe puts it.
(() => {
  const { $, make, fill, said, short, quoted, whole, plural, atPlaces, fixed, small, hash, plainly } = Atlas;
  const OFFERED = 12;
  let names = null, offered = [], chosen = -1;

  // ---------------------------------------------------------------- the search
  const plainNames = () => (names ??= Atlas.data.places.name.map((name) => plainly(name.slice(0, 200))));
  function matching(text) { // the whole name, its beginning, the beginning of a word, anything
    const wanted = plainly(text.trim());
    if (!wanted) return [];
    const kinds = [[], [], [], []];
    plainNames().forEach((name, row) => {
      const at = name.indexOf(wanted);
      if (at < 0) return;
      kinds[name === wanted ? 0 : at === 0 ? 1 : /[\s\-'(/]/.test(name[at - 1]) ? 2 : 3].push(row);
    });
    return kinds.flat();
  }
  function offer() {
    const box = $("place-search"), list = $("suggestions"), found = matching(box.value);
    offered = found.slice(0, OFFERED); chosen = -1;
    const { name } = Atlas.data.places, lands = offered.map((row) => Atlas.country(row));
    const alike = offered.map((row, i) => offered.some((other, k) => k !== i && name[other] === name[row] && lands[k] === lands[i]));
    fill(list, offered.map((row, i) => make("li", { role: "option", id: `offer-${i}`, "aria-selected": "false",
      onpointerdown: (event) => { event.preventDefault(); choose(i); } }, said(name[row]), " ",
    make("small", {}, lands[i] && said(lands[i]), lands[i] && alike[i] && ", ", (!lands[i] || alike[i]) && where(row)))));
    list.hidden = !offered.length;
    box.setAttribute("aria-expanded", String(!list.hidden)); box.removeAttribute("aria-activedescendant");
    $("place-count").textContent = !box.value.trim() ? "" : found.length ? plural(found.length, "place", "places") : "No place has such a name.";
  }
  function close() { $("suggestions").hidden = true; $("place-search").setAttribute("aria-expanded", "false"); }
  function point(i) {
    chosen = i;
    [...$("suggestions").children].forEach((option, k) => option.setAttribute("aria-selected", String(k === i)));
    if (i < 0) return $("place-search").removeAttribute("aria-activedescendant");
    $("place-search").setAttribute("aria-activedescendant", `offer-${i}`);
    $(`offer-${i}`).scrollIntoView({ block: "nearest" });
  }
  function choose(i) {
    close();
    $("place-search").value = short(Atlas.data.places.name[offered[i]]);
    location.hash = hash("place", offered[i]);
  }
  function keys(event) {
    const n = offered.length, open = !$("suggestions").hidden;
    if (event.key === "Escape") { if (open) close(); else { $("place-search").value = ""; offer(); } }
    else if (event.key === "Enter" && n) choose(Math.max(0, chosen));
    else if (event.key === "ArrowDown" && n) { if (!open) offer(); point((chosen + 1) % n); }
    else if (event.key === "ArrowUp" && n) point(chosen <= 0 ? n - 1 : chosen - 1);
    else return;
    event.preventDefault();
  }
  function search() {
    const box = $("place-search");
    box.addEventListener("input", offer);
    box.addEventListener("keydown", keys);
    box.addEventListener("blur", close);
  }

  // ---------------------------------------------------------------- a place
  function where(row) {
    const { lon, lat } = Atlas.data.places, part = (v, ends) => `${Number(Math.abs(v).toFixed(4))}° ${ends[v < 0 ? 1 : 0]}`;
    return `${part(lat[row], "NS")}, ${part(((lon[row] + 540) % 360) - 180, "EW")}`;
  }
  let asked = null;
  const probed = (row) => { // its row among what the probe was asked
    const { probe } = Atlas.data.overview;
    asked ??= new Map((probe?.at ?? []).map((at, i) => [at, i]));
    return asked.get(row) ?? null;
  };
  async function map(row) {
    const { lon, lat } = Atlas.data.places, { probe } = Atlas.data.overview, at = probed(row);
    const here = [lon[row], lat[row]], to = at === null ? here : [probe.to_lon[at], probe.to_lat[at]];
    const off = at === null ? null : probe.error[at], radius = at === null ? null : probe.radius?.[at] ?? null;
    const arc = Atlas.way(here, to), ring = radius === null ? [] : Atlas.circle(...to, radius);
    const near = (km) => Math.min(km, (Atlas.filling.km ?? Infinity) / 2); // no more than the table's own map
    const around = at === null ? Atlas.circle(...here, near(1200), 16) : [here, ...arc, ...(radius !== null && radius < 5000 ? ring : Atlas.circle(...to, near(300), 8))];
    const view = await Atlas.framed(around.map((p) => Atlas.unit(...p)));
    const project = (list) => list.map((p) => view.project(...p));
    const ends = project(at === null ? [here] : [here, to]), line = project(arc), edge = project(ring);
    const paint = (pen, spot, ratio) => {
      pen.lineWidth = 1.5 * ratio; pen.strokeStyle = Atlas.css("--accent");
      if (edge.length) { pen.setLineDash([5 * ratio, 4 * ratio]); Atlas.trace(pen, spot, edge); pen.setLineDash([]); }
      pen.strokeStyle = Atlas.css("--ink"); pen.lineWidth = 2 * ratio;
      if (at !== null) Atlas.trace(pen, spot, line);
      pen.fillStyle = Atlas.css("--ink"); Atlas.dot(pen, spot(...ends[0]), 5 * ratio);
      if (at !== null) {
        pen.fillStyle = Atlas.css("--paper"); pen.strokeStyle = Atlas.css("--accent"); pen.lineWidth = 3 * ratio;
        pen.beginPath(); pen.arc(...spot(...ends[1]), 6 * ratio, 0, 7); pen.fill(); pen.stroke();
      }
    };
    const name = quoted(Atlas.data.places.name[row]);
    const canvas = Atlas.canvas(at === null ? `Map of where ${name} is` : `Map of where ${name} is and where the probe puts it, ${Atlas.km(off)} km away`);
    new Atlas.Chart(canvas, { view, paint, dots: { count: ends.length, at: (i) => ends[i] }, describe: (i) => (i ? `where the probe puts it\n${Atlas.km(off)} km off` : Atlas.placeName(row)) });
    const { split } = probe ?? {};
    return make("figure", {}, make("figcaption", {}, at === null ? "Where it is" : "Where the probe puts it"), canvas, at === null ? null : make("ul", { class: "legend" },
      make("li", {}, make("span", { class: "dot ink" }), "where it is"), make("li", {}, make("span", { class: "dot open" }), `where the probe puts it, `, make("b", {}, `${Atlas.km(off)} km`), " off"),
      radius !== null && make("li", {}, make("span", { class: "dash" }), `nine in ten of other places lie within such a circle, ${Atlas.km(radius)} km`),
      make("li", { class: "soft" }, `layer ${probe.layer}; held out: ${split}`)));
  }
  function strongest({ rows, values }) {
    if (!rows.length) return make("p", { class: "note" }, "It fires no feature.");
    const f = Atlas.data.features, most = Math.max(...[...values].map(Math.abs)) || 1;
    const cells = [...rows].map((row, i) => {
      const bar = make("i"), top = f.top[row];
      bar.style.width = (100 * Math.abs(values[i])) / most + "%";
      return make("tr", {}, make("th", { scope: "row", class: "words" }, make("a", { href: hash("feature", row) }, "Feature ", said(Atlas.featureName(row)))),
        make("td", { class: "meter" }, make("span", { class: "bar", "aria-hidden": "true" }, bar), make("span", { class: "number" }, Atlas.figure(Number(values[i].toPrecision(3))))),
        make("td", {}, fixed(f.I[row], 2)), make("td", {}, whole(f.n[row])),
        f.region && make("td", { class: "words" }, f.region[row] < 0 ? "" : said(f.regions[f.region[row]])),
        make("td", { class: "words" }, top < 0 ? "" : said(Atlas.data.places.name[top])));
    });
    const heads = ["feature", "activation", "Moran’s I", "fires at", ...(f.region ? ["region"] : []), "strongest at"];
    return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Strongest features of the place" },
      Atlas.plainTable(heads, cells, f.region ? [0, 4, 5] : [0, 4]));
  }
  async function show(row) {
    const [fired, figure] = await Promise.all([Atlas.firedBy(row), map(row)]);
    return () => {
      const name = Atlas.data.places.name[row];
      fill($("places-title"), said(name));
      fill($("place"), make("p", { class: "facts" }, Atlas.country(row) && said(Atlas.country(row)), Atlas.country(row) && " · ", where(row)),
        make("div", { class: "maps place" }, figure,
          make("section", {}, make("h2", {}, "Its strongest features"), strongest(fired))));
      return short(name, 60);
    };
  }
  function none() {
    fill($("places-title"), "Places"); fill($("place"),
      make("p", { class: "note" }, `${atPlaces(Atlas.data.places.name.length)}. Type a name, without its accents if you like; ↓ and Enter choose. Or click a dot on any map.`));
    $("place-search").value = ""; offer();
    return "Places";
  }
  Object.assign(Atlas, { placeSearch: search, matching, showPlace: show, noPlace: none, where });
})();
