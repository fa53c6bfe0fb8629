"""Templates: text that comes from a record is made printable and escaped, whatever a template says."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pretrain.base.faults import printable
from reports.html.chart import BOX, draw, table

FOLDER = Path(__file__).parent / "templates"
LONGEST = 200_000  # characters of one text of a page
UNSAFE = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&'"}  # in JSON within a script element


class Templates:
    """The pages' templates with the style and script that stand in each of them."""

    def __init__(self, common: dict[str, Any], live: bool = False) -> None:
        """common: what every page is rendered with; live: pages ask their server whether they have
        changed.
        """
        self.live = live
        self.made = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
        )
        self.made.globals.update(common, live=live, box=BOX, draw=draw, table=table)

    def render(self, template: str, script: bool = True, **words: Any) -> bytes:
        """A page as UTF-8. script: whether it has the script in it."""
        source = (self.script if script else "") + (_text("live.js") if self.live else "")
        policy = _policy(self.style, source, self.live)
        page = self.made.get_template(template).render(
            css=Markup(self.style), script=Markup(source), policy=policy, **words
        )
        return page.encode("utf-8", "replace")

    @cached_property
    def style(self) -> str:
        """The style of every page."""
        return _text("site.css")

    @cached_property
    def script(self) -> str:
        """The script of the pages that sort, filter or compare."""
        return _text("site.js")


@cache
def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _shown(value: Any) -> Any:
    """Text without control characters, bidirectional marks or lone surrogates."""
    if (
        not isinstance(value, str)
        or isinstance(value, Markup)
        or (value.isprintable() and len(value) < LONGEST)
    ):
        return value
    return printable(value, LONGEST, keep="\n")


def _policy(style: str, script: str, live: bool) -> str:
    """What a browser may run or load: this style and this script, nothing from anywhere; live: it may ask its
    own server.
    """
    own = "connect-src 'self'; " if live else ""
    scripts = f"'sha256-{_hash(script)}'" if script else "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_hash(style)}'; script-src {scripts}; "
        f"{own}base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def as_json(value: Any) -> Markup:
    """JSON that can stand in a script element: no character of it ends the element."""
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).translate(UNSAFE))
