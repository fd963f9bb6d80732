"""PyTorch's side of ci/compare_torch: the workload of `crossscale bench`, as a PyTorch user writes it.

A worker that stays alive so that both sides can take turns: it builds one model, takes three
warm-up steps and prints {"ready": ...}; then every line "N" on standard input makes it time N
training steps and print {"seconds": [...]}. An empty line or the end of input ends it.

A training step is: random tokens, 15 % of the positions predicted (logits there only), forward,
backward, clip to norm 1, AdamW (foreach). Linear layers, layer norm, attention and cross-entropy
are PyTorch's own; head selection of the Probabilistic Transformer is written with batched products.
"""

import argparse
import json
import math
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


def table_of_angles(length, size, base=1e4):
    angles = torch.arange(length)[:, None] * base ** (-torch.arange(0, size, 2) / size)
    return angles.cos(), angles.sin()


def turn(x, cos, sin):
    """Rotates the halves of the last axis by the positions' angles."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)


class Probabilistic(nn.Module):
    """2026 form: squared beliefs, rotary ternary factors, ReLU topic node, damping one half."""

    def __init__(self, a):
        super().__init__()
        n, self.channels, self.rank = a.width, a.channels, a.width // 4
        self.width, self.topics, self.iterations = n, 4 * n, a.iterations
        weight = lambda rows, std: nn.Parameter(std * torch.randn(rows, n))
        self.unary = weight(a.vocab, 1.0)
        self.factors = weight(2 * self.channels * self.rank, n**-0.5)
        self.binary = weight(self.topics, n**-0.5)
        self.dense, self.norm, self.decoder = nn.Linear(n, n), nn.LayerNorm(n), nn.Linear(n, a.vocab)
        nn.init.normal_(self.dense.weight, std=n**-0.5)
        nn.init.normal_(self.decoder.weight, std=1 / n)
        cos, sin = table_of_angles(a.length, self.rank)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)
        self.register_buffer("itself", torch.eye(a.length, dtype=torch.bool))

    def beliefs(self, z):
        squares = z.square()
        return squares * (self.width / squares.sum(-1, keepdim=True).clamp_min(1e-6))

    def forward(self, ids, positions):
        ternary, binary, lambda_h, lambda_z = 0.84442, 0.18336, 0.15, 0.80842
        b, length = ids.shape
        unary = F.embedding(ids, self.unary)
        z = unary
        for _ in range(self.iterations):
            x = self.beliefs(z)
            pairs = (F.linear(x, self.factors) * ternary).view(b, length, 2, self.channels, -1)
            u, v = turn(pairs.permute(2, 0, 3, 1, 4), self.cos, self.sin)
            logits = (u @ v.transpose(-1, -2)) / (self.rank * lambda_h)
            p = torch.softmax(logits.masked_fill(self.itself, -1e9), dim=-1)
            sent = torch.stack((p @ v, p.transpose(-1, -2) @ u))
            sent = turn(sent, self.cos, -self.sin).permute(1, 3, 0, 2, 4).reshape(b, length, -1)
            topics = torch.relu(F.linear(x, self.binary))
            topics = topics * (self.topics * binary / topics.sum(-1, keepdim=True).clamp_min(1e-6))
            message = (sent @ self.factors) * ternary + topics @ self.binary
            z = 0.5 * (z + (message + unary) / lambda_z)
        rows = self.beliefs(z.view(-1, self.width)[positions])
        return 0.5 * self.decoder(self.norm(F.silu(self.dense(rows))))


class Block(nn.Module):
    def __init__(self, a, pre_norm, biases):
        super().__init__()
        n = a.width
        self.heads, self.pre_norm = n // a.head_dim, pre_norm
        self.qkv, self.out = nn.Linear(n, 3 * n, bias=biases), nn.Linear(n, n, bias=biases)
        self.up, self.down = nn.Linear(n, 4 * n, bias=biases), nn.Linear(4 * n, n, bias=biases)
        self.norm1, self.norm2 = nn.LayerNorm(n), nn.LayerNorm(n)

    def attention(self, x, angles):
        b, length, n = x.shape
        q, k, v = self.qkv(x).view(b, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if angles is not None:
            q, k = turn(q, *angles), turn(k, *angles)
        context = F.scaled_dot_product_attention(q, k, v)
        return self.out(context.transpose(1, 2).reshape(b, length, n))

    def forward(self, x, angles):
        inner = lambda y: self.down(F.gelu(self.up(y)))
        if self.pre_norm:
            x = x + self.attention(self.norm1(x), angles)
            return x + inner(self.norm2(x))
        x = self.norm1(x + self.attention(x, angles))
        return self.norm2(x + inner(x))


class Transformer(nn.Module):
    """bert: post-LN; preln: pre-LN, rotary positions, no biases; ut: one pre-LN block repeated."""

    def __init__(self, a):
        super().__init__()
        n, family = a.width, a.model
        self.depth = a.iterations if family == "ut" else a.layers
        self.token = nn.Embedding(a.vocab, n)
        self.position = nn.Embedding(a.length, n) if family != "preln" else None
        self.kind = nn.Embedding(2, n) if family != "preln" else None
        self.steps = nn.Embedding(self.depth, n) if family == "ut" else None
        self.first_norm = nn.LayerNorm(n) if family != "preln" else None
        self.last_norm = nn.LayerNorm(n) if family != "bert" else None
        blocks = 1 if family == "ut" else self.depth
        self.blocks = nn.ModuleList(
            Block(a, family != "bert", family != "preln") for _ in range(blocks)
        )
        self.dense, self.norm, self.decoder = nn.Linear(n, n), nn.LayerNorm(n), nn.Linear(n, a.vocab)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
        self.rotary = family == "preln"
        cos, sin = table_of_angles(a.length, a.head_dim)
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)

    def forward(self, ids, positions):
        x = self.token(ids)
        if self.position is not None:
            x = self.first_norm(x + self.position.weight + self.kind.weight[0])
        angles = (self.cos, self.sin) if self.rotary else None
        for step in range(self.depth):
            if self.steps is not None:
                x = x + self.steps.weight[step]
            x = self.blocks[step % len(self.blocks)](x, angles)
        rows = x.view(-1, x.shape[-1])[positions]
        if self.last_norm is not None:
            rows = self.last_norm(rows)
        return self.decoder(self.norm(F.gelu(self.dense(rows))))


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=["pt", "bert", "preln", "ut"], default="pt")
    sizes = dict(width=128, channels=10, iterations=6, layers=4, head_dim=32, vocab=8192)
    for name, size in dict(**sizes, length=128, batch=16, threads=2).items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=size)
    parser.add_argument("--mask", type=float, default=0.15)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--flush-subnormals", action="store_true")
    return parser.parse_args()


def main():
    a = arguments()
    if a.flush_subnormals:
        # Before any other thread starts: they take this over from the one that starts them.
        torch.set_flush_denormal(True)
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    model = Probabilistic(a) if a.model == "pt" else Transformer(a)
    run = torch.compile(model) if a.compile else model
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=True)
    tokens = a.batch * a.length
    targets = math.ceil(a.mask * tokens)

    def step():
        start = time.perf_counter()
        ids = torch.randint(0, a.vocab, (a.batch, a.length))
        positions = torch.randperm(tokens)[:targets].sort().values
        loss = F.cross_entropy(run(ids, positions), ids.view(-1)[positions])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if not math.isfinite(loss.item()):
            sys.exit("the loss is not a number")
        return time.perf_counter() - start

    def say(**values):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(dict(values, peak_memory_bytes=peak)), flush=True)

    for _ in range(3):
        step()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    say(ready=True, parameters=parameters, torch=torch.__version__)
    for line in sys.stdin:
        if not line.strip():
            break
        say(seconds=[step() for _ in range(int(line))])


main()
