"""Records the known answers of this folder with JAX, in float64, from the equations alone.

python3 record.py FOLDER    needs numpy, jax (CPU) and safetensors; versions go into the metadata.

Nothing here is shared with the Rust code but the names of tensors and of configuration keys.
"""
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

jax.config.update("jax_enable_x64", True)

SIZES = dict(vocab=23, width=12, heads=2, feed_forward_width=20, norm_eps=1e-3, init_std=0.02)
PRELN = dict(SIZES, layers=2, activation="gelu", biases=False, rope_theta=10000.0, tied=False)
UT = dict(SIZES, steps=3, max_length=9, types=2, tied=False, halting=False)
CASES = {
    "preln": ("preln", PRELN),
    "preln_qk_norm": ("preln", dict(PRELN, activation="swiglu", qk_norm=True)),
    "preln_qk_norm_biases": ("preln", dict(PRELN, biases=True, qk_norm=True, tied=True)),
    "ut": ("ut", UT),
    "ut_injection": ("ut", dict(UT, injection=True)),
    "ut_looped": (
        "ut", dict(UT, positions="rotary", injection=True, residual_scale="inverse-steps")
    ),
}


def layer_norm(x, p, name, eps):
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return normal * p[name + ".weight"] + p[name + ".bias"]


def root_mean_square_norm(x, gain, eps):
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + eps) * gain


def linear(x, p, name):
    y = x @ p[name + ".weight"].T
    return y + p[name + ".bias"] if name + ".bias" in p else y


def gelu(x):
    return 0.5 * x * (1 + jax.scipy.special.erf(x / np.sqrt(2.0)))


def silu(x):
    return x / (1 + jnp.exp(-x))


