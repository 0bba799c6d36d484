"""Small chat templates, each with one thing that public ones do to a conversation.

All write turns as `[role]text[end]`, and the words are our own.
"""

from __future__ import annotations

_TURN = "{{ '[' + m['role'] + ']' + (m['content'] or '') + '[end]' }}"
_NEXT = "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"

PLAIN = f"{{% for m in messages %}}{_TURN}{{% endfor %}}{_NEXT}"
WITH_EVERYTHING = (
    "{% for t in tools or [] %}{{ '[tool ' + (t.function or t).name + ']' }}{% endfor %}"
    "{% for m in messages %}{{ '[' + m.role + (' ' + m.name if m.name else '') + ']' }}"
    "{% if m.reasoning_content and thinking is not defined %}"
    "{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}"
    "{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}{{ '[call ' + (c.function or c) | tojson + ']' }}{% endfor %}"
    "{{ '[end]' }}{% endfor %}"
    f"{_NEXT}"
)
REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('This model takes no system text') }}{% endif %}" + PLAIN
)
REFUSES_TOOLS = (
    "{% for m in messages if m.tool_calls or m.role == 'tool' %}"
    "{{ raise_exception('This model calls no tools') }}{% endfor %}" + PLAIN
)
STRIPS_THINKING = (
    "{% for m in messages %}"
    "{{ '[' + m['role'] + ']' + m['content'].split('</think>')[-1] + '[end]' }}"
    f"{{% endfor %}}{_NEXT}"
)
DROPS_TOOL_MESSAGES = (
    "{% for m in messages if m['role'] != 'tool' %}" + _TURN + "{% endfor %}" + _NEXT
)
# The system text goes into the last message, if that is the user's: not once an answer follows.
MOVES_SYSTEM = (
    "{% set system = messages[0]['content'] if messages[0]['role'] == 'system' else '' %}"
    "{% for m in messages if m['role'] != 'system' %}"
    "{{ '[' + m['role'] + ']' + (system + ' ' if loop.last and m['role'] == 'user' and system else '')"
    " + m['content'] + '[end]' }}"
    f"{{% endfor %}}{_NEXT}"
)
WANTS_PARTS = (
    "{% for m in messages %}{{ '[' + m['role'] + ']' }}"
    "{% for part in m['content'] if part.type == 'text' %}{{ part.text }}{% endfor %}"
    f"{{{{ '[end]' }}}}{{% endfor %}}{_NEXT}"
)
FOR_EVER = (
    "{% for i in range(100000) %}{% for j in range(100000) %}{% for k in range(100000) %}"
    "{% endfor %}{% endfor %}{% endfor %}"
)
A_GIGABYTE = "{% for i in range(1000) %}{{ 'x' * 1000000 }}{% endfor %}"
NO_TEMPLATE = "{% if messages %}"
