"""The table of tests/tests/golden/first_ten_losses.rs, computed with JAX from its description.

python3 check.py    needs jax (CPU). Prints the tables as they stand in the test.
"""
import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

VOCAB, WIDTH, INNER = 11, 8, 32
TARGETS = jnp.array([2, 5, 9, 14])
LABELS = 1 + 7 * TARGETS % 10
IDS = (1 + 3 * jnp.arange(16) % 10).at[TARGETS].set(0).reshape(2, 8)

MATRIX, GAIN, BIAS = (0.0, 0.5), (1.0, 0.1), (0.0, 0.1)


def head_lines(decoder):
    return [
        ("head.dense.weight", (WIDTH, WIDTH), *MATRIX),
        ("head.dense.bias", (WIDTH,), *BIAS),
        ("head.norm.weight", (WIDTH,), *GAIN),
        ("head.norm.bias", (WIDTH,), *BIAS),
        ("head.decoder.weight", (VOCAB, WIDTH), 0.0, decoder),
        ("head.decoder.bias", (VOCAB,), *BIAS),
    ]


PT = [
    ("unary", (VOCAB, WIDTH), 0.0, 1.0),
    ("ternary_u", (8, WIDTH), *MATRIX),
    ("ternary_v", (8, WIDTH), *MATRIX),
    ("binary", (INNER, WIDTH), *MATRIX),
    *head_lines(1.0),
]


def norm_lines(name):
    return [(name + ".weight", (WIDTH,), *GAIN), (name + ".bias", (WIDTH,), *BIAS)]


def matrix_lines(name, rows, columns):
    return [(name + ".weight", (rows, columns), *MATRIX), (name + ".bias", (rows,), *BIAS)]


def layer_lines(layer):
    lines = []
    for part in ["query", "key", "value", "output"]:
        lines += matrix_lines(f"layers.{layer}.attention.{part}", WIDTH, WIDTH)
    lines += norm_lines(f"layers.{layer}.attention.norm")
    lines += matrix_lines(f"layers.{layer}.feed_forward.inner", INNER, WIDTH)
    lines += matrix_lines(f"layers.{layer}.feed_forward.outer", WIDTH, INNER)
    return lines + norm_lines(f"layers.{layer}.feed_forward.norm")


BERT = [
    ("embedding.token", (VOCAB, WIDTH), 0.0, 1.0),
    ("embedding.position", (8, WIDTH), 0.0, 1.0),
    ("embedding.type", (1, WIDTH), 0.0, 1.0),
    *norm_lines("embedding.norm"),
    *layer_lines(0),
    *layer_lines(1),
    *head_lines(1.0),
]


