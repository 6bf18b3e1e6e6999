"""Corruptions that hit pixels one by one."""

import torch

from denoiselab.corruption.base import Corruption, Local, corrupted, severity
from denoiselab.schedule import Schedule, match


class SaltAndPepper(Corruption):
    """A share sigma_t of the pixels becomes black or white, evenly, over all channels at once (impulse noise; Vincent
    et al., 2010, Stacked denoising autoencoders). Values lie in [-1, 1]: black is -1, white is 1."""

    def __init__(self, schedule: Schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, batch, t, random):
        x = batch.x
        place = (x.shape[0], 1, *x.shape[2:])
        touched = (random.uniform(place) < match(self.schedule.sigma(t), x)).expand_as(x)
        white = random.child("white").uniform(place) < 0.5
        return corrupted(batch, torch.where(touched, white.to(x.dtype) * 2 - 1, x), touched=touched)

    def accepts(self, spec):
        return severity(spec.of(("image",), self), self).having(Local)
