"""PyTorch with torchvision's networks in float32, whatever dtype jaxtl computes in."""

from benchmarks.contender import Contender, Task
from benchmarks.peers import torchvision_


def contender(task: Task) -> Contender:
    """See the package and `torchvision_`."""
    return torchvision_.contender(task._replace(dtype="float32"))._replace(name="PyTorch, float32")
