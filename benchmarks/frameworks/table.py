"""The race as Markdown and as a picture, beside the floor and the cost model's predictions."""

import statistics

import matplotlib.pyplot as plt
from cost import CARDS, EPOCHS, VIEWS, minutes

JOBS = {"vit": "ViT-B/16 at 224, last two blocks", "resnet": "ResNet-50 at 224, whole"}
NAMES = {
    "hf_trainer": "Hugging Face Trainer", "lightning_module": "PyTorch Lightning", "fastai_learner": "fastai",
    "timm_style": "timm-style loop",
}  # fmt: skip
HEAD = "| contender | images/s | range | times the fastest tuned peer | peak memory | GFLOP an image | of the peak |"


def named(lane: str) -> str:
    """A contender and its variant, as its users call it."""
    contender, _, variant = lane.partition(", ")
    return f"{NAMES.get(contender, contender)}, {variant}"


def medians(job: dict) -> dict[str, float]:
    """Images/s of every contender, the fastest first."""
    speed = {lane: statistics.median(runs) for lane, runs in job["images_per_s"].items()}
    return dict(sorted(speed.items(), key=lambda item: -item[1]))


def table(told: dict) -> str:
    """The whole of benchmarks/results/frameworks.json as Markdown."""
    low, high = min(told["quality"].values()), max(told["quality"].values())
    lines = [f"Judged alike on drawn faces that none had seen, all contenders name {low:.1%} to {high:.1%} right."]
    for name in [name for name in JOBS if name in told]:
        lines += [
            "",
            f"**{JOBS[name]}**",
            "",
            HEAD,
            "|---|---|---|---|---|---|---|",
            *race(told[name], told["peak_gflops"]),
        ]
    return "\n".join([*lines, "", *(prediction(told["vit"], told["peak_gflops"]) if "vit" in told else [])])


def race(job: dict, peak: float) -> list[str]:
    """A line a contender, and the floors: operations that cannot be saved over what the machine multiplies."""
    speed, gflop = medians(job), job["gflop_per_image"]
    tuned = max((s for lane, s in speed.items() if lane.endswith("tuned")), default=float("nan"))
    lines = []
    for lane, value in speed.items():
        runs, per = job["images_per_s"][lane], gflop.get(lane.partition(", ")[2], next(iter(gflop.values())))
        spread, memory = f"{min(runs):.2f} to {max(runs):.2f}", f"{job['peak_gb'][lane]:.1f} GB"
        share = f"{value * per / peak:.0%}"
        lines.append(
            f"| {named(lane)} | {value:.2f} | {spread} | {value / tuned:.2f} | {memory} | {per:.1f} | {share} |"
        )
    for variant in [variant for variant in gflop if variant != "filling a view"]:
        most = peak / gflop[variant]
        lines.append(f"| *floor: {variant}* | {most:.2f} | | {most / tuned:.2f} | | {gflop[variant]:.1f} | 100% |")
    return lines


def prediction(vit: dict, peak: float) -> list[str]:
    """The cost model held against this machine, and its minutes for others."""
    speed, gflop = {lane.removeprefix("ours, "): value for lane, value in medians(vit).items()}, vit["gflop_per_image"]
    sustained = speed["recompute"] * gflop["recompute"]  # GFLOP/s: from this one measurement all others are predicted
    lines = [
        f"The cost model knows a machine by one figure, here the {sustained:.0f} GFLOP/s that recomputing sustains "
        f"({sustained / peak:.0%} of the peak), and predicts the rest:",
        "", "| ours | predicted images/s | measured | measured over predicted |", "|---|---|---|---|",
    ]  # fmt: skip
    for variant in ("shortcut", "cached", "cached + shortcut"):
        guess = sustained / gflop[variant]
        lines.append(f"| {variant} | {guess:.2f} | {speed[variant]:.2f} | {speed[variant] / guess:.2f} |")
    lines += [
        "", f"Minutes of {EPOCHS} epochs, {VIEWS} views, on other machines; modelled, not measured:", "",
        "| card | pictures | recompute | cached + shortcut, filling included |", "|---|---|---|---|",
    ]  # fmt: skip
    for card, (tflops, _) in CARDS.items():
        for pictures in (29_000, 290_000):
            told = (f"{value:.1f}" for value in minutes(gflop, pictures, tflops).values())
            lines.append(f"| {card} | {pictures:,} | {' | '.join(told)} |")
    return [*lines, "", *(f"{card}: {tflops:g} TFLOP/s ({source})." for card, (tflops, source) in CARDS.items())]


def plot(told: dict, path) -> None:
    """Images/s of every contender with their range, a panel a job."""
    jobs = [name for name in JOBS if name in told]
    figure, axes = plt.subplots(1, len(jobs), figsize=(6.4 * len(jobs), 4.2), layout="constrained", squeeze=False)
    for axis, name in zip(axes[0], jobs, strict=True):
        speed = medians(told[name])
        runs = [told[name]["images_per_s"][lane] for lane in speed]
        arms = [[value - min(r) for value, r in zip(speed.values(), runs, strict=True)],
                [max(r) - value for value, r in zip(speed.values(), runs, strict=True)]]  # fmt: skip
        colours = ["#2a6f97" if lane.startswith("ours") else "#b8b8b8" for lane in speed]
        axis.barh(
            [named(lane) for lane in speed], list(speed.values()), xerr=arms, color=colours, ecolor="#444444", capsize=2
        )
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
        axis.set(title=JOBS[name], xlabel="images/s, median and range of the rounds")
    figure.savefig(path, dpi=110)
    plt.close(figure)
