"""Looks at the gallery as people and hostile pages do, in a headless Chromium. Prints what was wrong with each check, as JSON."""
import base64, contextlib, functools, http.server, json, pathlib, re, socket, sys, threading, traceback

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

CHECKS = []
ARGS = json.loads(sys.argv[1])
LINK, MANY, MAP, SOCKET = ARGS["link"], ARGS["many"], ARGS["map"], ARGS["socket"]
PICTURES = pathlib.Path(ARGS["pictures"])
WORDS = "What the pictures show"


def check(function):
    CHECKS.append(function)
    return function


class World:
    """One browser for all checks, each with a context of its own."""

    def __init__(self, browser):
        self.browser = browser

    @contextlib.contextmanager
    def page(self, link=LINK, size=(1280, 800), scheme="light", **more):
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, locale="en-GB",
            permissions=["clipboard-read", "clipboard-write"], **more)
        page = context.new_page()
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
        page.goto(link)
        yield page
        context.close()
        assert not wrong, wrong


def ask(page, words):
    with page.expect_response(lambda r: r.url.endswith("/search") and words in (r.request.post_data or "")):
        page.get_by_label(WORDS).fill(words)
    expect(page.locator("[role=option]").first).to_be_visible()


def until(page, holds):
    """Waits for a condition. Playwright's own way to wait would need a page that may evaluate strings."""
    for _ in range(600):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {holds}")


def to_the_end(page, most):
    """Goes to the last match again and again: each time more are asked for."""
    last = page.locator("[role=option][aria-selected=true]")
    for _ in range(200):
        page.keyboard.press("End")
        until(page, "!document.body.classList.contains('busy')")
        if last.get_attribute("aria-posinset") == str(most):
            return last
        page.wait_for_timeout(50)
    raise AssertionError(last.get_attribute("aria-posinset"))


def focused(page):
    return page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.id")


def axe(page, state):
    page.wait_for_timeout(250)  # what fades in has its colours then
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    broken = [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found.response["violations"]]
    assert not broken, f"{state}: {broken}"


@check
def a_keyboard_alone_finds_a_yellow_car_opens_it_large_asks_for_more_like_it_and_copies_its_path(world):
    with world.page() as page:
        page.keyboard.type("a yellow car")
        page.keyboard.press("Enter")
        until(page, "document.activeElement.getAttribute('role') === 'option'")
        assert focused(page).startswith("yellow_car_"), focused(page)
        page.keyboard.press("ArrowRight")
        second = focused(page).split(",")[0]
        assert second.startswith("yellow_car_"), second
        page.keyboard.press("Enter")
        large = page.get_by_role("dialog", name=second)
        expect(large).to_be_visible()
        page.keyboard.press("ArrowRight")
        expect(large).to_be_hidden()
        page.keyboard.press("ArrowLeft")
        expect(large).to_be_visible()
        page.keyboard.press("c")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == str(PICTURES / second), copied
        with page.expect_request(lambda r: r.url.endswith("/search")) as asked:
            page.keyboard.press("m")
        terms = asked.value.post_data_json["terms"]
        assert terms == [{"weight": 1, "path": copied}], terms
        expect(page.get_by_role("dialog")).to_be_hidden()


@check
def arrows_enter_and_escape_lead_everywhere_and_back(world):
    with world.page() as page:
        page.get_by_role("button", name="Filters").click()
        page.get_by_label("Show near-duplicates").check()
        ask(page, "a red house")
        page.keyboard.press("ArrowDown")
        first = focused(page)
        page.keyboard.press("ArrowDown")
        assert focused(page) != first
        page.keyboard.press("ArrowUp")
        last = to_the_end(page, len(list(PICTURES.iterdir())))
        expect(last).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(last).to_be_focused()
        page.keyboard.press("Home")
        assert focused(page) == first
        page.keyboard.press("Escape")
        assert focused(page) == WORDS
        page.keyboard.press("ArrowDown")
        page.keyboard.press("/")
        assert focused(page) == WORDS
        page.keyboard.press("ArrowDown")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_hidden()


