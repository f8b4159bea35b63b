"""A local editor: instruction-following diffusion (InstructPix2Pix, arXiv 2211.09800), in half precision on a T4."""

import torch
from PIL import Image

from emohelpers import config
from emohelpers.config import paths
from emohelpers.config.redaction import brief
from emohelpers.config.registry import EDITORS
from emohelpers.datasets import decoding
from emohelpers.models import devices
from emohelpers.saga.editors.editor import Exhausted, Job, reencoded

GUIDANCE = {"guidance_scale": 7.5, "image_guidance_scale": 1.5}  # the paper's


@EDITORS.register("diffusers")
class Diffusion:
    """Edits one face at a time; the same face, target and seed give the same edit on the same machine."""

    workers = 1
    paid = True

    def __init__(self, cfg, dataset=None, ready=None) -> None:
        from diffusers import StableDiffusionInstructPix2PixPipeline  # an extra: only where it is asked for

        model = cfg.diffusion_model
        device = devices.device().type
        precision = torch.float16 if device == "cuda" else torch.float32
        try:
            pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(str(paths.located(model) or model))
        except (OSError, ValueError) as error:
            raise Exhausted(
                f"the diffusion editor {model!r} could not be loaded ({brief(error, 200)}). Turn Internet on, or "
                'attach its folder and name it: OVERRIDES = {"diffusion_model": "/kaggle/input/<slug>"}.'
            ) from error
        pipe.set_progress_bar_config(disable=True)
        self.pipe = pipe.to(device, precision)
        self.steps = cfg.diffusion_steps
        self.size = (cfg.diffusion_side, cfg.diffusion_side)
        self.seed = cfg.seed
        self.name = f"diffusers:{model.rstrip('/').rpartition('/')[2]}"
        self.settings = {"model": model, "steps": self.steps, "side": cfg.diffusion_side, "seed": cfg.seed, **GUIDANCE}

    def edit(self, job: Job, picture: bytes) -> bytes:
        large = Image.fromarray(decoding.decode(picture)).resize(self.size, Image.Resampling.LANCZOS)
        number = int(config.digest(self.seed, job.path, job.target), 16) % 2**32
        chance = torch.Generator("cpu").manual_seed(number)
        answer = self.pipe(job.prompt, image=large, num_inference_steps=self.steps, generator=chance, **GUIDANCE)
        return reencoded(answer.images[0], picture)
