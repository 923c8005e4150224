// Small tools. Text reaches the page as text nodes and attributes only, never as markup.
"use strict";
const Atlas = {};
(() => {
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const DRAWN = new Set(["svg", "g", "line", "path", "circle", "text", "rect", "title"]);

  function make(tag, attributes = {}, ...children) {
    const node = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value === true ? "" : value);
    }
    add(node, children);
    return node;
  }
  function add(node, children) {
    for (const child of children.flat()) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : String(child));
    }
  }
  const fill = (node, ...children) => { node.replaceChildren(); add(node, children); return node; };
  // what others wrote, apart, so that its direction of writing ends where it ends
  const said = (text, attributes = {}) => make("bdi", attributes, short(text));
  function short(text, most = 90) {
    const points = Array.from(String(text).slice(0, 4 * most));
    return points.length > most ? points.slice(0, most - 1).join("") + "…" : points.join("");
  }
  // in a line of text that has no elements: first strong isolate, and no controls of its own
  const quoted = (text) => "\u2068" + short(text).replace(/[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/g, "") + "\u2069";

  const whole = (n) => n.toLocaleString("en-US");
  const plural = (n, one, more) => `${whole(n)} ${n === 1 ? one : more}`;
  const atPlaces = (n) => plural(n, "place", "places");
  const minus = (text) => text.replace("-", "−");
  function figure(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value)) return minus(whole(value));
    if (Math.abs(value) >= 1000) return minus(whole(Math.round(value)));
    return minus(String(Number(value.toPrecision(4))));
  }
  const km = (value) => figure(value < 10 ? Number(value.toFixed(1)) : Math.round(value));
  // no minus before what is rounded to zero
  const fixed = (value, digits) => (value === null || value === undefined ? "–"
    : minus(value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "")));
  const small = (value) => (value === null || value === undefined ? "–"
    : value !== 0 && value < 0.001 ? minus(value.toExponential(1)) : value.toFixed(3));
  const percent = (share) => (share > 0 && share < 0.01 ? "<1%" : Math.round(100 * share) + "%");
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // as people type it: without case, accents and strokes, and with one apostrophe
  const LETTERS = { ß: "ss", æ: "ae", œ: "oe", ø: "o", ł: "l", đ: "d", ð: "d", þ: "th", ı: "i", ħ: "h" };
  const plainly = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().replace(/[’‘ʻʼ]/g, "'")
    .replace(/[ßæœøłđðþıħ]/g, (letter) => LETTERS[letter]);

  // a link to a feature or a place, by its name where that can be written, else by its row
  function hash(kind, row) {
    const id = String(Atlas.data[kind === "feature" ? "features" : "places"].id?.[row] ?? row);
    const sound = id.length <= 200 && encodable(id);
    return sound === null || sound === false ? `#${kind}-row=${row}` : `#${kind}=${sound}`;
  }
  function encodable(text) {
    try { return encodeURIComponent(text); } catch { return null; }
  }
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  Object.assign(Atlas, { $, make, add, fill, said, short, quoted, whole, plural, atPlaces, figure, km, fixed, small, percent,
    css, plainly, hash, dark, still });
})();
