"""A model that knows nothing: a tiny llama with random weights and an alphabet, as a GGUF file.

    python model.py FILE

What it says is noise, but it is computed, sampled, streamed, counted and stopped by a real model server.
"""

from __future__ import annotations

import sys

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, INNER, CONTEXT = 64, 2, 4, 128, 16384
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
SPECIAL = [(b"<unk>", gguf.TokenType.UNKNOWN), (b"<s>", gguf.TokenType.CONTROL), (b"</s>", gguf.TokenType.CONTROL)]
BYTES = [(b"<0x%02X>" % byte, gguf.TokenType.BYTE) for byte in range(256)]
LETTERS = [(chr(c).replace(" ", "\u2581").encode(), gguf.TokenType.NORMAL) for c in range(32, 127)]


def main(path: str) -> None:
    chance = np.random.default_rng(7)

    def weights(*shape: int, scale: float = 0.3) -> np.ndarray:
        return (chance.standard_normal(shape) * scale).astype(np.float32)

    alphabet = [*SPECIAL, *BYTES, *LETTERS]
    file = gguf.GGUFWriter(path, "llama")
    file.add_name("noise")
    file.add_context_length(CONTEXT)
    file.add_embedding_length(WIDTH)
    file.add_block_count(LAYERS)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_head_count_kv(HEADS)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(WIDTH // HEADS)
    file.add_vocab_size(len(alphabet))
    file.add_tokenizer_model("llama")
    file.add_token_list([token for token, _ in alphabet])
    file.add_token_scores([0.0] * len(alphabet))
    file.add_token_types([kind for _, kind in alphabet])
    file.add_unk_token_id(0)
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_add_space_prefix(False)
    file.add_chat_template(TEMPLATE)
    last = weights(len(alphabet), WIDTH, scale=1.0)
    last[: len(SPECIAL) + len(BYTES)] *= 0.01  # letters, as a rule
    for name, tensor in {
        "token_embd": weights(len(alphabet), WIDTH),
        "output_norm": np.ones(WIDTH, np.float32),
        "output": last,
    }.items():
        file.add_tensor(f"{name}.weight", tensor)
    for layer in range(LAYERS):
        tensors = {name: np.ones(WIDTH, np.float32) for name in ("attn_norm", "ffn_norm")}
        tensors |= {name: weights(WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")}
        tensors |= {"ffn_gate": weights(INNER, WIDTH), "ffn_up": weights(INNER, WIDTH)}
        tensors |= {"ffn_down": weights(WIDTH, INNER)}
        for name, tensor in tensors.items():
            file.add_tensor(f"blk.{layer}.{name}.weight", tensor)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


if __name__ == "__main__":
    main(sys.argv[1])
