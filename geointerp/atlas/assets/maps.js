// Tools, colours and maps that page.js draws with. Text reaches the page as text nodes only.
"use strict";
const Atlas = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { places } = data;
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  // ---------------------------------------------------------------- small tools
  function make(tag, attributes = {}, ...children) {
    const svg = ["svg", "g", "line", "path", "circle", "text", "rect", "title"].includes(tag);
    const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children.map((child) => (child instanceof Node ? child : String(child))));
    return node;
  }
  const whole = (n) => n.toLocaleString("en-US");
  const plural = (n, one, more) => `${whole(n)} ${n === 1 ? one : more}`;
  const atPlaces = (n) => plural(n, "place", "places");
  function figure(value) {
    if (value === null) return "–";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value)) return whole(value);
    if (Math.abs(value) >= 1000) return whole(Math.round(value));
    return String(Number(value.toPrecision(4)));
  }
  // no minus before what is rounded to zero
  const fixed = (value, digits) => (value === null ? "–" : value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "−"));
  const small = (value) => (value === null ? "–" : value < 0.001 ? value.toExponential(1) : value.toFixed(3));
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const country = (at) => places.countries[places.country[at]] || "";
  const placeName = (at) => places.name[at] + (country(at) ? ", " + country(at) : "");

  // ---------------------------------------------------------------- colours
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // magma, from a twelfth to nineteen twentieths; what is much stands out from the paper
  const MAGMA = [[26, 16, 66], [65, 15, 117], [101, 26, 128], [136, 39, 129], [174, 52, 123],
    [210, 66, 111], [238, 91, 94], [250, 127, 94], [254, 163, 110], [254, 198, 137], [253, 232, 172]];
  const SHADES = 64;
  let ramp = [];
  function setRamp() {
    const stops = dark.matches ? MAGMA.slice(2) : MAGMA.slice(0, 10).reverse();
    ramp = Array.from({ length: SHADES }, (_, i) => {
      const at = (i / (SHADES - 1)) * (stops.length - 1);
      const low = Math.min(Math.floor(at), stops.length - 2);
      const mixed = stops[low].map((c, k) => Math.round(c + (stops[low + 1][k] - c) * (at - low)));
      return `rgb(${mixed.join(" ")})`;
    });
  }
  const shade = (share) => ramp[Math.max(0, Math.min(SHADES - 1, Math.round(share * (SHADES - 1))))];

  // ---------------------------------------------------------------- the map
  // Equal Earth (Šavrič, Patterson and Jenny 2018, equations 5–7), in radii of the sphere
  const A = [1.340264, -0.081106, 0.000893, 0.003796], R3 = Math.sqrt(3);
  const WIDE = (2 * R3 * Math.PI) / (3 * A[0]), HIGH = 1.3173627591574;
  function project(lon, lat) {
    let offset = lon - data.center;
    if (Math.abs(offset) > 180) offset = ((((offset + 180) % 360) + 360) % 360) - 180;
    const t = Math.asin((R3 / 2) * Math.sin((lat * Math.PI) / 180)), t2 = t * t, t6 = t2 * t2 * t2;
    const slope = 9 * A[3] * t6 * t2 + 7 * A[2] * t6 + 3 * A[1] * t2 + A[0];
    return [
      (2 * R3 * ((offset * Math.PI) / 180) * Math.cos(t)) / (3 * slope),
      -t * (A[3] * t6 * t2 + A[2] * t6 + A[1] * t2 + A[0]),
    ];
  }
  const positions = places.lon.map((lon, i) => project(lon, places.lat[i]));
  const globe = new Path2D(), land = new Path2D(), grid = new Path2D();
  function trace(path, lons, lats) {
    lons.forEach((lon, i) => path[i ? "lineTo" : "moveTo"](...project(lon, lats[i])));
  }
  const steps = Array.from({ length: 91 }, (_, i) => -90 + 2 * i);
  trace(globe, steps.map(() => data.center - 180).concat(steps.map(() => data.center + 180)),
    steps.concat([...steps].reverse()));
  globe.closePath();
  for (let lon = -150; lon <= 180; lon += 30) trace(grid, steps.map(() => lon), steps);
  for (let lat = -60; lat <= 60; lat += 30) trace(grid, [data.center - 180, data.center + 180], [lat, lat]);
  for (const ring of data.world) {
    let lon = 0, lat = 0;
    for (let i = 0; i < ring.length; i += 2) {
      lon += ring[i]; lat += ring[i + 1];
      land[i ? "lineTo" : "moveTo"](...project(lon / 100, lat / 100));
    }
    land.closePath();
  }

  const bases = new Map(); // the empty map, by size
  function base(width, ratio) {
    const key = width + "×" + ratio;
    if (bases.has(key)) return bases.get(key);
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(canvas.width * (HIGH / WIDE));
    const pen = canvas.getContext("2d"), scale = (canvas.width - 2) / (2 * WIDE);
    pen.setTransform(scale, 0, 0, scale, canvas.width / 2, canvas.height / 2);
    const line = (path, color, pixels) => {
      pen.strokeStyle = color; pen.lineWidth = (pixels * ratio) / scale; pen.stroke(path);
    };
    pen.lineJoin = "round";
    pen.fillStyle = css("--sea"); pen.fill(globe);
    line(grid, css("--grid"), 0.7);
    pen.fillStyle = css("--land"); pen.fill(land);
    line(land, css("--border"), width > 700 ? 0.8 : 0.5);
    line(globe, css("--edge"), 1);
    const made = { canvas, scale };
    bases.set(key, made);
    return made;
  }

  // a map: dots of its own, a mark, and the name of what the pointer is on
  class WorldMap {
    constructor(canvas, paint, dots, describe) {
      Object.assign(this, { canvas, paint, dots, describe, marked: null, stale: true, seen: false });
      canvas.addEventListener("pointermove", (event) => this.point(event));
      canvas.addEventListener("pointerdown", (event) => this.point(event));
      canvas.addEventListener("pointerleave", () => this.mark(null));
      canvas.addEventListener("blur", () => this.mark(null));
      canvas.addEventListener("keydown", (event) => this.key(event));
      new ResizeObserver(() => this.refresh()).observe(canvas);
      new IntersectionObserver(([entry]) => {
        this.seen = entry.isIntersecting;
        if (this.seen && this.stale) this.draw();
      }, { rootMargin: "500px" }).observe(canvas);
      WorldMap.all.push(this);
    }
    refresh() { this.stale = true; if (this.seen) this.draw(); }
    draw() {
      const width = this.canvas.clientWidth, ratio = Math.min(devicePixelRatio || 1, 2);
      if (!width) return;
      const under = base(width, ratio), pen = this.canvas.getContext("2d");
      if (this.canvas.width !== under.canvas.width) this.canvas.width = under.canvas.width;
      if (this.canvas.height !== under.canvas.height) this.canvas.height = under.canvas.height;
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
      pen.drawImage(under.canvas, 0, 0);
      this.scale = under.scale; this.ratio = ratio;
      const spot = (p) => [this.canvas.width / 2 + p[0] * this.scale, this.canvas.height / 2 + p[1] * this.scale];
      this.canvas.dataset.dots = this.paint(pen, spot, ratio, width, this.marked);
      if (this.marked !== null) {
        const [across, down] = spot(this.dots.at(this.marked));
        pen.beginPath(); pen.arc(across, down, 6 * ratio, 0, 7);
        pen.strokeStyle = css("--ring"); pen.lineWidth = 2 * ratio; pen.stroke();
      }
      this.stale = false;
    }
    mark(dot, event) {
      if (dot === null && this.marked === null) return;
      if (dot !== this.marked) { this.marked = dot; this.draw(); }
      if (dot === null) { $("tip").hidden = true; return; }
      const box = this.canvas.getBoundingClientRect(), p = this.dots.at(dot);
      const left = event ? event.clientX : box.left + box.width / 2 + (p[0] * this.scale) / this.ratio;
      const top = event ? event.clientY : box.top + box.height / 2 + (p[1] * this.scale) / this.ratio;
      const tip = $("tip");
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
      this.mark(nearest, event);
    }
    key(event) { // with the arrow keys from place to place, in the order of the dots
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") this.mark(null);
      if (!step) return;
      event.preventDefault();
      const n = this.dots.count;
      this.mark(this.marked === null ? (step > 0 ? 0 : n - 1) : (this.marked + step + n) % n);
    }
  }
  WorldMap.all = [];

  function dot(pen, at, radius) { pen.beginPath(); pen.arc(at[0], at[1], radius, 0, 7); pen.fill(); }

  function valueMap(canvas, at, values, low, high, word) {
    const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]);
    const paint = (pen, spot, ratio, width) => {
      const radius = ratio * Math.max(1.5, Math.min(3.4, width / 260));
      pen.fillStyle = css("--idle"); pen.globalAlpha = width > 700 ? 0.5 : 0.32;
      const dust = Math.max(1, ratio * (width > 700 ? 1.2 : 0.8));
      for (const p of positions) { const [a, d] = spot(p); pen.fillRect(a - dust / 2, d - dust / 2, dust, dust); }
      pen.globalAlpha = 0.92;
      for (const i of order) {
        pen.fillStyle = shade((values[i] - low) / (high - low || 1));
        dot(pen, spot(positions[at[i]]), radius);
      }
      pen.globalAlpha = 1;
      return at.length;
    };
    const dots = { count: at.length, at: (i) => positions[at[i]] };
    return new WorldMap(canvas, paint, dots, (i) => `${placeName(at[i])}\n${word} ${figure(values[i])}`);
  }

  function rampLegend(box, low, high, word) {
    const strip = make("canvas", { width: 120, height: 7, "aria-hidden": "true" });
    const draw = () => {
      const pen = strip.getContext("2d");
      for (let i = 0; i < 120; i++) { pen.fillStyle = shade(i / 119); pen.fillRect(i, 0, 1, 7); }
    };
    draw(); dark.addEventListener("change", draw);
    box.replaceChildren(make("span", {}, `${word} ${figure(low)}`), strip, make("span", {}, figure(high)));
  }

  return { data, $, make, whole, plural, atPlaces, figure, fixed, small, css, country, placeName, dark, setRamp, shade,
    project, positions, bases, WorldMap, dot, valueMap, rampLegend };
})();
