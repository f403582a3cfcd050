// A justified grid of any number of pictures, of which only those near the view are in the document.

const GAP = 6;
/** Thumbnails asked for at once: a browser has six connections to a host, and the next question needs one. */
const AT_ONCE = 4;
/** A picture's shape, width to height, before anybody has seen it. */
const UNSEEN = 4 / 3;
const SHAPES = [0.4, 3];
/** Pictures whose shape is remembered. */
const REMEMBERED = 50_000;

export class Grid {
  /**
   * @param element  a listbox
   * @param says     { address(match, height), label(match), name(match), where(match), facts(match), badge(match) }
   * @param tells    { open(i), chosen(i), key(event, i), left(), near() }: left() when the keyboard leaves upwards, near()
   *                 whenever the last rows are near the view
   */
  constructor(element, says, tells) {
    Object.assign(this, { element, says, tells });
    this.matches = [];
    this.boxes = [];
    this.tiles = new Map(); // by index
    this.shapes = new Map(); // by path
    this.broken = new Set(); // paths without a thumbnail
    this.loading = new Set(); // tiles
    this.active = 0;
    this.frame = 0;
    const later = () => (this.frame ||= requestAnimationFrame(() => this.#render()));
    addEventListener("scroll", later, { passive: true });
    new ResizeObserver(() => this.element.clientWidth !== this.width && this.#arrange()).observe(element);
    element.addEventListener("click", (event) => this.#clicked(event));
    element.addEventListener("keydown", (event) => this.#pressed(event));
    element.addEventListener("focusin", (event) => this.#choose(this.#indexOf(event.target)));
  }

  /** Shows these matches; those that were shown before keep their place in the document. */
  show(matches, active = 0) {
    const standing = new Map([...this.tiles.values()].map((tile) => [tile.path, tile]));
    this.tiles = new Map();
    this.matches = matches;
    this.active = Math.min(active, Math.max(0, matches.length - 1));
    this.element.hidden = matches.length === 0;
    this.#place();
    this.#render(standing);
    for (const tile of standing.values()) this.#remove(tile);
  }

  /** Brings a picture into view and gives it the keyboard. */
  focus(index) {
    if (!this.matches[index]) return;
    this.#choose(index);
    this.reveal(index);
    this.tiles.get(index).element.focus({ preventScroll: true });
  }

  /** Scrolls no more than is needed to see a picture. */
  reveal(index) {
    const box = this.boxes[index];
    const top = this.element.getBoundingClientRect().top + box.y;
    const bar = document.querySelector("header").offsetHeight + GAP;
    if (top < bar) scrollBy(0, top - bar);
    else if (top + box.height > innerHeight - GAP) scrollBy(0, top + box.height - innerHeight + GAP);
    this.#render();
  }

  /** Lets pictures be tried again that could not be shown. */
  forgive() {
    this.broken.clear();
  }

  /** Where everything stands: rows as wide as the view, no higher than wanted. */
  #place() {
    this.width = this.element.clientWidth;
    const most = this.width < 600 ? 150 : 220;
    this.most = most;
    this.boxes = new Array(this.matches.length);
    let y = 0;
    for (let first = 0, last; first < this.matches.length; first = last) {
      let shapes = 0;
      for (last = first; last < this.matches.length; ) {
        shapes += this.#shape(this.matches[last++]);
        if (shapes * most + (last - first - 1) * GAP >= this.width) break;
      }
      const height = Math.min(most, (this.width - (last - first - 1) * GAP) / shapes);
      let x = 0;
      for (let i = first; i < last; i++) {
        const width = height * this.#shape(this.matches[i]);
        this.boxes[i] = { x, y, width, height };
        x += width + GAP;
      }
      y += height + GAP;
    }
    this.element.style.height = `${Math.max(0, y - GAP)}px`;
  }

  #shape({ path, width, height }) {
    const shape = width && height ? width / height : (this.shapes.get(path) ?? UNSEEN);
    return Math.min(SHAPES[1], Math.max(SHAPES[0], shape));
  }

  /** Places everything anew around the first picture in view, which stays where it is. */
  #arrange() {
    if (!this.matches.length) return;
    const anchor = this.#firstBelow(-this.element.getBoundingClientRect().top);
    const before = this.boxes[anchor]?.y ?? 0;
    this.#place();
    const moved = (this.boxes[anchor]?.y ?? 0) - before;
    if (moved && scrollY > this.element.offsetTop) scrollBy(0, moved);
    this.#render();
  }

  /** The first picture that ends below `y`. */
  #firstBelow(y) {
    let low = 0;
    let high = this.boxes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.boxes[middle].y + this.boxes[middle].height < y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Puts what is near the view into the document, and takes away what is not. */
  #render(standing) {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const top = -this.element.getBoundingClientRect().top;
    const near = innerHeight;
    const from = this.#firstBelow(top - near);
    let to = from;
    while (to < this.boxes.length && this.boxes[to].y < top + 2 * near) to++;
    // The active picture stays, so that the keyboard never loses its place.
    const wanted = new Set(this.matches.length ? [this.active] : []);
    for (let i = from; i < to; i++) wanted.add(i);
    for (const [i, tile] of this.tiles) {
      if (wanted.has(i)) continue;
      this.tiles.delete(i);
      this.#remove(tile);
    }
    const sorted = [...wanted].sort((a, b) => a - b);
    let previous = null;
    for (const i of sorted) {
      const { element } = this.#draw(i, standing);
      // As the eye finds them, so does a screen reader. Who has the keyboard would lose it by being moved.
      if (element.previousElementSibling !== previous && element !== document.activeElement) {
        if (previous) previous.after(element);
        else this.element.prepend(element);
      }
      previous = element;
    }
    const seen = (i) => this.boxes[i].y + this.boxes[i].height > top && this.boxes[i].y < top + near;
    this.waiting = [...sorted.filter(seen), ...sorted.filter((i) => !seen(i))].map((i) => this.tiles.get(i));
    this.#load();
    if (to > 0 && to === this.boxes.length) this.tells.near();
  }

  #draw(i, standing) {
    const match = this.matches[i];
    let tile = this.tiles.get(i);
    if (!tile) {
      tile = standing?.get(match.path) ?? this.#make(match);
      standing?.delete(match.path);
      this.tiles.set(i, tile);
      tile.match = match;
      tile.element.id = `match-${i}`;
      tile.element.setAttribute("aria-label", this.says.label(match));
      tile.element.setAttribute("aria-posinset", i + 1);
      tile.element.setAttribute("aria-setsize", this.matches.length);
      tile.badge.textContent = this.says.badge(match);
      tile.facts.textContent = this.says.facts(match);
    }
    const { x, y, width, height } = this.boxes[i];
    const style = tile.element.style;
    style.transform = `translate(${x}px, ${y}px)`;
    style.width = `${width}px`;
    style.height = `${height}px`;
    tile.element.tabIndex = i === this.active ? 0 : -1;
    tile.element.setAttribute("aria-selected", i === this.active);
    if (!tile.element.isConnected) this.element.append(tile.element);
    return tile;
  }

  #make(match) {
    const element = document.createElement("div");
    element.className = "tile";
    element.setAttribute("role", "option");
    const image = document.createElement("img");
    image.alt = "";
    image.decoding = "async";
    image.draggable = false;
    const [none, badge, caption] = ["none", "badge", "caption"].map((name) => {
      const part = document.createElement("span");
      part.className = name;
      return part;
    });
    const [name, facts, where] = ["name", "facts", "where"].map((kind) => {
      const part = document.createElement("bdi");
      part.className = kind;
      return part;
    });
    none.textContent = name.textContent = this.says.name(match);
    where.textContent = this.says.where(match);
    caption.append(name, where, facts);
    element.append(none, image, badge, caption);
    return { element, image, badge, facts, path: match.path };
  }

