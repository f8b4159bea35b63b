import bars
import pytest
import torch

from emohelpers import models, train
from emohelpers.train import objectives, study
from emohelpers.train.distil import Distillation


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """Faces, and a teacher's checkpoint."""
    home = tmp_path_factory.mktemp("taught")
    cfg = bars.settings(bars.manifest(home / "set"), epochs=6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOHELPERS_OUTPUTS", str(home / "outputs"))
        faces = study.prepare(cfg)
    return cfg, faces, study.fit(cfg, faces, home / "teacher", quiet=True).checkpoint


def test_the_loss_is_the_papers(taught):
    cfg, faces, teacher = taught
    student, _ = study.build(cfg, faces)
    objective = study.objective(cfg.model_copy(update={"teacher": str(teacher)}), faces, student)
    plain = objectives.Classification.of(cfg, faces.classes, faces.part("train")["label"])
    torch.manual_seed(0)
    x, y, logits = torch.randn(6, 3, 32, 32), torch.arange(6), torch.randn(6, 8)
    mixed, both = objective.mix(x, y)
    t, share = cfg.teacher_temperature, cfg.teacher_share
    wise = (models.load(teacher).eval()(x) / t).softmax(1)
    kl = (wise * (wise.log() - (logits / t).log_softmax(1))).sum(1).mean()
    assert torch.equal(mixed, x) and both.shape == (6, 2, 8)
    expected = (1 - share) * plain.loss(logits, y) + share * t * t * kl
    assert torch.allclose(objective.loss(logits, both), expected, atol=1e-5)
    assert objective.running(logits, both)["accuracy"] == (logits.argmax(1) == y).float().mean()


def test_a_taught_student_comes_closer_to_its_teacher_and_the_teacher_stays(taught, tmp_path):
    cfg, faces, teacher = taught
    kept = teacher.read_bytes()
    values = {"backbone": "test_efficientnet", "epochs": 3, "seed": 1}
    alone = cfg.model_copy(update=values)
    with_teacher = alone.model_copy(update={"teacher": str(teacher), "teacher_share": 1.0})
    _, parts = study.build(cfg, faces)
    told = torch.from_numpy(train.probabilities(models.load(teacher), parts["val"]))
    gaps = []
    for settings in (alone, with_teacher):
        done = study.fit(settings, faces, tmp_path / "student", quiet=True)
        found = torch.from_numpy(train.probabilities(done.model, parts["val"]))
        gaps.append((told * (told.clamp_min(1e-9).log() - found.clamp_min(1e-9).log())).sum(1).mean())
    assert gaps[1] < gaps[0]
    assert teacher.read_bytes() == kept
    assert len(list((tmp_path / "student" / "checkpoints").iterdir())) == 2, "another objective is another run"


def test_the_teacher_sees_the_pictures_in_its_own_normalisation(taught):
    cfg, faces, teacher = taught
    student, _ = study.build(cfg, faces)
    plain = study.objective(cfg.model_copy(update={"teacher": str(teacher)}), faces, student)
    student.spec["preprocess"] |= {"mean": [0.1, 0.2, 0.3], "std": [0.9, 0.8, 0.7]}
    other = study.objective(cfg.model_copy(update={"teacher": str(teacher)}), faces, student)
    own = models.load(teacher).spec["preprocess"]
    grey, y = torch.rand(4, 3, 32, 32), torch.arange(4)

    def normal(mean, std):
        return (grey - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    one, two = (
        plain.mix(normal(own["mean"], own["std"]), y)[1],
        other.mix(normal([0.1, 0.2, 0.3], [0.9, 0.8, 0.7]), y)[1],
    )
    assert torch.allclose(one, two, atol=1e-5)


def test_a_teacher_that_does_not_fit_is_refused(taught, tmp_path):
    cfg, faces, teacher = taught
    student, _ = study.build(cfg, faces)
    named = cfg.model_copy(update={"teacher": str(teacher)})
    with pytest.raises(models.WeightsError, match="label order"):
        Distillation.of(named, faces.classes[:4], ["anger"], student)
    larger, _ = study.build(cfg.model_copy(update={"img_size": 64}), faces)
    with pytest.raises(models.WeightsError, match="sees 32 px, the student img_size=64"):
        Distillation.of(named, faces.classes, list(faces.part("train")["label"]), larger)
    with pytest.raises(FileNotFoundError, match="teacher must be a checkpoint"):
        Distillation.of(cfg.model_copy(update={"teacher": str(tmp_path / "no.pth")}), faces.classes, ["anger"], student)
