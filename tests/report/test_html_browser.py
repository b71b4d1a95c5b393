"""The page in a real browser: it draws, it can be used, and nothing in it runs but its script."""

import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pages
import pytest
from pages import HOSTILE, details, document, everything

from edgeq.report.html import render
from edgeq.report.html.page import cleaned

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

_FRAME = """<!DOCTYPE html><meta charset="utf-8"><body>
<iframe src="report.html{hash}" style="width:{width}px;height:900px;border:0"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", async () => {{
  const page = frame.contentDocument, view = frame.contentWindow;
  const find = (name) => page.querySelector(name), all = (name) => [...page.querySelectorAll(name)];
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const fire = (on, type, kind, more) =>
    on.dispatchEvent(new view[kind](type, {{ bubbles: true, cancelable: true, ...more }}));
  const press = (on, key) => fire(on, "keydown", "KeyboardEvent", {{ key }});
  const enter = (on, text) => {{ on.value = text; fire(on, on.tagName === "SELECT" ? "change" : "input", "Event"); }};
  let found;
  try {{ await wait(300); found = await (async () => {{ {script} }})(); }}
  catch (error) {{ found = {{ error: String(error) }}; }}
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
}});
</script>"""  # noqa: E501


class _Found(HTMLParser):
    """What the frame's script has found."""

    def __init__(self, text):
        super().__init__()
        self.here, self.text = False, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.here = ("id", "found") in attrs

    def handle_data(self, data):
        self.text += data if self.here else ""

    def handle_endtag(self, tag):
        self.here = False


@pytest.fixture
def browse(tmp_path):
    """Opens a page in a frame, runs a script beside it, and returns what that returns."""

    def run(text, script, width=1200, fragment=""):
        (tmp_path / "report.html").write_text(text, encoding="utf-8")
        frame = tmp_path / "frame.html"
        frame.write_text(_FRAME.format(script=script, width=width, hash=fragment))
        found = json.loads(_Found(_chromium(frame, tmp_path)).text)
        assert not (isinstance(found, dict) and "error" in found), found
        return found

    return run


def _chromium(page: Path, profile: Path) -> str:
    """The document after its scripts ran; nothing may have complained meanwhile."""
    ended = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
            "--allow-file-access-from-files", "--enable-logging=stderr", "--v=0",
            "--virtual-time-budget=5000", f"--user-data-dir={profile / 'profile'}", page.as_uri(),
        ],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    said = [line for line in ended.stderr.decode().splitlines() if "CONSOLE" in line]
    assert not said
    return ended.stdout.decode()


def test_every_layer_is_a_point_and_the_first_value_is_drawn(browse):
    found = browse(
        render(everything(), details()),
        """return {
          ready: page.documentElement.dataset.ready,
          points: all("#depth circle.point:not(.alone)").length,
          alone: all("#depth circle.point.alone").length,
          bars: all("#histogram rect.count").length,
          cut: all("#histogram rect.cut").length,
          chosen: find("#chosen code").textContent,
          parting: all("#parting-chart rect.count").length,
          outline: all("#parting-chart path.outline").length,
          wide: page.documentElement.scrollWidth - page.documentElement.clientWidth,
        };""",
    )
    assert found == {
        "ready": "yes", "points": 10, "alone": 10, "bars": 101, "cut": 37, "chosen": "value0",
        "parting": 4, "outline": 1, "wide": 0,
    }  # fmt: skip


def test_values_are_found_chosen_and_shown_in_both_scales(browse):
    found = browse(
        render(document(), details()),
        """
        const heights = () => all("#histogram rect.count").map((bar) => bar.getAttribute("height"));
        const [search, value, order] = all("#explorer input[type=search], #explorer select");
        enter(value, "2");
        const chosen = find("#chosen code").textContent, logarithmic = heights();
        find("#explorer input[value=linear]").click();
        const linear = heights();
        find("#explorer input[value=close]").click();
        const close = heights(), cut = all("#histogram rect.cut").length;
        enter(search, "kept");
        return { chosen, options: all("#value option").length, cut, close: close.length,
          rescaled: linear.length === logarithmic.length && linear[50] !== logarithmic[50],
          found: find("#chosen code").textContent, told: find(".story").textContent,
          none: find("#histogram").textContent };
        """,
    )
    assert found["told"].startswith("This value stays in floating-point numbers")
    assert found["none"] == "No histogram: no sample computed this value."
    del found["told"], found["none"]
    assert found == {
        "chosen": "value2", "options": 1, "cut": 0, "close": 160, "rescaled": True,
        "found": "kept float",
    }  # fmt: skip


def test_a_value_that_costs_much_is_chosen_by_its_link_and_shown(browse):
    found = browse(
        render(everything(), details()),
        """
        const before = find("#chosen code").textContent;
        const link = all("#worst-values a").find((each) => each.textContent === "value1");
        link.click();
        await wait(100);
        return { before, chosen: find("#chosen code").textContent,
          bars: all("#histogram rect.count").length, covered: all("#histogram rect.covered").length,
          facts: find("#explorer dl").textContent,
          rows: all("#worst-values tbody tr").map((row) => row.cells[0].textContent) };
        """,
    )
    assert (found["before"], found["chosen"]) == ("value0", "value1")
    assert (found["bars"], found["covered"]) == (101, 1)
    assert found["rows"] == ["value1", "value0"]
    for fact in (
        "range chosen by mse\u22121 to 1", "of what reads it12.5 dB, at worst in layer2",
        "in the int8 model22.3 dB", "likely causeoutliers reach 40",
    ):  # fmt: skip
        assert fact in found["facts"]


