"""What tests of the vault need: the worked example of its contract, messages, and where Node is."""

from __future__ import annotations

import json
import shutil
from typing import get_args

from hypothesis import strategies as st

from backchat.domain.vault import VaultMessage, VaultRole

NODE = shutil.which("node")

TOKEN = "bsk_k7Qp2_Zm9v-3q_7wQ2xK_aB9cD4eF6gH8iJ0kL1mN2oP3qR4sT"
ID, SECRET = "k7Qp2", "Zm9v-3q_7wQ2xK_aB9cD4eF6gH8iJ0kL1mN2oP3qR4sT"
KEK = "c2428b5232854ba4dedfccd52fbee5f464bb27815aabb89ba0151b675531ab4f"
VAULT_KEY, KEY_ID = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "vk-1"
WRAP_IV = "oKGio6Slpqeoqaqr"
WRAPPED = "eijYeTKRJI5njgkcPJss7D+ppZKIVMmkwoPqykFgZVS68afENTZ98W77kjx+cpyN"
PLATFORM, CHAT = json.loads(r'["LM-Studio", "K\u00e4se 7~>\ud83d\ude42"]')
SENT = json.loads(
    r'[{"role": "user", "content": "Hi \"\u00e9\" e\u0301 \\ / \u0001\t\n\u007f\u2028\ud83d\ude42 <b>&",'
    r' "timestamp": "2024-05-06T07:08:09.5+02:00"},'
    r' {"role": "assistant", "content": "", "timestamp": null, "extra": 1}]'
)
MESSAGES = [VaultMessage(m["role"], m["content"], m["timestamp"]) for m in SENT]
ABOUT = "backspace:v1:bG0tc3R1ZGlv:S8Okc2UgN34-8J-Zgg"
PLAINTEXT = (
    "eyJtZXNzYWdlcyI6W3siY29udGVudCI6IkhpIFwiw6lcIiBlzIEgXFwgLyBcdTAwMDFcdFxuf+KAqPCfmYIgPGI+JiIsInJvbGUiOiJ1c2VyIiwi"
    "dGltZXN0YW1wIjoiMjAyNC0wNS0wNlQwNzowODowOS41KzAyOjAwIn0seyJjb250ZW50IjoiIiwicm9sZSI6ImFzc2lzdGFudCJ9XSwidiI6MX0="
)
IV = "sLGys7S1tre4ubq7"
ENCRYPTED = (
    "4nc3zp++2jgii7WYliaqoetSPbd7Wq0PfIbr0QCgMb9ZaQNfr1+G5Pl7j2pgzLKFHVxLs0dVPRLNIpyvnRkAw9DWGJYmnhS1dbmAZLxzkVQ0suWQ"
    "3BEYuIaPGf1bezWdUZBMb+PnAztueE7speDwuDeGjrlG2P0IQjfH+2MiVAAqwsn6ZmDnDFh3LwoObV535p9+8qoQMHTChUKzPeOByd7wt94FVijM"
    "8P0X4TYMBcHq+jxEdSKd"
)
HASH_KEY = "384b878ac09a199e700e7ef65d6fe9a69bdb470d4cbfe1a0bb6de45e4fdac625"
HASH = "224a8366c69af533b51e10e46c71b5e18573750518bf19f2dd8142b8a578c67e"

messages = st.lists(
    st.builds(
        VaultMessage,
        st.sampled_from(get_args(VaultRole)),
        st.text(max_size=40),
        st.sampled_from([None, "2024-05-06T07:08:09.500+02:00", "2016-12-31t23:59:60z"]),
    ),
    max_size=6,
)


def told(messages: list[VaultMessage]) -> list[dict[str, str]]:
    """The messages as a body holds them."""
    return [
        {"role": m.role, "content": m.content} | ({} if m.timestamp is None else {"timestamp": m.timestamp})
        for m in messages
    ]
