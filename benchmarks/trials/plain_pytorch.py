"""What a user would write without this suite: a plain PyTorch fine-tuning on the same split. Peer of `real_faces.py`.

python benchmarks/trials/plain_pytorch.py FACES SPLITS_CSV WEIGHTS OUT_CSV [--epochs 10] [--seed 0]

timm model (channels-last), torchvision transforms (crop and flip), DataLoader, AdamW, OneCycle, cross-entropy; the last
epoch is evaluated on the golden part. Prints the seconds of training.
"""

import argparse
import time
from pathlib import Path

import pandas as pd
import timm
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Faces(Dataset):
    def __init__(self, root, table, classes, transform):
        self.root, self.paths, self.transform = Path(root), list(table["path"]), transform
        self.targets = [classes.index(label) for label in table["label"]]

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return self.transform(Image.open(self.root / self.paths[i]).convert("RGB")), self.targets[i]


def main(args):
    torch.manual_seed(args.seed)
    table = pd.read_csv(args.splits)
    classes = sorted(table["label"].unique())
    model = timm.create_model(f"local-dir:{args.weights}", pretrained=True)
    model.classifier = nn.Linear(model.num_features, len(classes))  # timm's own start of this head costs it dearly
    model.to(memory_format=torch.channels_last)
    data = timm.data.resolve_model_data_config(model)
    end = [transforms.ToTensor(), transforms.Normalize(data["mean"], data["std"])]
    crop = transforms.RandomResizedCrop(args.size, scale=(0.7, 1.0), ratio=(0.9, 1.11))
    augmented = transforms.Compose([crop, transforms.RandomHorizontalFlip(), *end])
    plain = transforms.Compose([transforms.Resize((args.size, args.size)), *end])
    parts = {"train": table[table["split"].isin(args.parts)], "golden": table[table["split"] == "golden"]}
    training = DataLoader(
        Faces(args.faces, parts["train"], classes, augmented), args.batch, shuffle=True, drop_last=True,
        num_workers=args.workers, persistent_workers=args.workers > 0,
    )  # fmt: skip
    testing = DataLoader(Faces(args.faces, parts["golden"], classes, plain), 128)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.epochs * len(training))
    loss_of, started = nn.CrossEntropyLoss(), time.perf_counter()
    model.train()
    for epoch in range(args.epochs):
        for pictures, targets in training:
            loss = loss_of(model(pictures), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} {time.perf_counter() - started:.0f} s", flush=True)
    seconds = time.perf_counter() - started
    model.eval()
    with torch.no_grad():
        shares = torch.cat([model(pictures).softmax(1) for pictures, _ in testing]).numpy()
    made = parts["golden"][["path", "label"]].assign(predicted=[classes[i] for i in shares.argmax(1)])
    made[[f"p_{name}" for name in classes]] = shares
    made.to_csv(args.out, index=False)
    print(f"seconds {seconds:.1f} accuracy {(made['predicted'] == made['label']).mean():.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("faces", "splits", "weights", "out"):
        parser.add_argument(name)
    for name, value in (("epochs", 10), ("seed", 0), ("size", 96), ("batch", 64), ("workers", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--parts", nargs="+", default=["train"], help="of the table, to be trained on")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.01)
    main(parser.parse_args())
