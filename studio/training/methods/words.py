"""Vectors that learn to be a word: what a textual inversion trains."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from studio.engine.prompt import Reader
from studio.errors import InvalidRequestError
from studio.training_params import TrainingParams

PLAIN_WORD = "*"  # as A1111 begins where nothing is said


class LearnedWord(nn.Module):
    """n vectors for each text encoder, (n, width) fp32.

    They begin as the words of `initializer`, repeated or cut to n; without it as the class word. Source: AUTOMATIC1111,
    modules/textual_inversion/textual_inversion.py, create_embedding.
    """

    def __init__(self, readers: Sequence[Reader], params: TrainingParams) -> None:
        """Raises: InvalidRequestError, for a trigger that no prompt could name."""
        super().__init__()
        if not params.trigger.strip():
            raise InvalidRequestError(
                "There is no trigger, so nothing could call what is learned.",
                field="trigger",
                hint="Give it a word of its own, such as ohwx.",
            )
        words = params.initializer or params.class_word or PLAIN_WORD
        self.rows = nn.ParameterList(_beginning(reader, words, params.vectors) for reader in readers)
        self._norms = [float(_table(reader).norm(dim=1).median()) for reader in readers]

    def given(self) -> tuple[Tensor, ...]:
        """The vectors for each text encoder, as they live."""
        return tuple(self.rows)

    @torch.no_grad()
    def keep_norm(self) -> None:
        """Give each vector the length that the text encoder's own words have, their median; a longer one drowns the
        rest of a prompt."""
        for rows, norm in zip(self.rows, self._norms, strict=True):
            rows.mul_(norm / rows.norm(dim=1, keepdim=True).clamp_min(1e-12))


class OwnWord(nn.Module):
    """The trigger's own rows in the text encoders' tables of words, (n, width) fp32 each: it stays the word that it is
    for every program, and learns to mean the subject. A token that it has twice has one row, whoever else has it.
    """

    def __init__(self, readers: Sequence[Reader], trigger: str) -> None:
        super().__init__()
        self.ids = [list(dict.fromkeys(reader.tokens(trigger))) for reader in readers]
        tables = zip(readers, self.ids, strict=True)
        self.rows = nn.ParameterList(nn.Parameter(_table(reader)[ids].clone()) for reader, ids in tables)

    def attach(self, readers: Sequence[Reader], undo: ExitStack) -> None:
        """From now on until `undo` the text encoders read these rows in place of their own."""
        for number, reader in enumerate(readers):
            words: Any = reader.model.get_input_embeddings()
            undo.callback(words.register_forward_hook(partial(self._spoken, number)).remove)

    def put(self, number: int, table: Tensor) -> Tensor:
        """That text encoder's table of words, (words, width), with these rows in their places; in a copy."""
        changed = table.clone()
        changed[self.ids[number]] = self.rows[number].detach().to(changed)
        return changed

    def _spoken(self, number: int, _table: nn.Module, asked: tuple[Tensor], said: Tensor) -> Tensor:
        for token, row in zip(self.ids[number], self.rows[number], strict=True):
            said = torch.where((asked[0] == token)[..., None], row.to(said), said)
        return said


def _beginning(reader: Reader, words: str, count: int) -> nn.Parameter:
    table, ids = _table(reader), reader.tokens(words)
    begun = table[ids] if ids else table.mean(0, keepdim=True)
    return nn.Parameter(begun.repeat(-(-count // len(begun)), 1)[:count].clone())


def _table(reader: Reader) -> Tensor:
    """The encoder's own vectors, (words, width) fp32."""
    embeddings: Any = reader.model.get_input_embeddings()
    return embeddings.weight.detach().float()
