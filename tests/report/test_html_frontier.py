"""The page of ``edgeq tune``: a plot with a script, the same as a table without one."""

import pages
import pytest
from pages import HOSTILE
from test_html import ELEMENTS, Page
from test_html_browser import CHROMIUM, browse  # noqa: F401 - a fixture

from edgeq.report.html import render_frontier

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

LOOK = """
const plot = find("#frontier-plot svg"), points = () => all("#frontier-plot circle.model");
const heights = () => points().map((each) => each.getAttribute("cy")).join();
const first = heights();
press(plot, "ArrowRight");
press(plot, "ArrowRight");
const tip = find("#tip").textContent, current = all("#frontier-plot circle.current").length;
find("#frontier-plot input[value='time size']").click();
return {
  ready: page.documentElement.dataset.ready, points: points().length, tip, current,
  picked: all("#frontier-plot circle.picked").length,
  beaten: all("#frontier-plot circle.beaten").length,
  redrawn: heights() !== first, title: page.title,
  strange: all("img, svg[onload]").length, scripts: all("script").length,
  wide: page.documentElement.scrollWidth - page.documentElement.clientWidth,
};"""


def test_every_model_is_a_row_and_what_beats_it_is_named():
    page = Page(render_frontier(pages.frontier(), "edgeq tune net.onnx"))
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    for name in ("fp32", "int8", "int8-float-3", "w8"):
        assert name in page.text
    assert "less: int8" in page.text
    assert "output 'z': far off" in page.text
    assert "int8 is the fastest of 3" in page.text
    assert "edgeq tune net.onnx" in page.text
    assert [each["kind"] for each in page.data()["frontier"]["points"]] == [
        "best", "picked", "best", "beaten",
    ]  # fmt: skip


def test_a_run_without_a_limit_and_one_that_failed_say_so():
    free = Page(render_frontier(pages.frontier(limit=None, chosen=None)))
    assert "3 are worth having" in free.text
    limit = {**pages.frontier()["limit"], "met": False, "reason": "nothing keeps to it"}
    failed = Page(render_frontier(pages.frontier(limit=limit, chosen=None, verdict="failed")))
    assert "None picked." in failed.text
    assert "nothing keeps to it." in failed.text


def test_numbers_that_are_none_do_not_stop_the_page():
    report = pages.frontier()
    report["points"][1] |= {"score": float("nan"), "drop": float("nan"), "sqnr_db": float("inf")}
    report["points"][1]["latency"] |= {"ratio": 0.0, "speedup": None}
    assert "not a number" in Page(render_frontier(report)).text


def test_hostile_names_are_text():
    page = Page(render_frontier(pages.frontier(HOSTILE), HOSTILE[0]))
    assert {tag for tag, _ in page.elements} <= ELEMENTS
    assert len(page.all("script")) == 2
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert " ".join(HOSTILE[0].split()) in page.text


@needs_browser
@pytest.mark.parametrize("width", [360, 1200])
def test_the_plot_is_drawn_used_and_turned(browse, width):  # noqa: F811
    found = browse(render_frontier(pages.frontier()), LOOK, width)
    tip, title = found.pop("tip"), found.pop("title")
    assert "net.onnx" in title
    assert "int8-float-3" in tip
    assert "0.6\u00d7 the time of fp32 (6 ms)" in tip
    assert found == {
        "ready": "yes", "points": 4, "current": 1, "picked": 1, "beaten": 1, "redrawn": True,
        "strange": 0, "scripts": 2, "wide": 0,
    }  # fmt: skip


@needs_browser
def test_hostile_names_stay_text_in_the_plot(browse):  # noqa: F811
    found = browse(render_frontier(pages.frontier(HOSTILE)), LOOK)
    assert "broken" not in found["title"]
    assert (found["points"], found["strange"], found["scripts"]) == (len(HOSTILE), 0, 2)