@check
def an_answer_that_comes_late_is_dropped(world):
    with world.page() as page:
        held = []
        page.route("**/search", lambda route: held.append(route) if "blue" in route.request.post_data else route.continue_())
        words = page.get_by_label(WORDS)
        with page.expect_request("**/search"):
            words.fill("a blue fish")
        words.fill("a green tree")
        expect(page.locator("[role=option]").first).to_have_accessible_name(re.compile("^green_tree"))
        for route in held:
            with contextlib.suppress(Exception):  # the page has given it up
                route.continue_()
        page.wait_for_timeout(300)
        expect(page.locator("[role=option]").first).to_have_accessible_name(re.compile("^green_tree"))


@check
def back_leads_to_the_question_before_and_the_address_holds_the_question(world):
    with world.page() as page:
        ask(page, "a red house")
        page.keyboard.press("Enter")
        ask(page, "a blue fish")
        page.keyboard.press("Enter")
        assert "q=a+blue+fish" in page.url, page.url
        until(page, "document.activeElement.getAttribute('role') === 'option'")
        page.keyboard.press("Enter")
        assert "at=1" in page.url
        page.go_back()
        expect(page.get_by_role("dialog")).to_be_hidden()
        assert "at=" not in page.url and "blue" in page.url, page.url
        page.go_back()
        expect(page.get_by_label(WORDS)).to_have_value("a red house")
        page.reload()
        expect(page.get_by_label(WORDS)).to_have_value("a red house")
        expect(page.locator("[role=option]").first).to_be_visible()


@check
def a_dropped_pasted_or_chosen_picture_is_asked_for(world):
    picture = sorted(PICTURES.glob("yellow_car_*.jpg"))[0]
    content = base64.b64encode(picture.read_bytes()).decode()
    give = """([kind, content]) => {
        const file = new File([Uint8Array.from(atob(content), c => c.charCodeAt(0))], "mine.jpg", {type: "image/jpeg"});
        const data = new DataTransfer();
        data.items.add(file);
        const fire = (name, event) => document.body.dispatchEvent(new event(name, {dataTransfer: data, clipboardData: data, bubbles: true, cancelable: true}));
        if (kind === "paste") return fire("paste", ClipboardEvent);
        fire("dragover", DragEvent);
        if (document.getElementById("drop").hidden) throw new Error("nothing says that it may be dropped");
        fire("drop", DragEvent);
    }"""
    with world.page() as page:
        for kind in ["drop", "paste", "choose"]:
            with page.expect_request("**/search") as asked:
                if kind == "choose":
                    page.locator("#file").set_input_files(picture)
                else:
                    page.evaluate(give, [kind, content])
            terms = asked.value.post_data_json["terms"]
            assert terms == [{"weight": 1, "picture": content}], (kind, str(terms)[:200])
            page.get_by_role("button", name="Take").click()
            expect(page.get_by_role("button", name="Take")).to_have_count(0)


@check
def a_dropped_picture_finds_itself_and_pictures_are_shown(world):
    picture = sorted(PICTURES.glob("yellow_car_*.jpg"))[0]
    with world.page() as page:
        page.locator("#file").set_input_files(picture)
        first = page.locator("[role=option]").first
        expect(first).to_have_accessible_name(re.compile(f"^{re.escape(picture.name)}"))
        until(page, "document.querySelectorAll('.tile.shown').length > 10")
        assert page.locator(".tile.broken").count() == 0
        first.click()
        until(page, "document.getElementById('large-image').src.includes('picture?')")
        page.keyboard.press("m")
        expect(page.locator("[role=option]").first).to_have_accessible_name(re.compile(f"^{re.escape(picture.name)}"))


