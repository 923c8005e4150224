// Projections: Equal Earth for the world, Lambert's azimuthal equal-area one for a part of it.
(() => {
  const RAD = Math.PI / 180, EARTH = 6371.0088; // km

  // ---------------------------------------------------------------- the world
  // Šavrič, Patterson and Jenny 2018, equations 5–7, in radii of the sphere
  const A = [1.340264, -0.081106, 0.000893, 0.003796], R3 = Math.sqrt(3);
  const WIDE = (2 * R3 * Math.PI) / (3 * A[0]), HIGH = 1.3173627591574;
  function equalEarth(lon, lat) {
    let offset = lon - Atlas.data.world.center;
    if (Math.abs(offset) > 180) offset = ((((offset + 180) % 360) + 360) % 360) - 180;
    const t = Math.asin((R3 / 2) * Math.sin(lat * RAD)), t2 = t * t, t6 = t2 * t2 * t2;
    const slope = 9 * A[3] * t6 * t2 + 7 * A[2] * t6 + 3 * A[1] * t2 + A[0];
    return [(2 * R3 * offset * RAD * Math.cos(t)) / (3 * slope), -t * (A[3] * t6 * t2 + A[2] * t6 + A[1] * t2 + A[0])];
  }
  const steps = Array.from({ length: 91 }, (_, i) => -90 + 2 * i);
  function traced(path, lons, lats) {
    lons.forEach((lon, i) => path[i ? "lineTo" : "moveTo"](...equalEarth(lon, lats[i])));
  }

  class World {
    constructor() {
      const { center, rings } = Atlas.data.world;
      this.name = "world"; this.key = "world"; this.wide = WIDE; this.high = HIGH;
      this.globe = new Path2D(); this.land = new Path2D(); this.grid = new Path2D();
      traced(this.globe, steps.map(() => center - 180).concat(steps.map(() => center + 180)), steps.concat([...steps].reverse()));
      this.globe.closePath();
      for (let lon = -150; lon <= 180; lon += 30) traced(this.grid, steps.map(() => lon), steps);
      for (let lat = -60; lat <= 60; lat += 30) traced(this.grid, [center - 180, center + 180], [lat, lat]);
      for (const ring of rings) {
        for (let i = 0, lon = 0, lat = 0; i < ring.length; i += 2) {
          lon += ring[i]; lat += ring[i + 1];
          this.land[i ? "lineTo" : "moveTo"](...equalEarth(lon / 100, lat / 100));
        }
        this.land.closePath();
      }
    }
    project(lon, lat) { return equalEarth(lon, lat); }
    shows() { return true; }
    places() { // where all places are, twice their number
      this.spots ??= spotsOf(Atlas.data.places, (lon, lat) => equalEarth(lon, lat));
      return this.spots;
    }
    draw(pen, line) {
      pen.fillStyle = Atlas.css("--sea"); pen.fill(this.globe);
      line(this.grid, "--grid", 0.7);
      pen.fillStyle = Atlas.css("--land"); pen.fill(this.land);
      line(this.land, "--border", 0.6);
      line(this.globe, "--edge", 1);
    }
  }
  function spotsOf({ lon, lat }, project) {
    const spots = new Float32Array(2 * lon.length);
    for (let i = 0; i < lon.length; i++) {
      const [across, down] = project(lon[i], lat[i]);
      spots[2 * i] = across; spots[2 * i + 1] = down;
    }
    return spots;
  }
  let world = null;
  const theWorld = () => (world ??= new World());

  // ---------------------------------------------------------------- a part of it
  const unit = (lon, lat) => {
    const c = Math.cos(lat * RAD);
    return [c * Math.cos(lon * RAD), c * Math.sin(lon * RAD), Math.sin(lat * RAD)];
  };
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const angle = (a, b) => Math.acos(Math.max(-1, Math.min(1, dot(a, b))));
  function units({ lon, lat }) {
    const all = new Float64Array(3 * lon.length);
    for (let i = 0, k = 0; i < lon.length; i++, k += 3) {
      const a = lon[i] * RAD, b = lat[i] * RAD, c = Math.cos(b);
      all[k] = c * Math.cos(a); all[k + 1] = c * Math.sin(a); all[k + 2] = Math.sin(b);
    }
    return all;
  }
  let placeUnits = null;
  const ofPlaces = () => (placeUnits ??= units(Atlas.data.places));

  // every arc and ring as points on the unit sphere, with a cap that holds it
  class Line {
    constructor(points) {
      this.points = points;
      const middle = [0, 0, 0];
      for (let i = 0; i < points.length; i++) middle[i % 3] += points[i];
      const size = Math.hypot(...middle) || 1;
      const [a, b, c] = (this.middle = middle.map((v) => v / size));
      let least = 1;
      for (let i = 0; i < points.length; i += 3) least = Math.min(least, a * points[i] + b * points[i + 1] + c * points[i + 2]);
      this.radius = Math.acos(Math.max(-1, least));
    }
  }
  let coast = null;
  async function theCoast() {
    if (coast) return coast;
    const { arcs, land } = await Atlas.load("coast");
    const lines = arcs.map((arc) => {
      const lon = [], lat = [];
      for (let i = 0, a = 0, b = 0; i < arc.length; i += 2) { lon.push((a += arc[i]) / 100); lat.push((b += arc[i + 1]) / 100); }
      return units({ lon, lat });
    });
    const shore = new Set(land.flat().map((i) => (i < 0 ? ~i : i)));
    const joined = (ring) => {
      const parts = ring.map((i) => (i < 0 ? reversed(lines[~i]) : lines[i]));
      const all = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
      let at = 0;
      for (const part of parts) { all.set(part, at); at += part.length; }
      return new Line(all);
    };
    const drawn = lines.map((points) => new Line(points));
    return (coast = {
      land: land.map(joined),
      shores: drawn.filter((_, i) => shore.has(i)),
      borders: drawn.filter((_, i) => !shore.has(i)),
    });
  }
  function reversed(points) {
    const other = new Float64Array(points.length);
    for (let i = 0; i < points.length; i += 3) other.set(points.subarray(i, i + 3), points.length - 3 - i);
    return other;
  }

  class Region {
    // a rectangle of the map: centre of the projection, and what is to be seen of its plane
    constructor(lon, lat, box, lines) {
      this.name = "region"; this.key = [lon, lat, ...box].map((v) => v.toFixed(7)).join();
      this.center = [lon, lat]; this.middle = unit(lon, lat); this.coast = lines;
      this.east = [-Math.sin(lon * RAD), Math.cos(lon * RAD), 0];
      this.north = [-Math.sin(lat * RAD) * Math.cos(lon * RAD), -Math.sin(lat * RAD) * Math.sin(lon * RAD), Math.cos(lat * RAD)];
      [this.left, this.top, this.wide, this.high] = box; // the middle of the picture, and half its sides
    }
    at(p) {
      const c = 1 + dot(p, this.middle), k = Math.sqrt(2 / Math.max(c, 1e-9));
      return [k * dot(p, this.east) - this.left, -k * dot(p, this.north) - this.top];
    }
    project(lon, lat) { return this.at(unit(lon, lat)); }
    shows([across, down]) { return Math.abs(across) <= this.wide && Math.abs(down) <= this.high; }
    get km() { return 2 * this.high * EARTH; } // from top to foot
    places() {
      if (!this.spots) {
        const all = ofPlaces(), spots = new Float32Array((2 * all.length) / 3);
        for (let i = 0, k = 0; i < all.length; i += 3, k += 2) {
          const spot = this.at(all.subarray(i, i + 3));
          spots[k] = spot[0]; spots[k + 1] = spot[1];
        }
        this.spots = spots;
      }
      return this.spots;
    }
    reach() { // angle from the centre of the projection to the farthest corner
      const far = Math.hypot(Math.abs(this.left) + this.wide, Math.abs(this.top) + this.high);
      return 2 * Math.asin(Math.min(1, far / 2));
    }
    path(lines, closed) {
      const path = new Path2D(), reach = this.reach(), [a, b, c] = this.middle, [d, e] = this.east, [f, g, h] = this.north;
      const fine = this.wide / 700; // what is nearer to the point before it than a dot of the screen is left out
      for (const { points, middle, radius } of lines) {
        if (angle(middle, this.middle) - radius > reach) continue;
        let begun = false, x = 0, y = 0;
        for (let i = 0; i < points.length; i += 3) {
          const p = points[i], q = points[i + 1], r = points[i + 2], near = a * p + b * q + c * r;
          if (near < -0.6 && !closed) { begun = false; continue; }
          const k = Math.sqrt(2 / Math.max(1 + near, 0.02)); // what is behind the globe is kept within bounds
          const across = k * (d * p + e * q) - this.left, down = -k * (f * p + g * q + h * r) - this.top;
          const step = Math.abs(across - x) + Math.abs(down - y);
          if (begun && step < fine && i + 3 < points.length) continue;
          path[begun ? "lineTo" : "moveTo"](across, down);
          begun = true; x = across; y = down;
        }
        if (closed) path.closePath();
      }
      return path;
    }
    draw(pen, line) {
      const plain = this.km < COARSE;
      pen.fillStyle = Atlas.css(plain ? "--land" : "--sea");
      pen.fillRect(-this.wide, -this.high, 2 * this.wide, 2 * this.high);
      if (plain) return;
      pen.fillStyle = Atlas.css("--land"); pen.fill(this.path(this.coast.land, true), "evenodd");
      line(this.graticule(), "--net", 0.7);
      line(this.path(this.coast.borders, false), "--border", 1);
      line(this.path(this.coast.shores, false), "--shore", 0.7);
    }
    graticule() {
      const far = this.reach() / RAD, every = far < 2 ? 0.5 : far < 4 ? 1 : far < 8 ? 2 : far < 18 ? 5 : far < 45 ? 10 : 20;
      const path = new Path2D(), [lon, lat] = this.center;
      const trace = (points) => {
        let begun = false;
        for (const [a, b] of points) {
          const p = unit(a, b);
          if (dot(p, this.middle) < Math.cos(Math.min(this.reach() * 1.15, 2.6))) { begun = false; continue; }
          path[begun ? "lineTo" : "moveTo"](...this.at(p)); begun = true;
        }
      };
      const fine = Array.from({ length: 181 }, (_, i) => (i - 90) * Math.min(1, far / 10));
      for (let b = -80; b <= 80; b += every) if (Math.abs(b - lat) <= far * 1.15) trace(fine.map((i) => [lon + 2 * i, b]));
      for (let a = 0; a < 360; a += every) trace(fine.map((i) => [a, lat + i]).filter(([, b]) => Math.abs(b) <= 80));
      return path;
    }
    // the round number of kilometres nearest to a fifth of the picture
    scale() {
      const goal = 0.4 * this.wide * EARTH, size = 10 ** Math.floor(Math.log10(goal));
      return [1, 2, 5].map((f) => f * size).filter((km) => km <= goal).pop();
    }
  }

  const ASPECT = 1.85;
  const COARSE = 100; // km, below which outlines of 1:50m would mislead
  // the map on which most of what is there fills the picture; the world, where that is most of it
  async function fitted(vectors, weights) {
    const total = weights.reduce((a, b) => a + b, 0);
    if (!(total > 0)) return theWorld();
    const mean = (chosen) => {
      const sum = [0, 0, 0];
      for (const i of chosen) for (let k = 0; k < 3; k++) sum[k] += weights[i] * vectors[i][k];
      const size = Math.hypot(...sum);
      return size > 1e-9 ? sum.map((v) => v / size) : null;
    };
    const nearest = (middle, share) => {
      const angles = vectors.map((v) => angle(v, middle));
      const order = angles.map((_, i) => i).sort((a, b) => angles[a] - angles[b]);
      const chosen = [];
      for (let i = 0, sum = 0; i < order.length && (i === 0 || sum < share * total); i++) { chosen.push(order[i]); sum += weights[order[i]]; }
      return chosen;
    };
    let middle = mean(vectors.keys());
    for (let turn = 0; middle && turn < 4; turn++) { // drop what is far from the rest
      middle = mean(nearest(middle, 0.8));
    }
    if (!middle) return theWorld();
    return framed(nearest(middle, 0.93).map((i) => vectors[i]));
  }
  // the map that all of these fill
  async function framed(vectors) {
    const sum = [0, 1, 2].map((k) => vectors.reduce((total, v) => total + v[k], 0)), size = Math.hypot(...sum);
    const middle = sum.map((v) => v / size);
    if (!(size > 1e-9) || vectors.some((v) => angle(v, middle) > 50 * RAD)) return theWorld();
    const lon = Math.atan2(middle[1], middle[0]) / RAD, lat = Math.asin(Math.max(-1, Math.min(1, middle[2]))) / RAD;
    const bare = new Region(lon, lat, [0, 0, 1, 1], null), spots = vectors.map((v) => bare.at(v));
    const ends = (k) => spots.reduce(([low, high], s) => [Math.min(low, s[k]), Math.max(high, s[k])], [Infinity, -Infinity]);
    const [west, east] = ends(0), [top, foot] = ends(1);
    // with a margin, and never less than some 24 km
    const high = 0.62 * Math.max(0.003, foot - top, (east - west) / ASPECT);
    if (high > 0.5) return theWorld(); // most of the globe
    return new Region(lon, lat, [(west + east) / 2, (top + foot) / 2, high * ASPECT, high], await theCoast());
  }
  // the map that the places of the table fill, and others with them
  function filled(...others) {
    const { lon, lat } = Atlas.data.places;
    return framed([...Array.from(lon, (_, i) => unit(lon[i], lat[i])), ...others]);
  }
  const titled = (view) => (view.name === "world" ? "World map" : "Regional map");
  // where a feature fires
  function fittedTo(feature) {
    const { lon, lat } = Atlas.data.places, vectors = [], weights = [];
    feature.at.forEach((at, i) => {
      if (feature.value[i] > 0) { vectors.push(unit(lon[at], lat[at])); weights.push(feature.value[i]); }
    });
    return fitted(vectors, weights);
  }
  // points of the shortest way between two places
  function way(from, to, n = 48) {
    const a = unit(...from), b = unit(...to), whole = angle(a, b), points = [];
    for (let i = 0; i <= n; i++) {
      const t = i / n, s = Math.sin(whole);
      const p = s < 1e-9 ? a : a.map((v, k) => (Math.sin((1 - t) * whole) * v + Math.sin(t * whole) * b[k]) / s);
      points.push([Math.atan2(p[1], p[0]) / RAD, Math.asin(Math.max(-1, Math.min(1, p[2]))) / RAD]);
    }
    return points;
  }
  // a circle of so many kilometres
  function circle(lon, lat, km, n = 120) {
    const d = km / EARTH, points = [];
    for (let i = 0; i <= n; i++) {
      const bearing = (2 * Math.PI * i) / n, b = lat * RAD;
      const to = Math.asin(Math.sin(b) * Math.cos(d) + Math.cos(b) * Math.sin(d) * Math.cos(bearing));
      const turn = Math.atan2(Math.sin(bearing) * Math.sin(d) * Math.cos(b), Math.cos(d) - Math.sin(b) * Math.sin(to));
      points.push([lon + turn / RAD, to / RAD]);
    }
    return points;
  }
  Object.assign(Atlas, { theCoast, equalEarth, theWorld, framed, filled, titled, fittedTo, unit, way, circle, EARTH });
})();
