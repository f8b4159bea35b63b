import copy
import importlib
import json
import os

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import nn

from emohelpers import config, models
from emohelpers.config.faces import Baseline
from emohelpers.datasets.labels import EMOTIONS
from emohelpers.images.preprocess import Preprocess

freeze_file = importlib.import_module("emohelpers.models.freeze")  # the room's `freeze` is its function


def settings(**values):
    return config.make(Baseline, "demo", **{"weights": "random", "trainable": "all", **values})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights as an attached data set holds them: timm's local form."""
    place = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    save_for_hf(timm.create_model("test_vit", num_classes=10), place, safe_serialization=True)
    return place


def test_the_head_is_the_seeds(folder):
    model = models.build(settings(weights=str(folder), trainable=2, head_width=512), EMOTIONS)
    kinds = [type(layer) for layer in model.head]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Dropout, nn.Linear]
    assert (model.head[0].in_features, model.head[0].out_features, model.head[4].out_features) == (64, 512, 8)
    assert model.head[3].p == 0.3 and model(torch.zeros(2, 3, 96, 96)).shape == (2, 8)


def test_the_seeds_own_model_has_the_published_sizes():
    """86,197,512 parameters, 14,576,136 of them trained: the figures of the original notebook."""
    with torch.device("meta"):
        model = models.build(settings(backbone="vit_base_patch16_224", img_size=224, head_width=512), EMOTIONS)
    assert models.freeze(model, 2) == "head+2"
    assert models.count(model) == {"parameters": 86_197_512, "trainable": 14_576_136}


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet", "test_convnext", "mobilenetv2_100"])
@pytest.mark.parametrize("trainable", [0, 1, 2, "all"])
def test_freezing_leaves_the_last_stages_and_moves_nothing_else(name, trainable):
    model = models.build(settings(backbone=name, head="linear", img_size=64), EMOTIONS)
    models.freeze(model, trainable)
    models.training_mode(model)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        model(torch.randn(4, 3, 64, 64)).square().sum().backward()
        optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    moving = set(models.moving(model))
    assert changed <= moving, f"moved although frozen: {sorted(changed - moving)[:4]}"
    assert models.head_parameters(model) <= moving
    assert (moving == set(before)) == (trainable == "all")


def test_more_stages_trainable_means_strictly_more_parameters():
    model = models.build(settings(backbone="test_resnet", head="linear"), EMOTIONS)
    sizes = []
    for trainable in (0, 1, 2, 3, "all"):
        models.freeze(model, trainable)
        sizes.append(models.count(model)["trainable"])
    assert sizes == sorted(set(sizes)) and sizes[-1] == models.count(model)["parameters"]


def test_frozen_parts_are_in_eval_mode_dropout_and_droppath_included():
    model = models.build(settings(), EMOTIONS)
    models.freeze(model, 1)
    models.training_mode(model)
    frozen = [m for block in model.blocks[:5] for m in block.modules()]
    assert not any(m.training for m in frozen) and model.blocks[5].training and model.head.training
    assert not model.patch_embed.training


