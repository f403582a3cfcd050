// One picture, large: its thumbnail at once, then the picture itself.

const SIZE_PIXELS = 2048;

export class Large {
  /**
   * @param dialog  the dialog
   * @param says    { address(match, height), name(match), where(match), details(match) }
   * @param tells   { moved(i), closed(i), like(i), copy(i), more() }: more() when the last picture is near
   */
  constructor(dialog, says, tells) {
    Object.assign(this, { dialog, says, tells });
    this.matches = [];
    this.index = 0;
    const part = (id) => dialog.querySelector(`#${id}`);
    this.parts = Object.fromEntries(
      ["image", "none", "name", "folder", "facts", "moved"].map((name) => [name, part(`large-${name}`)]),
    );
    this.previous = part("previous");
    this.next = part("next");
    this.previous.addEventListener("click", () => this.go(this.index - 1));
    this.next.addEventListener("click", () => this.go(this.index + 1));
    part("close").addEventListener("click", () => dialog.close());
    part("like").addEventListener("click", () => tells.like(this.index));
    part("copy").addEventListener("click", () => tells.copy(this.index));
    part("large-image").parentElement.addEventListener("click", (event) => {
      if (event.target !== this.parts.image) dialog.close();
    });
    dialog.addEventListener("keydown", (event) => this.#pressed(event));
    dialog.addEventListener("close", () => {
      this.#stop();
      tells.closed(this.index);
    });
    this.#swipes();
  }

  get open() {
    return this.dialog.open;
  }

  show(matches, index) {
    this.matches = matches;
    this.index = index;
    this.#draw();
    if (!this.open) {
      this.dialog.showModal();
      this.next.focus();
    }
  }

  /** More matches of the same question. */
  extend(matches) {
    this.matches = matches;
    if (this.open) this.#ends();
  }

  close() {
    if (this.open) this.dialog.close();
  }

  go(index) {
    if (!this.matches[index]) return;
    this.index = index;
    this.#draw();
    this.tells.moved(index);
  }

  #draw() {
    const match = this.matches[this.index];
    const { image, none, name, folder, facts, moved } = this.parts;
    name.textContent = this.says.name(match);
    folder.textContent = this.says.where(match);
    facts.textContent = this.says.details(match);
    moved.textContent = `${this.says.name(match)}, ${this.index + 1} of ${this.matches.length}`;
    this.#ends();
    this.#stop();
    none.hidden = true;
    image.hidden = false;
    image.alt = this.says.name(match);
    image.src = this.says.address(match, 512);
    const whole = new Image();
    this.whole = whole;
    whole.onload = () => {
      image.src = whole.src;
      this.#prepare(this.index + 1);
    };
    whole.onerror = () => {
      if (image.complete && image.naturalWidth) return;
      image.hidden = true;
      none.hidden = false;
    };
    whole.src = this.#picture(match);
  }

  /** The next picture is fetched while this one is looked at. */
  #prepare(index) {
    if (!this.matches[index] || !this.open) return;
    this.ahead = new Image();
    this.ahead.src = this.#picture(this.matches[index]);
  }

  #picture(match) {
    return `picture?${new URLSearchParams({ path: match.path, size: SIZE_PIXELS })}`;
  }

  /** What is still under way for the picture before must not come in its successor's place. */
  #stop() {
    for (const image of [this.whole, this.ahead]) {
      if (!image) continue;
      image.onload = image.onerror = null;
      image.src = "";
    }
    this.whole = this.ahead = null;
  }

  #ends() {
    const last = this.matches.length - 1;
    this.previous.setAttribute("aria-disabled", this.index === 0);
    this.next.setAttribute("aria-disabled", this.index === last);
    if (this.index + 5 > last) this.tells.more();
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const does = {
      ArrowLeft: () => this.go(this.index - 1),
      ArrowRight: () => this.go(this.index + 1),
      Home: () => this.go(0),
      End: () => this.go(this.matches.length - 1),
      m: () => this.tells.like(this.index),
      c: () => this.tells.copy(this.index),
    }[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  }

  #swipes() {
    let from = null;
    this.dialog.addEventListener("touchstart", ({ touches }) => {
      from = touches.length === 1 ? touches[0].clientX : null;
    }, { passive: true });
    this.dialog.addEventListener("touchend", ({ changedTouches }) => {
      const moved = from === null ? 0 : changedTouches[0].clientX - from;
      if (Math.abs(moved) > 50) this.go(this.index - Math.sign(moved));
      from = null;
    }, { passive: true });
  }
}
