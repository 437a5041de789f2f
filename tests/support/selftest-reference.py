"""Writes src/model/selftest-reference.json: logits of models/ioi-mini on a few prompts, in float64 with numpy alone.

It shares no code with the engine, so that the self-test compares two independent programs. Run in the project's root:
    python3 tests/support/selftest-reference.py
"""
import json
import math
import re
import struct

import numpy as np

MODEL = "models/ioi-mini"
PROMPTS = [  # text, indirect object, subject
    ("Mary and Adam went to the store. Adam gave a drink to", "Mary", "Adam"),
    ("Then, Paul and Alice were at the park when Paul passed a ring to", "Alice", "Paul"),
    ("Yesterday, Anna and Brian had a long talk at the school. In the end Brian sold a book to", "Anna", "Brian"),
]


def read_safetensors(path):
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name == "__metadata__":
            continue
        kind = {"F16": "<f2", "F32": "<f4"}[entry["dtype"]]
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[start:end], kind).reshape(entry["shape"]).astype(np.float64)
    return tensors


def layer_norm(x, gamma, beta, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + epsilon) * gamma + beta


def gelu_new(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def logits(weights, config, tokens):
    """Logits of the last position, [vocabulary]."""
    length, heads = len(tokens), config["n_head"]
    epsilon = config["layer_norm_epsilon"]
    residual = weights["wte.weight"][tokens] + weights["wpe.weight"][:length]
    for layer in range(config["n_layer"]):
        w = {name.split(".", 2)[2]: value for name, value in weights.items() if name.startswith(f"h.{layer}.")}
        x = layer_norm(residual, w["ln_1.weight"], w["ln_1.bias"], epsilon)
        qkv = x @ w["attn.c_attn.weight"] + w["attn.c_attn.bias"]
        q, k, v = (part.reshape(length, heads, -1).transpose(1, 0, 2) for part in np.split(qkv, 3, axis=-1))
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        scores = np.where(np.tril(np.ones((length, length), bool)), scores, -np.inf)
        pattern = np.exp(scores - scores.max(-1, keepdims=True))
        pattern /= pattern.sum(-1, keepdims=True)
        z = (pattern @ v).transpose(1, 0, 2).reshape(length, -1)
        residual = residual + z @ w["attn.c_proj.weight"] + w["attn.c_proj.bias"]
        x = layer_norm(residual, w["ln_2.weight"], w["ln_2.bias"], epsilon)
        hidden = gelu_new(x @ w["mlp.c_fc.weight"] + w["mlp.c_fc.bias"])
        residual = residual + hidden @ w["mlp.c_proj.weight"] + w["mlp.c_proj.bias"]
    return layer_norm(residual[-1], weights["ln_f.weight"], weights["ln_f.bias"], epsilon) @ weights["wte.weight"].T


def main():
    config = json.load(open(f"{MODEL}/config.json"))
    vocabulary = json.load(open(f"{MODEL}/tokenizer.json"))["model"]["vocab"]
    weights = read_safetensors(f"{MODEL}/model.safetensors")
    # Every word and mark of these prompts is one token, so splitting is all the tokenizing they need.
    encode = lambda text: [vocabulary[piece.replace(" ", "Ġ")] for piece in re.findall(r" ?\w+|[^\w\s]", text)]
    prompts = []
    for text, indirect, subject in PROMPTS:
        tokens = encode(text)
        correct, incorrect = vocabulary["Ġ" + indirect], vocabulary["Ġ" + subject]
        out = logits(weights, config, tokens)
        assert out.argmax() == correct, (text, out.argmax())
        # The largest, the two names, and a few spread over the vocabulary.
        kept = sorted({*np.argsort(-out)[:4].tolist(), correct, incorrect, *range(0, len(out), 128)})
        prompts.append({"text": text, "tokens": tokens, "correct": correct, "incorrect": incorrect,
                        "ids": kept, "logits": [round(float(out[i]), 9) for i in kept]})
        print(f"{text} … {indirect}: logit difference {out[correct] - out[incorrect]:.4f}")
    with open("src/model/selftest-reference.json", "w") as file:
        json.dump({"model": "ioi-mini", "prompts": prompts}, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")


main()
