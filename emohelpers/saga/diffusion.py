"""A local editor: instruction-following diffusion (InstructPix2Pix, arXiv 2211.09800), in half precision on a T4."""

import io

import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from PIL import Image

from emohelpers import config
from emohelpers.config import paths
from emohelpers.models import devices
from emohelpers.saga.editors import Exhausted, Job, reencoded

GUIDANCE = {"guidance_scale": 7.5, "image_guidance_scale": 1.5}  # the paper's


class Diffusion:
    """Edits one face at a time; the same face, target and seed give the same edit on the same machine."""

    workers, kept = 1, True

    def __init__(self, model: str, *, steps: int, side: int, seed: int):
        device = devices.device().type
        place = paths.located(model) if model else None
        kind = torch.float16 if device == "cuda" else torch.float32
        try:
            pipe = StableDiffusionInstructPix2PixPipeline.from_pretrained(str(place or model))
        except (OSError, ValueError) as error:
            raise Exhausted(
                f"the diffusion editor {model!r} could not be loaded ({str(error)[:200]}). Turn Internet on, or attach "
                'its folder and name it: OVERRIDES = {"diffusion_model": "/kaggle/input/<slug>"}.'
            ) from error
        pipe.set_progress_bar_config(disable=True)
        self.pipe, self.steps, self.side, self.seed = pipe.to(device, kind), steps, side, seed
        self.name = f"diffusers:{model.rstrip('/').rpartition('/')[2]}"
        self.settings = {"model": model, "steps": steps, "side": side, "seed": seed, **GUIDANCE}

    def edit(self, job: Job, picture: bytes) -> bytes:
        with Image.open(io.BytesIO(picture)) as face:
            large = face.convert("RGB").resize((self.side, self.side), Image.Resampling.LANCZOS)
        number = int(config.digest(self.seed, job.path, job.target), 16) % 2**32
        chance = torch.Generator("cpu").manual_seed(number)
        made = self.pipe(job.prompt, image=large, num_inference_steps=self.steps, generator=chance, **GUIDANCE)
        return reencoded(made.images[0], picture)
