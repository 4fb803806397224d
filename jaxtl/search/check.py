"""Everything that is wrong with a space, found before anything is trained."""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxtl.config import check, variants
from jaxtl.config.data import has_validation
from jaxtl.config.fields import OPTIONS, SOURCE, no_field
from jaxtl.config.tree import Tree, assign, plain
from jaxtl.search.space import Space, is_field, typed

DRAWS = 64  # configs that a space is judged by: one of them is valid if more than a few of a hundred are

# Fields that decide what a value means: trials that differ in them cannot be compared.
OBJECTIVE = tuple(
    f"data.{field}"
    for field in ("name", "dir", "classes", "subset", "per_class", "validation", "split_seed", "test", "undecodable")
)


def monitor_of(config: Mapping[str, Any]) -> str:
    """What trials are judged by: the ``monitor`` of the last phase."""
    return str(variants(config)[""]["phases"][-1]["monitor"])


def trial_faults(config: Mapping[str, Any], monitor: str) -> list[str]:
    """Why a config cannot be a trial: whatever ``jaxtl.config.check`` refuses, and another objective."""
    faults = check(config)
    if not faults and (theirs := monitor_of(config)) != monitor:
        return [f"The last phase's monitor is {theirs}, but the search judges by {monitor}; leave it as it is."]
    return faults


def space_faults(config: Mapping[str, Any], space: Space, *, draws: bool = True) -> list[str]:
    """All that is wrong with a space, one sentence each.

    Args:
      config: a valid one, with every phase that the space names.
      space: what is varied.
      draws: also look at configs drawn from it, which needs all of its parameters.
    """
    main, faults = variants(config)[""], []
    if not has_validation(main["data"]):
        faults.append(
            "Trials are judged by validation images, but data.validation is 0; hold some out, for example 0.1."
        )
    if main["model"]["weights"] == SOURCE:
        faults.append(
            "model.weights is 'source', which every trial would train again; train the source by itself and give "
            "its work folder as model.weights."
        )
    if not space.parameters:
        faults.append("The space is empty, so all trials would be the same; name a parameter.")
    for name in space.parameters:
        faults += _parameter_faults(main, space, name)
    for path, value in space.final.items():
        faults += [f"final: {fault}" for fault in _value_faults(main, path, value)]
    return faults or (list(_drawn_faults(config, space)) if draws else [])


def _parameter_faults(config: Tree, space: Space, name: str) -> list[str]:
    if name in OBJECTIVE or (name.startswith("phases.") and name.endswith(".monitor")):
        return [f"{name} decides what a trial is judged by, so that trials could not be compared; leave it as it is."]
    if not is_field(name):
        return [] if space.apply and "." not in name else [no_field(name)]
    if name.startswith(f"{OPTIONS}.") and (space.apply or "model.name" in space.parameters):
        return []  # of another network, perhaps: a trial whose network lacks it is refused when its turn comes
    distribution: Any = space.parameters[name]
    # Both ends, or every choice, show whether all values are valid.
    values = getattr(distribution, "choices", None) or (distribution.low, distribution.high)
    return next((faults for value in values if (faults := _value_faults(config, name, value))), [])


def _value_faults(config: Tree, path: str, value: Any) -> list[str]:
    """What is wrong with a config, valid before, once a field has this value."""
    tree = plain(config)
    try:
        assign(tree, path, typed(path, value, tree["model"]["name"]))
    except (IndexError, TypeError):
        return [f"{path} does not exist: the config has {len(tree['phases'])} phase(s), which are counted from 0."]
    return check(tree)


class _Watched(dict[str, Any]):
    """Parameters that take those that are read out of a set."""

    def __init__(self, params: Mapping[str, Any], unread: set[str]) -> None:
        super().__init__(params)
        self._unread = unread

    def __getitem__(self, name: str) -> Any:
        self._unread.discard(name)
        return super().__getitem__(name)


def _drawn_faults(config: Mapping[str, Any], space: Space) -> Iterator[str]:
    """What shows in drawn configs only: an ``apply`` that fails, and a space where no config is valid."""
    unread, refused, valid = {name for name in space.parameters if not is_field(name)}, "", False
    for params in space.draw(0, DRAWS):
        try:
            tree = space.configure(config, _Watched(params, unread))
        except Exception as error:  # of a user's own function: they want its name and the reason
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            yield f"The function apply of the space fails for {params} ({reason}); correct it."
            return
        if not valid:
            faults = trial_faults(tree, monitor_of(config))
            valid, refused = not faults, refused or " ".join(faults[:1])
        if valid and not unread:
            break
    if not valid:
        yield f"None of {DRAWS} configs drawn from the space is valid; the first one fails because {refused}"
        return
    for name in sorted(unread):
        yield f"{name} is not a field, and apply of the space never reads it; correct the name, or leave it out."
    final = Space({}, final=space.final).configure(config, {}, final=True)
    yield from (f"final: {fault}" for fault in check(final))
