"""Faults of what surrounds a command: consoles, pipes, disks, users, variables, caches, other processes."""

import dataclasses
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.faults.bench import PYTHON, SEARCH, Bench, figures, kill_group, text, wait_until
from tests.faults.case import Case, Ended, Expected, ends

# Runs a module of jaxtl as a user who has no entry in the system's table of users.
STRANGER = (
    "import pwd, runpy, sys; pwd.getpwuid = lambda number: {}[number]; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
UNREACHABLE = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")


@dataclasses.dataclass(frozen=True)
class Fault:
    """A command in a shell.

    Attributes:
      what: is wrong.
      line: of the shell; ``{train}`` stands for a command that trains in the work folder ``w``, ``{tiny}`` for the
        same without a work folder, ``{stranger}`` for that as an unknown user, ``{predict}`` for a question to a
        finished run, ``{search}`` for a search.
      must: what must happen.
      before: makes files in the current directory.
      variables: of the environment; ``None``: unset.
    """

    what: str
    line: str
    must: Expected
    before: Callable[[Path], Any] = lambda folder: None
    variables: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


def cases(bench: Bench) -> Iterator[Case]:
    """All of them."""
    same, whole = ends(0, figures=figures(bench.tiny)), figures(bench.tiny)
    faults = [*_consoles(same), *_disks(whole), *_users(same), *_names(same), *_variables(same)]
    for fault in [*faults, *_caches(bench, same, whole)]:
        yield Case(fault.what, _act(bench, fault), fault.must, quick=False)
    beside = ends(2, "Another process is running in the work folder")
    yield Case("two commands in one work folder at the same time", lambda folder: _twice(bench, folder), beside, False)


def _act(bench: Bench, fault: Fault) -> Callable[[Path], Ended]:
    tiny = f"{PYTHON} -m jaxtl.main --config {bench.config}"
    line = fault.line.format(
        stranger=f"{PYTHON} -c {shlex.quote(STRANGER)} jaxtl.main --config {bench.config}",
        tiny=tiny,
        train=f"{tiny} --workdir w",
        python=PYTHON,
        run=bench.tiny,
        search=f"{' '.join(SEARCH)} --config {bench.config} --workdir search",
        predict=f"{PYTHON} -m jaxtl.predict --run {bench.tiny}",
    )

    def act(folder: Path) -> Ended:
        fault.before(folder)
        ended = bench.run(["bash", "-c", line], folder=folder, variables=fault.variables)
        return ended._replace(figures=figures(folder / "w"))

    return act


def _consoles(same: Expected) -> Iterator[Fault]:
    yield Fault(
        "a console in ASCII, and class names that are not",
        "{python} -m jaxtl.main --config photos.py --workdir w",
        ends(0, "\\u732b"),
        before=_photos,
        variables={"PYTHONIOENCODING": "ascii"},
    )
    yield Fault(
        "a console in cp1252, and an image named 猫.png",
        "{predict} 猫.png",
        ends(0, "\\u732b.png"),
        before=_image("猫.png"),
        variables={"PYTHONIOENCODING": "cp1252"},
    )
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    yield Fault("the locale C", "{train}", same, variables=plain)
    yield Fault("a closed stdout", "{train} >&-", same)
    yield Fault("a closed stderr", "{train} 2>&-", same)
    yield Fault("a closed stdin where a list is asked for", "{predict} - <&-", ends(2, "jaxtl: "))
    yield Fault("a full disk behind stdout", "{train} >/dev/full", ends(2, "Standard output cannot be written"))
    fields = "{python} -m jaxtl fields | true; exit ${{PIPESTATUS[0]}}"
    yield Fault("jaxtl fields | true", fields, ends(141))
    yield Fault("jaxtl fields >/dev/full", "{python} -m jaxtl fields >/dev/full", ends(2, "Standard output"))
    yield Fault("| head -3", "{train} | head -3; exit ${{PIPESTATUS[0]}}", ends(141))
    yield Fault("a terminal of 20 columns", "{train}", same, variables={"COLUMNS": "20", "TERM": "dumb"})


def _disks(whole: Any) -> Iterator[Fault]:
    for size in (1, 8, 60):
        yield Fault(
            f"no room for files of more than {size} KiB, as on a full disk; then the same command with room",
            f"(ulimit -f {size}; {{train}}); status=$?; [ $status = 2 ] || exit $status; {{train}}",
            ends(0, "free some space", figures=whole),
        )
    yield Fault(
        "the same in a search",
        "(ulimit -f 60; {search}); status=$?; [ $status = 2 ] || exit $status; {search}",
        ends(0, "jaxtl: "),
    )
    export = "{python} -m jaxtl.export --run {run} --out /sys/x"
    yield Fault("an export where nobody may write", export, ends(2, "/sys/x"))
    out = "{predict} a.png --out /sys/x.csv"
    yield Fault("a result where nobody may write", out, ends(2, "/sys/x.csv cannot be written"), _image("a.png"))
    not_made = ends(2, "The work folder w cannot be created")
    yield Fault("a work folder that is a file", "{train}", not_made, before=lambda folder: (folder / "w").touch())
    refused = ends(2, "The work folder /sys/w cannot be created")
    yield Fault("a work folder where nobody may write", "{tiny} --workdir /sys/w", refused)
    gone = "mkdir gone; cd gone; rmdir ../gone; {tiny} --workdir ../w"
    yield Fault("a current directory that was removed", gone, ends(2, "jaxtl: "))


def _users(same: Expected) -> Iterator[Fault]:
    """A user whom the system does not know has no home folder, and so no place for a cache."""
    homeless = {"HOME": None, "JAXTL_CACHE": None}
    for what, workdir, must in (
        ("~ in a path", "'~/w'", ends(2, "No home folder is known for ~/w; set HOME")),
        ("no cache folder", "w", ends(2, "No home folder is known for the cache; set HOME, or JAXTL_CACHE")),
    ):
        line = f"{{stranger}} --workdir {workdir}"
        yield Fault(f"a user whom the system does not know, and {what}", line, must, variables=homeless)
    named = {"HOME": None, "JAXTL_CACHE": "c"}
    yield Fault("such a user, with JAXTL_CACHE", "{stranger} --workdir w", same, variables=named)


def _names(same: Expected) -> Iterator[Fault]:
    tilde = "mkdir home; HOME=$PWD/home {tiny} --workdir=~/w; status=$?; mv home/w w; exit $status"
    yield Fault("--workdir=~/w, which no shell expands", tilde, same)
    yield Fault("an image named ~tmp.png", "{predict} '~tmp.png'", ends(0, "~tmp.png"), _image("~tmp.png"))
    yield Fault("an image named -x.png", "{predict} -- -x.png", ends(0, "-x.png"), _image("-x.png"))
    yield Fault("a line break in a name", "{predict} .", ends(0, "a\\nb.png"), _image("a\nb.png"))
    not_utf8 = _image(os.fsdecode(b"\xe9.png"))
    yield Fault("a name that is not UTF-8", "{predict} .", ends(0, "\\xe9.png"), not_utf8)
    nobody = "{python} -m jaxtl.predict --run '~nobody_here/x' ."
    yield Fault("--run of an unknown user", nobody, ends(2, "does not exist"))
    nobody = "{python} -m jaxtl.evaluate --run {run} --data folder --data-dir '~nobody_here'"
    yield Fault("--data-dir of an unknown user", nobody, ends(2, "there is no folder ~nobody_here"))


def _variables(same: Expected) -> Iterator[Fault]:
    for platform in ("nosuch", "tpu"):
        no_device = ends(2, "JAX finds no device to compute on")
        yield Fault(f"JAX_PLATFORMS={platform}", "{train}", no_device, variables={"JAX_PLATFORMS": platform})
    for backend in ("module://matplotlib_inline.backend_inline", "nosuch"):
        yield Fault(f"MPLBACKEND={backend}", "{train}", same, variables={"MPLBACKEND": backend})
    yield Fault("a folder for temporary files that does not exist", "{train}", same, variables={"TMPDIR": "/nowhere"})
    yield Fault("an unknown time zone", "{train}", same, variables={"TZ": "Nowhere/At_All"})
    yield Fault("Python without docstrings and assertions (-OO)", "{train}", same, variables={"PYTHONOPTIMIZE": "2"})
    yield Fault("64-bit numbers by default (JAX_ENABLE_X64)", "{train}", ends(0), variables={"JAX_ENABLE_X64": "1"})
    yield Fault(
        "no network, and data that are not there",
        "{python} -m jaxtl.main --config cnn --config.data.dir=nothing --workdir w",
        ends(2, "cifar-10-python.tar.gz"),
        variables={**UNREACHABLE, "JAXTL_CACHE": "empty"},
    )
    yield Fault(
        "no network, and weights that are not there",
        "{python} -m jaxtl.main --config resnet18 --workdir w",
        ends(2, "Cannot reach"),
        variables={**UNREACHABLE, "JAXTL_CACHE": "empty"},
    )


def _caches(bench: Bench, same: Expected, whole: Any) -> Iterator[Fault]:
    own = {"JAXTL_CACHE": "c"}
    yield Fault("a cache folder that is a file", "{train}", same, lambda folder: (folder / "c").touch(), own)
    others = ends(0, "other users can write to", figures=whole)
    yield Fault("a cache folder that all users may write to", "{train}", others, _open_cache, own)
    yield Fault("garbage in place of compiled programs", "{train}", same, lambda folder: _garbage(bench, folder), own)


def _image(name: str) -> Callable[[Path], None]:
    return lambda folder: Image.new("L", (8, 8)).save(folder / name)


def _photos(folder: Path) -> None:
    """A config whose title, folder and classes are not in ASCII."""
    rng = np.random.default_rng(0)
    for name in ("猫", "Größe"):
        (folder / "Bilder …" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / "Bilder …" / name / f"{i}.png")
    (folder / "photos.py").write_text(
        "from jaxtl.config import default_config, phase\n"
        "def get_config():\n"
        "    config = default_config()\n"
        "    config.name, config.data.name, config.data.dir = '猫 …', 'folder', 'Bilder …'\n"
        "    config.data.size, config.batch_size, config.phases = 8, 8, (phase(epochs=1),)\n"
        "    config.model.options = {'blocks': ((4,),), 'hidden': (8,)}\n"
        "    return config\n",
        encoding="utf-8",
    )


def _open_cache(folder: Path) -> None:
    (folder / "c").mkdir()
    (folder / "c").chmod(0o777)


def _garbage(bench: Bench, folder: Path) -> None:
    shutil.copytree(bench.folder / "cache", folder / "c")
    for path in (folder / "c" / "compiled").iterdir():
        path.write_bytes(b"garbage" * 100)


def _twice(bench: Bench, folder: Path) -> Ended:
    """The second of two commands, started while the first one works in the folder."""
    command = [
        PYTHON,
        "-m",
        "jaxtl.main",
        "--config",
        str(bench.config),
        "--config.phases.0.epochs=500",
        "--workdir",
        "w",
    ]
    first = bench.start(command, folder=folder)
    try:
        if not wait_until((folder / "w" / "config.json").exists, first):
            return Ended(first.returncode, "", text(first.communicate()[1]))
        return bench.run(command, folder=folder)
    finally:
        kill_group(first)
        first.communicate()
