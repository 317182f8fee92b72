"""The frame of the pages with clips: a template, a script of its own, and what all such pages share."""

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from core.hashing import hash_script
from report.page import TEMPLATES, open_templates


def render_clips(page: str, content: Mapping[str, Any], labels: Mapping[str, Any]) -> str:
    """``<page>.html`` with clips.js, ``<page>.js`` and ``content``, whose ``title`` it bears, as one string of HTML."""
    script = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("clips.js", f"{page}.js"))
    # "</script" would end the element; JSON reads the escape as the same.
    text = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
    return (
        open_templates()
        .get_template(f"{page}.html")
        .render(
            title=content["title"],
            labels=labels,
            content=Markup(text),
            script=Markup(script),
            script_hash=hash_script(script),
        )
    )