def layer_norm(x, p, name, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return normal * p[name + ".weight"] + p[name + ".bias"]


def split(x):
    """(2, 8, 8) to (2, two channels or heads, 8, 4)."""
    return x.reshape(2, 8, 2, 4).transpose(0, 2, 1, 3)


def merge(x):
    return x.transpose(0, 2, 1, 3).reshape(2, 8, 8)


def turn(x, sign):
    """Entry m of four is turned with entry m + 2, by position times 10000^(-2m/4)."""
    angle = jnp.arange(8)[:, None] * 10000.0 ** (-2.0 * jnp.arange(2) / 4)
    cosine, sine = jnp.cos(angle), sign * jnp.sin(angle)
    first, second = x[..., :2], x[..., 2:]
    return jnp.concatenate([first * cosine - second * sine, first * sine + second * cosine], -1)


def pt(p):
    lambda_z, lambda_h, lambda_g = 0.80842, 0.15, 2.62454
    ternary_weight, binary_weight = 0.84442, 0.18336
    unary = p["unary"][IDS]

    def beliefs(z):
        return WIDTH * z**2 / (z**2).sum(-1, keepdims=True)

    z = unary
    for _ in range(3):
        x = beliefs(z)
        u = turn(split(ternary_weight * x @ p["ternary_u"].T), 1)
        v = turn(split(ternary_weight * x @ p["ternary_v"].T), 1)
        logits = u @ v.swapaxes(-1, -2) / 4 / lambda_h
        head = jax.nn.softmax(jnp.where(jnp.eye(8, dtype=bool), -jnp.inf, logits), -1)
        from_head = merge(turn(head @ v, -1)) @ p["ternary_u"]
        from_dependents = merge(turn(head.swapaxes(-1, -2) @ u, -1)) @ p["ternary_v"]
        topics = jnp.maximum(binary_weight * x @ p["binary"].T / lambda_g, 0)
        topics = INNER * topics / topics.sum(-1, keepdims=True)
        message = ternary_weight * (from_head + from_dependents)
        message += binary_weight * topics @ p["binary"]
        z = 0.5 * z + 0.5 * (message + unary) / lambda_z
    rows = beliefs(z).reshape(16, WIDTH)[TARGETS]
    dense = jax.nn.silu(rows @ p["head.dense.weight"].T + p["head.dense.bias"])
    normal = layer_norm(dense, p, "head.norm", 1e-5)
    return 0.5 * (normal @ p["head.decoder.weight"].T + p["head.decoder.bias"])


def bert(p):
    def linear(x, name):
        return x @ p[name + ".weight"].T + p[name + ".bias"]

    def gelu(x):
        return jax.nn.gelu(x, approximate=False)

    x = p["embedding.token"][IDS] + p["embedding.position"] + p["embedding.type"][0]
    x = layer_norm(x, p, "embedding.norm", 1e-12)
    for layer in range(2):
        name = f"layers.{layer}"
        query, key, value = (
            split(linear(x, f"{name}.attention.{part}")) for part in ["query", "key", "value"]
        )
        weights = jax.nn.softmax(query @ key.swapaxes(-1, -2) / 2.0, -1)
        branch = linear(merge(weights @ value), f"{name}.attention.output")
        x = layer_norm(x + branch, p, f"{name}.attention.norm", 1e-12)
        branch = linear(gelu(linear(x, f"{name}.feed_forward.inner")), f"{name}.feed_forward.outer")
        x = layer_norm(x + branch, p, f"{name}.feed_forward.norm", 1e-12)
    rows = x.reshape(16, WIDTH)[TARGETS]
    normal = layer_norm(gelu(linear(rows, "head.dense")), p, "head.norm", 1e-12)
    return linear(normal, "head.decoder")


def start(lines):
    def tensor(k, shape, centre, scale):
        entry = jnp.arange(int(jnp.prod(jnp.array(shape))))
        return (centre + scale * jnp.sin(1.0 + entry + 100.0 * k)).reshape(shape)

    return {name: tensor(k, *rest) for k, (name, *rest) in enumerate(lines)}


def ten_losses(model, lines):
    def loss(p):
        return -jax.nn.log_softmax(model(p), -1)[jnp.arange(4), LABELS].mean()

    p = start(lines)
    first = {name: jnp.zeros_like(x) for name, x in p.items()}
    second, losses, norms = dict(first), [], None
    for step in range(1, 11):
        value, gradient = jax.value_and_grad(loss)(p)
        losses.append(float(value))
        if norms is None:
            norms = {name: float(jnp.sqrt((g**2).sum())) for name, g in gradient.items()}
        for name, g in gradient.items():
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g**2
            mean, square = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
            p[name] = p[name] - 0.01 * mean / (jnp.sqrt(square) + 1e-8)
    return losses, norms


def written(value):
    """Nine decimals, in groups of three."""
    whole, decimals = f"{value:.9f}".split(".")
    return whole + "." + "_".join(decimals[i : i + 3] for i in (0, 3, 6))


for title, model, lines in [("PT", pt, PT), ("BERT", bert, BERT)]:
    losses, norms = ten_losses(model, lines)
    print(f"const {title}: &[Line] = &[")
    for name, shape, centre, scale in lines:
        sizes = ", ".join(map(str, shape))
        print(f'    ("{name}", &[{sizes}], {centre}, {scale}, {written(norms[name])}),')
    print("];")
    print(f"const {title}_LOSSES: [f64; 10] = [")
    print("".join(f"    {written(value)},\n" for value in losses) + "];")
