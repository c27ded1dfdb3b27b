"""What goes wrong between a client and a vault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class VaultError(Exception):
    """The server said no, or cannot be reached, or what it was to be sent does not fit.

    The message is for people, and repeats no content.

    status     of the answer, 0 if there was none
    code       as the contract names it; ``unreachable``; ``not_a_vault`` for an answer that is not one of a vault;
               ``too_large`` for one that is larger than any; ``no_key`` if there is no key to seal or open with;
               ``no_platform``
    fields     what does not fit, by field
    version    the current one, of a conflict
    uncertain  the request may have been carried out all the same: a try of it was sent, and had no answer
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "unreachable",
        fields: Mapping[str, Sequence[str]] | None = None,
        version: int | None = None,
        uncertain: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.version, self.uncertain = status, code, version, uncertain
        self.fields: dict[str, list[str]] = {name: list(texts) for name, texts in (fields or {}).items()}


def unfit(field: str, text: str) -> VaultError:
    """Of something that the server would refuse, and that is not sent."""
    return VaultError(f"{field}: {text}", code="validation_error", fields={field: [text]})
