// Which view is shown: the part of the address after # says it, so that every view has a link.
(() => {
  const { $, make, fill, said, atPlaces } = Atlas;
  const VIEWS = [["overview", "Overview"], ["features", "Features"], ["places", "Places"], ["ratings", "Ratings"], ["cards", "Cards"]];
  let views = VIEWS; // those that there is something to show in

  function ratings() {
    const { at, value, task, mass } = Atlas.data.overview.ratings;
    if (mass !== null && mass < 0.5) {
      $("ratings-caution").hidden = false;
      $("ratings-caution").textContent = "But it hardly answers with a rating at all: the probability of that has a median of "
        + mass.toPrecision(2) + ". Such a map shows no knowledge.";
    }
    if (task) fill($("ratings-title"), "How the model rates places: ", said(task));
    const order = [...value.keys()].sort((a, b) => value[b] - value[a]), high = value[order[0]], low = value[order.at(-1)];
    const canvas = Atlas.mapCanvas(Atlas.filling, `${Atlas.titled(Atlas.filling)} of ${atPlaces(at.length)} by rating, from ${low} to ${high}`);
    Atlas.valueMap(canvas, Atlas.filling, at, Float64Array.from(value), low, high, "rating");
    fill($("ratings-map"), canvas);
    fill($("ratings-legend"), Atlas.rampLegend(low, high, "rating"));
    const list = (heading, rows) => rows.length > 0 && make("section", {}, make("h2", {}, heading), make("ol", { class: "top" }, rows.map((i) => make("li", {}, make("a", { href: Atlas.hash("place", at[i]) },
      make("span", { class: "name" }, said(Atlas.data.places.name[at[i]]), " ", make("small", {}, said(Atlas.country(at[i])))),
      make("span", { class: "number" }, Atlas.figure(value[i])))))));
    const half = Math.min(10, Math.ceil(order.length / 2)); // no place is in both
    fill($("ratings-table"), list("Highest", order.slice(0, half)), list("Lowest", order.slice(half).slice(-10).reverse()));
  }

  // ---------------------------------------------------------------- from the address to the view
  function asked() {
    const [kind, id] = [location.hash.slice(1).split("=")[0], location.hash.slice(1).split("=").slice(1).join("=")];
    if (!/^(feature|place)(-row)?$/.test(kind)) return { kind: views.some(([name]) => name === kind) ? kind : "overview" };
    const [noun, byRow] = kind.split("-"), table = Atlas.data[noun === "feature" ? "features" : "places"];
    const n = (table.n ?? table.name).length;
    let name = id;
    try { name = decodeURIComponent(id); } catch { /* no such feature or place */ }
    const row = table.id && !byRow ? table.id.indexOf(name) : /^\d+$/.test(name) ? Number(name) : -1;
    return { kind: noun, row: row < n ? row : -1, name };
  }
  let turn = 0, first = true;
  async function route() {
    const mine = ++turn, { kind, row, name } = asked();
    let finish = () => VIEWS.find(([each]) => each === kind)?.[1];
    $("trouble").hidden = true;
    try {
      if (row === -1) throw new Error(`There is no ${kind} ${Atlas.quoted(name)} in this atlas.`);
      if (kind === "feature") finish = await Atlas.showFeature(row);
      else if (kind === "place") finish = await Atlas.showPlace(row);
      else if (kind === "places") finish = Atlas.noPlace;
    } catch (error) {
      if (mine !== turn) return;
      $("trouble").textContent = error.message; $("trouble").hidden = false;
      finish = () => "Feature atlas";
    }
    if (mine !== turn) return; // the reader has gone on
    const id = "view-" + (kind === "place" ? "places" : kind), before = document.querySelector(".view:not([hidden])")?.id;
    const opened = finish();
    if (id === "view-overview") document.title = Atlas.data.overview.title;
    else document.title = `${opened} · ${Atlas.data.overview.title}`;
    for (const view of document.querySelectorAll(".view")) view.hidden = view.id !== id || !$("trouble").hidden;
    const current = { feature: "features", place: "places" }[kind] ?? kind;
    for (const link of $("nav").children) {
      if (link.hash === "#" + current) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    Atlas.Chart.forget();
    if (id === "view-features") Atlas.drawTable();
    const stepped = ["before", "after"].includes(document.activeElement?.id); // from feature to feature
    if (!first && (before !== id || kind === "place" || (kind === "feature" && !stepped))) {
      scrollTo(0, 0);
      if (document.activeElement?.id !== "place-search" || kind === "place") $(id).querySelector("h1")?.focus({ preventScroll: true });
    }
    first = false;
    requestAnimationFrame(() => { document.documentElement.dataset.view = location.hash || "#overview"; });
  }

  // ---------------------------------------------------------------- keys that hold everywhere
  function keys(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, [role=region]")) return;
    const shown = document.querySelector(".view:not([hidden])")?.id;
    if (event.key === "/" && (shown === "view-features" || shown === "view-places")) {
      event.preventDefault(); $(shown === "view-features" ? "search" : "place-search").focus();
    }
    const link = shown === "view-feature" && { ArrowLeft: $("before"), ArrowRight: $("after") }[event.key];
    if (link) { event.preventDefault(); link.focus({ preventScroll: true }); link.click(); }
  }

  async function begin() {
    try {
      const names = ["overview", "places", "features", "world"];
      const parts = await Promise.all(names.map(Atlas.load));
      names.forEach((name, i) => { Atlas.data[name] = parts[i]; });
      Atlas.filling = await Atlas.filled(); // the part of the world that the table is of
    } catch (error) {
      $("trouble").textContent = `${error.message}: the folder data must lie beside this page.`; $("trouble").hidden = false;
      return;
    }
    const has = { ratings: !!Atlas.data.overview.ratings?.at.length, cards: Atlas.data.overview.cards.length > 0 };
    views = VIEWS.filter(([name]) => has[name] ?? true);
    fill($("nav"), views.map(([name, word]) => make("a", { href: "#" + name }, word)));
    $("skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });
    await Atlas.overview(); Atlas.table(); Atlas.placeSearch();
    if (has.ratings) ratings();
    addEventListener("hashchange", route);
    addEventListener("keydown", keys);
    await route();
    requestAnimationFrame(() => { document.documentElement.dataset.ready = "yes"; });
    // what is not seen yet is read when there is time
    setTimeout(() => Atlas.showStrongest().then(Atlas.theCoast).catch(() => {}), 50);
  }
  begin();
})();
