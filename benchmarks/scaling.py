"""How training scales over devices and processes: the train step of one network, weakly and strongly.

    python -m benchmarks.scaling --model resnet18_cifar
    python -m benchmarks.scaling --devices 1,2,4 --processes 1,2 --json scaling.json

Strong scaling keeps the batch and shares it among more devices, weak scaling keeps the batch of a device. Efficiency is
the rate a device, over that of the first line: 100 % would be perfect. Every line is measured in processes of its own,
as the number of devices is fixed when JAX starts.

On a machine without accelerators, JAX is made to see one CPU as several devices. They share its cores: their efficiency
says what the partitioned program and its exchange of gradients cost, and nothing about any hardware.
"""

import argparse
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax

from jaxtl.data.augment import normalise
from jaxtl.data.dataset import Dataset
from jaxtl.models import build_model
from jaxtl.runtime.command import at_least_one, exit_status
from jaxtl.runtime.environment import describe
from jaxtl.runtime.mesh import data_mesh, put, replicated
from jaxtl.runtime.processes import is_main_process, run_together, wait_for_all
from jaxtl.train.examples import batches, place
from jaxtl.train.optimizer import make_optimizer
from jaxtl.train.state import init_state
from jaxtl.train.step import make_train_step
from jaxtl.transfer import Phase

ROOT = pathlib.Path(__file__).parents[1]
PROBE = "import jax; print(jax.default_backend(), jax.device_count())"


def measure(arguments: argparse.Namespace) -> int:
    """Time train steps on all devices of all processes; the first process writes what it found."""
    size, batch = arguments.image_size, arguments.batch
    mesh = data_mesh(batch)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
    dataset = Dataset(images, rng.integers(0, 10, batch, np.int32), tuple("0123456789"))
    model = build_model(arguments.model, 10)
    variables = {"batch_stats": {}, **jax.jit(model.init)(jax.random.key(0), np.zeros((1, size, size, 3), np.float32))}
    optimizer = make_optimizer(Phase(optimizer="sgd"), optax.constant_schedule(0.01))
    transform = Phase(flip=True, crop=4).transform(normalise([0.5] * 3, [0.5] * 3))
    step = make_train_step(model, optimizer, transform, mesh=mesh)
    state = init_state(variables["params"], variables["batch_stats"], optimizer, 10)
    state = put(jax.tree.map(np.array, state), replicated(mesh))
    frozen: dict[str, Any] = {"params": {}, "batch_stats": {}}
    inputs, labels, order, _ = next(batches(place(dataset, mesh), batch, (0,), mesh))
    key = jax.random.key(0)
    compiled = step.lower(state, frozen, inputs, labels, order, key).compile()
    wait_for_all()
    seconds = []
    for _ in range(arguments.repeats + 1):
        start = time.perf_counter()
        for _ in range(arguments.steps):
            state = compiled(state, frozen, inputs, labels, order, key)
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - start)
    if is_main_process():  # the first repeat warms up
        rate = batch * arguments.steps / statistics.median(seconds[1:])
        found = {"images_per_s": rate, "devices": mesh.size, "environment": describe()}
        arguments.worker.write_text(json.dumps(found))
    return 0


def run(arguments: argparse.Namespace, devices: int, processes: int, batch: int, *, accelerators: bool) -> dict:
    """The figures of one line, measured in processes of their own."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        result, port = pathlib.Path(folder) / "found.json", free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "benchmarks.scaling", "--worker", str(result), "--batch", str(batch)]
        for name in ("model", "image_size", "steps", "repeats"):
            command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
        started, share = [], devices // processes
        for number in range(processes):
            environment = dict(os.environ)
            if accelerators:
                visible = (environment.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(devices)))).split(",")
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible[number * share : (number + 1) * share])
            else:
                forced = f"{environment.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={share}".strip()
                environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": forced}
            if processes > 1:
                environment |= {"JAXTL_COORDINATOR": f"127.0.0.1:{port}"}
                environment |= {"JAXTL_PROCESSES": str(processes), "JAXTL_PROCESS": str(number)}
            started.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, cwd=ROOT))
        statuses = [process.wait() for process in started]
        if any(statuses):
            sys.exit(f"{devices} devices in {processes} processes could not be measured; see above.")
        found: dict = json.loads(result.read_text())
    return found


def numbers(text: str) -> list[int]:
    """Numbers with commas between them."""
    return [int(part) for part in text.split(",")]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18_cifar")
    parser.add_argument("--devices", type=numbers, default=[1, 2, 4, 8], help="default: 1,2,4,8")
    parser.add_argument("--processes", type=numbers, default=[1], help="that share the devices, default: 1")
    parser.add_argument("--batch", type=at_least_one, default=128, help="all devices' in strong scaling, one's in weak")
    parser.add_argument("--image-size", type=at_least_one, default=32)
    parser.add_argument("--steps", type=at_least_one, default=5, help="between two looks at the clock")
    parser.add_argument("--repeats", type=at_least_one, default=5, help="the median of so many counts")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures here too")
    parser.add_argument("--worker", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write JSON where asked to."""
    arguments = parse(argv)
    return exit_status(lambda: _command(arguments))


def _command(arguments: argparse.Namespace) -> int:
    if arguments.worker:
        return run_together(lambda: measure(arguments))
    backend, count = subprocess.check_output([sys.executable, "-c", PROBE], text=True).split()
    accelerators = backend != "cpu"
    note = (
        f"{backend}, {count} devices" if accelerators else f"one CPU of {os.cpu_count()} cores, shared by all devices"
    )
    print(f"{arguments.model}, {arguments.image_size} pixels, batch {arguments.batch}, on {note}\n")
    print(f"{'scaling':8}{'processes':>10}{'devices':>9}{'batch':>7}{'images/s':>12}{'speed':>8}{'efficiency':>12}")
    lines, measured = [], {}
    for scaling in ("strong", "weak"):
        base: tuple[int, float] | None = None
        for processes in arguments.processes:
            for devices in arguments.devices:
                batch = arguments.batch * (devices if scaling == "weak" else 1)
                if devices % processes or batch % devices or (accelerators and devices > int(count)):
                    continue
                case = devices, processes, batch
                if case not in measured:  # one device is where both begin
                    measured[case] = run(arguments, *case, accelerators=accelerators)
                rate = measured[case]["images_per_s"]
                base = base or (devices, rate)
                speed = rate / base[1]
                line = {"scaling": scaling, "processes": processes, "devices": devices, "batch": batch}
                line |= {"images_per_s": rate, "speed": speed, "efficiency": speed * base[0] / devices}
                lines.append(line)
                print(
                    f"{scaling:8}{processes:>10}{devices:>9}{batch:>7}{rate:>12,.1f}{speed:>8.2f}"
                    f"{100 * line['efficiency']:>10.0f} %",
                    flush=True,
                )
    if not accelerators:
        print("\nThe devices share the cores of one CPU, so that this efficiency says nothing about hardware.")
    if arguments.json:
        environment: dict = next((found["environment"] for found in measured.values()), {})
        written = {"forced_cpu_devices": not accelerators, "lines": lines, "environment": environment}
        arguments.json.write_text(json.dumps(written, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
