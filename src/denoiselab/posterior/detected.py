"""Text of which a discriminator says what was replaced, and a generator what it was."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.posterior.base import Posterior
from denoiselab.posterior.bernoulli import Bernoulli
from denoiselab.posterior.categorical import Categorical


@dataclass
class Detected(Posterior):
    """ELECTRA's: what was `hidden` (*) is what a generator guesses, and was filled in from the guess; each other token
    is the one `seen`, unless it was replaced, and then another, as the guess says.

    `replaced` is about all of the text filled in: where tokens were hidden, the discriminator is not told so.
    """

    seen: Tensor
    hidden: Tensor
    replaced: Bernoulli
    guess: Categorical

    @property
    def log_probs(self) -> Tensor:
        guess, logit = self.guess.log_probs, self.replaced.logit[..., None]
        one = F.one_hot(self.seen, guess.shape[-1]).bool()
        # The guess, were it not what is seen: finite, for one that is sure of it.
        others = guess.clamp(min=-1e4).masked_fill(one, -torch.inf).log_softmax(-1)
        known = torch.where(one, F.logsigmoid(-logit), F.logsigmoid(logit) + others)
        return torch.where(self.hidden[..., None], guess, known)

    @property
    def logits(self):
        return self.log_probs

    @property
    def whole(self) -> Categorical:
        return Categorical(self.log_probs)

    @property
    def mean(self):
        return self.log_probs.exp()

    @property
    def mode(self):
        return self.log_probs.argmax(-1)

    def sample(self, random):
        return self.whole.sample(random)

    def log_prob(self, x):
        return self.log_probs.gather(-1, x[..., None])[..., 0]

    def log_mass(self, x, bin, ends=None):
        return self.log_prob(x)

    def at(self, x):
        return self.whole.at(x)

    def kl(self, other):
        return self.whole.kl(other)

    def lerp(self, other, w):
        return self.whole.lerp(other, w)

    def spread(self):
        return self