  #remove(tile) {
    if (this.loading.delete(tile)) tile.image.removeAttribute("src");
    tile.element.remove();
  }

  /** Asks for thumbnails, those in view first. */
  #load() {
    while (this.loading.size < AT_ONCE && this.waiting.length) {
      const tile = this.waiting.shift();
      if (!tile.element.isConnected || tile.image.hasAttribute("src") || this.broken.has(tile.path)) {
        tile.element.classList.toggle("broken", this.broken.has(tile.path));
        continue;
      }
      this.loading.add(tile);
      const ended = (well) => {
        if (!this.loading.delete(tile)) return;
        tile.element.classList.add(well ? "shown" : "broken");
        if (well) this.#learn(tile);
        else {
          this.broken.add(tile.path);
          tile.image.removeAttribute("src");
        }
        this.#load();
      };
      tile.image.onload = () => ended(true);
      tile.image.onerror = () => ended(false);
      tile.image.src = this.says.address(tile.match, this.most * devicePixelRatio > 256 ? 512 : 256);
    }
  }

  /** Remembers a picture's shape. */
  #learn({ path, match, image }) {
    const shape = image.naturalWidth / image.naturalHeight;
    if ((match.width && match.height) || !Number.isFinite(shape)) return;
    if (this.shapes.size >= REMEMBERED) this.shapes.delete(this.shapes.keys().next().value);
    const before = this.shapes.get(path) ?? UNSEEN;
    this.shapes.set(path, shape);
    if (Math.abs(shape / before - 1) < 0.01) return;
    // Several come at once: the grid moves once for all of them.
    this.learned ||= setTimeout(() => {
      this.learned = 0;
      this.#arrange();
    }, 150);
  }

  #indexOf(target) {
    const element = target.closest("[role=option]");
    return element ? Number(element.id.slice("match-".length)) : -1;
  }

  #choose(index) {
    if (index < 0) return;
    const before = this.active;
    this.active = index;
    for (const i of [before, index]) {
      if (this.matches[i] && (i === index || this.tiles.has(i))) this.#draw(i);
    }
    if (before !== index) this.tells.chosen(index);
  }

  #clicked(event) {
    const index = this.#indexOf(event.target);
    if (index < 0) return;
    this.#choose(index);
    this.tells.open(index);
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const to = this.#reached(event.key);
    if (to !== undefined) {
      event.preventDefault();
      if (to < 0) this.tells.left();
      else this.focus(to);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.tells.open(this.active);
    } else {
      this.tells.key(event, this.active);
    }
  }

  /** Where a key leads from the active picture; -1 is out of the grid. */
  #reached(key) {
    const last = this.matches.length - 1;
    const screen = Math.max(1, Math.floor(innerHeight / (this.most + GAP)) - 1);
    switch (key) {
      case "ArrowRight": return Math.min(last, this.active + 1);
      case "ArrowLeft": return Math.max(0, this.active - 1);
      case "ArrowDown": return this.#rows(1);
      case "ArrowUp": return this.#rows(-1);
      case "PageDown": return this.#rows(screen);
      case "PageUp": return Math.max(0, this.#rows(-screen));
      case "Home": return 0;
      case "End": return last;
    }
  }

  /** The picture so many rows further whose middle is nearest. */
  #rows(count) {
    const { x, width } = this.boxes[this.active];
    const middle = x + width / 2;
    const step = Math.sign(count);
    let at = this.active;
    for (let left = Math.abs(count); left > 0; left--) {
      const y = this.boxes[at].y;
      let next = at;
      while (this.boxes[next]?.y === y) next += step;
      if (!this.boxes[next]) return step < 0 && left === Math.abs(count) ? -1 : at;
      at = next;
    }
    const y = this.boxes[at].y;
    let best = at;
    const off = (i) => Math.abs(this.boxes[i].x + this.boxes[i].width / 2 - middle);
    for (let i = at; this.boxes[i]?.y === y; i += step) if (off(i) < off(best)) best = i;
    return best;
  }
}
