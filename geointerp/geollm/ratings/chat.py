"""Chats: a prompt as the user's turn in a chat model's own template."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from geointerp.errors import InputError
from geointerp.geollm.ratings.causal import Ids

# a code point that no text may hold: where a text is cut before it is tokenized
_CUT = "\ufdd0"


@dataclass(frozen=True)
class Chat:
    """How prompts are put to a model whose tokenizer has a chat template.

    Each prompt is the user's turn, and the assistant's has begun. The special tokens that the
    template writes are the model's own; where a prompt's text spells one, as a placename may,
    it is read as text.

    Parameters
    ----------
    system : str
        What the system turn says; "" for none.
    answer : str
        How the assistant's answer begins, such as "My answer is " after the instructions that
        ask for it. A chat model seldom begins with a bare number, so that without this its
        `mass` on ratings may be small. It stays part of the answer that is read.
    variables : mapping of str to object
        What the template is given beside the turns, such as ``{"enable_thinking": False}``.
    """

    system: str = ""
    answer: str = ""
    variables: Mapping[str, Any] = field(default_factory=dict)

    def render(self, tokenizer: Any, prompt: str) -> str:
        """The whole text that a model is given, special tokens spelled out.

        Parameters
        ----------
        tokenizer : transformers.PreTrainedTokenizerBase
        prompt : str

        Returns
        -------
        str

        Raises
        ------
        InputError
            A tokenizer without a chat template; a template that refuses or drops a turn.
        """
        return "".join(self._pieces(tokenizer, prompt))

    def encode(self, tokenizer: Any, prompt: str, endings: Sequence[str]) -> list[Ids]:
        """The tokens of the chat with each of several endings to the assistant's answer.

        Parameters
        ----------
        tokenizer : transformers.PreTrainedTokenizerBase
        prompt : str
        endings : sequence of str

        Returns
        -------
        list of tuple of int

        Raises
        ------
        InputError
            As `render`.

        Notes
        -----
        The whole text is tokenized at once, as ``apply_chat_template(tokenize=True)`` does,
        and so with the same tokens. Only where a turn spells a special token is the text cut,
        after that spelling's first character, so that neither part holds it.
        """
        *before, last = self._pieces(tokenizer, prompt)
        head: Ids = ()
        for i, piece in enumerate(before):
            head += _tokens(tokenizer, [piece], first=i == 0)[0]
        tails = _tokens(tokenizer, [last + ending for ending in endings], first=not before)
        return [head + tail for tail in tails]

    def _pieces(self, tokenizer: Any, prompt: str) -> list[str]:
        from jinja2 import TemplateError

        if not getattr(tokenizer, "chat_template", None):
            raise InputError(
                f"{type(tokenizer).__name__} has no chat template; leave the chat out, or set "
                "the tokenizer's chat_template to what the model was trained with."
            )
        system, user, answer = (
            _cut(tokenizer, text) for text in (self.system, prompt, self.answer)
        )
        turns = [("system", system)] * bool(self.system) + [("user", user)]
        try:
            text = tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in turns],
                tokenize=False,
                add_generation_prompt=True,
                **self.variables,
            )
        except (TemplateError, ValueError, TypeError) as error:
            raise InputError(f"the chat template refuses the prompt: {error}.") from error
        for role, content in turns:
            if content.strip() not in text:
                raise InputError(
                    f"the chat template does not keep the {role}'s turn as it is; put all into "
                    "the prompt, or mend the template."
                )
        return (text + answer).split(_CUT)


def _cut(tokenizer: Any, text: str) -> str:
    """The text with marks inside whatever the tokenizer would read as a special token."""
    text = text.replace(_CUT, "")
    # spellings may overlap: a look-ahead finds them all
    spelled = "|".join(map(re.escape, _special(tokenizer)))
    return re.sub(f"(?=(?:{spelled}))(.)", rf"\1{_CUT}", text, flags=re.S) if spelled else text


def _special(tokenizer: Any) -> Iterable[str]:
    """The spellings of special tokens, and of other added ones that the template may write.

    Other added tokens, such as Gemma's runs of line breaks, are ordinary text.
    """
    special = set(tokenizer.all_special_tokens)
    template = str(tokenizer.chat_template)
    for token in tokenizer.added_tokens_decoder.values():
        word = str(token.content)
        if token.special or (word in template and word.strip()):
            special.add(word)
    # longer than one character, or there is nowhere to cut
    return sorted(word for word in special if len(word) > 1)


def _tokens(tokenizer: Any, texts: list[str], *, first: bool) -> list[Ids]:
    """Tokens of texts that stand first in the chat, or after something else."""

    def ids(parts: list[str]) -> list[Ids]:
        batch = tokenizer(
            parts,
            add_special_tokens=False,
            split_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return [tuple(one) for one in batch["input_ids"]]

    if first:
        return ids(texts)
    # some tokenizers put a space before whatever stands first: let a line break stand there
    (line,), after = ids(["\n"]), ids(["\n" + text for text in texts])
    if all(one[: len(line)] == line for one in after):
        return [one[len(line) :] for one in after]
    return ids(texts)
