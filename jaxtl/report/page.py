"""What every page shares: the templates beside this module, and figures inside the file.

A page is one HTML file, readable without a network, a script or this library.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from jaxtl.report import plots, text
from jaxtl.runtime.files import write_whole


def write_page(
    path: Path, template: str, figures: Mapping[str, Any], *, kicker: str, title: str, **values: Any
) -> None:
    """Fill a template and write the page. The file appears complete or not at all.

    Args:
      path: the HTML file; folders above it are made.
      template: file name of the template of the sections; those whose heading has an id are linked at the top.
      figures: caption -> figure or gallery, for ``figure(caption, alt)`` and ``gallery(caption)`` of the template.
      kicker: what kind of page it is, above the title.
      title: of the page.
      values: what else the template names. Everything is escaped.

    Raises:
      jinja2.UndefinedError: the template names something that is not among the values.
    """
    jinja = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxtl", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for in_words in ("percent", "number", "loss", "integer", "compact", "counted", "duration"):
        jinja.filters[in_words] = getattr(text, in_words)
    jinja.filters["svg"] = plots.svg
    sections = jinja.get_template(template).render(figures=figures, **values)
    headings = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', sections)
    page = jinja.get_template("base.html").render(kicker=kicker, title=title, headings=headings, sections=sections)
    write_whole(path, page)
