"""Conversations as Markdown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from backchat.domain.message import (
    File,
    Foreign,
    Image,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from backchat.ports.storage import RecordStore
from backchat.services.kinds import KINDS
from backchat.testing.memory_store import open_memory
from kept import ANN, LATER, Kept, exports, talk


@pytest.fixture
async def memory() -> AsyncIterator[RecordStore]:
    async with open_memory(KINDS) as store:
        yield store


async def test_markdown(memory: RecordStore) -> None:
    kept = talk("c1", "How?", "", "other branch", title="A\n# title", tags=("x", "y"), archived_at=LATER)
    question, answer, other = kept.messages
    parts = (
        Reasoning("let me see"),
        Text("Like **this**:\n\n```py\nx\n```"),
        ToolCall("t1", "look`up", '{"q": "```"}'),
        ToolResult("t1", "found ````"),
        Image("i1", "image/png"),
        File("d1", "a*b.pdf"),
        Foreign({"type": "x"}),
    )
    answer = replace(answer, parts=parts, model="gpt", status="interrupted")
    kept = Kept(replace(kept.conversation, leaf=answer.id), [question, answer, other], {})
    await memory.apply(kept.changes)
    assert await exports(memory).markdown(ANN, "c1") == MARKDOWN


MARKDOWN = """\
# A # title

- Created: 2024-01-01 00:00 UTC
- Updated: 2024-01-01 00:00 UTC
- Archived: 2025-12-01 00:00 UTC
- Tags: x, y

## User, 2024-01-01 00:00 UTC

How?

## Assistant (gpt), 2024-01-01 00:00 UTC

*interrupted*

<details>
<summary>Reasoning</summary>

let me see

</details>

Like **this**:

```py
x
```

Calls `` look`up ``:

````json
{"q": "```"}
````

Result:

`````
found ````
`````

Image `i1` (image/png)

File `a*b.pdf`

```json
{
  "type": "x"
}
```
"""


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("```py\nx", "```"),
        ("a\n~~~~\n```\n~~~", "~~~~"),
        ("````\n```", "````"),
        ("```\nx\n``` y", "```"),
        ("```\nx\n```", None),
        ("```\nx\n`````  ", None),
        ("``` a ` b", None),
        ("    ```", None),
        ("~~~ a ` b", "~~~"),
    ],
)
async def test_a_code_block_that_is_left_open_takes_in_nothing_else(
    memory: RecordStore, text: str, end: str | None
) -> None:
    await memory.apply(talk("c1", text, "next").changes)
    markdown = await exports(memory).markdown(ANN, "c1")
    closed = text if end is None else f"{text}\n{end}"
    assert f"\n\n{closed}\n\n## Assistant" in markdown


async def test_reasoning_cannot_leave_its_place(memory: RecordStore) -> None:
    kept = talk("c1", "a")
    message = replace(kept.messages[0], parts=(Reasoning("x </Details> <detailsx> <summary> y\n```"),))
    await memory.apply(replace(kept, messages=[message]).changes)
    markdown = await exports(memory).markdown(ANN, "c1")
    assert markdown.endswith("\n\nx &lt;/Details> <detailsx> &lt;summary> y\n```\n```\n\n</details>\n")