def rotate(x, theta):
    """Position m turns the pair (k, k + d/2) of every head by m theta^(-2k/d)."""
    length, dim = x.shape[2], x.shape[3]
    angle = np.arange(length)[:, None] * theta ** (-2.0 * np.arange(dim // 2) / dim)[None]
    cosine, sine = np.cos(angle), np.sin(angle)
    first, second = x[..., : dim // 2], x[..., dim // 2 :]
    return jnp.concatenate([first * cosine - second * sine, first * sine + second * cosine], -1)


def attention(x, p, prefix, c, words, rotary):
    batch, length, width = x.shape
    heads, dim = c["heads"], width // c["heads"]

    def project(part):
        y = linear(x, p, f"{prefix}.attention.{part}")
        return y.reshape(batch, length, heads, dim).transpose(0, 2, 1, 3)

    q, k, v = project("query"), project("key"), project("value")
    if c.get("qk_norm"):
        q = root_mean_square_norm(q, p[f"{prefix}.attention.query_norm.weight"], c["norm_eps"])
        k = root_mean_square_norm(k, p[f"{prefix}.attention.key_norm.weight"], c["norm_eps"])
    if rotary:
        q, k = rotate(q, rotary), rotate(k, rotary)
    logits = jnp.einsum("bhid,bhjd->bhij", q, k) / np.sqrt(dim)
    logits = jnp.where(words[:, None, None, :], logits, -jnp.inf)
    average = jnp.einsum("bhij,bhjd->bhid", jax.nn.softmax(logits, -1), v)
    return linear(average.transpose(0, 2, 1, 3).reshape(x.shape), p, f"{prefix}.attention.output")


def feed_forward(x, p, prefix, c):
    inner = linear(x, p, f"{prefix}.feed_forward.inner")
    if c.get("activation") == "swiglu":
        active = silu(linear(x, p, f"{prefix}.feed_forward.gate")) * inner
    else:
        active = gelu(inner)
    return linear(active, p, f"{prefix}.feed_forward.outer")


def block(x, p, prefix, c, words, rotary, factor):
    eps = c["norm_eps"]
    x = x + factor * attention(
        layer_norm(x, p, f"{prefix}.attention.norm", eps), p, prefix, c, words, rotary
    )
    normal = layer_norm(x, p, f"{prefix}.feed_forward.norm", eps)
    return x + factor * feed_forward(normal, p, prefix, c)


def preln(p, c, ids, words):
    x = p["embedding.token"][ids]
    states = [x]
    for layer in range(c["layers"]):
        x = block(x, p, f"layers.{layer}", c, words, c["rope_theta"], 1.0)
        states.append(x)
    return states


def ut(p, c, ids, words):
    looped = c.get("positions") == "rotary"
    x = p["embedding.token"][ids] + p["embedding.type"][0]
    if not looped:
        x = x + p["embedding.position"][: ids.shape[1]]
    embedded = layer_norm(x, p, "embedding.norm", c["norm_eps"])
    factor = 1.0 / c["steps"] if c.get("residual_scale") == "inverse-steps" else 1.0
    x, states = embedded, [embedded]
    for step in range(c["steps"]):
        if c.get("injection") and step > 0:
            x = x + factor * embedded
        x = x + p["embedding.step"][step]
        x = block(x, p, "block", c, words, 10000.0 if looped else None, factor)
        states.append(x)
    return states


def outputs(p, family, c, ids, words):
    states = (preln if family == "preln" else ut)(p, c, ids, words)
    x = layer_norm(states[-1], p, "final_norm", c["norm_eps"])
    x = layer_norm(gelu(linear(x, p, "head.dense")), p, "head.norm", c["norm_eps"])
    decoder = p["embedding.token"] if c["tied"] else p["head.decoder.weight"]
    return states, x @ decoder.T + p["head.decoder.bias"]


def shapes(family, c):
    d, v, f, dim = c["width"], c["vocab"], c["feed_forward_width"], c["width"] // c["heads"]
    norm = lambda name: {name + ".weight": (d,), name + ".bias": (d,)}
    biases = c.get("biases", True)
    found = {"embedding.token": (v, d)}
    if family == "ut":
        if c.get("positions") != "rotary":
            found["embedding.position"] = (c["max_length"], d)
        found |= {"embedding.type": (c["types"], d), "embedding.step": (c["steps"], d)}
        found |= norm("embedding.norm")
    for prefix in ["block"] if family == "ut" else [f"layers.{i}" for i in range(c["layers"])]:
        inner = ["gate", "inner"] if c.get("activation") == "swiglu" else ["inner"]
        matrices = {f"attention.{part}": (d, d) for part in ["query", "key", "value", "output"]}
        matrices |= {f"feed_forward.{part}": (f, d) for part in inner}
        matrices["feed_forward.outer"] = (d, f)
        for name, shape in matrices.items():
            found[f"{prefix}.{name}.weight"] = shape
            if biases:
                found[f"{prefix}.{name}.bias"] = shape[:1]
        if c.get("qk_norm"):
            for part in ["query_norm", "key_norm"]:
                found[f"{prefix}.attention.{part}.weight"] = (dim,)
        found |= norm(f"{prefix}.attention.norm") | norm(f"{prefix}.feed_forward.norm")
    found |= norm("final_norm") | norm("head.norm")
    found |= {"head.dense.weight": (d, d), "head.dense.bias": (d,), "head.decoder.bias": (v,)}
    if not c["tied"]:
        found["head.decoder.weight"] = (v, d)
    return found


def record(path, family, c, seed):
    draw = np.random.default_rng(seed)
    p = {}
    for name, shape in sorted(shapes(family, c).items()):
        centre = 1.0 if name.endswith("norm.weight") else 0.0
        p[name] = centre + 0.4 * draw.standard_normal(shape)
    batch, length = 3, 7
    ids = draw.integers(0, c["vocab"], (batch, length))
    words = np.arange(length)[None] < np.array([7, 5, 6])[:, None]
    labels = np.where(words & (draw.random((batch, length)) < 0.4), ids[:, ::-1], -100)
    assert (labels >= 0).sum() > 3

    def loss(p):
        _, logits = outputs(p, family, c, ids, words)
        losses = jax.nn.logsumexp(logits, -1)
        losses -= jnp.take_along_axis(logits, np.maximum(labels, 0)[..., None], -1)[..., 0]
        return jnp.where(labels >= 0, losses, 0.0).sum() / (labels >= 0).sum()

    states, logits = outputs(p, family, c, ids, words)
    value, gradients = jax.value_and_grad(loss)(p)
    tensors = {"input_ids": ids, "attention_mask": words.astype(np.int64), "labels": labels}
    tensors |= {"logits": logits, "loss": value.reshape(1)}
    tensors |= {f"hidden.{depth}": state for depth, state in enumerate(states)}
    tensors |= {f"param.{name}": value for name, value in p.items()}
    tensors |= {f"grad.{name}": value for name, value in gradients.items()}
    versions = f"jax {jax.__version__}, numpy {np.__version__}"
    metadata = {"family": family, "config": json.dumps(c), "recorded_with": versions}
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    save_file(tensors, path, metadata)


for seed, (name, (family, config)) in enumerate(CASES.items()):
    record(f"{sys.argv[1]}/{name}.safetensors", family, config, seed)
