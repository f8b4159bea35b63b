"""The two ways in which contenders read pictures: files through PIL, as documentation shows it, or decoded before."""

from pathlib import Path

import numpy as np
import torch
from job import MEAN, STD, Job, decoded
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.transforms import v2


class Files(Dataset):
    """Opens, crops, mirrors and normalises one file at a time."""

    def __init__(self, paths: list[Path], labels: np.ndarray, size: int):
        self.paths, self.labels = paths, labels
        crop = transforms.RandomResizedCrop(size, (0.8, 1.0), (0.9, 1.11))
        flip, tensor = transforms.RandomHorizontalFlip(), transforms.ToTensor()
        self.transform = transforms.Compose([crop, flip, tensor, transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.open(self.paths[i]).convert("RGB")), int(self.labels[i])


class Decoded(Dataset):
    """The same from uint8 tensors in memory, by torchvision's second generation."""

    def __init__(self, paths: list[Path], labels: np.ndarray, size: int):
        self.pictures, self.labels = decoded(paths, 96), labels
        crop = v2.RandomResizedCrop(size, (0.8, 1.0), (0.9, 1.11), antialias=False)
        flip, tensor = v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)
        self.transform = v2.Compose([crop, flip, tensor, v2.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures[i]), int(self.labels[i])


def dataset(job: Job, variant: str, paths: list[Path], labels: np.ndarray) -> Dataset:
    """The training pictures as this variant reads them."""
    return (Decoded if variant == "tuned" else Files)(paths, labels, job.size)
