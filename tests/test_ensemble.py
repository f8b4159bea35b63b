import pytest
import torch

from emohelpers import config, models
from emohelpers.config.faces import Transfer
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.models.ensemble import Mixture


def net(seed, classes=EMOTIONS, **values):
    values = {
        "backbone": "test_resnet",
        "weights": "random",
        "trainable": "all",
        "unfreeze": {},
        "img_size": 32,
        **values,
    }
    made = models.build(config.make(Transfer, "demo", seed=seed, **values), classes)
    models.preprocess(made, side=32, zoom=1.0)
    return made.eval()


def test_it_is_the_mean_of_probabilities_over_nets_and_mirror_images():
    one, two, x = net(1), net(2), torch.randn(3, 3, 32, 32)
    views = [m(v).softmax(1) for m in (one, two) for v in (x, x.flip(3))]
    found = Mixture([one, two], mirrored=True)(x)
    assert torch.allclose(found.exp(), torch.stack(views).mean(0), atol=1e-6)
    assert torch.allclose(Mixture([one])(x), one(x).log_softmax(1), atol=1e-5)


def test_mirroring_makes_it_blind_to_left_and_right():
    x, mixture = torch.randn(3, 3, 32, 32), Mixture([net(1)], mirrored=True)
    assert torch.allclose(mixture(x), mixture(x.flip(3)), atol=1e-5)


@pytest.mark.parametrize("other", [{"img_size": 64}, {"classes": EMOTIONS[:4]}])
def test_nets_of_other_classes_or_pictures_are_refused(other):
    with pytest.raises(ValueError, match="2 models cannot be mixed"):
        Mixture([net(1), net(2, **other)])
