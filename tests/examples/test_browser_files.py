"""What the browser page's own files promise, readable without a browser."""

import json
import re
from pathlib import Path


PAGE = Path(__file__).resolve().parents[2] / "examples" / "browser"
SOURCES = sorted((PAGE / "src").iterdir())


def test_page_may_only_reach_its_own_origin():
    html = (PAGE / "src" / "index.html").read_text()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', html)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("script-src") == "'self' 'wasm-unsafe-eval'"  # compiles WebAssembly, evaluates no script
    assert rules.pop("worker-src") == "'self' blob:"
    assert rules.pop("img-src") == "data:"
    assert {rules.pop(name) for name in ("style-src", "connect-src")} == {"'self'"}
    assert {rules.pop(name) for name in ("base-uri", "form-action")} == {"'none'"}
    assert rules == {}
    assert html.index("Content-Security-Policy") < html.index("<link") < html.index("<script")


def test_sources_name_no_other_host_and_make_no_html():
    for file in SOURCES:
        text = file.read_text()
        assert not re.search(r"(https?:|wss?:|[\"'(])//", text), file.name
        assert not re.search(r"(inner|outer|Adjacent)HTML|document\.write|\beval\(|new Function", text), file.name


def test_lock_pins_contents_and_no_registry():
    lock = json.loads((PAGE / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert not any("resolved" in package for package in packages.values())
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    wanted = json.loads((PAGE / "package.json").read_text())
    for name, version in (wanted["dependencies"] | wanted["devDependencies"]).items():
        assert packages[f"node_modules/{name}"]["version"] == version, "a range would let the page change by itself"


def test_every_library_in_the_page_has_its_licence():
    vendored = re.findall(r'": "([\w.-]+)",', (PAGE / "build.js").read_text())
    libraries = {name.split(".")[0] for name in vendored if name.endswith(".js")}
    assert libraries == {name.split(".")[0] for name in vendored if name.endswith(".LICENSE")} == {"ort", "tokenizers"}
