"""emohelpers/datasets/detection/yunet.onnx from the weights inside libfacedetection, a C++ library (BSD 3-clause).

    python -m pip download --no-deps yuface==2023.5.1    # a wheel that carries libfacedetection.so
    unzip yuface-*.whl yuface/libfacedetection.so
    python scripts/yunet.py yuface/libfacedetection.so emohelpers/datasets/detection/yunet.onnx

The library exports each layer's weights as an array. The net around them is the paper's (YuNet, 2023), and the names of
its outputs are those that OpenCV's FaceDetectorYN expects. The boxes are the library's own, to the pixel.
"""

import argparse
import ctypes
import subprocess
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

OUTPUTS = ("cls", "obj", "bbox", "kps")  # a face's class, objectness, box and five points
STRIDES = (8, 16, 32)


class Weights:
    """The arrays of the library, by layer."""

    def __init__(self, library: Path):
        symbols = subprocess.run(["nm", "-D", "-S", str(library)], capture_output=True, text=True, check=True).stdout
        fields = [line.split() for line in symbols.splitlines()]
        self.sizes = {parts[3]: int(parts[1], 16) // 4 for parts in fields if len(parts) == 4 and parts[2] == "D"}
        self.library = ctypes.CDLL(str(library.resolve()))

    def __getitem__(self, name: str) -> Tensor:
        array = (ctypes.c_float * self.sizes[name]).in_dll(self.library, name)
        return torch.from_numpy(np.array(array, np.float32))


class Separable(nn.Module):
    """A pointwise convolution, then a depthwise one of 3x3, the other way round than usual."""

    def __init__(self, weights: Weights, name: str, activation: bool = True):
        super().__init__()
        bias = weights[f"{name}_pw_bias"]
        channels = len(bias)
        pointwise = weights[f"{name}_pw_weight"].reshape(channels, -1, 1, 1)
        depthwise = weights[f"{name}_dw_weight"].reshape(3, 3, channels).permute(2, 0, 1)[:, None]
        self.pointwise = convolution(pointwise, bias)
        self.depthwise = convolution(depthwise, weights[f"{name}_dw_bias"], padding=1, groups=channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.pointwise(x))
        return F.relu(x) if self.activation else x


def convolution(weight: Tensor, bias: Tensor, **options: int) -> nn.Conv2d:
    out, channels, height, width = weight.shape
    layer = nn.Conv2d(channels * options.get("groups", 1), out, (height, width), **options)
    layer.load_state_dict({"weight": weight.contiguous(), "bias": bias})
    return layer


class YuNet(nn.Module):
    """(1, 3, H, W) BGR, 0 to 255, sides that 32 divides -> an output and stride each (1, H W / stride^2, channels)."""

    def __init__(self, weights: Weights):
        super().__init__()
        # Rows of 27 values (row, column, channel), filled up to 32.
        stem = weights["backbone__model0_pw_weight"].reshape(16, 32)[:, :27].reshape(16, 3, 3, 3).permute(0, 3, 1, 2)
        self.stem = convolution(stem, weights["backbone__model0_pw_bias"], stride=2, padding=1)
        self.first = Separable(weights, "backbone__model0_dp")
        blocks = [[Separable(weights, f"backbone__model{i}_dp{part}") for part in (1, 2)] for i in range(1, 6)]
        self.stages = nn.ModuleList(nn.Sequential(*block) for block in blocks)
        self.neck = nn.ModuleList(Separable(weights, f"neck__lateral_convs__{i}") for i in range(3))
        self.heads = nn.ModuleList(
            Separable(weights, f"bbox_head__multi_level_{output}__{i}", activation=False)
            for output in OUTPUTS
            for i in range(3)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.max_pool2d(self.first(F.relu(self.stem(x))), 2)
        eighth = self.stages[2](F.max_pool2d(self.stages[1](self.stages[0](x)), 2))
        sixteenth = self.stages[3](F.max_pool2d(eighth, 2))
        coarse = self.neck[2](self.stages[4](F.max_pool2d(sixteenth, 2)))
        middle = self.neck[1](sixteenth + F.interpolate(coarse, scale_factor=2.0))
        fine = self.neck[0](eighth + F.interpolate(middle, scale_factor=2.0))
        maps = [head(level) for head, level in zip(self.heads, (fine, middle, coarse) * len(OUTPUTS), strict=True)]
        rows = [m.permute(0, 2, 3, 1).reshape(1, -1, m.shape[1]) for m in maps]
        return (*(row.sigmoid() for row in rows[:6]), *rows[6:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    net = YuNet(Weights(args.library)).eval()
    names = [f"{output}_{stride}" for output in OUTPUTS for stride in STRIDES]
    # OpenCV below 4.11 reads no shapes that are computed: the graph is drawn for one size, and then takes any.
    torch.onnx.export(
        net, torch.zeros(1, 3, 640, 640), args.out, input_names=["input"], output_names=names, opset_version=11,
        dynamo=False,
    )  # fmt: skip
    model = onnx.load(args.out)
    _, _, height, width = model.graph.input[0].type.tensor_type.shape.dim
    height.dim_param, width.dim_param = "height", "width"
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = "anchors"
    onnx.checker.check_model(model)
    onnx.save(model, args.out)


if __name__ == "__main__":
    main()
