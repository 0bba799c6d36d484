"""The names of a checkpoint's tensors, compared with those that its model has.

A tensor that is missing would start at random, another random one at every load, so it is refused, and
so is a tensor of the language model that has no place. Other parts, which training does not use, are
named and left out.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from dpo_core.errors import ModelError
from dpo_core.models.folder_checks import CLASSIFICATION_HEAD, CONFIG_FILE

OTHER_PARTS = {
    "a vision or audio part": re.compile(
        r"(^|\.)(vision|visual|image|audio|video|speech|mm|multi_modal|multimodal)(_\w+)?\."
        r"|(^|\.)embed_(vision|audio)\.|(^|\.)(image_newline|talker|token2wav|code2wav)(\.|$)"
    ),
    "layers that predict further tokens (MTP)": re.compile(r"(^|\.)(mtp\w*|nextn|eagle)\."),
    "a value head of TRL": re.compile(r"^v_head\."),
    "buffers of older versions": re.compile(
        r"(^|\.)(masked_bias|attn\.bias|attention\.bias|causal_mask|position_ids|inv_freq"
        r"|original_inv_freq)$"
    ),
}
"""Parts of a checkpoint that a language model does without, each with a pattern of its tensors."""
_FURTHER_TOKENS = "layers that predict further tokens (MTP)"
_WRAPPERS = {
    "module": "DataParallel",
    "_orig_mod": "torch.compile",
    "base_model.model": "PEFT",
    "base_layer": "PEFT",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "_fsdp_wrapped_module": "FSDP",
}
_OF_QUANTIZATION = re.compile(
    r"(^|[._])(qweight|qzeros|g_idx|absmax|quant_map|quant_state\.\w+|SCB|weight_packed|weight_scale\w*"
    r"|weight_zero_point|scales|blocks)$"
)
"""The ends of names of tensors that only quantized weights have."""


@dataclass(frozen=True)
class LoadedNames:
    """The names of a checkpoint's tensors, and those that do not match its model."""

    model: Collection[str]
    """The names of the model's tensors."""
    missing: Collection[str]
    """Names of the model that the files lack."""
    unexpected: Collection[str]
    """Names of the files that the model lacks."""
    mismatched: Collection[tuple[str, Sequence[int], Sequence[int]]] = ()
    """Names with two different shapes: in the files, and in the model."""
    further_layers: int = 0
    """How many layers beyond the model's own are of multi-token prediction, as the config says."""

    def check(self, path: str) -> None:
        """Check that every tensor of the language model was in the files, and every other is none of it.

        Args:
            path: What the settings call the model.

        Raises:
            ModelError: It names the first tensor, the likely cause, and the way out.
        """
        problem = self._problem()
        if problem is not None:
            raise ModelError(f"model.path: {path}: {problem}; {self._likely_cause()}")

    def left_out(self, stored: Iterable[str]) -> dict[str, list[str]]:
        """Return the tensors of the files that the model does without, by the part they belong to.

        Args:
            stored: The names of all tensors in the files. Transformers itself ignores some of them.

        Returns:
            For each part the names of its tensors, sorted.
        """
        parts: dict[str, list[str]] = {}
        for name in sorted(set(stored) - set(self.model), key=_natural):
            part = self._other_part(name)
            is_loaded = part in OTHER_PARTS and any(map(OTHER_PARTS[part].search, self.model))
            if part is not None and not is_loaded:
                parts.setdefault(part, []).append(name)
        others = [name for name in self.unexpected if self._other_part(name) is None]
        return {**parts, **({"other parts": sorted(others, key=_natural)} if others else {})}

    def _problem(self) -> str | None:
        if self.mismatched:
            name, stored, wanted = min(self.mismatched, key=lambda each: _natural(each[0]))
            return (
                f"{len(self.mismatched)} of its tensors have other shapes than {CONFIG_FILE} gives, "
                f"first {name} with {list(stored)} instead of {list(wanted)}"
            )
        if self.missing:
            return (
                f"its files lack {len(self.missing)} of the model's {len(self.model)} tensors, first "
                f"{min(self.missing, key=_natural)}, which would start at random"
            )
        homeless = [name for name in self.unexpected if self._is_of_language_model(name)]
        if homeless:
            return (
                f"the model that {CONFIG_FILE} describes has no place for {len(homeless)} of its "
                f"tensors, first {min(homeless, key=_natural)}"
            )
        return None

    def _likely_cause(self) -> str:
        """Return the likely cause of a problem and the way out."""
        wrapper = self._wrapper()
        if wrapper is not None:
            by = next(
                (w for p, w in _WRAPPERS.items() if f".{wrapper}".endswith(f".{p}")), "a wrapper"
            )
            names = "the names begin with" if self._begins_with(wrapper) else "there are names with"
            return f"{names} {wrapper + '.'!r}, which {by} adds: save the model without it"
        if any(map(_OF_QUANTIZATION.search, self.unexpected)):
            return (
                "they are of quantized weights: give the checkpoint with bfloat16 or float32 weights "
                "that it was made from"
            )
        if any(map(CLASSIFICATION_HEAD.search, self.unexpected)):
            return "it was made for classification: give the causal language model it came from"
        modules = {_module(name) for name in self.missing}
        if len(modules) == 1 and not any(map(_layer, self.missing)) and not self.mismatched:
            return (
                f"it was saved without {modules.pop()}, such as by AutoModel: save it with "
                "AutoModelForCausalLM, or set tie_word_embeddings: true if it shares the embeddings"
            )
        if self._layers_differ:
            return (
                f"{CONFIG_FILE} gives another number of layers than the files hold: put the right "
                f"{CONFIG_FILE} beside them, or fetch the files that are missing"
            )
        if self.missing and not self.mismatched:
            return f"a file is cut or missing, or {CONFIG_FILE} is of another model: fetch it again"
        return f"{CONFIG_FILE} is of another model: put the right one beside the weights"

    def _wrapper(self) -> str | None:
        """Return the parts of an unexpected name without which it is a missing one."""
        missing = set(self.missing)
        for name in sorted(self.unexpected, key=_natural):
            parts = name.split(".")
            for start, end in itertools.combinations(range(len(parts) + 1), 2):
                if ".".join(parts[:start] + parts[end:]) in missing:
                    return ".".join(parts[start:end])
        return None

    def _begins_with(self, parts: str) -> bool:
        return any(name.startswith(f"{parts}.") for name in self.unexpected)

    @property
    def _layers_differ(self) -> bool:
        """Return whether the names that do not match are those of whole layers."""
        odd = {_layer(name) for name in (*self.missing, *self.unexpected)}
        whole = {_layer(name) for name in set(self.model) - set(self.missing)}
        return None not in odd and not odd & whole and not self.mismatched

    def _is_of_language_model(self, name: str) -> bool:
        if CLASSIFICATION_HEAD.search(name):
            return True
        return self._other_part(name) is None and name.startswith(self._stems)

    def _other_part(self, name: str) -> str | None:
        """Return the part of a checkpoint, beside the language model, that a tensor belongs to."""
        layer = _layer(name)
        if layer is not None and self._last_layer < layer <= self._last_layer + self.further_layers:
            return _FURTHER_TOKENS
        return next((part for part, of_it in OTHER_PARTS.items() if of_it.search(name)), None)

    @cached_property
    def _stems(self) -> tuple[str, ...]:
        """The beginnings of the model's names, up to a layer's number or a tensor's own name."""
        stems = {re.split(r"(?<=\.)\d+\.", name)[0] for name in self.model}
        stems = {stem if stem.endswith(".") else f"{_module(stem)}." for stem in stems}
        without_model = {stem.partition(".")[2] for stem in stems}
        return tuple(filter(None, stems | without_model))

    @cached_property
    def _last_layer(self) -> int:
        return max(
            (layer for name in self.model if (layer := _layer(name)) is not None), default=-1
        )


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _layer(name: str) -> int | None:
    """Return the first number within a name, which is that of the layer."""
    match = re.search(r"(?:^|\.)(\d+)\.", name)
    return int(match[1]) if match else None


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts layer 2 before layer 10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in name.split(".")]
