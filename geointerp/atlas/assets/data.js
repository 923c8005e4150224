// The data: files that are loaded as scripts, for a page on disk may not fetch, and the bytes in them.
(() => {
  const waiting = new Map(), kept = new Map();
  const FILES = 24; // of features or places, that are kept in memory
  Atlas.data = {};

  // the one thing that a file of data can do: give a text, which only a parser reads
  Object.defineProperty(window, "geointerpAtlas", { value: (name, text) => {
    const wanted = waiting.get(name);
    if (!wanted || typeof text !== "string") return;
    try { wanted.done(JSON.parse(text)); } catch (error) { wanted.failed(error); }
  } });

  function load(name) {
    if (kept.has(name)) {
      const found = kept.get(name);
      kept.delete(name); kept.set(name, found); // as the last one used
      return found;
    }
    const promise = new Promise((done, failed) => {
      const script = document.createElement("script");
      waiting.set(name, { done, failed });
      script.src = `data/${name}.js`;
      script.addEventListener("error", () => failed(new Error(`data/${name}.js can’t be read`)));
      script.addEventListener("load", () => { // which it has kept or broken by now
        failed(new Error(`data/${name}.js is not whole`));
        script.remove(); waiting.delete(name);
      });
      document.head.append(script);
    });
    kept.set(name, promise);
    promise.catch(() => kept.delete(name));
    const blocks = [...kept.keys()].filter((key) => /-\d+$/.test(key));
    if (blocks.length > FILES) kept.delete(blocks[0]);
    return promise;
  }

  // ---------------------------------------------------------------- bytes
  function bytesOf(block) {
    if (!block.buffer) {
      const text = atob(block.bytes), buffer = new Uint8Array(text.length);
      for (let i = 0; i < text.length; i++) buffer[i] = text.charCodeAt(i);
      block.buffer = buffer; block.bytes = "";
    }
    return block.buffer;
  }
  class Reader {
    constructor(bytes, at = 0) { this.bytes = bytes; this.at = at; }
    number() { // seven bits a byte, the lowest first
      let value = 0, factor = 1, byte;
      do { byte = this.bytes[this.at++]; value += (byte & 127) * factor; factor *= 128; } while (byte > 127);
      return value;
    }
    numbers(n) { return Uint32Array.from({ length: n }, () => this.number()); }
    rising(n) {
      const rows = new Uint32Array(n);
      for (let i = 0, last = 0; i < n; i++) rows[i] = last += this.number();
      return rows;
    }
    singles(n) { // IEEE 754's, the low byte first
      const view = new DataView(this.bytes.buffer, this.at, 4 * n);
      this.at += 4 * n;
      return Float32Array.from({ length: n }, (_, i) => view.getFloat32(4 * i, true));
    }
    values(n, low, high) {
      const values = new Float64Array(n), step = (high - low) / 65535;
      for (let i = 0; i < n; i++, this.at += 2) {
        values[i] = low + step * (this.bytes[this.at] | (this.bytes[this.at + 1] << 8));
      }
      return values;
    }
  }

  const KINDS = ["HH", "LL", "LH", "HL"];
  function featureOf(block, k) {
    const reader = new Reader(bytesOf(block), block.at[k]), n = block.n[k] ?? 0, found = block.clusters[k];
    const at = reader.rising(n), value = reader.values(n, block.low[k], block.high[k]);
    const order = Uint32Array.from(at.keys()).sort((a, b) => value[b] - value[a] || a - b);
    const feature = {
      row: block.rows[k], finite: block.n[k] !== null,
      at: order.map((i) => at[i]), // strongest first
      value: Float64Array.from(order, (i) => value[i]),
      clusters: null, untested: typeof found === "string" ? found : null,
      correlogram: block.correlogram?.[k] ?? null,
      nearest: block.nearest?.[k] ?? null,
      words: block.words?.[k] ?? null,
    };
    if (Array.isArray(found)) feature.clusters = KINDS.map((kind, i) => ({ kind, at: reader.rising(found[i]) }));
    return feature;
  }
  async function feature(row) {
    const size = Atlas.data.overview.counts.block;
    return featureOf(await load(`features-${Math.floor(row / size)}`), row % size);
  }
  async function strongest() {
    const block = await load("strongest");
    return block.rows.map((_, k) => featureOf(block, k));
  }
  async function firedBy(place) {
    const size = Atlas.data.overview.counts.place_block;
    const block = await load(`places-${Math.floor(place / size)}`), k = place - block.first;
    if (!block.parts) {
      const total = block.n.reduce((a, b) => a + b, 0), reader = new Reader(bytesOf(block));
      const rows = reader.numbers(total), values = reader.singles(total);
      let at = 0;
      block.parts = block.n.map((n) => ({ rows: rows.subarray(at, at + n), values: values.subarray(at, (at += n)) }));
    }
    return block.parts[k];
  }

  Object.assign(Atlas, { load, feature, strongest, firedBy, Reader });
})();