@pytest.mark.parametrize("name", ["mobilenetv2_035", "efficientnet_lite0", "resnet18", "mobilenetv3_small_050"])
def test_out_of_place_changes_no_bit_of_output_or_gradient(name):
    torch.manual_seed(0)
    usual = timm.create_model(name, num_classes=8).train().to(memory_format=torch.channels_last)
    own = copy.deepcopy(usual)
    models.out_of_place(own)
    assert any(getattr(m, "inplace", False) for m in usual.modules())
    assert not any(getattr(m, "inplace", False) for m in own.modules())
    pictures = 4 * torch.randn(8, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    for model in (usual, own):
        torch.manual_seed(1)  # of dropout
        model(pictures).square().sum().backward()
    for (at, p), (_, q) in zip(usual.named_parameters(), own.named_parameters(), strict=True):
        assert torch.equal(p.grad, q.grad), at
    assert all(torch.equal(a, b) for a, b in zip(usual.buffers(), own.buffers(), strict=True))


@pytest.mark.parametrize("name, found", [("mobilenetv2_035", 4), ("tf_efficientnet_b0", 11), ("resnet18", 0)])
def test_depthwise_convolutions_that_bf16_slows_down_compute_in_fp32(name, found):
    """Those with a stride or a wide kernel, also those that pad like TensorFlow; only inside the context."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=8).train()
    pictures, seen = torch.randn(4, 3, 64, 64), {}

    def look(module, inputs, output):
        seen[module] = (output.dtype, output.grad_fn)

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(look)
    with models.depthwise_in_fp32(model):
        own = [m for m in model.modules() if "forward" in vars(m)]
        copied = copy.deepcopy(model)
        with torch.autocast("cpu", torch.bfloat16):
            model(pictures).sum().backward()
    assert len(own) == found and not any("forward" in vars(m) for m in model.modules())
    for module, (dtype, grad) in seen.items():
        cast_back = "ToCopy" in type(grad).__name__  # computed in fp32, handed on in bf16
        assert dtype == torch.bfloat16 and cast_back == (module in own), module
    assert all(p.grad.isfinite().all() for p in model.parameters())
    for module, its in zip(model.modules(), copied.modules(), strict=True):
        assert module not in own or its.forward.__self__ is its  # a copy computes with weights of its own


def test_depthwise_in_fp32_gives_the_gradients_of_fp32():
    conv = torch.nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=16)
    inputs = torch.randn(2, 16, 8, 8).bfloat16().requires_grad_()
    with models.depthwise_in_fp32(conv), torch.autocast("cpu", torch.bfloat16):
        output = conv(inputs)
    output.float().square().sum().backward()
    whole = inputs.detach().float().requires_grad_()
    found, conv.weight.grad = conv.weight.grad, None
    conv(whole).to(torch.bfloat16).float().square().sum().backward()
    assert output.dtype == torch.bfloat16 and torch.equal(found, conv.weight.grad)
    assert torch.equal(inputs.grad, whole.grad.bfloat16())


def test_mean_std_and_interpolation_are_asked_of_the_weights_not_typed(folder, tmp_path):
    found = json.loads((folder / "config.json").read_text())
    found["pretrained_cfg"] |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic"}
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(found))
    made = models.preprocess(models.build(settings(weights=str(tmp_path)), EMOTIONS), side=48, zoom=1.0)
    assert made == Preprocess(48, 96, 1.0, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic")


def test_local_weights_are_loaded_from_folder_and_file(folder):
    source = timm.create_model(f"local-dir:{folder}", pretrained=True)
    for place in (folder, folder / "model.safetensors"):
        model = models.build(settings(weights=str(place), img_size=160), EMOTIONS)
        assert torch.equal(model.blocks[3].attn.qkv.weight, source.blocks[3].attn.qkv.weight)


def test_weights_of_another_architecture_are_refused(folder):
    with pytest.raises(models.WeightsError, match=r"holds weights of 'test_vit', not of the backbone 'test_resnet'"):
        models.build(settings(backbone="test_resnet", weights=str(folder)), EMOTIONS)
    with pytest.raises(models.WeightsError, match="does not hold weights of this architecture.*tensors are not in it"):
        models.build(settings(backbone="test_resnet", weights=str(folder / "model.safetensors")), EMOTIONS)


def without(tensors, kind):
    """A file of weights as something went wrong with it."""
    if kind == "no BatchNorm statistics":
        return {name: tensor for name, tensor in tensors.items() if "running_" not in name}
    if kind == "no constant tensor":  # a BatchNorm's weight is one in every start
        return {name: tensor for name, tensor in tensors.items() if name != "layer1.0.bn1.weight"}
    if kind == "all zero":
        return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    if kind == "a stage zeroed":
        return {name: tensor * ("layer2" not in name) for name, tensor in tensors.items()}
    if kind == "further layers":
        return {**tensors, "layer1.9.conv1.weight": tensors["layer1.0.conv1.weight"].clone()}
    wrong = dict(tensors)
    wrong["layer1.0.conv1.weight"] = wrong["layer1.0.conv1.weight"].clone().fill_(float(kind))
    return wrong


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("no BatchNorm statistics", "tensors are not in it.*running_mean"),
        ("no constant tensor", "1 of .* tensors are not in it"),
        ("further layers", "1 of its own have no place"),
        ("all zero", "nothing but zeros"),
        ("a stage zeroed", "nothing but zeros"),
        ("nan", "holds NaN"),
        ("inf", "holds NaN, infinity"),
    ],
)
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_that_are_not_whole_are_refused(tmp_path, kind, reason, suffix):
    torch.manual_seed(0)
    tensors = timm.create_model("test_resnet", num_classes=1000).state_dict()
    file = tmp_path / f"weights.{suffix}"
    save = save_file if suffix == "safetensors" else torch.save
    save(tensors, file)
    built = models.build(settings(backbone="test_resnet", weights=str(file)), EMOTIONS)
    assert torch.equal(built.layer1[0].conv1.weight, tensors["layer1.0.conv1.weight"])
    save(without(tensors, kind), file)
    with pytest.raises(models.WeightsError, match=f"(?s){file.name} .*{reason}"):
        models.build(settings(backbone="test_resnet", weights=str(file)), EMOTIONS)


def test_a_checkpoint_with_nan_foreign_tensors_or_options_of_its_own_is_refused(tmp_path):
    model = models.build(settings(), EMOTIONS)
    with torch.no_grad():
        model.blocks[0].attn.qkv.weight[0, 0] = float("nan")
    with pytest.raises(models.WeightsError, match="holds NaN"):
        models.load(models.save(tmp_path / "nan.pth", model))
    model = models.build(settings(), EMOTIONS)
    model.spec["backbone"] = "test_resnet"
    with pytest.raises(models.WeightsError, match="does not hold the weights of its test_resnet"):
        models.load(models.save(tmp_path / "other.pth", model))
    model.spec = {**model.spec, "backbone": "test_vit", "options": {"checkpoint_path": "/tmp/evil.pth"}}
    with pytest.raises(models.WeightsError, match=r"may set .*embed_dim.*, not \['checkpoint_path'\]"):
        models.load(models.save(tmp_path / "option.pth", model))


@pytest.mark.parametrize("name", ["pit_ti_224", "poolformer_s12", "rdnet_tiny"])
def test_a_net_that_cannot_be_frozen_is_refused_before_any_training(name):
    with torch.device("meta"), pytest.raises(models.WeightsError, match=f"order the blocks of {name} run.*another"):
        models.build(settings(backbone=name, img_size=224), EMOTIONS)


@pytest.mark.parametrize("name", ["vit_little_patch16_reg4_gap_256", "vit_srelpos_small_patch16_224"])
def test_what_is_computed_before_the_blocks_is_not_trained_with_the_head(name, monkeypatch):
    grouped = freeze_file.group_parameters

    def older(model, *rest, **options):  # timm 1.0.19 leaves register tokens to the head
        layers = grouped(model, *rest, **options)
        return {name: max(layers.values()) if name == "reg_token" else layer for name, layer in layers.items()}

    monkeypatch.setattr(freeze_file, "group_parameters", older)
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=3)
    for trainable, early in (
        (0, ("patch_embed", "reg_token", "shared_rel_pos", "blocks")),
        (1, ("patch_", "reg_", "sh")),
    ):
        models.freeze(model, trainable)
        assert not [n for n, p in model.named_parameters() if p.requires_grad and n.startswith(early)]
    assert models.freeze(model, "all") == "all" and all(p.requires_grad for p in model.parameters())


def test_a_failed_download_is_an_error_with_the_remedy_never_a_random_net(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        models.WeightsError, match=r"could not be fetched .*\n?.*attach the weights and name their folder"
    ):
        models.build(settings(weights="hub"), EMOTIONS)


def test_a_random_trunk_is_never_frozen():
    with pytest.raises(models.WeightsError, match="would freeze a random trunk"):
        models.build(settings(trainable=2), EMOTIONS)


def test_an_unknown_backbone_names_its_neighbours():
    with pytest.raises(models.WeightsError, match="no model 'vit_base_patch16_223'.*vit_base_patch16_224"):
        models.build(settings(backbone="vit_base_patch16_223"), EMOTIONS)


def test_old_names_of_the_seeds_are_mapped():
    with torch.device("meta"):
        model = models.build(settings(backbone="tf_efficientnet_b3_ns", head="linear"), EMOTIONS)
    assert model.get_classifier().out_features == 8


@pytest.mark.parametrize("name, head", [("test_vit", "mlp"), ("test_resnet", "linear"), ("test_convnext", "mlp")])
def test_a_saved_model_comes_back_whole(tmp_path, name, head):
    model = models.build(settings(backbone=name, head=head), EMOTIONS)
    models.preprocess(model, side=48, zoom=1.0)
    models.save(tmp_path / "m.pth", model, epoch=3)
    back = models.load(tmp_path / "m.pth", classes=EMOTIONS, backbone=name)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 96, 96)).astype(np.float32))
    assert torch.equal(model.eval()(x), back.eval()(x))
    assert back.spec == model.spec and back.facts == {"epoch": 3}


def test_a_checkpoint_of_another_order_architecture_or_kind_is_refused(tmp_path):
    models.save(tmp_path / "m.pth", models.build(settings(), EMOTIONS))
    other = EMOTIONS[1:] + EMOTIONS[:1]
    with pytest.raises(models.WeightsError, match=r"label order \['anger'.*asked for \['contempt'"):
        models.load(tmp_path / "m.pth", classes=other)
    with pytest.raises(models.WeightsError, match="holds a test_vit, asked for a resnet50"):
        models.load(tmp_path / "m.pth", backbone="resnet50")
    torch.save({"state": 1}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no")
    for file in ("other.pth", "text.pth"):
        with pytest.raises(models.WeightsError, match=f"{file} is not a checkpoint of this suite"):
            models.load(tmp_path / file)


@pytest.mark.parametrize(
    "backbone, told", [("deit_tiny_distilled_patch16_224", "not the one classifier"), ("dpn48b", "not linear")]
)
def test_a_net_whose_head_cannot_be_replaced_says_so(backbone, told):
    with pytest.raises(models.WeightsError, match=f"{backbone}.*{told}"):
        models.build(settings(backbone=backbone, weights="random", trainable="all"), EMOTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "convnext_base", "tf_efficientnet_b3_ns", "vit_base_patch16_224"])
def test_full_size_backbones_take_a_step_in_their_last_stages_and_come_back_whole(tmp_path, name):
    model = models.build(settings(backbone=name, img_size=224, head_width=512), EMOTIONS)
    models.preprocess(model, side=224, zoom=1.0)
    models.freeze(model, 2)
    models.training_mode(model)
    inputs = torch.randn(4, 3, 224, 224)
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    model(inputs).square().mean().backward()
    optimizer.step()
    models.save(tmp_path / "m.pth", model)
    back = models.load(tmp_path / "m.pth", classes=EMOTIONS, backbone=name)
    with torch.no_grad():
        assert torch.equal(model.eval()(inputs), back.eval()(inputs))


STAGES = (0, 0.25, 0.5, 0.75, "all")  # seed 002: head, + layer4, + layer3, + layer2, all
FAMILIES = {
    "resnet50": [("fc",), ("layer4",), ("layer3",), ("layer2",), ("layer1", "conv1", "bn1")],
    "convnext_base": [("head",), ("stages.3",), ("stages.2",), ("stages.1",), ("stages.0", "stem")],
    "tf_efficientnet_b3_ns": [
        ("classifier",), ("blocks.6", "conv_head", "bn2", "blocks.5"), ("blocks.4", "blocks.3"),
        ("blocks.2", "blocks.1"), ("blocks.0", "conv_stem", "bn1"),
    ],
    "vit_base_patch16_224": [
        ("head",), ("blocks.9", "blocks.10", "blocks.11", "norm"), ("blocks.6", "blocks.7", "blocks.8"),
        ("blocks.3", "blocks.4", "blocks.5"),
        ("blocks.0", "blocks.1", "blocks.2", "patch_embed", "cls_token", "pos_embed"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("head", ["layernorm", "batchnorm"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_five_stages_of_every_family_are_those_of_the_seeds_table(name, head):
    with torch.device("meta"):
        model = models.build(settings(backbone=name, img_size=224, head=head), EMOTIONS)
    allowed: tuple[str, ...] = ()
    for stage, added in zip(STAGES, FAMILIES[name], strict=True):
        allowed += tuple(part if part in ("cls_token", "pos_embed") else f"{part}." for part in added)
        models.freeze(model, stage)
        for parameter, tensor in model.named_parameters():
            assert tensor.requires_grad == parameter.startswith(allowed), (stage, parameter)


def test_a_plan_of_stages_is_told_in_parameters():
    model = models.build(settings(backbone="test_resnet", head="linear"), EMOTIONS)
    rows = models.stages(model, {4: "all", 0: 0, 2: 0.5})
    told = [(row["from epoch"], row["trained"]) for row in rows]
    assert told == [(1, "head"), (3, "head+2"), (5, "all")]
    assert rows[0]["parameters"] < rows[1]["parameters"] < rows[2]["parameters"] and rows[2]["share"] == 1
    assert models.count(model)["trainable"] == rows[0]["parameters"], "the first stage is left set"


def test_the_newest_checkpoint_is_found_and_working_files_are_not(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint .*Train one first"):
        models.newest(tmp_path)
    for i, name in enumerate(("a/best.pth", "b/models/best_model.pth", "b/checkpoints/x/last.pth")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (i, i))
    assert models.newest(tmp_path) == tmp_path / "b/models/best_model.pth"
