"""The processes of one run find each other, go together and end together.

Each is started with the same command. Who they are is read from the environment: from ``JAXTL_COORDINATOR``,
``JAXTL_PROCESSES`` and ``JAXTL_PROCESS``, or from what Slurm and Open MPI tell the processes that they start. A command
that finds none of it computes alone.
"""

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxtl.errors import UserError
from jaxtl.runtime.interrupts import Interrupted
from jaxtl.runtime.processes import AS_LONG_AS_IT_TAKES_MS, first, store

_VARIABLES = ("JAXTL_COORDINATOR", "JAXTL_PROCESSES", "JAXTL_PROCESS")
_END = "jaxtl/end"  # under this key stands the status that all processes end with, once it is known
_WAIT_FOR_OTHERS_MS = 10_000
_LEAD_S = 1.0
_PATIENCE_S = 300  # hosts of a cluster may start minutes apart
_ending = threading.Event()  # the main thread ends this process, and has something to say before


def arguments(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What ``jax.distributed.initialize`` is to be given; ``None``: the process computes alone.

    Args:
      environment: variables of the process.

    Raises:
      UserError: the variables contradict each other.

    >>> arguments({"JAXTL_COORDINATOR": "node1:9876", "JAXTL_PROCESSES": "2", "JAXTL_PROCESS": "1"})
    {'coordinator_address': 'node1:9876', 'num_processes': 2, 'process_id': 1, 'cluster_detection_method': 'deactivate'}
    """
    coordinator, count, number = (environment.get(name, "").strip() for name in _VARIABLES)
    if coordinator == "auto":  # Cloud TPU, Kubernetes, and whatever else JAX finds by itself
        return {}
    if coordinator or count or number:
        host, _, port = coordinator.rpartition(":")
        if not (host and port.isdigit() and count.isdigit() and number.isdigit() and int(number) < int(count)):
            given = ", ".join(f"{name}={environment.get(name, '')}" for name in _VARIABLES)
            raise UserError(
                f"{given} do not say which process of how many this is; give HOST:PORT, their number N, and 0 to N-1."
            )
        return {
            "coordinator_address": coordinator,
            "num_processes": int(count),
            "process_id": int(number),
            "cluster_detection_method": "deactivate",
        }
    # The tasks of the step, not of the job: a shell inside an allocation of many tasks is a single one.
    if int(environment.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        return {"cluster_detection_method": "slurm"}
    if int(environment.get("OMPI_COMM_WORLD_SIZE") or 1) > 1:
        if "OMPI_MCA_orte_hnp_uri" not in environment:  # JAX finds its coordinator by it; Open MPI 5 has it no more
            raise UserError(
                "Open MPI started several processes but does not say where they meet; set JAXTL_COORDINATOR=HOST:PORT, "
                "JAXTL_PROCESSES=$OMPI_COMM_WORLD_SIZE and JAXTL_PROCESS=$OMPI_COMM_WORLD_RANK in each."
            )
        return {"cluster_detection_method": "ompi"}
    return None


def together(work: Callable[[], int]) -> int:
    """Do the work of a command, in all processes of the run if there are several; it must not have used JAX yet.

    They end together: after a mistake or a fault in one of them, which is told once, the others end as well, whatever
    they are waiting for. Then this function does not return, as an orderly end would wait for them in turn.

    Args:
      work: gives the exit status.

    Returns:
      The status that ``work`` gave.

    Raises:
      UserError: the processes do not find each other; or, in a process that computes alone, whatever ``work`` raises.
      Interrupted: from ``work``, in the first process; the others end silently.
    """
    found = arguments(os.environ)
    if found is None:
        return work()
    _join(found)
    watch = threading.Thread(target=_end_with_the_others, daemon=True)
    watch.start()
    try:
        status = work()
    except Interrupted as stopped:  # all have agreed on it
        told = first()
        _part(watch)
        if told:
            raise
        sys.exit(128 + (stopped.stop.signal or 0))
    except UserError as error:
        _end_all(f"jaxtl: {error}", 2)
    except KeyboardInterrupt:
        _end_all("Stopped at once; the same command goes on from the last checkpoint.", 130)
    except SystemExit as error:  # argparse, which has said what there is to say
        _end_all("", error.code if isinstance(error.code, int) else 1 if error.code else 0)
    except BaseException:
        _end_all(traceback.format_exc().rstrip(), 1)
    _part(watch)
    return status


def _join(found: Mapping[str, Any]) -> None:
    # JAX's own watch for SIGTERM would take the signal from the training loop, which agrees on it by itself.
    jax.config.update("jax_enable_preemption_service", False)
    # Not by JAX's own deadline, at which it aborts the process.
    patience = threading.Timer(_PATIENCE_S, _give_up)
    patience.daemon = True
    patience.start()
    try:
        jax.distributed.initialize(**found, initialization_timeout=2 * _PATIENCE_S)
    except (RuntimeError, ValueError) as error:
        raise UserError(_not_found(" ".join(str(error).split())[:200])) from error
    finally:
        patience.cancel()


def _give_up() -> None:
    """End this process, whose main thread waits for the others."""
    print(f"jaxtl: {_not_found(f'not within {_PATIENCE_S} seconds')}", file=sys.stderr, flush=True)
    os._exit(2)


def _not_found(reason: str) -> str:
    return (
        f"The processes of the run did not find each other ({reason}); start all of them, with the same "
        "JAXTL_COORDINATOR=HOST:PORT that every host can reach."
    )


def _part(watch: threading.Thread) -> None:
    """Go apart in order: all have come to the end."""
    if first():
        store().key_value_set(_END, "")
    watch.join()
    jax.distributed.shutdown()


def _end_all(text: str, status: int) -> None:
    """End all processes; the first of them to come here tells why."""
    _ending.set()
    try:
        store().key_value_set(_END, json.dumps(status))
    except jax.errors.JaxRuntimeError:  # another was first, and its end may be the reason for this one
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            ended = store().blocking_key_value_get(_END, _WAIT_FOR_OTHERS_MS)
            status = json.loads(ended) if ended else status  # empty: all had come to the end
    else:
        print(text.encode(errors="backslashreplace").decode(), end="\n" if text else "", file=sys.stderr, flush=True)
    _leave(status)


def _end_with_the_others() -> None:
    """Wait, in a thread, for the end that a process declares, and end this one: its main thread may be waiting."""
    try:
        status = store().blocking_key_value_get(_END, AS_LONG_AS_IT_TAKES_MS)
    except jax.errors.JaxRuntimeError:  # the coordinator is gone; JAX ends this process for that
        return
    if status and not _ending.is_set():
        _leave(json.loads(status))


def _leave(status: int) -> None:
    """End this process without waiting for what its other threads wait for; the coordinator last."""
    client, number = store(), jax.process_index()
    gone = contextlib.suppress(jax.errors.JaxRuntimeError)  # a process that does not answer is beyond help
    with gone:
        client.key_value_set(f"{_END}/{number}", "", allow_overwrite=True)
    for other in range(jax.process_count()) if number == 0 else ():
        with gone:
            client.blocking_key_value_get(f"{_END}/{other}", _WAIT_FOR_OTHERS_MS)
    if number == 0:
        # Who has said that it ends has still to do so, and JAX aborts it if the coordinator is gone.
        time.sleep(_LEAD_S)
    sys.stdout.flush()
    os._exit(status)
