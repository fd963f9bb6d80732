"""Runs `crossscale bench` and PyTorch (ci/torch_peer.py) in turns and prints the ratios.

Started by ci/compare_torch, which builds the binary and finds or installs PyTorch. A ratio above
one means that crossscale is faster. Every ratio is the median over rounds; the two numbers in
brackets are the smallest and the largest of them. In a round each side takes its steps once, so a
machine that slows down slows both.
"""

import argparse
import json
import os
import statistics
import subprocess
import time

BARS = {  # issue bars at 2 threads: against eager, against compiled
    "pt": (1.8, 1.3),
    "bert": (1.3, 1.3),
    "preln": (1.3, 1.3),
    "ut": (1.4, 1.3),
}
SHARE_BAR = 0.65
REFERENCE_BAR = 4.0
JOBS_BAR = 0.85


def crossscale(a, model, width, threads, steps, path="fused", wait=True):
    command = [a.binary, "bench", "--json", "--model", model, "--width", str(width)]
    command += ["--threads", str(threads), "--steps", str(steps), "--path", path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return finish(process) if wait else process


def finish(process):
    text = process.communicate()[0]
    if process.returncode != 0:
        raise SystemExit(f"error: crossscale bench ended with code {process.returncode}")
    return json.loads(text)


class Torch:
    """A PyTorch worker that keeps its compiled model between turns."""

    def __init__(self, a, model, width, compiled):
        command = [a.python, "ci/torch_peer.py", "--model", model, "--width", str(width)]
        command += ["--threads", str(a.threads)] + (["--compile"] if compiled else [])
        command += ["--flush-subnormals"] if a.flush_subnormals else []
        cache = os.path.join(a.folder, "inductor")
        environment = dict(os.environ, TORCHINDUCTOR_CACHE_DIR=cache, OMP_WAIT_POLICY="passive")
        if not a.passive:
            environment.pop("OMP_WAIT_POLICY")
        pipe = subprocess.PIPE
        errors = open(os.path.join(a.folder, "torch.log"), "a")
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=errors, text=True, env=environment
        )
        self.ready = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("PyTorch gave up; its messages are in torch.log")
        return json.loads(line)

    def seconds(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self.answer()
        self.peak = answer["peak_memory_bytes"]
        # Its threads spin for a moment after the last parallel region.
        time.sleep(0.3)
        return statistics.median(answer["seconds"])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def against_torch(a, model, width, mode):
    """Both sides in turns; tokens cancel, so the ratio is one of seconds."""
    worker = Torch(a, model, width, mode == "compiled")
    ours, theirs, shares = [], [], []
    for _ in range(a.rounds):
        report = crossscale(a, model, width, a.threads, a.steps)
        ours.append(report["step_seconds"]["median"])
        shares.append(report["share_of_product_rate"])
        theirs.append(worker.seconds(a.steps))
    worker.close()
    tokens = report["sequences"] * report["length"]
    return dict(
        ratios=[t / o for o, t in zip(ours, theirs)],
        share=statistics.median(shares),
        tokens_per_second=tokens / statistics.median(ours),
        torch_tokens_per_second=tokens / statistics.median(theirs),
        peak_memory_bytes=report["peak_memory_bytes"],
        torch_peak_memory_bytes=worker.peak,
        parameters=[report["parameters"], worker.ready["parameters"]],
        torch=worker.ready["torch"],
    )


def against_reference(a, model, width):
    ratios = []
    for _ in range(max(1, a.rounds - 1)):
        fused = crossscale(a, model, width, a.threads, a.steps)
        reference = crossscale(a, model, width, a.threads, 2, "reference")
        medians = [r["step_seconds"]["median"] for r in (reference, fused)]
        ratios.append(medians[0] / medians[1])
    return dict(ratios=ratios)


def jobs(a, model, width):
    """Two runs of one thread each beside each other, against twice one alone."""
    rate = lambda report: report["tokens_per_second"]
    efficiencies = []
    for _ in range(a.rounds):
        alone = rate(crossscale(a, model, width, 1, 3 * a.steps))
        pair = [crossscale(a, model, width, 1, 3 * a.steps, wait=False) for _ in range(2)]
        efficiencies.append(sum(rate(finish(process)) for process in pair) / (2 * alone))
    return dict(ratios=efficiencies)


def tasks(a):
    """What to measure, most wanted first."""
    for mode in ["eager"] if a.quick else ["eager", "compiled"]:
        for width in a.widths:
            for model in a.models:
                yield (mode, model, width), lambda m=model, w=width, k=mode: against_torch(a, m, w, k)
    for model in a.models[:1] if a.quick else a.models:
        yield ("jobs 2", model, 64), lambda m=model: jobs(a, m, 64)
        yield ("reference", model, 128), lambda m=model: against_reference(a, m, 128)


def spread(values):
    return f"{statistics.median(values):5.2f} [{min(values):.2f} {max(values):.2f}]"


def line(key, r):
    kind, model, width = key
    met = lambda value, bar: f"bar {bar}: " + ("met" if value >= bar else "MISSED")
    median = statistics.median(r["ratios"])
    text = f"{model:<6}{width:>4}  {kind:<9} {spread(r['ratios'])}"
    if kind in ("eager", "compiled"):
        text += f"  {met(median, BARS[model][kind == 'compiled']):<16}"
        text += f" {r['tokens_per_second']:7.0f} : {r['torch_tokens_per_second']:<6.0f} tokens/s"
        text += f"  share {r['share']:.2f} ({met(r['share'], SHARE_BAR)})"
        memory = [1e-6 * r[k] for k in ("peak_memory_bytes", "torch_peak_memory_bytes")]
        text += f"  memory {memory[0]:.0f} : {memory[1]:.0f} MB"
        ours, theirs = r["parameters"]
        if ours != theirs:
            text += f"  NOT THE SAME MODEL: {ours} and {theirs} parameters"
        return text
    return text + "  " + met(median, JOBS_BAR if kind == "jobs 2" else REFERENCE_BAR)


def arguments():
    parser = argparse.ArgumentParser(
        prog="ci/compare_torch", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--python", help="a Python that can import torch")
    parser.add_argument("--quick", action="store_true", help="eager only, fewer rounds")
    parser.add_argument("--fresh", action="store_true", help="forget earlier measurements")
    parser.add_argument("--models", nargs="+", default=list(BARS), choices=list(BARS))
    parser.add_argument("--widths", nargs="+", type=int, default=[256, 128])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, help="turns of each side [3, quick: 2]")
    parser.add_argument("--steps", type=int, help="timed steps of a turn [4, quick: 3]")
    parser.add_argument("--minutes", type=float, help="start nothing after this [11, quick: 3.5]")
    parser.add_argument("--passive", action="store_true", help="idle PyTorch threads do not spin")
    parser.add_argument("--flush-subnormals", action="store_true",
                        help="PyTorch with set_flush_denormal(True)")
    parser.add_argument("--folder", default="target/compare_torch", help="results and scratch")
    parser.add_argument("--binary", default="target/release/crossscale")
    a = parser.parse_args()
    a.rounds = a.rounds or (2 if a.quick else 3)
    a.steps = a.steps or (3 if a.quick else 4)
    a.minutes = a.minutes or (3.5 if a.quick else 11)
    return a


def main():
    a = arguments()
    os.makedirs(a.folder, exist_ok=True)
    path = os.path.join(a.folder, "results.jsonl")
    if a.fresh and os.path.exists(path):
        os.remove(path)
    known = {}
    if os.path.exists(path):
        with open(path) as file:
            known = {tuple(key): value for key, value in map(json.loads, file)}
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {a.threads} threads, "
          f"{a.rounds} rounds of {a.steps} steps; ratio > 1: crossscale is faster\n", flush=True)
    end, left = time.monotonic() + 60 * a.minutes, []
    for key, measure in tasks(a):
        if key not in known:
            if time.monotonic() > end:
                left.append(" ".join(map(str, key)))
                continue
            try:
                known[key] = measure()
            except RuntimeError as error:
                print(f"{key[1]:<6}{key[2]:>4}  {key[0]:<9} {error}", flush=True)
                continue
            with open(path, "a") as file:
                print(json.dumps([key, known[key]]), file=file)
        print(line(key, known[key]), flush=True)
    if left:
        print(f"\nnot measured for lack of time, run again: {', '.join(left)}")


main()
