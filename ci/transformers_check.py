"""Started by ci/transformers_check: the exported folder in transformers gives what `fill` printed."""

import json
import sys

import torch
import transformers
from transformers import AutoTokenizer, BertForMaskedLM

folder, filled = sys.argv[1:]
model, said = BertForMaskedLM.from_pretrained(folder, output_loading_info=True)
# The pooler is no part of masked prediction; nothing else may be left to chance.
missing = [key for key in said["missing_keys"] if "pooler" not in key]
assert not missing and not said["unexpected_keys"] and not said["mismatched_keys"], said
tokenizer = AutoTokenizer.from_pretrained(folder)
ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
# A token begins with the space before a word, so the space before the mask is hidden with it.
before = ids("the people of the")
row = torch.tensor([[*before, tokenizer.mask_token_id, *ids(" states")]])
with torch.no_grad():
    chances = model.eval()(input_ids=row).logits[0, len(before)].softmax(-1)
mask = json.load(open(filled))[0]
assert mask["position"] == len(before), (mask["position"], len(before))
worst = 0.0
for place, found in zip(chances.topk(len(mask["predictions"])).indices, mask["predictions"]):
    token = tokenizer.decode([place])
    assert token == found["token"], (token, found)
    worst = max(worst, abs(chances[place].item() - found["probability"]))
assert worst < 1e-5, worst
print(
    f"transformers {transformers.__version__}: the same predictions, probabilities within {worst:.1e}"
)
