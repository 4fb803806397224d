"""Contact sheets of predictions as files, one a page."""

import concurrent.futures
import os
from collections.abc import Sequence
from pathlib import Path

from jaxtl.data.decode import Undecodable, read_image
from jaxtl.data.image_files import shown
from jaxtl.report.answers import Answers
from jaxtl.report.plots.sheet import PER_PAGE, PIXELS, Shown, contact_sheet
from jaxtl.report.plots.style import png
from jaxtl.runs.finished import LoadedRun
from jaxtl.runtime.files import write_whole


def write_sheets(path: Path, run: LoadedRun, files: Sequence[Path], answers: Sequence[Answers]) -> list[Path]:
    """Draw the images that were classified, ``PER_PAGE`` a page.

    Args:
      path: of the first page; page 2 of ``sheet.png`` is ``sheet-2.png``, and so on.
      run: says how the images are framed: as this run sees them, but with more pixels.
      files: N image files.
      answers: of each run; a file that none of them answers is left out.

    Returns:
      The pages written; none where no file is left.

    Raises:
      OSError: a page cannot be written.
    """
    height, width, channels = run.image_shape
    scale = PIXELS / max(height, width)
    size = max(1, round(scale * height)), max(1, round(scale * width))

    def look(i: int) -> Shown | None:
        try:
            image = read_image(files[i], size, fit=run.config["data"]["fit"], channels=channels)
        except Undecodable:  # it has gone since it was classified
            return None
        return Shown(image, shown(files[i].name), tuple(next(iter(answer.top(i)), None) for answer in answers))

    answered = [i for i in range(len(files)) if any(answer.top(i) for answer in answers)]
    names = [answer.name for answer in answers]
    starts = range(0, len(answered), PER_PAGE)
    pages = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for page, first in enumerate(starts, start=1):
            pictures = [picture for picture in pool.map(look, answered[first : first + PER_PAGE]) if picture]
            if not pictures:
                continue
            heading = f"Predicted by {names[0] if len(names) == 1 else f'{len(names)} runs'}"
            if len(starts) > 1:
                heading += f": page {page} of {len(starts)}"
            target = path if page == 1 else path.with_name(f"{path.stem}-{page}{path.suffix}")
            write_whole(target, png(contact_sheet(pictures, names, heading)))
            pages.append(target)
    return pages
