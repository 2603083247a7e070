"""The page in a real browser: it opens without an error, and its parts do what they are for."""

import json
import shutil
import statistics

import numpy as np
import pytest

from structures.sample_file import SampleRecord
from tests.data.make_runs import of_four_papers
from tools.ablation.table import paired_interval
from tools.report.__main__ import main
from tools.report.cloud_page import write_cloud_page

pytestmark = pytest.mark.slow
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium that is installed already; nothing is installed here."""
    api = pytest.importorskip(
        "playwright.sync_api", reason="the package playwright is missing: pip install 'plumbline[browser]'"
    )
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(BROWSERS)} is on PATH (Debian: apt install chromium)")
    # Containers have no sandbox and no graphics card.
    arguments = ["--no-sandbox", "--enable-unsafe-swiftshader", "--use-angle=swiftshader"]
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments, timeout=120_000)
        yield started
        started.close()


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    of_four_papers(folder / "runs")
    assert main([str(folder / "runs"), "--out", str(folder / "report.html")]) == 0
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(120_000)
    page.complaints = []
    page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("request", lambda request: request.url.startswith("http") and page.complaints.append(request.url))
    page.goto((folder / "report.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    yield page
    assert page.complaints == []


def column(page, title):
    """Texts of a column of the table of runs."""
    titles = [text.rstrip(" ▲▼") for text in page.locator("#table th").all_inner_texts()]
    return page.locator(f"#table tbody td:nth-child({titles.index(title) + 1})").all_inner_texts()


def test_the_table_sorts_and_filters(page):
    assert page.locator("#table tbody tr").count() == 10
    header = page.locator("#table th", has_text="abs_rel_img").first
    header.click()
    values = [float(text) for text in column(page, "abs_rel_img") if text]
    assert values == sorted(values)
    assert column(page, "abs_rel_img")[-1] == "", "blanks come last"
    page.locator("#table th", has_text="abs_rel_img").first.click()
    values = [float(text) for text in column(page, "abs_rel_img") if text]
    assert values == sorted(values, reverse=True)
    assert page.locator("#table td.best").first.inner_text() in ("0.2000", "0.8000")
    page.fill("#filter", "slow seed=2")
    assert [text.strip() for text in column(page, "run")] == ["lite_unet/slow_s2"]
    page.fill("#filter", "abs_rel_img<0.215")
    assert {text.strip() for text in column(page, "run")} == {"lite_unet/full_s0", "lite_unet/full_s1"}
    page.fill("#filter", "")
    page.select_option("#paper", "boxinst_depth")
    assert "mask_ap" in page.locator("#table thead").inner_text()
    assert "abs_rel_img" not in page.locator("#table thead").inner_text()
    page.select_option("#paper", "*")


def choose(page, *names):
    page.click("#choose-none")
    for name in names:
        page.locator("#table tbody tr", has_text=name).click()


def test_curves_follow_the_chosen_runs(page):
    choose(page, "lite_unet/full_s0", "lite_unet/slow_s1")
    page.select_option("#metric", "val/score")
    names = "document.getElementById('curve-plot').data.map(trace => trace.name)"
    assert page.evaluate(names) == ["lite_unet/full_s0", "lite_unet/slow_s1"]
    assert page.evaluate("document.getElementById('curve-plot').data[0].y") == [0.5, 0.4, 0.3]
    page.select_option("#axis", "log")
    assert page.evaluate("document.getElementById('curve-plot').layout.yaxis.type") == "log"
    page.locator("#smoothing").fill("0.5")
    smooth = page.evaluate("document.getElementById('curve-plot').data[1].y")
    assert smooth == pytest.approx(
        [0.5, (0.5 * 0.25 + 0.4 * 0.5) / 0.75, (0.5 * 0.125 + 0.4 * 0.25 + 0.3 * 0.5) / 0.875]
    )
    page.locator("#smoothing").fill("0")
    page.locator("#table tbody tr", has_text="lite_unet/full_s0").click()
    assert page.evaluate(names) == ["lite_unet/slow_s1"]


def test_samples_stand_side_by_side(page):
    choose(page, "lite_unet/full_s0", "lite_unet/slow_s0")
    assert page.locator("#sample-cards .card").count() == 3
    assert "abs_rel 0.1500" in page.locator("#sample-cards").inner_text()
    widths = page.evaluate("[...document.querySelectorAll('#sample-cards img')].map(image => image.naturalWidth)")
    assert widths == [64] * 6, "every picture is decoded"
    choose(page, "boxinst_depth/b")
    assert "masks and boxes" in page.locator("#sample-cards").inner_text()


def test_the_cloud_turns_and_all_views_turn_with_it(page):
    choose(page, "render_consistency/c")
    page.locator("#clouds").scroll_into_view_if_needed()
    page.wait_for_function("(document.getElementById('cloud-plot').data || []).length === 3")
    layout = "document.getElementById('cloud-plot')._fullLayout"
    titles = page.evaluate("document.getElementById('cloud-plot').layout.annotations.map(each => each.text)")
    assert titles == ["ground truth", "before", "after"]
    eye = f"JSON.stringify({layout}.scene.camera.eye)"
    page.wait_for_function(f"{layout}.scene._scene && {layout}.scene._scene.glplot")
    before = page.evaluate(eye)
    box = page.locator("#cloud-plot").bounding_box()
    x, y = box["x"] + box["width"] / 6, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for k in range(1, 6):
        page.mouse.move(x + 20 * k, y + 6 * k)
    page.mouse.up()
    page.wait_for_function(f"{eye} !== {json.dumps(before)}")
    page.wait_for_function(f"JSON.stringify({layout}.scene3.camera.eye) === {eye}")


def test_settings_and_seeds(page):
    choose(page, "lite_unet/full_s0", "lite_unet/slow_s0")
    rows = page.locator("#settings-table tbody tr").all_inner_texts()
    assert [row.split() for row in rows] == [["model.init_args.lr", "0.1", "0.01"]]
    option = page.locator("#baseline option", has_text="lite_unet: full").get_attribute("value")
    page.select_option("#baseline", option)
    text = page.locator("#seeds-table tbody tr", has_text="lite_unet: slow").inner_text()
    differences = [0.05 + 0.001 * seed * 0.05 for seed in range(3)]
    slow = [0.2 + 0.01 * seed + difference for seed, difference in enumerate(differences)]
    assert f"{statistics.fmean(slow):.4f} ± {statistics.stdev(slow):.4f}" in text
    interval = page.evaluate("pairedInterval([1, 2, 4])")
    assert interval == pytest.approx(paired_interval([1.0, 2.0, 4.0]))
    centre, low, high = paired_interval(differences)
    assert f"+{centre:.4f} [+{low:.4f}, +{high:.4f}]" in text


def test_the_page_of_one_cloud_turns_and_shows_every_point(browser, tmp_path):
    depth = np.tile(np.linspace(1, 4, 64, dtype=np.float32), (48, 1))
    depth[0] = 0
    image = np.full((48, 64, 3), (200, 40, 30), np.uint8)
    K = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    write_cloud_page(tmp_path / "a", SampleRecord("</script>photo", image, prediction=depth, K=K), unit="relative")
    page = browser.new_page(viewport={"width": 900, "height": 600})
    page.set_default_timeout(120_000)
    complaints = []
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: request.url.startswith("http") and complaints.append(request.url))
    page.goto((tmp_path / "a_cloud.html").as_uri())
    page.wait_for_selector("body[data-drawn]")
    assert page.get_attribute("body", "data-drawn") == str(47 * 64)
    assert page.inner_text("#name") == "</script>photo"
    trace = page.evaluate(
        "(() => { const d = document.getElementById('cloud-plot').data[0]; return [d.y, d.z, d.x]; })()"
    )
    assert min(trace[0]) == pytest.approx(1, rel=1e-3)
    assert max(trace[0]) == pytest.approx(4, rel=1e-3)
    assert max(trace[2]) == pytest.approx((63.5 - 32) / 60 * 4, rel=1e-3)
    view = "document.getElementById('cloud-plot')._fullLayout.scene._scene.getCamera().eye"
    before = page.evaluate(view)
    box = page.locator("#cloud-plot").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 120, y + 30, steps=6)
    page.mouse.up()
    page.wait_for_function(f"Math.abs({view}.x - {before['x']}) > 0.01")
    page.click("#camera")
    page.wait_for_function(f"Math.abs({view}.x) < 0.01")
    page.close()
    assert complaints == []
