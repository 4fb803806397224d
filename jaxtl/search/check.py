"""What is wrong with a space, all of it at once; nothing is trained for it."""

from collections.abc import Iterator, Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution

from jaxtl.config import check, variants
from jaxtl.config.data import has_validation
from jaxtl.config.fields import BASELINES, OPTIONS, SOURCE, no_field
from jaxtl.config.tree import Tree, assign, plain
from jaxtl.search.space import Space, configure, draw, finish, is_field, typed

DRAWS = 64  # configs that a space is judged by: one of them is valid if more than a few of a hundred are

# Fields that decide what a value means: trials that differ in them cannot be compared.
OBJECTIVE = tuple(
    f"data.{field}"
    for field in ("name", "dir", "classes", "subset", "per_class", "validation", "split_seed", "test", "undecodable")
)
WITHOUT_EFFECT = ("name", "arm", "reported", "checkpoint_every_s", "data.download", "data.test_subset")


def monitor_of(config: Mapping[str, Any]) -> str:
    """What trials are judged by: the ``monitor`` of the last phase."""
    return str(variants(config)[""]["phases"][-1]["monitor"])


def trial_faults(config: Mapping[str, Any], monitor: str) -> list[str]:
    """Why a config cannot be a trial: whatever ``jaxtl.config.check`` refuses, and another objective."""
    if faults := check(config):
        return faults
    if (theirs := monitor_of(config)) != monitor:
        return [f"The last phase's monitor is {theirs}, but the search judges by {monitor}; leave it as it is."]
    return []


def space_faults(config: Mapping[str, Any], space: Space, *, draws: bool = True) -> list[str]:
    """All that is wrong with a space, one sentence each.

    Args:
      config: one without faults, with every phase that the space names.
      space: what is varied.
      draws: also look at configs drawn from it, which needs all of its parameters.
    """
    main = variants(config)[""]
    faults = list(_unfit(main))
    if not space.parameters:
        faults.append("The space is empty, so all trials would be the same; name a parameter.")
    for name in space.parameters:
        faults += _parameter_faults(main, space, name)
    for path, value in space.final.items():
        faults += [f"final: {fault}" for fault in value_faults(main, path, value)]
    return faults or (list(_drawn_faults(config, space)) if draws else [])


def _unfit(main: Tree) -> Iterator[str]:
    """What a config must have for a search."""
    if not has_validation(main["data"]):
        yield "Trials are judged by validation images, but data.validation is 0; hold some out, for example 0.1."
    if main["model"]["weights"] == SOURCE:
        yield (
            "model.weights is 'source', which every trial would train again; train the source by itself and give "
            "its work folder as model.weights."
        )


def _parameter_faults(config: Tree, space: Space, name: str) -> list[str]:
    if name.split(".")[0] in (SOURCE, BASELINES):
        return [f"{name} is not a field of the main run, the only one that is searched; name a field of it."]
    if name in OBJECTIVE or (name.startswith("phases.") and name.endswith(".monitor")):
        return [f"{name} decides what a trial is judged by, so that trials could not be compared; leave it as it is."]
    if name in WITHOUT_EFFECT:
        return [f"{name} changes no figure of a trial, so there is nothing to search; leave it out."]
    if not is_field(name):
        return [] if space.apply and "." not in name else [no_field(name)]
    if name.startswith(f"{OPTIONS}.") and (space.apply or "model.name" in space.parameters):
        return []  # of another network, perhaps: a trial whose network lacks it is refused when its turn comes
    found = (value_faults(config, name, value) for value in extremes(space.parameters[name]))
    return next((faults for faults in found if faults), [])


def extremes(distribution: Any) -> tuple[Any, ...]:
    """The values that show whether all of a distribution are valid: both ends, or every choice."""
    if isinstance(distribution, CategoricalDistribution):
        return tuple(distribution.choices)
    return distribution.low, distribution.high


def value_faults(config: Tree, path: str, value: Any) -> list[str]:
    """What is wrong with a config, which has no other faults, once a field has this value."""
    tree = plain(config)
    try:
        assign(tree, path, typed(path, value, tree["model"]["name"]))
    except (IndexError, TypeError):
        return [f"{path} does not exist: the config has {len(tree['phases'])} phase(s), which are counted from 0."]
    return check(tree)


class _Watched(dict[str, Any]):
    """Parameters that remember which of them were read."""

    read: set[str]

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


def _drawn_faults(config: Mapping[str, Any], space: Space) -> Iterator[str]:
    """What shows in drawn configs only: an ``apply`` that fails, and a space where no config is valid."""
    monitor, unread = monitor_of(config), {name for name in space.parameters if not is_field(name)}
    refused: list[str] = []
    for number, drawn in enumerate(draw(space, 0, DRAWS)):
        params = _Watched(drawn)
        params.read = set()
        try:
            tree = configure(config, space, params)
        except Exception as error:  # whatever is wrong with a user's own function, they want its name and the reason
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            yield f"The function apply of the space fails for {drawn} ({reason}); correct it."
            return
        unread -= params.read
        if len(refused) == number:
            refused += trial_faults(tree, monitor)[:1]
        if len(refused) <= number and not unread:
            break
    if len(refused) == DRAWS:
        yield f"None of {DRAWS} configs drawn from the space is valid; the first one fails because {refused[0]}"
        return
    for name in sorted(unread):
        yield f"{name} is not a field, and apply of the space never reads it; correct the name, or leave it out."
    yield from (f"final: {fault}" for fault in check(finish(config, space)))


def examples(config: Mapping[str, Any], space: Space, count: int = 4) -> list[Tree]:
    """The first configs drawn, where the space has an ``apply``: spaces that differ in it alone differ in these."""
    return [configure(config, space, params) for params in (draw(space, 0, count) if space.apply else ())]
