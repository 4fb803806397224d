"""Contact sheets of predictions as files, one a page."""

import concurrent.futures
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtl.data.decode import Undecodable
from jaxtl.data.image_files import shown
from jaxtl.report.plots.sheet import PER_PAGE, PIXELS, Shown, contact_sheet
from jaxtl.report.plots.style import png
from jaxtl.runs.finished import LoadedRun, Predictions
from jaxtl.runtime.environment import cores
from jaxtl.runtime.files import write_whole


def write_sheets(path: Path, run: LoadedRun, files: Sequence[Path], answers: Mapping[str, Predictions]) -> list[Path]:
    """Draw the images that were classified, ``PER_PAGE`` a page.

    Args:
      path: of the first page; page 2 of ``sheet.png`` is ``sheet-2.png``, and so on.
      run: says how the images are framed: as this run sees them, but with more pixels.
      files: N image files.
      answers: of each run by its name; a file that none of them answers is left out.

    Returns:
      The pages written; none where no file is left.

    Raises:
      OSError: a page cannot be written.
    """
    height, width, _ = run.image_shape
    scale = PIXELS / max(height, width)
    size = max(1, round(scale * height)), max(1, round(scale * width))

    def look(i: int) -> Shown | None:
        try:
            image = run.read(files[i], size)
        except Undecodable:  # it has gone since it was classified
            return None
        return Shown(image, shown(files[i].name), tuple(next(iter(answer[i]), None) for answer in answers.values()))

    answered = [i for i in range(len(files)) if any(answer[i] for answer in answers.values())]
    names = [*answers]
    starts = range(0, len(answered), PER_PAGE)
    pages = []
    with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
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