@check
def filters_are_part_of_the_question_and_can_be_cleared(world):
    with world.page() as page:
        sent = []
        page.on("request", lambda r: sent.append(r.post_data_json) if r.url.endswith("/search") else None)
        ask(page, "a car")
        page.get_by_role("button", name="Filters").click()
        page.get_by_label("Folder").fill("2019/summer")
        page.get_by_label("From").fill("2019-06-01")
        page.get_by_label("To").fill("2019-08-31")
        page.get_by_label("Shape").select_option("landscape")
        page.get_by_label("Size").select_option("1000")
        page.get_by_label("Show near-duplicates").check()
        with page.expect_request(lambda r: r.url.endswith("/search") and "99.5" in r.post_data):
            page.get_by_role("slider", name="Only the best").fill("7")
        asked = sent[-1]
        assert asked["filters"] == {
            "under": ["2019/summer"], "after_s": 1559347200, "before_s": 1567296000, "min_width": 1000, "min_height": 1000,
            "orientation": "landscape"}, asked
        assert asked["min_percentile"] == 99.5 and asked["collapse"] is False, asked
        page.get_by_role("button", name="Clear filters").first.click()
        until(page, "location.hash === '#q=a+car'")
        assert sent[-1]["filters"] == {} and sent[-1]["collapse"] is True, sent[-1]


@check
def twenty_thousand_matches_scroll_with_few_of_them_in_the_document(world):
    with world.page(MANY + "#q=a+yellow+car&all=1") as page:
        expect(page.locator("[role=option]").first).to_be_visible()
        page.keyboard.press("Tab")
        page.locator("[role=option]").first.focus()
        last = to_the_end(page, 20000)
        expect(last).to_be_in_viewport()
        assert page.locator("[role=option]").count() < 400
        # Down all of it, a screen at a time.
        seen = page.evaluate("""async () => {
            const grid = document.getElementById("grid"), seen = new Set();
            let most = 0, gaps = 0;
            for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight * 0.9) {
                scrollTo(0, y);
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
                for (const tile of grid.children) seen.add(tile.getAttribute("aria-posinset"));
                most = Math.max(most, grid.children.length);
                const middle = document.elementFromPoint(innerWidth / 2 + 5, innerHeight / 2);
                if (!grid.contains(middle)) gaps += 1;
            }
            return {seen: seen.size, most, gaps};
        }""")
        assert seen["seen"] == 20000 and seen["most"] < 400 and seen["gaps"] == 0, seen


@check
def names_with_markup_are_shown_as_text(world):
    with world.page() as page:
        # They are copies of one picture.
        page.get_by_role("button", name="Filters").click()
        page.get_by_label("Show near-duplicates").check()
        with page.expect_response("**/search") as answer:
            page.get_by_label(WORDS).fill("a purple sun")
        found = [m["path"] for m in answer.value.json()["matches"]]
        names = {path.rsplit("/", 1)[1] for path in found if "<" in path}
        assert len(names) == 3, found
        page.locator("[role=option]").first.focus()
        shown = set()
        for _ in found:
            shown.add(page.locator("[role=option][aria-selected=true]").locator(".name").text_content())
            page.keyboard.press("ArrowRight")
        assert names <= shown, names - shown
        assert page.evaluate("window.pwned") is None
        hostile = next(name for name in names if "img" in name)
        page.keyboard.press("Home")
        page.locator("[role=option]").filter(has_text=hostile).first.click()
        expect(page.get_by_role("heading", name=hostile)).to_be_visible()
        page.keyboard.press("m")
        page.wait_for_timeout(200)
        assert page.evaluate("window.pwned") is None
        assert page.locator("[onerror], iframe, main script").count() == 0


@check
def axe_finds_nothing_wrong_in_any_state(world):
    for scheme, size in [("light", (1280, 800)), ("dark", (1280, 800)), ("light", (360, 740)), ("dark", (360, 740))]:
        with world.page(size=size, scheme=scheme) as page:
            state = functools.partial("{} {} {}".format, scheme, size[0])
            axe(page, state("begin"))
            ask(page, "a yellow car")
            axe(page, state("matches"))
            page.keyboard.press("ArrowDown")
            axe(page, state("focused"))
            page.get_by_role("button", name="Filters").click()
            axe(page, state("filters"))
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), state("is wider than the view")
            page.locator("[role=option]").first.click()
            axe(page, state("large"))
            assert page.evaluate("document.getElementById('large').scrollWidth <= innerWidth"), state("large is wider")
            page.keyboard.press("Escape")
            page.locator("[role=option]").first.focus()
            page.keyboard.press("?")
            axe(page, state("keys"))
            page.keyboard.press("Escape")
            page.route("**/search", lambda route: route.fulfill(json={"matches": [], "num_images": 7, "seconds": 0}))
            page.get_by_label(WORDS).fill("nothing")
            expect(page.get_by_role("heading", name="No picture matches")).to_be_visible()
            axe(page, state("none"))
            page.unroute("**/search")
            page.context.set_offline(True)
            page.get_by_label(WORDS).fill("nobody")
            expect(page.get_by_role("alert")).to_contain_text("query --web")
            axe(page, state("trouble"))


