"""Makes the README's pictures of the gallery and the map: screenshots.py LINK MAP FOLDER. `make screenshots` runs it."""
import pathlib, sys

from playwright.sync_api import expect, sync_playwright

SHOTS = [("gallery", (1280, 800), "light"), ("gallery-dark", (1280, 800), "dark"), ("gallery-narrow", (360, 740), "light")]


def main(link, map_page, folder):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        for name, (width, height), scheme in SHOTS:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(f"{link}#q=a+yellow+car")
            expect(page.locator("[role=option]").first).to_be_visible()
            expect(page.locator(".tile:not(.shown, .broken)")).to_have_count(0)
            page.keyboard.press("ArrowDown")
            page.keyboard.press("ArrowRight")
            page.wait_for_timeout(500)  # what fades in is there then
            page.screenshot(path=pathlib.Path(folder) / f"{name}.png")
            page.close()
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(pathlib.Path(map_page).absolute().as_uri())
        page.wait_for_timeout(2000)  # small pictures are drawn as they are decoded
        page.screenshot(path=pathlib.Path(folder) / "map.png")
        browser.close()


main(*sys.argv[1:])
