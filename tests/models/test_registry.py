import inspect

import pytest

from jaxtl.errors import UserError
from jaxtl.models import Classifier, build_model, list_models, model_options, option_types


def test_the_studies_small_networks_are_there():
    assert {"cnn", "custom_cnn", "bn_cnn", "logistic_regression"} <= set(list_models())
    assert list_models() == sorted(list_models())


def test_a_pattern_chooses_names():
    assert list_models("*_cnn") == ["bn_cnn", "custom_cnn"]
    assert list_models("nothing*") == []


@pytest.mark.parametrize("name", list_models())
def test_every_name_builds(name):
    model = build_model(name, 7)
    assert isinstance(model, Classifier)
    assert model.stage_names[-1] == "head"


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="no model 'bncnn'; did you mean 'bn_cnn'"):
        build_model("bncnn", 10)


def test_an_unknown_name_without_a_near_one_lists_all():
    with pytest.raises(
        UserError, match=r"no model 'xyzzy'; choose one of: bn_cnn, .*, logistic_regression, .*vgg19_cifar"
    ):
        build_model("xyzzy", 10)


def test_an_unknown_option_lists_those_there_are():
    with pytest.raises(UserError, match=r"cnn has no option 'droput'; it has: .*block_dropout, dropout"):
        build_model("cnn", 10, droput=0.1)


def test_a_negative_number_of_classes_is_refused():
    with pytest.raises(UserError, match="num_classes is -1"):
        build_model("cnn", -1)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"num_classes": "10"}, "num_classes is '10'"),
        ({"num_classes": True}, "num_classes is True"),
        ({"num_classes": 1.0}, "num_classes is 1.0"),
        ({"name": 18}, "There is no model 18"),
        ({"dtype": "float33"}, "dtype is 'float33', but networks compute in floating point"),
        ({"dtype": int}, "dtype is <class 'int'>"),
        ({"depths": ()}, r"depths of resnet18 is \(\), but it counts layers"),
        ({"depths": (0, 1)}, r"depths of resnet18 is \(0, 1\)"),
        ({"depths": 2}, "depths of resnet18 is 2, but must be a tuple, each element a whole number, for example"),
        (
            {"name": "cnn", "blocks": "x"},
            "blocks of cnn is 'x', but must be a tuple of tuples of whole numbers.",
        ),
        ({"width": "64"}, "width of resnet18 is '64', but must be a whole number"),
        ({"width": 0}, "width of resnet18 is 0"),
        ({"small_images": 1}, "small_images of resnet18 is 1, but must be True or False"),
        ({"head": 5}, "head is 5, but a head is 'linear', or a mapping"),
        ({"head": {"activation": ["relu"]}}, r"head.activation is \['relu'\], but must be one of"),
        ({"head": {"hidden": (True,)}}, r"head.hidden is \(True,\)"),
    ],
)
def test_values_of_the_wrong_kind_are_refused(options, fault):
    with pytest.raises(UserError, match=fault):
        build_model(**({"name": "resnet18", "num_classes": 3} | options))


def test_lists_are_as_good_as_tuples():
    assert build_model("cnn", 3, blocks=[[4, 5]]).backbone[0][1].args[0] == (4, 5)


def test_options_carry_the_variants_own_defaults():
    assert model_options("cnn")["dropout"] == 0.5
    assert model_options("custom_cnn")["dropout"] == 0.0
    assert model_options("bn_cnn")["norm"] == "after_pool"
    assert not any(default is inspect.Parameter.empty for default in model_options("cnn").values())


def test_every_option_has_a_type():
    assert option_types("cnn").keys() == model_options("cnn").keys()
    assert option_types("cnn")["dropout"] is float