def test_a_strange_name_is_chosen_by_its_link(browse):
    report, known = pages.hostile()
    found = browse(
        render(report, known),
        """
        const links = all("#worst-values a"), chosen = [];
        for (const link of links) {
          link.click();
          await wait(50);
          chosen.push(find("#chosen code").textContent);
        }
        return chosen;
        """,
    )
    assert found == cleaned(list(HOSTILE[:10]))


def test_a_layer_is_read_by_key_and_by_pointer_and_chooses_its_value(browse):
    found = browse(
        render(everything(), details()),
        """
        const plot = find("#depth svg"), tip = find("#tip");
        plot.focus();
        for (const key of ["ArrowRight", "ArrowRight", "ArrowRight"]) press(plot, key);
        const third = tip.textContent, spoken = plot.getAttribute("aria-valuetext");
        press(plot, "End");
        const last = plot.getAttribute("aria-valuenow");
        press(plot, "Home");
        press(plot, "ArrowRight");
        press(plot, "Enter");
        const byKey = find("#chosen code").textContent;
        const box = all("#depth circle.point:not(.alone)")[2].getBoundingClientRect();
        const there = { clientX: box.x + 3, clientY: box.y + 3 };
        fire(plot, "pointermove", "PointerEvent", there);
        const shown = tip.textContent;
        fire(plot, "click", "MouseEvent", there);
        find("#depth input[value=alone]").click();
        return { third, spoken, last, byKey, shown, byClick: find("#chosen code").textContent,
          left: all("#depth circle").length };
        """,
    )
    assert "4 of 10: Conv layer3" in found["third"]
    assert "outliers" in found["third"]
    assert "by itself 39.0 dB" in found["spoken"]
    assert "3 of 10: Conv layer2" in found["shown"]
    assert (found["last"], found["byKey"], found["byClick"]) == ("10", "value1", "value2")
    assert found["left"] == 10


def test_words_are_explained_and_the_plan_is_filtered(browse):
    found = browse(
        render(everything(), details()),
        """
        const word = find("a.term"), tip = find("#tip");
        word.focus();
        const meaning = tip.hidden ? "" : tip.textContent;
        press(word, "Escape");
        const hidden = tip.hidden;
        const rows = () => all("#plan-table tbody tr").filter((row) => !row.hidden).length;
        const [search, form] = all("#plan-controls input, #plan-controls select");
        enter(form, "float");
        const float = rows();
        enter(form, "");
        enter(search, "LAYER7");
        return { meaning, hidden, float, named: rows(), open: find("#plan-rows").open };
        """,
    )
    assert found["meaning"].startswith("Signal-to-quantization-noise ratio")
    assert (found["hidden"], found["float"], found["named"], found["open"]) == (True, 3, 1, True)


_HARM = """return {
  title: page.title, outer: document.title, chosen: find("#chosen code").textContent,
  strange: all("img, iframe, object, b, i, [onload], [onerror], [onmouseover]").length,
  scripts: all("script").length, points: all("#depth circle.point").length,
  options: all("#value option").length, tip: find("#tip").textContent,
  wide: page.documentElement.scrollWidth - page.documentElement.clientWidth,
};"""


@pytest.mark.parametrize("width", [390, 1200])
def test_hostile_names_stay_text_and_inside_the_page(browse, width):
    report, known = pages.hostile()
    found = browse(render(report, known), _HARM, width, f"#select={quote(HOSTILE[1])}")
    assert found["chosen"] == HOSTILE[1]
    assert "broken" not in (found["title"], found["outer"])
    assert (found["strange"], found["scripts"], found["wide"]) == (0, 2, 0)
    assert (found["points"], found["options"]) == (len(HOSTILE), len(HOSTILE) + 1)


def test_a_link_names_a_layer(browse):
    report, known = pages.hostile()
    found = browse(render(report, known), _HARM, fragment=f"#layer={quote(HOSTILE[0])}")
    assert f"1 of {len(HOSTILE)}: {HOSTILE[0]}" in found["tip"]
    assert found["strange"] == 0


@pytest.mark.parametrize("width", [320, 390])
def test_nothing_is_wider_than_a_telephone(browse, width):
    found = browse(
        render(everything(), details()),
        """
        find("#plan-rows").open = true;
        const root = page.documentElement, room = root.clientWidth;
        const inside = "svg, noscript, .scroll, select";
        const outside = all("main *").filter((each) =>
          !each.closest(inside) && each.getBoundingClientRect().right > room + 0.5);
        return { outside: outside.map((each) => each.outerHTML), wide: root.scrollWidth - room };
        """,
        width,
    )
    assert found == {"outside": [], "wide": 0}


def test_numbers_that_are_none_do_not_stop_the_page(browse):
    report = document()
    report["layers"][4]["sqnr_db"] = float("nan")
    report["layers"][5]["sqnr_db"] = float("-inf")
    found = browse(
        render(report, details()),
        """press(find("#depth svg"), "Home");
        for (let k = 0; k < 4; k += 1) press(find("#depth svg"), "ArrowRight");
        return [page.documentElement.dataset.ready, all("#depth circle.none").length,
          find("#tip").textContent];""",
    )
    assert found[:2] == ["yes", 2]
    assert "output not a number" in found[2]
