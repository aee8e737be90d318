"""A conversation as a model's own chat template writes it, in the first form that the template understands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from editkit.errors import ModelError
from editkit.evals.judges.prompt import Message
from editkit.libraries import library

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def written(tokenizer: PreTrainedTokenizerBase, chat: Sequence[Message], **variables: Any) -> str:
    """Return the prompt of a conversation.

    Some templates know no system message, which then goes before the user's text; some want each message in parts.
    A form counts as understood if every text is in the prompt: templates drop silently what they do not know.

    Args:
        variables: what the template reads beside the messages.

    Raises:
        ModelError: the template takes the conversation in no form.
    """
    errors = library("jinja2", "jinja2", "a chat template")
    for form in _forms(chat):
        try:
            prompt = tokenizer.apply_chat_template(form, tokenize=False, **variables)
        except (errors.TemplateError, TypeError):
            continue
        if isinstance(prompt, str) and all(message["content"].strip() in prompt for message in chat):
            return prompt
    roles = ", ".join(message["role"] for message in chat)
    raise ModelError(
        f"The model's chat template refuses, or leaves out, messages of a conversation ({roles}).",
        "Choose a model that was tuned for chat.",
    )


def _forms(chat: Sequence[Message]) -> Iterator[list[dict[str, Any]]]:
    """Yield the conversation as it is, without a system message, and both again in parts."""
    forms = [list(chat)]
    if chat[0]["role"] == "system":
        system, user, *rest = chat
        forms.append([{**user, "content": f"{system['content']}\n\n{user['content']}"}, *rest])
    for form in forms:
        yield list(form)
    for form in forms:
        yield [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in form]
