"""Transfer-learning image classification in pure functional JAX."""

from jaxtl.runtime.interrupts import end_on_interrupt, is_command

if is_command():
    end_on_interrupt()  # before the imports that take long; the command lets it raise again
# isort: split

from jaxtl.create import create_model
from jaxtl.data import Dataset, ImageOptions, load_dataset
from jaxtl.errors import UserError
from jaxtl.experiment import run
from jaxtl.models import list_models, register_model
from jaxtl.runs.finished import LoadedRun, load_run
from jaxtl.train.observer import Observer
from jaxtl.weights import weights_for

__version__ = "0.2.0"

__all__ = [
    "Dataset",
    "ImageOptions",
    "LoadedRun",
    "Observer",
    "UserError",
    "__version__",
    "create_model",
    "list_models",
    "load_dataset",
    "load_run",
    "register_model",
    "run",
    "weights_for",
]
