"""Several processes that compute one run: how they find each other, share values and end together.

All run the same program. The main process, number 0, alone reads and writes the files of the run and talks to the user;
it broadcasts what the others need. A single process is its own main process, and waits for nobody.
"""

import contextlib
import dataclasses
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxtl.errors import UserError
from jaxtl.runtime.command import outcome_of, tell
from jaxtl.runtime.interrupts import Interrupted

_NO_TIMEOUT_MS = 7 * 24 * 3600 * 1000
_START_TIMEOUT_S = 300  # hosts of a cluster may start minutes apart
_HEARTBEAT_TIMEOUT_S = 100  # JAX then aborts the others of a process that is gone
_END_TIMEOUT_MS = 60_000
_LOST = (jax.errors.JaxRuntimeError, ValueError)  # raised by an exchange with a process that is gone
_VARIABLES = ("JAXTL_COORDINATOR", "JAXTL_PROCESSES", "JAXTL_PROCESS")


@dataclasses.dataclass(eq=False)
class ProcessFailed(Exception):  # noqa: N818 - the error is that of another process
    """A process of the run has failed: the first of them by number, and its exit status."""

    number: int
    status: int


def is_single_process() -> bool:
    """Whether this process computes its run by itself; JAX need not have looked for devices yet."""
    return not jax.distributed.is_initialized()


def is_main_process() -> bool:
    """Whether this is the process that keeps the files and talks to the user."""
    return is_single_process() or jax.process_index() == 0


def wait_for_all(failed_with: int | None = None) -> None:
    """Return once all processes are here, however long that takes.

    Call it where one may have been busy for long, for example compiling, before a program in which they exchange
    arrays: on CPUs that waits for half a minute only.

    Args:
      failed_with: the exit status of this process, if it failed: then it waits for the others for a minute at most.

    Raises:
      ProcessFailed: one of the processes has failed.
      UserError: one is gone.
    """
    if is_single_process():
        return
    import orbax.checkpoint as ocp  # slow to import; it has the public barrier that takes a timeout

    timeout_ms = _NO_TIMEOUT_MS if failed_with is None else _END_TIMEOUT_MS
    try:
        ocp.multihost.get_barrier_sync_fn()(key="jaxtl", timeout_ms=timeout_ms)
        told = multihost_utils.process_allgather(np.int32(-1 if failed_with is None else failed_with))
    except _LOST as error:
        raise UserError(
            "Another process of the run is gone or does not answer; start all of them again: the run goes on from its "
            "last checkpoint."
        ) from error
    for number, status in enumerate(told.tolist()):
        if status >= 0:
            raise ProcessFailed(number, status)


def gather_ints(numbers: Sequence[int]) -> np.ndarray:
    """The numbers of all processes, int64 ``[processes, len(numbers)]``; each gives as many."""
    own = np.asarray(numbers, np.int64)
    if is_single_process():
        return own[None]
    wait_for_all()
    return np.asarray(multihost_utils.process_allgather(own.view(np.uint8))).view(np.int64)  # JAX would cut int64


def broadcast(value: Any) -> Any:
    """The value of the main process, in all of them; it goes as JSON, so that tuples arrive as lists."""
    if is_single_process():
        return value
    text = json.dumps(value).encode() if is_main_process() else b""
    size = int(gather_ints([len(text)])[0, 0])
    padded = np.zeros(1 << size.bit_length(), np.uint8)  # few lengths, few programs
    padded[: len(text)] = np.frombuffer(text, np.uint8)
    received = multihost_utils.broadcast_one_to_all(padded)
    return value if is_main_process() else json.loads(received[:size].tobytes())


def broadcast_arrays(tree: Any) -> Any:
    """The arrays of the main process, bit by bit, as numpy arrays; a single process gets back what it gave.

    Structure, shapes and dtypes of the tree are the same in all processes.
    """
    if is_single_process():
        return tree
    arrays = jax.tree.map(np.asarray, tree)
    # As bytes: JAX adds zeros of the other processes, and -0.0 + 0.0 is 0.0.
    own = jax.tree.map(lambda array: np.frombuffer(array.tobytes(), np.uint8), arrays)
    wait_for_all()
    received = multihost_utils.broadcast_one_to_all(own)
    return jax.tree.map(lambda part, like: part.view(like.dtype).reshape(like.shape), received, arrays)


@contextlib.contextmanager
def main_process_first() -> Iterator[None]:
    """A context that the main process leaves before the others enter it: what it downloads, they find."""
    if not is_main_process():
        wait_for_all()
    yield
    if is_main_process():
        wait_for_all()


