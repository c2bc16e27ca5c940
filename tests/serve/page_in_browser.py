"""The page of the service in headless Chromium; `make page` runs this.

Every control, pictures chosen and dropped, two models, downloads, the camera, wrong files, and the API key; with
`VITRAIL_SCREENSHOTS=FOLDER` it also leaves pictures of the page in light, dark and narrow.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.clips import moving_scene
from helpers.service import Client, picture
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from vitrail.datasets.scenes.scene import render
from vitrail.inference.video_writer import VideoWriter
from vitrail.serve import ServedModel, Service, ServiceLimits

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
DROP = """([content, name]) => {
    const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name, { type: "image/png" }));
    document.dispatchEvent(new DragEvent("dragover", { dataTransfer: data, bubbles: true, cancelable: true }));
    document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""
PIXELS = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"


@pytest.fixture(scope="session")
def models() -> list[ServedModel]:
    return [ServedModel(name, name, device="cpu") for name in ("fastscnn_camvid", "cgnet_camvid_short")]


@contextmanager
def serving(models: list[ServedModel], api_key: str | None = None) -> Iterator[str]:
    service = Service(models, port=0, api_key=api_key, limits=ServiceLimits(max_bytes=60_000_000))
    thread = threading.Thread(target=service.run)
    thread.start()
    yield service.url
    service.stop()
    thread.join(30)


@pytest.fixture(scope="session")
def address(models: list[ServedModel]) -> Iterator[str]:
    with serving(models) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    assert BROWSER, "install Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Open the page; nothing may go wrong in it."""
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    problems = watch(opened)
    opened.goto(address)
    expect(opened.locator("#model option")).to_have_count(2)
    yield opened
    opened.close()
    assert not problems


def watch(page: Page) -> list[str]:
    """Return a list that problems of a page are added to; answers that are not 200 are the tests' own wish."""
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on(
        "console",
        lambda line: problems.append(line.text) if line.type == "error" and "status of 4" not in line.text else None,
    )
    return problems


def scene(seed: str = "page", height: int = 96, width: int = 128) -> bytes:
    file = io.BytesIO()
    Image.fromarray(render(seed, height, width)[0]).save(file, "PNG")
    return file.getvalue()


def choose(page: Page, name: str = "street.png", data: bytes | None = None) -> None:
    data = scene() if data is None else data
    page.locator("#files").set_input_files({"name": name, "mimeType": "image/png", "buffer": data})
    expect(page.locator("#status")).to_contain_text(f"{name}: ", timeout=60_000)


def pixels(page: Page, where: str = "#view") -> np.ndarray:
    size = page.locator(where).evaluate("canvas => [canvas.height, canvas.width, 4]")
    return np.array(page.locator(where).evaluate(PIXELS), np.uint8).reshape(size)[..., :3]


def answer(url: str, data: bytes, model: str) -> dict:
    outputs = ["rle", "mask", "probabilities"]
    return json.loads(Client(url).segment(data, model=model, outputs=outputs)[2])