@check
def the_keyboard_is_always_seen(world):
    with world.page() as page:
        ask(page, "a car")
        for stop in range(8):
            page.keyboard.press("Tab")
            if stop > 3 and page.evaluate("document.activeElement === document.body"):
                break  # behind the last
            ring = page.evaluate("""() => {
                const here = document.activeElement, box = here.closest(".box:focus-within") ?? here;
                return [here, box].some((e) => getComputedStyle(e).outlineStyle !== "none" && parseFloat(getComputedStyle(e).outlineWidth) >= 2);
            }""")
            assert ring, page.evaluate("document.activeElement.outerHTML")


@check
def a_server_that_ends_between_two_questions_is_started_again_unseen(world):
    with world.page() as page:
        ask(page, "a red house")
        with socket.socket(socket.AF_UNIX) as stop:
            stop.connect(SOCKET)
            stop.sendall(b"POST /v1/stop HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            while stop.recv(4096):
                pass
        ask(page, "a blue fish")
        expect(page.get_by_role("alert")).to_have_count(0)


@check
def a_hostile_page_can_neither_ask_nor_read_nor_learn_the_token(world):
    heard = []

    class Hostile(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(f"{self.path}\n{self.headers}")
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>hostile</title><body>")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    own, token = LINK.split("/")[2], LINK.split("/")[3]
    # Worse than any: one that has somehow learned the link. Without it all the more.
    attack = """async (base) => {
        const attempts = {
            cors: () => fetch(base, {credentials: "include"}).then((r) => r.text()),
            header: () => fetch(base + "index", {headers: {"x-imagefleet": "1"}}).then((r) => r.text()),
            query: () => fetch(base + "search", {method: "POST", headers: {"content-type": "application/json"}, body: '{"text": "x", "top_k": 1}'}).then((r) => r.text()),
            script: () => new Promise((well, no) => { const s = document.createElement("script"); s.onload = () => well("ran"); s.onerror = no; s.src = base + "app.js"; document.body.append(s); }),
            style: () => new Promise((well, no) => { const s = document.createElement("link"); s.rel = "stylesheet"; s.onload = () => well("styled"); s.onerror = no; s.href = base + "style.css"; document.body.append(s); }),
            image: () => new Promise((well, no) => { const s = new Image(); s.onload = () => well("seen"); s.onerror = no; s.src = base + "icon.svg"; }),
            frame: () => new Promise((well, no) => { const f = document.createElement("iframe"); f.onload = () => { try { f.contentDocument.title; no(); } catch { f.contentWindow.length; no(); } }; f.onerror = no; f.src = base; document.body.append(f); }),
            blind: () => fetch(base + "search", {method: "POST", mode: "no-cors", body: '{"text": "x", "top_k": 1}'}).then((r) => r.text().then((t) => { if (!t) throw new Error(r.type); return t; })),
        };
        const reached = {};
        for (const [name, attempt] of Object.entries(attempts)) {
            try { reached[name] = String(await attempt()).slice(0, 200); } catch { /* refused */ }
        }
        return reached;
    }"""
    try:
        with world.page() as page:
            ask(page, "a red house")
            hostile = page.context.new_page()
            seen = []
            hostile.on("response", lambda r: seen.append((r.status, r.url)) if own in r.url else None)
            for origin in [f"http://127.0.0.1:{server.server_port}/", f"http://localhost:{server.server_port}/"]:
                for base in [LINK, LINK.replace("127.0.0.1", "localhost"), f"http://{own}/", f"http://{own}/{'0' * 32}/"]:
                    hostile.goto(origin)
                    reached = hostile.evaluate(attack, base)
                    assert not reached, (origin, base, reached)
            assert seen and all(400 <= status < 500 for status, _ in seen), seen
            # Nor does a page learn anything that this one leads to.
            page.evaluate("(to) => { location.href = to }", f"http://127.0.0.1:{server.server_port}/from")
            page.wait_for_url("**/from")
            said = [h for h in heard if h.startswith("/from")]
            assert said and all("referer" not in h.lower() and "cookie" not in h.lower() for h in said), said
            assert not any(token in h for h in heard)
            assert page.evaluate("window.opener") is None
    finally:
        server.shutdown()


def copied(page):
    until(page, "document.getElementById('said').textContent.startsWith('Copied ')")
    path = pathlib.Path(page.evaluate("navigator.clipboard.readText()"))
    assert path in set(PICTURES.iterdir()), path
    assert page.locator("#said").text_content() == f"Copied {path}"
    return path


@check
def a_keyboard_alone_goes_over_the_map_and_copies_a_path(world):
    with world.page(MAP) as page:
        page.keyboard.press("Tab")
        assert focused(page) == "Map of the pictures", focused(page)
        for key in ["+"] * 6:
            page.keyboard.press(key)
        until(page, "!document.getElementById('tip').hidden")
        page.keyboard.press("Enter")
        first = copied(page)
        assert page.locator("#path").text_content() == str(first)
        # Far enough in one direction another picture is in the middle; at the edge the map ends.
        for _ in range(200):
            page.keyboard.press("ArrowRight")
            if page.locator("#path").text_content() != str(first):
                break
        else:
            raise AssertionError("all pictures have one place")
        page.keyboard.press("0")
        for _ in range(4):
            page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('#clusters') !== null")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"


@check
def a_pointer_finds_pictures_on_the_map_and_the_list_shows_clusters(world):
    with world.page(MAP) as page:
        clusters = page.locator("#clusters button")
        counts = [int(text) for text in page.locator("#clusters .count").all_text_contents()]
        assert sum(counts) == len(list(PICTURES.iterdir())), counts
        clusters.first.click()
        expect(clusters.first).to_have_attribute("aria-pressed", "true")
        box = page.locator("#map").bounding_box()
        at = lambda i: (box["x"] + box["width"] * (0.1 + 0.08 * (i % 10)), box["y"] + box["height"] * (0.1 + 0.08 * (i // 10)))
        for i in range(100):
            page.mouse.move(*at(i))
            page.evaluate("new Promise((well) => requestAnimationFrame(() => requestAnimationFrame(well)))")
            if page.locator("#tip").is_visible():
                break
        told = page.locator("#path").text_content()
        page.mouse.click(*at(i))
        assert str(copied(page)) == told
        clusters.first.click()
        expect(clusters.first).to_have_attribute("aria-pressed", "false")
        assert page.evaluate("window.pwned") is None


@check
def axe_finds_nothing_wrong_with_the_map_which_fits_a_phone(world):
    for scheme in ["light", "dark"]:
        for size in [(1280, 800), (360, 740)]:
            with world.page(MAP, size=size, scheme=scheme) as page:
                axe(page, f"the map, {scheme}, {size}")
                page.locator("#clusters button").first.click()
                axe(page, f"a cluster, {scheme}, {size}")
                assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
                assert page.locator("#map").bounding_box()["height"] > 0.4 * size[1]


def main():
    report = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=ARGS["chromium"], args=["--no-sandbox", "--disable-gpu"])
        world = World(browser)
        only = set(sys.argv[2:])  # by hand: the names of some checks
        for function in [c for c in CHECKS if not only or c.__name__ in only]:
            try:
                function(world)
                report[function.__name__] = None
            except Exception:
                report[function.__name__] = traceback.format_exc()
            print(function.__name__, report[function.__name__] or "holds", file=sys.stderr, flush=True)
        browser.close()
    print(json.dumps(report))


main()
