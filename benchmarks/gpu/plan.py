"""What is measured, in order of value: stages, and the jobs that a stage is made of."""

from collections.abc import Collection
from typing import NamedTuple

# The three networks that say most come first, then one more of each family.
NETS_AT_224 = ("resnet50", "vgg16", "densenet161", "resnet152", "vgg19", "densenet121")
STUDY_E = ("resnet50", "vgg16", "resnet152", "vgg19")
SMALL = ("cnn", "resnet18", "densenet121")
NETS = {*NETS_AT_224, *STUDY_E, *SMALL}


class Job(NamedTuple):
    """What one process does.

    Attributes:
      stage: one of ``STAGES``.
      case: a network, or what else tells the jobs of a stage apart.
      needs_s: with less time left it is not begun.
      limit_s: it is stopped after so long.
    """

    stage: str
    case: str
    needs_s: float
    limit_s: float

    @property
    def name(self) -> str:
        """As files and messages call it."""
        return f"{self.stage}-{self.case}" if self.case else self.stage


JOBS = (
    Job("ceilings", "", 15, 60),
    Job("right", "families", 40, 180),
    Job("right", "runs", 30, 150),
    *(Job(stage, net, 45, 240) for net in NETS_AT_224 for stage in ("train224", "infer224")),
    *(Job("study-e", net, 40, 150) for net in STUDY_E),
    *(Job("small", net, 40, 180) for net in SMALL),
    Job("study-c", "", 60, 180),
    Job("first-step", "", 40, 150),
    Job("augment", "resnet50", 60, 180),
    Job("breakdown", "", 30, 120),
)
STEPS = ("train224", "infer224", "small")  # stages that time a step beside PyTorch
STAGES = tuple(dict.fromkeys(job.stage for job in JOBS))


def plan(only: Collection[str], tiny: bool) -> list[Job]:
    """The jobs to do.

    Args:
      only: the stages to do; empty: all.
      tiny: one job of each kind, which takes a network that compiles in seconds.

    >>> [job.name for job in plan(["study-e"], tiny=False)][:2]
    ['study-e-resnet50', 'study-e-vgg16']
    >>> [job.name for job in plan(["right", "small"], tiny=True)]
    ['right-families', 'right-runs', 'small-cnn']
    """
    jobs = [job for job in JOBS if not only or job.stage in only]
    if not tiny:
        return jobs
    first = {job.stage if job.case in NETS else job.name: job for job in reversed(jobs)}
    return [job._replace(needs_s=1) for job in jobs if job in first.values()]
