"""What a user would pick instead, doing the same work: one file a framework, each with ``contender(task)``."""

import importlib.util

from benchmarks.contender import Contender, Task, need

# By the name on the command line: the file in this folder, and the packages that it needs.
PEERS = {
    "flax": ("flax_", ()),
    "torchvision": ("torchvision_", ("torch", "torchvision")),
    "torchvision-compiled": ("torchvision_compiled", ("torch", "torchvision")),
    "keras": ("keras_", ("keras",)),
}
# Each of them also in float32, whatever dtype jaxtl computes in: what a user has who changes nothing.
FLOAT32 = "-float32"
PEERS |= {f"{name}{FLOAT32}": needs for name, needs in PEERS.items()}


def check_installed(peer: str) -> None:
    """Say early what is missing.

    Raises:
      UserError: a package of this peer is not installed.
    """
    for package in PEERS[peer][1]:
        if importlib.util.find_spec(package) is None:  # found and not imported: Keras asks for its backend then
            need(package, peer)


def contender(peer: str, task: Task) -> Contender:
    """The peer's version of the task.

    Raises:
      NoSuchNetError: the peer does not have this network.
    """
    module = importlib.import_module(f"benchmarks.peers.{PEERS[peer][0]}")
    if not peer.endswith(FLOAT32):
        made: Contender = module.contender(task)
        return made
    in_float32: Contender = module.contender(task._replace(dtype="float32"))
    return in_float32._replace(name=f"{in_float32.name}, float32")
