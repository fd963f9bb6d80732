"""What ci/mup_multipliers runs: rules of `crossscale explain --shapes` against microsoft/mup."""

import argparse
import csv
import importlib.util
import pathlib
import subprocess

import torch
from mup import MuAdamW, MuReadout, set_base_shapes
from torch import nn

BASE, WIDTH = 64, 512
RATE, DECAY, EPSILON = 1e-3, 0.1, 1e-8
GOLDEN = pathlib.Path("golden/mup/multipliers.csv")
HEADER = ["model", "name", "shape", "base_shape", "role", "learning_rate", "weight_decay", "forward"]
# A measured deviation of n values is off by about 1 / sqrt(2 n); the smallest matrices have 5120.
DEVIATION_TOLERANCE = 0.06


class Mlp(nn.Module):
    """The MLP of mup's examples: two hidden matrices, a readout, no biases."""

    def __init__(self, width):
        super().__init__()
        self.fc_1 = nn.Linear(3072, width, bias=False)
        self.fc_2 = nn.Linear(width, width, bias=False)
        self.fc_3 = MuReadout(width, 10, bias=False)

    def forward(self, x):
        return self.fc_3(torch.relu(self.fc_2(torch.relu(self.fc_1(x)))))

    @staticmethod
    def batch():
        return torch.randn(8, 3072)


class Attention(nn.Module):
    """Shapes of the examples' attention; one head is enough, since multipliers know no heads."""

    def __init__(self, width):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) / width**0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.bias_k = nn.Parameter(torch.zeros(1, 1, width))
        self.bias_v = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, x):
        q, k, v = (x @ self.in_proj_weight.T + self.in_proj_bias).chunk(3, -1)
        scores = q @ (k + self.bias_k).transpose(-1, -2) / x.shape[-1]
        return self.out_proj(scores.softmax(-1) @ (v + self.bias_v))


class Layer(nn.Module):
    """A post-norm layer."""

    def __init__(self, width):
        super().__init__()
        self.self_attn = Attention(width)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x):
        x = self.norm1(x + self.self_attn(x))
        return self.norm2(x + self.linear2(torch.relu(self.linear1(x))))


class Transformer(nn.Module):
    """The Transformer of mup's examples: a table, two layers, an untied readout."""

    def __init__(self, width):
        super().__init__()
        self.encoder = nn.Embedding(1000, width)
        self.layers = nn.ModuleList([Layer(width), Layer(width)])
        self.decoder = MuReadout(width, 1000)

    def forward(self, ids):
        x = self.encoder(ids)
        for layer in self.layers:
            x = layer(x)
        return self.decoder(x)

    @staticmethod
    def batch():
        return torch.randint(0, 1000, (2, 16))


# What shapes do not tell: the table is looked up, the readouts read out.
ROLES = {"fc_3.weight": "output", "encoder.weight": "input", "decoder.weight": "output"}


def shape(tensor):
    return "x".join(map(str, tensor.shape))


def measured(name, make):
    """Rows of mup's multipliers, and the wide model before anything is trained."""
    torch.manual_seed(1)
    wide, base = make(WIDTH), make(BASE)
    set_base_shapes(wide, make(BASE), delta=make(2 * BASE))
    set_base_shapes(base, None)
    groups = MuAdamW(wide.parameters(), lr=RATE, weight_decay=DECAY).param_groups
    rule = {id(p): (g["lr"] / RATE, g["weight_decay"] / DECAY) for g in groups for p in g["params"]}
    rows, ratios, bases = [], {}, dict(base.named_parameters())
    for key, parameter in wide.named_parameters():
        owner = wide.get_submodule(key.rpartition(".")[0])
        forward = 1.0
        if isinstance(owner, MuReadout) and key.endswith("weight"):
            forward = owner.output_mult / owner.width_mult()
        rate, decay = rule[id(parameter)]
        sizes = (shape(parameter), shape(bases[key]))
        rows.append([name, key, *sizes, ROLES.get(key, ""), rate, decay, forward])
        if parameter.dim() == 2:
            ratios[key] = (parameter.std() / bases[key].std()).item()
    return rows, ratios, wide


def ours(program, folder, rows, emit):
    path = folder / "shapes.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "shape", "base_shape", "role"])
        writer.writerows(row[1:5] for row in rows)
    command = [program, "explain", "--shapes", str(path), *emit]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def compare(program, folder, rows, ratios):
    table = csv.DictReader(ours(program, folder, rows, ["--csv"]).splitlines())
    for row, found in zip(rows, table, strict=True):
        columns = ["lr_multiplier", "weight_decay_multiplier", "forward_multiplier"]
        for expected, column in zip(row[5:], columns):
            assert abs(float(found[column]) - expected) < 1e-9 * expected, (row, found)
        if row[1] in ratios:
            deviation, expected = float(found["init_std"]), ratios[row[1]]
            assert abs(deviation / expected - 1) < DEVIATION_TOLERANCE, (row[1], deviation, expected)
        print(f"{row[0]:12} {row[1]:34} {found['role']:7} agrees with mup")


def run_emitted(program, folder, rows, wide, make):
    """The printed module on a plain model: groups as mup's, hooks as MuReadout, one step."""
    path = folder / "groups.py"
    path.write_text(ours(program, folder, rows, ["--as", "torch"]))
    specification = importlib.util.spec_from_file_location("groups", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    groups = module.parameter_groups(wide, RATE, DECAY, EPSILON)
    names = {id(parameter): key for key, parameter in wide.named_parameters()}
    found = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    for row in rows:
        rate, decay = found[row[1]]
        assert abs(rate / RATE - row[5]) < 1e-9 and abs(decay / DECAY - row[6]) < 1e-9, row
    # The same weights in a model without mup, whose readout is an ordinary Linear.
    plain = make(WIDTH)
    for key, owner in list(plain.named_modules()):
        if isinstance(owner, MuReadout):
            linear = nn.Linear(owner.in_features, owner.out_features, owner.bias is not None)
            plain.set_submodule(key, linear)
    plain.load_state_dict(wide.state_dict())
    hooks = module.multiply_forward(plain)
    batch = make.batch()
    difference = (plain(batch) - wide(batch)).abs().max().item()
    assert difference < 1e-4, difference
    module.initialise(plain, {row[1]: 0.02 for row in rows if len(row[2].split("x")) == 2})
    optimiser = torch.optim.AdamW(module.parameter_groups(plain, RATE, DECAY, EPSILON))
    labels = torch.randint(0, 10, plain(batch).shape[:-1]).flatten()
    loss = nn.functional.cross_entropy(plain(batch).flatten(0, -2), labels)
    loss.backward()
    optimiser.step()
    after = nn.functional.cross_entropy(plain(batch).flatten(0, -2), labels).item()
    assert after < loss.item(), (loss.item(), after)
    for hook in hooks:
        hook.remove()
    print(f"{rows[0][0]:12} printed groups: forward within {difference:.1e}, a step lowers the loss")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", required=True)
    parser.add_argument("--folder", required=True, type=pathlib.Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    everything = []
    for name, make in (("mlp", Mlp), ("transformer", Transformer)):
        rows, ratios, wide = measured(name, make)
        compare(arguments.program, arguments.folder, rows, ratios)
        run_emitted(arguments.program, arguments.folder, rows, wide, make)
        everything += rows
    if arguments.write:
        GOLDEN.parent.mkdir(parents=True, exist_ok=True)
        with open(GOLDEN, "w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            writer.writerows(everything)
        print(f"wrote {GOLDEN}")


if __name__ == "__main__":
    main()
