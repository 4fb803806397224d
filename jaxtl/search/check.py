"""What is wrong with a space, all of it at once; nothing is trained for it."""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxtl.config import check, variants
from jaxtl.config.data import has_validation
from jaxtl.config.fields import BASELINES, OPTIONS, SOURCE, find_field, no_field, wrong_type
from jaxtl.config.tree import Tree, leaves, plain
from jaxtl.errors import UserError
from jaxtl.models import list_models, model_options, option_types
from jaxtl.search.space import Choice, Integers, LogUniform, Space, Uniform, configure, draw, finish

# Draws that a space is judged by: enough that one of them will do if more than a few of a hundred do.
LOOKS = 64

# Fields that decide what a value means: trials that differ in them cannot be compared.
_THE_MEASURE = tuple(
    f"data.{field}"
    for field in ("name", "dir", "classes", "subset", "per_class", "validation", "split_seed", "test", "undecodable")
)
_NO_FIGURE = ("name", "arm", "reported", "checkpoint_every_s", "data.download", "data.test_subset")


class _Read(Mapping[str, Any]):
    """Parameters that remember which of them were asked for."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params, self.seen = params, set[str]()

    def __getitem__(self, name: str) -> Any:
        self.seen.add(name)
        return self.params[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.params)

    def __len__(self) -> int:
        return len(self.params)


def is_field(path: str) -> bool:
    """Whether a parameter's name is the path of a field; any other name is for the space's ``apply``."""
    return find_field(path) is not None or path.startswith(f"{OPTIONS}.")


def monitor_of(config: Mapping[str, Any]) -> str:
    """What trials are judged by: the ``monitor`` of the last phase."""
    return str(variants(config)[""]["phases"][-1]["monitor"])


def trial_faults(config: Mapping[str, Any], monitor: str) -> list[str]:
    """Why a config can be no trial: whatever ``jaxtl.config.check`` refuses, and another measure."""
    if faults := check(config):
        return faults
    if (theirs := monitor_of(config)) != monitor:
        return [f"the last phase's monitor is {theirs}, but the search judges by {monitor}; leave it as it is."]
    return []


def space_faults(config: Mapping[str, Any], space: Space, *, draws: bool = True) -> list[str]:
    """All that is wrong with a space, one sentence each.

    Args:
      config: one without faults, every phase that the space names written out.
      space: what is varied.
      draws: also look at configs drawn from it, which needs all of its parameters.
    """
    main = variants(config)[""]
    faults = [*_unfit(main)]
    if not space.parameters:
        faults.append("The space is empty, so all trials would be the same; name a parameter.")
    for name, distribution in space.parameters.items():
        if fault := _parameter_fault(main, space, name, distribution):
            faults.append(fault)
    for path, value in space.final.items():
        if fault := _value_fault(main, space, path, plain(value)):
            faults.append(f"final: {fault}")
    return faults or ([*_drawn_faults(config, space)] if draws else [])


def _unfit(main: Tree) -> Iterator[str]:
    """What a config must have for a search."""
    if not has_validation(main["data"]):
        yield "Trials are judged by validation images, but data.validation is 0; hold some out, 0.1 say."
    if main["model"]["weights"] == SOURCE:
        yield (
            "model.weights is 'source', which every trial would train anew; train the source by itself and give "
            "its work folder as model.weights."
        )


def _parameter_fault(main: Tree, space: Space, name: str, distribution: Any) -> str | None:
    if not isinstance(distribution, Uniform | LogUniform | Integers | Choice):
        return (
            f"{name} has the distribution {distribution!r}, which is none; take Uniform, LogUniform, Integers or "
            "Choice of jaxtl.search."
        )
    if fault := distribution.fault():
        return f"{name} {fault}"
    if name.split(".")[0] in (SOURCE, BASELINES):
        return f"{name} is no field of the main run, the only one that is searched; name a field of it."
    if name in _THE_MEASURE or (name.startswith("phases.") and name.endswith(".monitor")):
        return f"{name} decides what a trial is judged by, so that trials could not be compared; leave it as it is."
    if name in _NO_FIGURE:
        return f"{name} changes no figure of a trial, so there is nothing to search; leave it away."
    if not is_field(name):
        return None if space.apply and "." not in name else no_field(name)
    found = (_value_fault(main, space, name, value) for value in distribution.ends())
    return next((fault for fault in found if fault), None)


def _value_fault(main: Tree, space: Space, path: str, value: Any) -> str | None:
    """What is wrong with one value of a field, whatever the others are."""
    model = main["model"]["name"]
    if path.startswith(f"{OPTIONS}."):
        option = path.removeprefix(f"{OPTIONS}.")
        known = option_types(model)
        if option in known:
            return wrong_type(path, value, known[option], model_options(model)[option])
        # Another network of the space may have it: a trial whose network does not is refused when its turn comes.
        others = list_models() if space.apply or "model.name" in space.parameters else ()
        if any(option in option_types(name) for name in others):
            return None
        return f"{path} does not exist; {model} has the options {', '.join(known)}."
    field = find_field(path)
    if field is None:
        return no_field(path)
    parts = path.split(".")
    if parts[0] == "phases" and int(parts[1]) >= len(main["phases"]):
        return f"{path} does not exist: the config has {len(main['phases'])} phase(s), which are counted from 0."
    if fault := wrong_type(path, value, field.type, field.default):
        return fault
    fault = field.check(value)
    return f"{path} {fault}" if fault else None


def _drawn_faults(config: Mapping[str, Any], space: Space) -> Iterator[str]:
    """What shows in configs of the space only: an ``apply`` that fails, and a space where no config will do."""
    monitor, unread = monitor_of(config), {name for name in space.parameters if not is_field(name)}
    refused: list[str] = []
    for number in range(LOOKS):
        params = _Read(draw(space, 0, number))
        try:
            tree = configure(config, space, is_field, params)
        except Exception as error:  # whatever is wrong with a person's own function, they want its name and the reason
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            yield f"The function apply of the space fails for {params.params} ({reason}); mend it."
            return
        unread -= params.seen
        if len(refused) == number:
            refused += trial_faults(tree, monitor)[:1]
        if len(refused) <= number and not unread:
            break
    if len(refused) == LOOKS:
        yield f"None of {LOOKS} configs drawn from the space will do; the first one fails because {refused[0]}"
        return
    for name in sorted(unread):
        yield f"{name} is no field, and the function apply of the space never reads it; mend the name, or drop it."
    yield from (f"final: {fault}" for fault in check(finish(config, space)))


def examples(config: Mapping[str, Any], space: Space, count: int = 4) -> dict[str, Tree]:
    """What ``apply`` makes of the first draws: spaces that differ in it alone are told apart by that."""
    before = dict(leaves(plain(config)))
    found = {}
    for number in range(count if space.apply else 0):
        after = leaves(configure(config, space, is_field, draw(space, 0, number)))
        found[f"draw{number}"] = {path: v for path, v in after if path not in before or before[path] != v}
    return found


def refuse(faults: list[str]) -> None:
    """Raise all faults of a space as one error, if there are any.

    Raises:
      UserError: one sentence a fault.
    """
    if len(faults) == 1:
        raise UserError(f"The space: {faults[0]}")
    if faults:
        raise UserError(f"The space has {len(faults)} problems:\n" + "\n".join(f"  {fault}" for fault in faults))
