"""Chat templates by name, for models that have none of their own or whose own adds what is not wanted."""

from __future__ import annotations

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As SmolLM2 and Qwen have it, without the system turn that theirs add where there is none."""

PLAIN = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}Assistant:\n{{ m['content'] }}{{ eos_token }}\n\n"
    "{% elif m['role'] == 'user' %}Human: {{ m['content'] }}\n\n{% else %}{{ m['content'] }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)
"""For base models: words and lines, and the end token after each of the assistant's turns.

A space in place of the newline would become one token with the response's first word, and no prompt would be the
beginning of prompt and response.
"""

ENCODER = "{{ cls_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
"""For encoders: a sequence as they were trained on, with the separator, which is their end token, after each turn."""

TEMPLATES = {"chatml": CHATML, "plain": PLAIN}
