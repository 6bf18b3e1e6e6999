"""Oracles: the exact posterior, in place of a network.

A denoiser is trained towards p(x | x_t). For data that is known it can be written down, by Bayes: for a finite set of
points and for a Gaussian under additive noise; for a finite set of texts under any token corruption that goes forth,
q(x_t | x), which is all that Bayes needs; and for a Markov source under noise that hits token by token. What holds for
a perfect network (a bound equals an entropy, a sampler lands on the data) is tested on these. float64 in, float64 out;
t is () or (B,), with sigma_t > 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from denoiselab.corruption import Markov, Pointwise
from denoiselab.denoiser import Denoiser
from denoiselab.posterior import Categorical, Dirac, Gaussian
from denoiselab.schedule import Schedule


class Points(Denoiser):
    """The mean of a finite set `data` (N, *), all points alike, given x_t = alpha x + sigma z (the ideal denoiser:
    Karras et al., 2022, arXiv:2206.00364, appendix B.3). A mean, not the belief: elements are not independent."""

    def __init__(self, data: Tensor, schedule: Schedule):
        super().__init__()
        self.data, self.schedule = data, schedule

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        points, seen_t = self.data.flatten(1), x_t.flatten(1)
        alpha, sigma = self.schedule.at(t, seen_t)
        # -|x_t - alpha x|^2 / 2 without what all points share: nothing is divided by alpha, which may be 0.
        near = alpha * (seen_t @ points.T) - alpha**2 / 2 * points.square().sum(1)
        return Dirac((torch.softmax(near / sigma**2, 1) @ points).view_as(x_t))


class Normal(Denoiser):
    """Data N(mean, std^2), elements independent, given x_t = alpha x + sigma z: the belief is Gaussian and complete, so
    the way back is exact in any number of steps."""

    def __init__(self, mean: float, std: float, schedule: Schedule):
        super().__init__()
        self.mean, self.std, self.schedule = mean, std, schedule

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        alpha, sigma = self.schedule.at(t, x_t)
        n = alpha**2 * self.std**2 + sigma**2
        gain = alpha * self.std**2 / n
        return Gaussian(self.mean + gain * (x_t - alpha * self.mean), (sigma**2 * self.std**2 / n).expand_as(x_t))


class Texts(Denoiser):
    """`texts` (N, L) int64 that occur with shares (N,), over a clean vocabulary of size `vocabulary`: the marginals of
    each token given x_t. Complete where L = 1 or tokens are independent. An x_t that no text leads to gives NaN."""

    def __init__(self, texts: Tensor, share: Tensor, corruption: Markov, vocabulary: int):
        super().__init__()
        self.texts, self.share, self.corruption, self.vocabulary = texts, share, corruption, vocabulary

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        t = t.expand(len(x_t))
        forth = self.corruption.forth(torch.zeros_like(t), t)
        likely = torch.stack([forth(text.expand_as(x_t)).log_prob(x_t).sum(1) for text in self.texts], 1)  # (B, N)
        share = torch.softmax(likely + self.share.log(), 1)
        one = F.one_hot(self.texts, self.vocabulary).to(share)
        return Categorical(torch.einsum("bn,nlv->blv", share, one).log())


class Chain(Denoiser):
    """Texts of an order-2 Markov source, token by token noise: marginals of each token given all of x_t, by the
    forward-backward algorithm (Rabiner, 1989, A tutorial on hidden Markov models), float64.

    `transition` (V, V, V) is p(c | a, b), `stationary` (V, V) the law of the first pair; texts have 3 tokens or more.
    """

    def __init__(self, transition: Tensor, stationary: Tensor, corruption: Pointwise):
        super().__init__()
        self.register_buffer("transition", transition)
        self.register_buffer("stationary", stationary)
        self.corruption = corruption

    def forward(self, x_t, t, *, seen=None, previous=None, **context):
        shown, asked = self.corruption.evidence(x_t, t.double().expand(len(x_t)))
        pairs = self.stationary * shown[:, 0, :, None]  # (B, V, V): p(x_1 = a, x_2 = b, what is seen before 2)
        ahead = []  # for each i >= 2: the pair (i - 1, i) with all that is seen before i
        for i in range(1, x_t.shape[1]):
            ahead.append(pairs)
            pairs = torch.einsum("nab,abc->nbc", scaled(pairs * shown[:, i, None]), self.transition)
        after = torch.ones_like(pairs)  # what is seen after i, given the pair (i - 1, i)
        said = []
        for i in reversed(range(1, x_t.shape[1])):
            said.append((ahead[i - 1] * after).sum(1))
            onward = after * shown[:, i, None]  # of (i - 1, i): what is seen from i on
            if i > 1:
                after = scaled(torch.einsum("abc,nbc->nab", self.transition, onward))
        said.append((self.stationary * onward).sum(2))
        belief = torch.stack(said[::-1], 1) * asked
        return Categorical(belief.log())


def scaled(p: Tensor) -> Tensor:
    """The same up to a factor a text: products of many probabilities must not vanish."""
    return p / p.amax((1, 2), keepdim=True)