def cluster_arguments(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """The arguments of ``jax.distributed.initialize``; ``None``: the process computes by itself.

    Args:
      environment: has ``JAXTL_COORDINATOR``, ``JAXTL_PROCESSES`` and ``JAXTL_PROCESS``, or what Slurm or Open MPI set.

    Raises:
      UserError: the variables contradict each other.

    >>> cluster_arguments({"JAXTL_COORDINATOR": "node1:9876", "JAXTL_PROCESSES": "2", "JAXTL_PROCESS": "1"})
    {'coordinator_address': 'node1:9876', 'num_processes': 2, 'process_id': 1, 'cluster_detection_method': 'deactivate'}
    """
    address, count, number = (environment.get(name, "").strip() for name in _VARIABLES)
    if address == "auto":  # Cloud TPU, Kubernetes, and whatever else JAX finds by itself
        return {}
    if address or count or number:
        host, _, port = address.rpartition(":")
        digits = port.isdecimal() and count.isdecimal() and number.isdecimal() and (port + count + number).isascii()
        if not (host and digits and int(number) < int(count)):
            given = ", ".join(f"{name}={environment.get(name, '')}" for name in _VARIABLES)
            raise UserError(
                f"{given} do not say which process of how many this is; set them to HOST:PORT, to the number N of "
                "processes, and to this one's number from 0 to N-1."
            )
        found = {"coordinator_address": address, "num_processes": int(count), "process_id": int(number)}
        return {**found, "cluster_detection_method": "deactivate"}
    # The tasks of the step, not of the job: a shell inside an allocation of many tasks is a single one.
    if int(environment.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        return {"cluster_detection_method": "slurm"}
    if int(environment.get("OMPI_COMM_WORLD_SIZE") or 1) > 1:
        if "OMPI_MCA_orte_hnp_uri" not in environment:  # JAX finds its coordinator by it; Open MPI 5 does not set it
            raise UserError(
                "Open MPI started several processes but does not say where they meet; set JAXTL_COORDINATOR=HOST:PORT, "
                "JAXTL_PROCESSES=$OMPI_COMM_WORLD_SIZE and JAXTL_PROCESS=$OMPI_COMM_WORLD_RANK in each."
            )
        return {"cluster_detection_method": "ompi"}
    return None


def run_together(work: Callable[[], int]) -> int:
    """Do the work of a command, in all processes of the run if there are several; it must not have used JAX yet.

    They end together, with one exit status: if one of several fails, the others end when they next wait for it.

    Returns:
      The exit status. A single process raises what ``work`` raises; several print it, once.
    """
    found = cluster_arguments(os.environ)
    if found is None:
        return work()
    _join(found)
    try:
        status = work()
    except ProcessFailed as failed:  # another one, which prints why
        status = failed.status
    except Interrupted as stopped:  # all have agreed on it
        status, text = outcome_of(stopped)
        tell(text if is_main_process() else "")
    except BaseException as error:
        status = _end_others(error)
    jax.distributed.shutdown()
    return status


def _end_others(error: BaseException) -> int:
    """After an error in this process: let the others know, print it unless one before did, and return the status."""
    status, text = outcome_of(error, resumes=True)
    try:
        wait_for_all(failed_with=status)
    except ProcessFailed as failed:
        tell(text if failed.number == jax.process_index() else "")
        return failed.status
    except UserError as gone:
        lost = isinstance(error, _LOST) and not isinstance(error, UserError)  # what JAX says about its connections
        tell(f"jaxtl: {gone}" if lost else text)
    os._exit(status)  # an orderly end would wait for the others


def _join(found: Mapping[str, Any]) -> None:
    """Let JAX find all processes; else end this one."""

    def give_up(reason: str = f"not within {_START_TIMEOUT_S} seconds") -> None:
        tell(
            f"jaxtl: The processes of the run did not find each other ({reason}); start all of them, with the same "
            "JAXTL_COORDINATOR=HOST:PORT that every host can reach."
        )
        os._exit(2)  # the main thread may be waiting for the others

    # JAX's own watch for SIGTERM would take the signal from the training loop, which agrees on it by itself.
    jax.config.update("jax_enable_preemption_service", False)
    deadline = threading.Timer(_START_TIMEOUT_S, give_up)  # at its own deadline JAX aborts the process
    deadline.daemon = True
    deadline.start()
    try:
        jax.distributed.initialize(
            **found,
            initialization_timeout=2 * _START_TIMEOUT_S,
            heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT_S,
        )
    except (RuntimeError, ValueError) as error:
        give_up(" ".join(str(error).split())[:200])
    deadline.cancel()
