"""What a checkpoint was fine-tuned for."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Self

from gpt.lora import LoRASettings


@dataclass(frozen=True)
class Task:
    """What a fine-tuned model is for, and what it was made from. All is JSON, so that no task needs its own code here.

    kind         "classify", "instruct" or "prefer": the command that made it
    config       the settings of the fine-tuning, as its config's `to_dict` gives them
    labels       of a classifier, in the order of its outputs
    template     how a prompt is written, where the task has one
    lora         what its adapters are; None without
    base         the checkpoint it began from; "" for random weights. With `lora`, the file that holds all but the adapters
    base_sha256  of that file
    """

    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    template: Any = None
    lora: LoRASettings | None = None
    base: str = ""
    base_sha256: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON's types."""
        lora = None if self.lora is None else self.lora.to_dict()
        return {**vars(self), "labels": list(self.labels), "lora": lora}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make one from `to_dict`; ValueError for a key that is not known."""
        known = {f.name for f in dataclasses.fields(cls)}
        if odd := sorted(values.keys() - known):
            raise ValueError(f"task: unknown key {odd[0]!r}")
        lora = values.get("lora")
        made = {
            "labels": tuple(values.get("labels", ())),
            "lora": None if lora is None else LoRASettings.from_dict(lora),
        }
        return cls(**{**values, **made})
