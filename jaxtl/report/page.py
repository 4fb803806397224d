"""What every page shares: the templates beside this module, and figures inside the file.

A page is one HTML file, readable without a network, a script or this library.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from matplotlib.figure import Figure

from jaxtl.report import plots, text
from jaxtl.runtime.files import write_whole

PIXELS_PER_INCH = 104  # on the page; figures are drawn finer, for dense screens and paper


class Picture(NamedTuple):
    """A drawn figure.

    Attributes:
      png: the file.
      width: on the page, in CSS pixels.
      height: likewise.
    """

    png: bytes
    width: int
    height: int

    @property
    def source(self) -> str:
        """The file as a data URI."""
        return "data:image/png;base64," + b64encode(self.png).decode("ascii")


def picture(figure: Figure) -> Picture:
    """Draw a figure."""
    width, height = (round(PIXELS_PER_INCH * inches) for inches in figure.get_size_inches())
    return Picture(plots.png(figure), width, height)


def write_page(path: Path, template: str, figures: Mapping[str, Picture], **values: Any) -> None:
    """Fill a template and write the page. The file appears complete or not at all.

    Args:
      path: the HTML file; folders above it are made.
      template: file name of the template, which extends ``base.html``.
      figures: caption -> picture, for the template's ``figure(caption, alt)``.
      values: what else the template names. Everything is escaped.

    Raises:
      jinja2.UndefinedError: the template names something that is not among the values.
    """
    jinja = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files("jaxtl.report").joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words: tuple[Callable[..., str], ...] = (text.percent, text.points, text.number, text.loss, text.integer)
    words += (text.compact, text.duration, text.p_value)
    jinja.filters.update({in_words.__name__: in_words for in_words in words})
    write_whole(path, jinja.get_template(template).render(figures=figures, **values).encode())
