"""The report of `fvc measure` as a page: self-contained, accessible, safe, the same each time."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_fixtures import HOSTILE, LONG, Make, Page, clip_entry, table_of

pytest.importorskip("jinja2", reason="needs fvc[measure]")
pytest.importorskip("matplotlib", reason="needs fvc[measure]")


def test_page_needs_nothing_else(two: Path) -> None:
    page = Page(two / "report.html")
    assert [image["src"].partition(",")[0] for image in page.all("img")] == ["data:image/jpeg;base64"] * 2
    assert not [tag for tag, _ in page.elements if tag in ("script", "iframe", "object", "video", "source")]
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "data", "poster", "srcset"):
            target = attributes.get(name, "")
            assert target.startswith("data:") or "/" not in target, (tag, target)
            if tag == "a" and name == "href":
                assert (two / target).is_file()
    text = (two / "report.html").read_text()
    assert "@import" not in text
    assert not re.findall(r"url\((?!#)", text)
    assert all(clip in page.text for clip in (HOSTILE, LONG, "=1+1| <b>.mp4"))


def test_page_is_accessible(two: Path) -> None:
    page = Page(two / "report.html")
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("meta")[1]["name"] == "viewport"
    assert all(len(image["alt"]) > 20 for image in page.all("img"))
    assert len(page.all("svg")) == 6  # LPIPS and NME, of the means and of both clips
    for svg in page.all("svg"):
        assert svg["role"] == "img"
        assert any(f"{kbps} kbps" in svg["aria-label"] for kbps in ("21.9", "23", "22.4", "22.5"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert {cell.get("scope") for cell in page.all("th")} == {"col", "row"}
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    wanted = {
        attributes["xlink:href"][1:]
        for _, attributes in page.elements
        if attributes.get("xlink:href", "").startswith("#")
    }
    assert wanted <= set(names)


def test_colours_follow_the_theme(one: Path) -> None:
    text = (one / "report.html").read_text()
    used = set(re.findall(r"var\((--\w+)\)", text))
    light, dark = (set(re.findall(r"(--\w+):", block)) for block in re.findall(r":root \{([^}]*)\}", text))
    assert used <= dark == light
    svgs = "".join(re.findall(r"<svg.*?</svg>", text, re.S))
    assert {"--ours", "--a0", "--a1", "--ink"} <= set(re.findall(r"var\((--\w+)\)", svgs))
    assert not re.findall(r"(?:fill|stroke): #(?!none)\w+", svgs)  # no colour that one of the two themes would hide


def test_hostile_names_are_text(two: Path) -> None:
    page, text = Page(two / "report.html"), (two / "report.md").read_text()
    assert HOSTILE in page.text
    assert "no face <img src=x onerror=alert(1)> | in it at all" in page.text
    assert not page.all("script")
    assert not page.all("b")
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    rows = table_of(text, "clip")
    assert {len(row) for row in rows} == {8}
    assert "<" not in text
    assert html.unescape(re.sub(r"\\(.)", r"\1", rows[1][0])) == HOSTILE
    with open(two / "results.csv", newline="") as file:
        table = list(csv.reader(file))
    assert table[1][0] == HOSTILE
    assert table[-1] == ["=1+1| <b>.mp4", "no face <img src=x onerror=alert(1)> | in it at all"]
    stems = ("script_alert_x_script_a_b", "b" * 60)
    assert {path.name for path in two.iterdir()} - {"frames"} == {
        "report.html",
        "report.md",
        "results.csv",
        "rd.png",
        *(f"strip-{stem}.png" for stem in stems),
        *(f"compare-{stem}.mp4" for stem in stems),
    }


def test_all_clips_failed(report: Make) -> None:
    folder = report([{"clip": "a.mp4", "error": "a.mp4: no face in it"}])
    page = Page(folder / "report.html")
    assert "No clip could be measured." in page.text
    assert page.table("Clips")[1] == ["a.mp4", "failed: a.mp4: no face in it"]
    assert sorted(p.name for p in folder.iterdir()) == [
        "frames",
        "report.html",
        "report.md",
        "results.csv",
    ]


def test_same_results_give_the_same_report(one: Path, report: Make) -> None:
    again = report([clip_entry("a.mp4")])
    for name in ("report.html", "report.md", "results.csv", "strip.png", "compare.mp4"):
        assert (one / name).read_bytes() == (again / name).read_bytes()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not on PATH")
@pytest.mark.parametrize("width", [360, 1280])
def test_in_a_browser(two: Path, tmp_path: Path, width: int) -> None:
    """At phone and desk width: nothing logged, all pictures loaded, nothing but scrollers wider than the page."""
    page = html.escape((two / "report.html").read_text().replace("<details", "<details open"))
    probe = """onload = () => { const d = frames[0].document, e = d.documentElement; document.title = JSON.stringify({
        inner: frames[0].innerWidth, wide: e.scrollWidth, headline: d.querySelector('.headline').textContent,
        images: [...d.images].map(i => i.naturalWidth), plots: [...d.querySelectorAll('svg')].map(
        s => Math.round(s.getBoundingClientRect().width)), small: Math.min(...[...d.querySelectorAll('svg text')].map(
        t => t.getBoundingClientRect().height)) }) }"""
    wrapper = tmp_path / "probe.html"
    wrapper.write_text(
        f'<meta charset="utf-8"><link rel="icon" href="data:,"><script>{probe}</script>'
        f'<iframe width={width} height=2000 srcdoc="{page}"></iframe>'
    )
    flags = ["--headless", "--no-sandbox", "--enable-logging=stderr", "--v=0", "--dump-dom", "--window-size=1400,2100"]
    flags += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += ["--disable-gpu", "--disable-quic", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        ["chromium", *flags, wrapper.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert said == []
    found = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.S)[1]))  # type: ignore[index]
    assert found["headline"].startswith("All bits, first 10 s")
    assert found["images"] == [6 * 256] * 2
    assert len(found["plots"]) == 6
    assert min(found["plots"]) > 280
    assert found["wide"] <= found["inner"]
    assert found["small"] > 8  # pixels: the type in plots can be read
