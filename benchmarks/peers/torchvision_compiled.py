"""PyTorch with torchvision's networks through ``torch.compile``, in bfloat16 by autocast."""

from benchmarks.contender import Contender, Task
from benchmarks.peers import torchvision_


def contender(task: Task) -> Contender:
    """See the package; the compilation is part of the first step, which is warm-up."""
    return torchvision_.contender(task, compile_it=True)
