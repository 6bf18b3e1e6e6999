"""Training steps of text beside plain loops of transformers' models of the same size, alternately in one process.

    PYTHONPATH=src python benchmarks/text_training.py [--rounds 5] [--steps 3] [--threads 1]

Two pairs, 32 texts of 128 tokens, width 256, 4 layers (and 4 that write), 4 heads, no dropout, fp32, scaled dot product
attention in both; a step is loss, backward pass, clipping and AdamW. BERT: hiding 15 % of the tokens is a part of the
step, ours by TokenMask with its keyed draws, theirs by torch.rand. T5: the same spans, hidden before, in both.

The vocabulary is that of the published models, 30,522 and 32,100 tokens: of BERT most of the work is the answer, which
ours works out at hidden places alone. Prints a table, and writes it as JSON beside this file.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from measure import in_turn, parser, plain_step, seconds, update, write
from torch import Tensor, nn

from denoiselab.architecture.encoder_decoder import EncoderDecoder
from denoiselab.architecture.positions import T5Relative
from denoiselab.architecture.transformer import Transformer
from denoiselab.corruption import Batch, Corrupted, TokenMask, Written
from denoiselab.denoiser import Logits, NextToken, TokenLogits
from denoiselab.objective import CrossEntropy, Unit, Weighted
from denoiselab.optim import groups
from denoiselab.randomness import Keyed, key
from denoiselab.schedule import Constant
from denoiselab.spec import Spec, compose

BATCH, LENGTH, WIDTH, LAYERS, HEADS = 32, 128, 256, 4, 4
OF_BERT, OF_T5 = 30_522, 32_100  # tokens of the vocabularies
SENTINELS, SOURCE, TARGET = 6, 115, 26  # of spans of 3 tokens, 15 % of the text, and the end
CLIP, RATE = 1.0, 1e-3


class Way:
    """A way to train."""

    def __init__(self, name: str, step: Callable[[], None], network: nn.Module):
        self.name, self.step, self.parameters = name, step, sum(p.numel() for p in network.parameters())


class Ready(Written):
    """Texts whose spans were hidden before."""

    def __init__(self, source: Tensor, target: Tensor):
        super().__init__()
        self.schedule, self.end, self.longest = Constant(0.15), OF_T5 + 1, TARGET
        self.source, self.target = source, target

    def forward(self, batch, t, random):
        yes, prefix = torch.ones_like(self.target, dtype=torch.bool), F.pad(self.target, (1, -1), value=self.end)
        context = {"prefix": prefix, "valid": torch.ones_like(self.source, dtype=torch.bool)}
        return Corrupted(self.source, self.source, self.target, yes, yes, context)

    def rebuilt(self, x_t, written, context):
        raise NotImplementedError("nothing is written here")

    def hidden(self, x, ok, lost, context, random):
        raise NotImplementedError("nothing is asked but its own")

    def accepts(self, spec):
        specials = ("[MASK]", "[END]", *(f"[{i}]" for i in range(SENTINELS)))
        return spec.having(Written, context=("valid", "prefix"), specials=specials, written=len(specials),
                           shape=(SOURCE,), target=(TARGET,))  # fmt: skip


def ours(name: str, vocabulary: int, corruption, parameterization, architecture) -> Way:
    """As DenoisingModule trains."""
    torch.manual_seed(0)
    objective = Weighted(CrossEntropy(), Unit())
    spec = compose(Spec("tokens", (LENGTH,), vocabulary), corruption, parameterization, Logits(), architecture)
    network = architecture.build(spec)
    denoiser = parameterization.build(network, corruption, Logits())
    optimizer = torch.optim.AdamW(groups(network.parameters()), lr=RATE, fused=True)
    parameters = list(network.parameters())
    x, place, t = torch.randint(vocabulary, (BATCH, LENGTH)), torch.arange(BATCH), torch.full((BATCH,), 0.5)

    def step() -> None:
        c = corruption(Batch(x, place), t, Keyed(key(0, 4, place)))
        belief = denoiser(c.x_t, t, seen=c.seen, asked=c.scored > 0, **c.context)
        (objective(belief, c, t, corruption) * c.scored).sum().div(objective.count(c)).backward()
        update(optimizer, parameters, CLIP)

    return Way(name, step, network)


def theirs(name: str, network: nn.Module, loss: Callable[[], Tensor]) -> Way:
    """A plain loop."""
    return Way(name, plain_step(network, loss, RATE, CLIP), network)


def bert() -> tuple[Way, Way]:
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=OF_BERT + 1, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH, max_position_embeddings=LENGTH, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, attn_implementation="sdpa",
    )  # fmt: skip
    network, x = BertForMaskedLM(config), torch.randint(OF_BERT, (BATCH, LENGTH))

    def loss() -> Tensor:
        hit, how = torch.rand(x.shape) < 0.15, torch.rand(x.shape)
        shown = torch.where(hit & (how < 0.8), OF_BERT, x)
        shown = torch.where(hit & (how >= 0.9), torch.randint(OF_BERT, x.shape), shown)
        return network(input_ids=shown, labels=x.masked_fill(~hit, -100)).loss

    own = ours("ours, BERT", OF_BERT, TokenMask(Constant(0.15), OF_BERT, 0.1, 0.1), TokenLogits(),
               Transformer(WIDTH, LAYERS, HEADS))  # fmt: skip
    return own, theirs("transformers, BERT", network, loss)


def t5() -> tuple[Way, Way]:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    size = OF_T5 + 2 + SENTINELS
    config = T5Config(
        vocab_size=size, d_model=WIDTH, d_kv=WIDTH // HEADS, d_ff=4 * WIDTH, num_layers=LAYERS, num_heads=HEADS,
        dropout_rate=0.0, decoder_start_token_id=OF_T5 + 1, attn_implementation="sdpa",
    )  # fmt: skip
    network = T5ForConditionalGeneration(config)
    source, target = torch.randint(size, (BATCH, SOURCE)), torch.randint(size, (BATCH, TARGET))
    ready = torch.ones_like(source)

    def loss() -> Tensor:
        return network(input_ids=source, attention_mask=ready, labels=target).loss

    own = ours("ours, T5", OF_T5, Ready(source, target), NextToken(),
               EncoderDecoder(WIDTH, LAYERS, LAYERS, HEADS, positions=T5Relative()))  # fmt: skip
    return own, theirs("transformers, T5", network, loss)


def compared(pair: tuple[Way, Way], rounds: int, steps: int) -> list[dict]:
    for way in pair:
        seconds(way.step, 2)
    mine, other = in_turn(rounds, {way.name: partial(seconds, way.step, steps) for way in pair}).values()
    rows = []
    for way, median in zip(pair, (mine, other), strict=True):
        rows.append({"case": way.name, "ms": median * 1e3, "tokens_per_second": BATCH * LENGTH / median,
                     "parameters": way.parameters, "ratio": other / mine})  # fmt: skip
        print(f"{way.name:20} {median * 1e3:8.1f} ms  {rows[-1]['tokens_per_second']:9,.0f} tokens/s  "
              f"{way.parameters:10,} weights")  # fmt: skip
    print(f"{'':20} ours is {other / mine:.2f} times as fast")
    return rows


def main() -> None:
    asked = parser(__doc__, rounds=5, steps=3, threads=torch.get_num_threads()).parse_args()
    torch.set_num_threads(asked.threads)
    rows = [row for make in (bert, t5) for row in compared(make(), asked.rounds, asked.steps)]
    write(__file__, rows, asked.threads)


if __name__ == "__main__":
    main()
