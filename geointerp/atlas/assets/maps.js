// Maps: dots on a part of the world or all of it, with the name of what the pointer or the keys are on.
(() => {
  const { $, make, css, figure, quoted, dark } = Atlas;

  // ---------------------------------------------------------------- colours
  // magma, from a twelfth to nineteen twentieths; what is much stands out from the paper
  const MAGMA = [[26, 16, 66], [65, 15, 117], [101, 26, 128], [136, 39, 129], [174, 52, 123],
    [210, 66, 111], [238, 91, 94], [250, 127, 94], [254, 163, 110], [254, 198, 137], [253, 232, 172]];
  const SHADES = 64;
  let ramp = [];
  function setRamp() {
    const stops = dark.matches ? MAGMA.slice(2) : MAGMA.slice(0, 10).reverse();
    ramp = Array.from({ length: SHADES }, (_, i) => {
      const at = (i / (SHADES - 1)) * (stops.length - 1), low = Math.min(Math.floor(at), stops.length - 2);
      return `rgb(${stops[low].map((c, k) => Math.round(c + (stops[low + 1][k] - c) * (at - low))).join(" ")})`;
    });
  }
  setRamp();
  const shade = (share) => ramp[Math.max(0, Math.min(SHADES - 1, Math.round(share * (SHADES - 1))))];

  // ---------------------------------------------------------------- the empty map, kept by its size
  const bases = new Map();
  function base(view, width, height, ratio, dust) {
    const key = [view.key, width, height, dust, dark.matches].join("|");
    if (bases.has(key)) return bases.get(key);
    const canvas = make("canvas", { width, height }), pen = canvas.getContext("2d");
    const scale = Math.min((width - 2) / (2 * view.wide), (height - 2) / (2 * view.high));
    pen.lineJoin = "round";
    pen.setTransform(scale, 0, 0, scale, width / 2, height / 2);
    view.draw(pen, (path, color, pixels) => {
      pen.strokeStyle = css(color); pen.lineWidth = (pixels * ratio) / scale; pen.stroke(path);
    });
    pen.setTransform(1, 0, 0, 1, 0, 0);
    if (dust) {
      const spots = view.places(), world = view.name === "world";
      const size = Math.max(1, ratio * (world ? (width > 700 * ratio ? 1.2 : 0.8) : 1.8));
      pen.fillStyle = css("--idle"); pen.globalAlpha = world ? (width > 700 * ratio ? 0.5 : 0.32) : 0.7;
      for (let i = 0; i < spots.length; i += 2) {
        const a = width / 2 + spots[i] * scale, d = height / 2 + spots[i + 1] * scale;
        if (a > 0 && a < width && d > 0 && d < height) pen.fillRect(a - size / 2, d - size / 2, size, size);
      }
      pen.globalAlpha = 1;
    }
    if (view.name === "region") {
      scaleBar(pen, view, scale, height, ratio);
      locator(pen, view, width, height, ratio);
    }
    const made = { canvas, scale };
    bases.set(key, made);
    if (bases.size > 12) bases.delete(bases.keys().next().value);
    return made;
  }
  function scaleBar(pen, view, scale, height, ratio) {
    const km = view.scale(), long = (km / Atlas.EARTH) * scale, left = 12 * ratio, base = height - 12 * ratio;
    pen.font = `${11 * ratio}px ${css("--sans")}`;
    pen.strokeStyle = css("--paper"); pen.lineWidth = 3 * ratio; pen.lineJoin = "round";
    const words = `${Atlas.whole(km)} km`;
    pen.strokeText(words, left, base - 6 * ratio);
    pen.fillStyle = pen.strokeStyle = css("--ink");
    pen.fillText(words, left, base - 6 * ratio);
    pen.lineWidth = 1.5 * ratio; pen.beginPath();
    pen.moveTo(left, base - 3 * ratio); pen.lineTo(left, base); pen.lineTo(left + long, base); pen.lineTo(left + long, base - 3 * ratio);
    pen.stroke();
  }

  function locator(pen, view, width, height, ratio) { // where in the world it is
    const world = Atlas.theWorld(), scale = (46 * ratio) / world.wide, [a, d] = Atlas.equalEarth(...view.center);
    const left = width - 56 * ratio, top = height - 33 * ratio;
    pen.setTransform(scale, 0, 0, scale, left, top);
    pen.fillStyle = css("--paper"); pen.fill(world.globe);
    pen.fillStyle = css("--idle"); pen.fill(world.land);
    pen.strokeStyle = css("--edge"); pen.lineWidth = ratio / scale; pen.stroke(world.globe);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.strokeStyle = css("--HH"); pen.lineWidth = 2 * ratio;
    pen.beginPath(); pen.arc(left + a * scale, top + d * scale, Math.max(3.5 * ratio, view.high * scale), 0, 7); pen.stroke();
  }

  // ---------------------------------------------------------------- a map with its dots
  // paint(pen, spot, ratio, width, marked) draws them; spot(x, y) is where on the canvas
  class Chart {
    constructor(canvas, { view, paint, dots, describe, dust = true }) {
      Object.assign(this, { canvas, view, paint, dots, describe, dust, marked: null, stale: true, seen: false });
      canvas.addEventListener("pointermove", (event) => this.point(event));
      canvas.addEventListener("pointerdown", (event) => this.point(event));
      canvas.addEventListener("pointerleave", () => this.mark(null));
      canvas.addEventListener("blur", () => this.mark(null));
      canvas.addEventListener("keydown", (event) => this.key(event));
      canvas.addEventListener("click", () => this.open());
      Chart.all.add(this);
      Chart.sizes.observe(canvas); Chart.sight.observe(canvas);
      canvas.chart = this;
    }
    refresh() { this.stale = true; if (this.seen) this.draw(); }
    show(view) { this.view = view; this.refresh(); }
    open() { if (this.marked !== null) this.dots.open?.(this.marked); }
    shows(dot) { return this.view.shows(this.dots.at(dot)); }
    shown() { // how many of its dots are on the map
      let n = 0;
      for (let dot = 0; dot < this.dots.count; dot++) if (this.shows(dot)) n++;
      return n;
    }
    draw() {
      const across = this.canvas.clientWidth, ratio = Math.min(devicePixelRatio || 1, 2);
      if (!across) return;
      const width = Math.round(across * ratio), height = Math.round(this.canvas.clientHeight * ratio);
      const under = base(this.view, width, height, ratio, this.dust), pen = this.canvas.getContext("2d");
      if (this.canvas.width !== width) this.canvas.width = width;
      if (this.canvas.height !== height) this.canvas.height = height;
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.clearRect(0, 0, width, height);
      pen.drawImage(under.canvas, 0, 0);
      this.scale = under.scale; this.ratio = ratio;
      const spot = (a, d) => [width / 2 + a * this.scale, height / 2 + d * this.scale];
      this.paint(pen, spot, ratio, across, this.marked);
      this.canvas.dataset.dots = this.shown();
      this.canvas.dataset.view = this.view.name;
      if (this.marked !== null) {
        const [a, d] = spot(...this.dots.at(this.marked));
        pen.beginPath(); pen.arc(a, d, 6 * ratio, 0, 7);
        pen.strokeStyle = css("--ring"); pen.lineWidth = 2 * ratio; pen.stroke();
      }
      this.stale = false;
    }
    mark(dot, event) {
      if (dot !== null && !this.shows(dot)) dot = null;
      if (dot === null && this.marked === null) return;
      if (dot !== this.marked) { this.marked = dot; this.draw(); }
      const tip = $("tip");
      if (dot === null) { tip.hidden = true; return; }
      const box = this.canvas.getBoundingClientRect(), p = this.dots.at(dot);
      const left = event ? event.clientX : box.left + box.width / 2 + (p[0] * this.scale) / this.ratio;
      const top = event ? event.clientY : box.top + box.height / 2 + (p[1] * this.scale) / this.ratio;
      tip.textContent = this.describe(dot); tip.hidden = false;
      tip.style.left = Math.max(4, Math.min(left + 14, innerWidth - tip.offsetWidth - 6)) + "px";
      tip.style.top = (top + 18 + tip.offsetHeight > innerHeight ? top - 12 - tip.offsetHeight : top + 14) + "px";
    }
    point(event) {
      if (!this.scale) return;
      const box = this.canvas.getBoundingClientRect(), unit = this.ratio / this.scale;
      const across = (event.clientX - box.left - box.width / 2) * unit;
      const down = (event.clientY - box.top - box.height / 2) * unit;
      let nearest = null, least = (9 * unit) ** 2;
      for (let dot = 0; dot < this.dots.count; dot++) {
        const p = this.dots.at(dot), far = (p[0] - across) ** 2 + (p[1] - down) ** 2;
        if (far < least) { least = far; nearest = dot; }
      }
      this.canvas.style.cursor = nearest !== null && this.dots.open ? "pointer" : "";
      this.mark(nearest, event);
    }
    key(event) { // with the arrow keys from place to place, in the order of the dots
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") this.mark(null);
      if (event.key === "Enter") this.open();
      if (!step) return;
      event.preventDefault(); event.stopPropagation();
      const n = this.dots.count;
      let dot = this.marked ?? (step > 0 ? -1 : n);
      for (let tried = 0; tried < n; tried++) { // not to what is off the map
        dot = (dot + step + n) % n;
        if (this.shows(dot)) return this.mark(dot);
      }
    }
    static forget() { // maps of a view that has gone
      for (const chart of Chart.all) {
        if (chart.canvas.isConnected) continue;
        Chart.sizes.unobserve(chart.canvas); Chart.sight.unobserve(chart.canvas); Chart.all.delete(chart);
      }
      $("tip").hidden = true;
    }
  }
  Chart.all = new Set();
  Chart.sizes = new ResizeObserver((entries) => { for (const { target } of entries) target.chart.refresh(); });
  Chart.sight = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      target.chart.seen = isIntersecting;
      if (isIntersecting && target.chart.stale) target.chart.draw();
    }
  }, { rootMargin: "400px" });
  dark.addEventListener("change", () => { setRamp(); bases.clear(); Chart.all.forEach((chart) => chart.refresh()); });
  addEventListener("beforeprint", () => Chart.all.forEach((chart) => chart.draw()));

  function dot(pen, [a, d], radius) { pen.beginPath(); pen.arc(a, d, radius, 0, 7); pen.fill(); }
  function trace(pen, spot, points) { // a line, but not across the map where that is cut
    pen.beginPath();
    points.forEach((p, i) => pen[i && Math.abs(p[0] - points[i - 1][0]) < 1 ? "lineTo" : "moveTo"](...spot(...p)));
    pen.stroke();
  }

  const country = (at) => { const { countries, country: codes } = Atlas.data.places; return countries[codes[at]] || ""; };
  const placeName = (at) => quoted(Atlas.data.places.name[at]) + (country(at) ? ", " + quoted(country(at)) : "");
  const canvas = (label, attributes = {}) => make("canvas", { class: "map", role: "img", tabindex: 0, "aria-label": label, ...attributes });

  // in the shape of its view
  const mapCanvas = (view, label) => canvas(label, { class: view.name === "world" ? "map world" : "map" });

  // dots of places, at the positions that the view gives them
  const placeDots = (chart, at) => ({
    count: at.length,
    at: (i) => { const spots = chart().view.places(); return [spots[2 * at[i]], spots[2 * at[i] + 1]]; },
    open: (i) => { location.hash = Atlas.hash("place", at[i]); },
  });

  // places in the colours of their values, the greatest on top
  function valueMap(target, view, at, values, low, high, word) {
    const order = Uint32Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
    const paint = (pen, spot, ratio, width) => {
      const spots = chart.view.places(), part = chart.view.name === "region";
      const radius = ratio * (part ? 3.6 : Math.max(1.5, Math.min(3.4, width / 260)));
      for (const i of order) {
        const [a, d] = spot(spots[2 * at[i]], spots[2 * at[i] + 1]);
        pen.fillStyle = shade((values[i] - low) / (high - low || 1));
        dot(pen, [a, d], radius);
        if (part) { pen.strokeStyle = css("--halo"); pen.lineWidth = 0.7 * ratio; pen.stroke(); }
      }
    };
    const chart = new Chart(target, { view, paint, dots: placeDots(() => chart, at),
      describe: (i) => `${placeName(at[i])}\n${word} ${figure(Number(values[i].toPrecision(4)))}` });
    return chart;
  }

  // places in the colours of their cluster, what is high on top
  const KINDS = { LL: "low among low", LH: "low among high", HL: "high among low", HH: "high among high" };
  function clusterMap(target, view, clusters) {
    const order = Object.keys(KINDS).map((kind) => clusters.find((each) => each.kind === kind));
    const at = order.flatMap((each) => [...each.at]), kinds = order.flatMap((each) => Array(each.at.length).fill(each.kind));
    const paint = (pen, spot, ratio, width) => {
      const spots = chart.view.places(), part = chart.view.name === "region";
      const radius = ratio * (part ? 3.6 : Math.max(1.5, Math.min(3.2, width / 260)));
      at.forEach((place, i) => {
        pen.fillStyle = css("--" + kinds[i]);
        dot(pen, spot(spots[2 * place], spots[2 * place + 1]), radius);
        if (part) { pen.strokeStyle = css("--halo"); pen.lineWidth = 0.7 * ratio; pen.stroke(); }
      });
    };
    const chart = new Chart(target, { view, paint, dots: placeDots(() => chart, at),
      describe: (i) => `${placeName(at[i])}\n${KINDS[kinds[i]]}` });
    return chart;
  }

  // `beyond`: whether some are above the last colour
  function rampLegend(low, high, word, beyond = false) {
    const strip = make("canvas", { width: 120, height: 7, "aria-hidden": "true" });
    const draw = () => {
      const pen = strip.getContext("2d");
      for (let i = 0; i < 120; i++) { pen.fillStyle = shade(i / 119); pen.fillRect(i, 0, 1, 7); }
    };
    draw();
    dark.addEventListener("change", () => { if (strip.isConnected) draw(); });
    return make("div", { class: "ramp" }, make("span", {}, `${word} ${figure(Number(low.toPrecision(3)))}`), strip,
      make("span", {}, (beyond ? "≥ " : "") + figure(Number(high.toPrecision(3)))));
  }

  Object.assign(Atlas, { Chart, shade, dot, trace, country, placeName, canvas, mapCanvas, valueMap, clusterMap, KINDS, rampLegend });
})();