def decoded(text: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.array(image)


def test_the_colours_are_those_of_the_classes(page: Page, address: str, models: list[ServedModel]) -> None:
    choose(page)
    page.locator("#opacity").fill("100")
    mask = decoded(answer(address, scene(), "fastscnn_camvid")["mask"])
    palette = np.array(models[0].card.palette)
    assert np.array_equal(pixels(page), palette[mask])
    page.locator("#opacity").fill("0")
    with Image.open(io.BytesIO(scene())) as image:
        assert np.array_equal(pixels(page), np.array(image))


def test_a_class_can_be_switched_off(page: Page, address: str, models: list[ServedModel]) -> None:
    choose(page)
    page.locator("#opacity").fill("100")
    area = answer(address, scene(), "fastscnn_camvid")["areas"][0]
    row = page.locator("#areas tr").first
    expect(row).to_contain_text(area["name"])
    expect(row).to_contain_text(f"{area['share']:.1%}".replace("%", " %"))
    before = pixels(page)
    row.locator("input").uncheck()
    changed = (pixels(page) != before).any(-1)
    mask = decoded(answer(address, scene(), "fastscnn_camvid")["mask"])
    assert changed[mask == area["index"]].mean() > 0.95  # a pixel of the picture may have the class's colour
    assert not changed[mask != area["index"]].any()
    page.locator("#none").click()
    with Image.open(io.BytesIO(scene())) as image:
        assert np.array_equal(pixels(page), np.array(image))
    page.locator("#all").click()
    assert np.array_equal(pixels(page), before)


def test_a_click_and_the_arrow_keys_name_the_class(page: Page, address: str, models: list[ServedModel]) -> None:
    choose(page)
    given = answer(address, scene(), "fastscnn_camvid")
    mask, probabilities = decoded(given["mask"]), decoded(given["probabilities"])
    view = page.locator("#view")
    box = view.bounding_box()
    view.click(position={"x": box["width"] * 60.5 / 128, "y": box["height"] * 50.5 / 96})

    def shown(x: int, y: int) -> str:
        return f"Pixel {x}, {y}: {models[0].card.classes[mask[y, x]]} ({(probabilities[y, x] >> 8) / 2.55:.0f} %)"

    expect(page.locator("#pixel")).to_have_text(shown(60, 50))
    view.press("ArrowRight")
    expect(page.locator("#pixel")).to_have_text(shown(63, 50))
    view.press("Shift+ArrowUp")
    expect(page.locator("#pixel")).to_have_text(shown(63, 49))


def test_two_models_and_their_disagreement(page: Page, address: str) -> None:
    choose(page)
    page.locator("#other").select_option("cgnet_camvid_short")
    masks = [decoded(answer(address, scene(), name)["mask"]) for name in ("fastscnn_camvid", "cgnet_camvid_short")]
    share = (masks[0] != masks[1]).mean()
    expect(page.locator("#other-name")).to_have_text(f"cgnet_camvid_short: {share:.1%} disagree".replace("%", " %"))
    page.locator("#opacity").fill("100")
    page.locator("#difference").check()
    red = (pixels(page, "#other-view") == (230, 0, 40)).all(-1)
    assert np.array_equal(red, masks[0] != masks[1])
    page.locator("#other").select_option("")
    expect(page.locator("#other-figure")).to_be_hidden()


def test_downloads(page: Page, address: str, models: list[ServedModel]) -> None:
    choose(page)
    given = answer(address, scene(), "fastscnn_camvid")
    with page.expect_download() as download:
        page.locator("#save-mask").click()
    assert download.value.suggested_filename == "street_mask.png"
    with Image.open(download.value.path()) as image:
        assert np.array_equal(np.array(image), decoded(given["mask"]))
    with page.expect_download() as download:
        page.locator("#save-coco").click()
    content = json.loads(Path(download.value.path()).read_text())
    assert content["images"] == [{"id": 1, "file_name": "street.png", "width": 128, "height": 96}]
    assert [each["name"] for each in content["categories"]] == list(models[0].card.classes)
    assert [each["segmentation"] for each in content["annotations"]] == [each["segmentation"] for each in given["rle"]]


def test_drops_thumbnails_and_wrong_files(page: Page) -> None:
    page.evaluate(DROP, [base64.b64encode(scene("second")).decode(), "dropped.png"])
    expect(page.locator("#status")).to_contain_text("dropped.png: 128 × 96")
    page.evaluate(DROP, [base64.b64encode(b"no picture").decode(), "wrong.png"])
    expect(page.locator("#status")).to_contain_text("not an image of a known format")
    expect(page.locator("#status")).to_have_class("error")
    page.get_by_role("button", name="dropped.png").click()
    expect(page.locator("#status")).to_contain_text("dropped.png: 128 × 96")
    expect(page.locator("#pictures button")).to_have_count(2)


def test_a_large_picture(page: Page) -> None:
    small = Image.fromarray(render("large", 100, 120)[0])
    file = io.BytesIO()
    small.resize((4000, 3000)).save(file, "JPEG")
    choose(page, "large.jpg", file.getvalue())
    expect(page.locator("#status")).to_contain_text("4000 × 3000")


def test_two_tabs(page: Page, browser: Browser, address: str) -> None:
    other = browser.new_page()
    problems = watch(other)
    other.goto(address)
    expect(other.locator("#model option")).to_have_count(2)
    choose(other, "other.png", scene("other"))
    choose(page)
    expect(other.locator("#status")).to_contain_text("other.png: ")
    other.close()
    assert not problems


def test_the_camera_runs_and_stops(page: Page) -> None:
    button = page.get_by_role("button", name="Camera")
    button.click()
    expect(page.locator("#status")).to_contain_text("pictures per second", timeout=30_000)
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#view")).to_be_visible()
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    assert page.locator("#video").evaluate("video => video.srcObject") is None


def test_a_folder_gives_its_pictures(page: Page, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "10.png").write_bytes(scene("ten"))
    (tmp_path / "below" / "9.png").write_bytes(scene("nine"))
    (tmp_path / "notes.txt").write_text("no picture")
    page.locator("#folder").set_input_files(tmp_path)
    expect(page.locator("#status")).to_contain_text("9.png: 128 × 96", timeout=60_000)
    names = [button.get_attribute("title") for button in page.locator("#pictures button").all()]
    assert names == ["9.png", "10.png"]


def test_a_video_plays_to_its_end(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "street.webm"
    with VideoWriter(path, Fraction(10), Fraction(1, 1000)) as video:
        for index, frame in enumerate(moving_scene(12)):
            video.write(frame, Fraction(index, 10))
    page.locator("#files").set_input_files(path)
    expect(page.locator("#status")).to_contain_text("street.webm: its last picture", timeout=60_000)
    assert pixels(page).shape == (64, 96, 3)
    assert page.locator("#video").evaluate("video => video.paused && !video.getAttribute('src')")
    page.locator("#files").set_input_files({"name": "x.mp4", "mimeType": "video/mp4", "buffer": b"no video"})
    expect(page.locator("#status")).to_contain_text("The browser cannot play x.mp4.")


def test_everything_can_be_reached_with_the_keyboard(page: Page) -> None:
    choose(page)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.type"))
    buttons = {"choose", "choose-folder", "camera", "all", "none", "save-mask", "save-coco"}
    assert buttons | {"model", "other", "opacity", "view"} <= {*reached}
    assert "checkbox" in reached


def test_the_api_key_is_asked_for(browser: Browser, models: list[ServedModel]) -> None:
    with serving(models[:1], api_key="secret") as url:
        page = browser.new_page()
        page.goto(url)
        expect(page.locator("#status")).to_contain_text("an API key is required")
        page.get_by_label("API key").fill("secret")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#model option")).to_have_count(1)
        choose(page, data=picture())
        page.close()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("light", {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"}),
        ("dark", {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"}),
        ("narrow", {"viewport": {"width": 360, "height": 740}, "color_scheme": "light"}),
    ],
)
def test_nothing_is_wider_than_the_screen(browser: Browser, address: str, name: str, options: dict) -> None:
    page = browser.new_page(**options)
    page.goto(address)
    expect(page.locator("#model option")).to_have_count(2)
    folder = os.environ.get("VITRAIL_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}_empty.png", full_page=True)
    choose(page, data=scene(height=360, width=480))
    page.locator("#other").select_option("cgnet_camvid_short")
    expect(page.locator("#other-name")).to_contain_text("disagree")
    page.locator("#view").click()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
    page.close()
