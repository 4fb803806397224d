"""The nine classes that CIFAR-10 and STL-10 share, under the name that each gives them.

They are in one order, so that as ``data.classes`` they give both data sets the same labels. CIFAR-10 also has frogs,
STL-10 monkeys.
"""

from collections.abc import Mapping

SHARED_CLASSES: Mapping[str, tuple[str, ...]] = {
    "cifar10": ("airplane", "bird", "automobile", "cat", "deer", "dog", "horse", "ship", "truck"),
    "stl10": ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "ship", "truck"),
}
