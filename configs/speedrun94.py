"""CIFAR-10 from scratch to about 94 % in ten epochs, by the technique of cifar10-airbench.

| | |
|---|---|
| Reported | 94.01 % on average of 1,000 runs, 3.09 s on an A100 GPU |
| Ours | 93.97 % (95 % interval 93.49 to 94.42), float32 (`python -m benchmarks.speedrun --seeds 1`) |
| Measured with | seed 0 alone, AMD EPYC, 2 cores shared with other work, 29 min 46 s of training, compilation apart |
| Command | `python -m jaxtl.main --config configs/speedrun94.py --workdir runs/speedrun94` |

The recipe is that of ``airbench94_compiled.py`` (Jordan 2024, https://arxiv.org/abs/2404.00498;
https://github.com/KellerJordan/cifar10-airbench). On a GPU, and ten seeds: not measured.

The network is `whitened_cnn`: its first convolution whitens 2x2 patches of the first 5,000 training images and is
frozen; the six others begin as identities where they can. SGD with Nesterov momentum and L2 decay; the rate rises for
2.3 epochs from a fifth of it and falls to 7 % of it; biases of batch norm learn 64 times as fast; every five steps the
weights return to their slow mean. Label smoothing of 0.2; a random half of the images is mirrored, and the other half
in the next epoch; crops from two pixels of reflected border. A test image is classified by six views of it.

What differs from the original: 10 epochs instead of 9.9, the last batch of an epoch filled up instead of dropped; the
bias of the first layer trains to the end, where theirs rests after three epochs to save time; biases do not decay;
batch norm has an epsilon of 1e-5 and its running statistics are not part of the slow mean.

`python -m benchmarks.speedrun` runs it with ten seeds. On a GPU add `--config.model.dtype=bfloat16`.
"""

from ml_collections import ConfigDict

from jaxtl.config import default_config, phase


def get_config() -> ConfigDict:
    """airbench94."""
    config = default_config()
    config.name = "speedrun94 on CIFAR-10 (cifar10-airbench)"
    config.reported = "94.01 %; 3.09 s on an A100 GPU"
    config.data.mean = (0.4914, 0.4822, 0.4465)
    config.data.std = (0.2470, 0.2435, 0.2616)
    config.data.validation = 0.0
    config.batch_size = 1024
    config.model.name = "whitened_cnn"
    config.model.options = {"head": {"bias": False}}
    config.model.whiten = 5000
    config.model.test_views = "mirror+shift"
    # airbench states 11.5 for the step of 1,024 images' summed loss as if momentum did not lengthen it, and a decay of
    # 0.0153 apart from the rate; here the loss is a mean, and momentum and rate act as they do in SGD.
    longer = 1 + 1 / (1 - 0.85)
    config.phases = (
        phase(
            train=("stem", "stage1", "stage2", "stage3", "head"),
            epochs=10,
            optimizer="sgd",
            learning_rate=11.5 / longer,
            momentum=0.85,
            nesterov=True,
            weight_decay=0.0153 / 11.5,
            bias_multiplier=64.0,
            multipliers={"stem": 1 / 64},
            schedule="linear",
            warmup_epochs=2.3,
            warmup_factor=0.2,
            final_factor=0.07,
            lookahead=5,
            label_smoothing=0.2,
            flip=True,
            alternate_flip=True,
            crop=2,
            crop_border="reflect",
            keep="last",
        ),
    )
    return config
