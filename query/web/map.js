"use strict";
// The map: draws points, names and some pictures on a canvas, and moves over them. Whatever comes from elsewhere is put in
// as text.
(() => {
  /** How far one may zoom in, in times of the whole map. */
  const NEAREST = 200;
  /** How far from a point one may be to mean it, in pixels. */
  const REACH = 14;
  /** A click that moves farther is none. */
  const STILL = 5;
  /** Cells of the grid in which points are looked up, to each side. */
  const CELLS = 128;
  /** How long a message stays. */
  const MESSAGE_MS = 4000;

  const part = (id) => document.getElementById(id);
  const { points, clusters, pictures } = JSON.parse(part("data").textContent);
  const number = new Intl.NumberFormat("en");
  const canvas = part("map");
  const pen = canvas.getContext("2d");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const path = (i) => points[i][0];
  const name = (cluster) => clusters[cluster].words[0] ?? `group ${cluster + 1}`;

  // What the map covers: coordinates grow upwards, pixels downwards.
  const xs = Float32Array.from(points, (point) => point[1]);
  const ys = Float32Array.from(points, (point) => -point[2]);
  const view = { x: 0, y: 0, scale: 1 };
  let size = { width: 1, height: 1 };
  let base = 1; // the scale at which the whole map fits
  let marked = null; // a cluster that is shown before the others
  let at = null; // the point that is meant
  let tiles = []; // where pictures were drawn
  let pressed = null; // the cluster that the list zoomed to
  let keys = false; // whether the person used them last
  let due = false;

  const held = new Map(pictures.map(([i, jpeg]) => {
    const image = new Image();
    image.onload = redraw;
    image.src = `data:image/jpeg;base64,${jpeg}`;
    return [i, image];
  }));

  const grid = (() => {
    const cell = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor((value + 1) / 2 * CELLS)));
    const cells = Array.from({ length: CELLS * CELLS }, () => []);
    points.forEach((_, i) => cells[cell(ys[i]) * CELLS + cell(xs[i])].push(i));
    return { cell, cells };
  })();

  /** The point nearest to a place in pixels, if one is within reach. */
  function nearest(px, py, reach) {
    const [x, y, r] = [(px - size.width / 2) / view.scale + view.x, (py - size.height / 2) / view.scale + view.y, reach / view.scale];
    let [best, least] = [null, r * r];
    for (let row = grid.cell(y - r); row <= grid.cell(y + r); row++) {
      for (let column = grid.cell(x - r); column <= grid.cell(x + r); column++) {
        for (const i of grid.cells[row * CELLS + column]) {
          const away = (xs[i] - x) ** 2 + (ys[i] - y) ** 2;
          if (away <= least) [best, least] = [i, away];
        }
      }
    }
    return best;
  }

  /** The point that is meant by a place in pixels: whose picture is there, or that is near. */
  function meant(px, py) {
    const tile = tiles.findLast((t) => px >= t.left && px <= t.left + t.width && py >= t.top && py <= t.top + t.height);
    return tile ? tile.point : nearest(px, py, REACH);
  }

  function colour(cluster) {
    // Neighbours in the list differ most in hue.
    const hue = (cluster * 137.5 + 210) % 360;
    return dark.matches ? `hsl(${hue} 62% 64%)` : `hsl(${hue} 62% 40%)`;
  }

  function redraw() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; draw(); });
  }

  const order = points.map((_, i) => i).sort((a, b) => points[a][3] - points[b][3]);

  function draw() {
    const ratio = devicePixelRatio || 1;
    const styles = getComputedStyle(document.documentElement);
    const [ground, text] = ["--ground", "--text"].map((property) => styles.getPropertyValue(property));
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = ground;
    pen.fillRect(0, 0, size.width, size.height);
    const [left, top] = [size.width / 2 - view.x * view.scale, size.height / 2 - view.y * view.scale];
    const place = (i) => [left + xs[i] * view.scale, top + ys[i] * view.scale];
    const inside = (x, y, margin) => x > -margin && y > -margin && x < size.width + margin && y < size.height + margin;
    const zoomed = view.scale / base;

    const radius = Math.min(5, Math.max(1, 22 / Math.sqrt(points.length)) + 0.5 * Math.log2(Math.max(1, zoomed)) + 0.6);
    let last = null;
    for (const i of order) {
      const cluster = points[i][3];
      if (cluster !== last) {
        pen.fillStyle = colour(cluster);
        pen.globalAlpha = marked === null || marked === cluster ? 0.85 : 0.15;
        last = cluster;
      }
      const [x, y] = place(i);
      if (!inside(x, y, radius)) continue;
      if (radius < 1.8) {
        pen.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
      } else {
        pen.beginPath();
        pen.arc(x, y, radius, 0, 2 * Math.PI);
        pen.fill();
      }
    }
    pen.globalAlpha = 1;

    // Names keep their place before pictures do.
    const taken = [];
    const free = (box) => taken.every((b) => box.left > b.left + b.width || b.left > box.left + box.width || box.top > b.top + b.height || b.top > box.top + box.height);
    pen.font = `600 ${zoomed > 3 ? 16 : 14}px system-ui, sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const names = [];
    const ranked = clusters.map((_, i) => i).sort((a, b) => (b === marked) - (a === marked) || a - b);
    for (const i of ranked) {
      const [x, y] = [left + clusters[i].x * view.scale, top - clusters[i].y * view.scale];
      if (!inside(x, y, 60)) continue;
      const width = pen.measureText(name(i)).width + 12;
      const box = { left: x - width / 2, top: y - 11, width, height: 22 };
      if (!free(box)) continue;
      taken.push(box);
      names.push([i, x, y]);
    }

    tiles = [];
    const most = Math.min(96, 30 * Math.max(1, zoomed) ** 0.6);
    for (const [i, image] of held) {
      if (!image.naturalWidth || (marked !== null && marked !== points[i][3])) continue;
      const [x, y] = place(i);
      if (!inside(x, y, most)) continue;
      const shrink = most / Math.max(image.naturalWidth, image.naturalHeight);
      const [width, height] = [image.naturalWidth * shrink, image.naturalHeight * shrink];
      const tile = { point: i, left: x - width / 2, top: y - height / 2, width, height };
      if (!free({ left: tile.left - 3, top: tile.top - 3, width: width + 6, height: height + 6 })) continue;
      taken.push(tile);
      tiles.push(tile);
      pen.fillStyle = colour(points[i][3]);
      pen.fillRect(tile.left - 2, tile.top - 2, width + 4, height + 4);
      pen.drawImage(image, tile.left, tile.top, width, height);
    }

    pen.lineJoin = "round";
    for (const [i, x, y] of names.reverse()) {
      pen.globalAlpha = marked === null || marked === i ? 1 : 0.35;
      pen.lineWidth = 5;
      pen.strokeStyle = ground;
      pen.strokeText(name(i), x, y);
      pen.fillStyle = text;
      pen.fillText(name(i), x, y);
    }
    pen.globalAlpha = 1;

    if (at !== null) {
      const [x, y] = place(at);
      pen.lineWidth = 2.5;
      pen.strokeStyle = text;
      pen.beginPath();
      pen.arc(x, y, radius + 5, 0, 2 * Math.PI);
      pen.stroke();
    }
    if (keyboard()) {
      const [x, y] = [size.width / 2, size.height / 2];
      pen.lineWidth = 1.5;
      pen.strokeStyle = text;
      pen.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        pen.moveTo(x + 8 * dx, y + 8 * dy);
        pen.lineTo(x + 18 * dx, y + 18 * dy);
      }
      pen.stroke();
    }
    tip();
  }

  /** Whether the keyboard is on the map, and so its middle is what is meant. */
  function keyboard() {
    return keys && document.activeElement === canvas;
  }

  /** Where a point is, in pixels. */
  function place(i) {
    return [size.width / 2 + (xs[i] - view.x) * view.scale, size.height / 2 + (ys[i] - view.y) * view.scale];
  }

  function mean(i) {
    canvas.classList.toggle("over", i !== null);
    if (at === i) return;
    at = i;
    redraw();
  }

  /** Tells of the point that is meant, beside it. */
  function tip() {
    const box = part("tip");
    box.hidden = at === null;
    if (at === null) return;
    const small = part("small");
    small.hidden = !held.has(at);
    if (held.has(at) && small.src !== held.get(at).src) small.src = held.get(at).src;
    part("kind").textContent = name(points[at][3]);
    part("path").textContent = path(at);
    const [x, y] = place(at);
    const [width, height] = [box.offsetWidth, box.offsetHeight];
    const right = x + 16 + width < size.width ? x + 16 : x - 16 - width;
    const below = y + 16 + height < size.height ? y + 16 : y - 16 - height;
    const within = (value, most) => Math.max(8, Math.min(value, most - 8));
    box.style.transform = `translate(${within(right, size.width - width)}px, ${within(below, size.height - height)}px)`;
  }

  let message = 0;
  function say(text) {
    clearTimeout(message);
    part("said").textContent = text;
    message = setTimeout(() => { part("said").textContent = ""; }, MESSAGE_MS);
  }

  async function copy(i) {
    try {
      await navigator.clipboard.writeText(path(i));
      say(`Copied ${path(i)}`);
    } catch {
      say(`This browser does not let the page copy: ${path(i)}`);
    }
  }

  function zoom(times, px = size.width / 2, py = size.height / 2) {
    const scale = Math.min(base * NEAREST, Math.max(base * 0.5, view.scale * times));
    view.x += (px - size.width / 2) * (1 / view.scale - 1 / scale);
    view.y += (py - size.height / 2) * (1 / view.scale - 1 / scale);
    view.scale = scale;
    moved();
  }

  function move(dx, dy) {
    view.x += dx / view.scale;
    view.y += dy / view.scale;
    moved();
  }

  function moved() {
    view.x = Math.min(1, Math.max(-1, view.x));
    view.y = Math.min(1, Math.max(-1, view.y));
    if (keyboard()) mean(nearest(size.width / 2, size.height / 2, Math.min(size.width, size.height) / 2));
    redraw();
  }

  /** Shows what lies between these places. */
  function show(own, nearer = NEAREST) {
    const some = own.length ? own : [...xs.keys()];
    // What strays does not count.
    const reach = (values) => {
      const sorted = Float32Array.from(some, (i) => values[i]).sort();
      const cut = own.length ? Math.floor(sorted.length * 0.05) : 0;
      return [sorted[cut] ?? -1, sorted[sorted.length - 1 - cut] ?? 1];
    };
    const [[left, right], [top, bottom]] = [reach(xs), reach(ys)];
    const margin = Math.min(70, size.width * 0.1);
    const fits = Math.min((size.width - 2 * margin) / Math.max(right - left, 1e-3), (size.height - 2 * margin) / Math.max(bottom - top, 1e-3));
    if (!own.length) base = fits;
    [view.x, view.y, view.scale] = [(left + right) / 2, (top + bottom) / 2, Math.min(fits, base * nearer)];
    moved();
  }

  function whole() {
    press(null);
    show([]);
  }

  function press(cluster) {
    pressed = cluster;
    marked = cluster;
    [...part("clusters").querySelectorAll("button")].forEach((button, i) => button.setAttribute("aria-pressed", String(i === cluster)));
  }

  clusters.forEach((cluster, i) => {
    const button = document.createElement("button");
    const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const disc = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    for (const [property, value] of [["cx", 5.5], ["cy", 5.5], ["r", 5.5]]) disc.setAttribute(property, value);
    swatch.setAttribute("aria-hidden", "true");
    swatch.append(disc);
    const [words, more, count] = [document.createElement("span"), document.createElement("small"), document.createElement("small")];
    more.textContent = cluster.words.slice(1).map((word) => ` · ${word}`).join("");
    words.append(name(i), more);
    count.className = "count";
    count.textContent = number.format(cluster.count);
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(swatch, words, count);
    button.addEventListener("click", () => {
      if (pressed === i) return whole();
      press(i);
      mean(null);
      show(order.filter((point) => points[point][3] === i), 12);
    });
    for (const [event, value] of [["pointerenter", i], ["focus", i], ["pointerleave", null], ["blur", null]]) {
      button.addEventListener(event, () => { marked = value ?? pressed; redraw(); });
    }
    const item = document.createElement("li");
    item.append(button);
    part("clusters").append(item);
  });
  const swatches = () => part("clusters").querySelectorAll("circle").forEach((disc, i) => disc.setAttribute("fill", colour(i)));
  swatches();
  dark.addEventListener("change", () => { swatches(); redraw(); });

  addEventListener("keydown", () => { keys = true; }, { capture: true });
  addEventListener("pointerdown", () => { keys = false; }, { capture: true });

  const down = new Map(); // pointers that touch the map
  let travelled = 0;
  const spot = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, spot(event));
    if (down.size === 1) travelled = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    const [x, y] = spot(event);
    if (!before) return mean(meant(x, y));
    travelled += Math.hypot(x - before[0], y - before[1]);
    const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = (place) => Math.max(10, Math.hypot(place[0] - other[0], place[1] - other[1]));
      zoom(apart([x, y]) / apart(before), (x + other[0]) / 2, (y + other[1]) / 2);
      move((before[0] - x) / 2, (before[1] - y) / 2);
    } else if (travelled > STILL) {
      move(before[0] - x, before[1] - y);
    }
    down.set(event.pointerId, [x, y]);
  });
  for (const event of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(event, (ended) => {
      if (!down.delete(ended.pointerId) || event !== "pointerup" || down.size || travelled > STILL) return;
      const i = meant(...spot(ended));
      mean(i);
      if (i !== null) copy(i);
    });
  }
  canvas.addEventListener("pointerleave", () => { if (!down.size && !keyboard()) mean(null); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = Math.min(size.width, size.height) / (event.shiftKey ? 40 : 8);
    // What is meant stays in view.
    const around = at === null ? [] : place(at);
    const does = {
      ArrowLeft: () => move(-step, 0), ArrowRight: () => move(step, 0), ArrowUp: () => move(0, -step), ArrowDown: () => move(0, step),
      "+": () => zoom(1.4, ...around), "=": () => zoom(1.4, ...around), "-": () => zoom(1 / 1.4, ...around), 0: whole,
      Enter: () => { if (at !== null) copy(at); },
    };
    if (!Object.hasOwn(does, event.key)) return;
    event.preventDefault();
    does[event.key]();
  });
  canvas.addEventListener("focus", moved);
  canvas.addEventListener("blur", () => { mean(null); redraw(); });
  part("in").addEventListener("click", () => zoom(1.6));
  part("out").addEventListener("click", () => zoom(1 / 1.6));
  part("whole").addEventListener("click", whole);

  let first = true;
  new ResizeObserver(() => {
    const ratio = devicePixelRatio || 1;
    size = { width: part("frame").clientWidth, height: part("frame").clientHeight };
    [canvas.width, canvas.height] = [size.width * ratio, size.height * ratio];
    if (first) show([]);
    first = false;
    draw();
  }).observe(part("frame"));
})();
