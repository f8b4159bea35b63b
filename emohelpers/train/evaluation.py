"""What a model says of every sample of a pass, each exactly once, whatever the number of processes."""

import torch
from accelerate import Accelerator
from numpy import ndarray
from torch import Tensor
from torch.nn import Module

from emohelpers.images.batches import Batches
from emohelpers.models import devices
from emohelpers.models.ensemble import Mixture
from emohelpers.train.errors import TrainingError, within_memory


@within_memory
@torch.no_grad()
def evaluate(
    model: Module, batches: Batches, *, precision: str = "auto", processes: Accelerator | None = None
) -> tuple[ndarray, ndarray]:
    """Outputs (n, ...) float32 and targets (n, ...) in the order of `batches.rows`, every sample exactly once.

    With several processes each computes its share and all return the whole. `precision` is the setting of the training,
    for a card; a CPU computes in fp32 here also where it trains in bf16: any machine finds the same figures again.

    Raises:
        TrainingError: more processes than samples, or samples lost on the way.
        OutOfMemory: a batch does not fit.
    """
    processes = processes or devices.processes(cpu=devices.device().type == "cpu")
    device = processes.device
    half = devices.autocast(device, precision)
    n = len(batches.rows)
    share = batches.on(device, processes.process_index, processes.num_processes)
    net = processes.unwrap_model(model).to(device).eval()
    outputs = []
    targets = []
    positions = []
    for inputs, target, position in share.epoch():
        if len(position):
            with half:
                outputs.append(net(inputs).float())
            targets.append(target)
            positions.append(torch.from_numpy(position))
    if not outputs:
        raise TrainingError(f"{n} samples are too few for {processes.num_processes} processes")
    output, target, position = (_of_all(parts, processes) for parts in (outputs, targets, positions))
    real = position >= 0  # the rest fills up shares that are shorter
    # Rows come gathered process by process; their positions put them back into the order of the batches.
    order = position[real].argsort()
    if not torch.equal(position[real][order], torch.arange(n)):
        raise TrainingError(f"{int(real.sum())} predictions for {n} samples: some were lost or doubled")
    return output[real][order].numpy(), target[real][order].numpy()


def probabilities(model: Module, batches: Batches, *, flip: bool = False, precision: str = "auto") -> ndarray:
    """Softmax of a classifier's outputs (n, classes) float32, in the order of `batches.rows`; with `flip` the mean of
    a picture's and its mirror image's."""
    net = Mixture([model], mirrored=True) if flip else model
    logits, _ = evaluate(net, batches, precision=precision)
    return torch.from_numpy(logits).softmax(1).numpy()


def _of_all(parts: list[Tensor], processes: Accelerator) -> Tensor:
    """One tensor of the parts of all processes, on the CPU; shorter shares are filled up with -1."""
    whole = torch.cat(parts)
    if processes.num_processes > 1:
        filled = processes.pad_across_processes(whole.to(processes.device), dim=0, pad_index=-1)
        whole = processes.gather(filled)
    return whole.cpu()
