"""Reference renderings for the chat template tests, made with the environment that transformers compiles templates in.

Writes Tests/References/ChatTemplates/cases.json: source, variables and the rendered text (null where rendering fails).
The family templates beside this script's output (`*.jinja`) are our own, in each family's dialect.

Made with Python 3.11, transformers 5.24.0, Jinja2 3.1.6.
Run from the repository root: python Tests/References/chat_template_reference.py
"""

import datetime
import json
from pathlib import Path

from transformers.utils.chat_template_utils import _compile_jinja_template

TARGET = Path("Tests/References/ChatTemplates")
NOW = datetime.datetime(2024, 7, 26, 9, 5, 3)

TOOLS = [{"type": "function", "function": {
    "name": "add", "description": "Adds <two> \"numbers\" & é",
    "parameters": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number", "default": 1.5}}, "required": ["a"]}}}]
USER = {"role": "user", "content": "  What is 2+2?\n"}
ASSISTANT = {"role": "assistant", "content": "It's 4. "}
CHATS = {
    "one": [USER],
    "two": [USER, ASSISTANT],
    "system": [{"role": "system", "content": "Be brief.\n\n"}, USER, ASSISTANT, {"role": "user", "content": "日本 \"q\" <b>"}],
    "think": [USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\n4"}, {"role": "user", "content": "ok"},
              {"role": "assistant", "content": "<think>x</think>five"}],
    "tool": [USER, {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": [1, True, None, "ü\n"]}}}]},
        {"role": "tool", "content": "4", "tool_call_id": "c1"}, {"role": "tool", "content": "5"}, {"role": "assistant", "content": "Four."}],
    "wrong": [USER, USER],
    "empty": [],
}

# Each is rendered with the variables of `context()`.
SNIPPETS = r"""
{{ 1 + 2 * 3 - 4 // 3 }} {{ 7 % 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 7 / 2 }} {{ 2 ** -1 }}
{{ 1.5 + 1 }} {{ 3.0 }} {{ 1e3 if false else 0.1 }} {{ 10 / 5 }} {{ +3 }} {{ -x }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}
{{ 'a' ~ 1 ~ true ~ none ~ 2.50 }} {{ "x" 'y' }} {{ 'ab' * 3 }} {{ [1] * 2 + [3] }}
{{ true }} {{ None }} {{ [1, 'a', "it's", none, 1.0, {'k': (1,)}] }} {{ (1, 2) }} {{ () }}
{{ 'a"\'b' }} {{ ['a"b', "a'b", "a'\"b", "\t\n\\é\x07"] }}
{{ not x }} {{ not not x }} {{ x and y }} {{ 0 or 'z' }} {{ '' and 1 }} {{ x or raise_exception('no') }}
{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 'a' in 'cat' }} {{ 4 not in [1, 2] }} {{ 'k' in d }} {{ 1 == 1.0 }} {{ 1 == true }} {{ 'a' != 'b' }} {{ [1] == [1] }} {{ (1,) == [1] }}
{{ 'yes' if x else 'no' }} {{ 'only' if not x }}|{{ 1 if 0 else 2 if 0 else 3 }}
{{ missing }}|{{ d.missing }}|{{ missing is defined }} {{ d.k is defined }} {{ missing | default('dd') }} {{ '' | default('e', true) }} {{ missing | d }}
{{ missing.field }}
{{ missing + 'a' }}
{{ missing() }}
{{ 'a' + 1 }}
{{ 'a' < 1 }}
{{ 1 // 0 }}
{{ l[0] }} {{ l[-1] }} {{ l[9] }}|{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ l[::2] }} {{ l[-2:] }} {{ l[5:1] }} {{ l[1:100] }} {{ l[-100:2] }} {{ l[3:0:-1] }}
{{ s[0] }} {{ s[-2:] }} {{ s[::-1] }} {{ s | length }} {{ emoji | length }} {{ emoji[0] }} {{ emoji | reverse }} {{ s[1] }} {{ s[100] }}|
{{ d['k'] }} {{ d.k }} {{ d['missing'] }}|{{ d.get('missing', 7) }} {{ d.get('missing') }}
{{ d.items() | list }} {{ d.keys() | list }} {{ d.values() | list }} {{ d | items | list }} {{ d | dictsort }}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }},{% endfor %}
{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {{ loop.previtem }}|{{ loop.nextitem }} {{ loop.cycle('a', 'b') }}{% endfor %}
{% for i in l if i > 1 %}{{ i }}/{{ loop.length }}{% else %}none{% endfor %}{% for i in [] %}x{% else %}empty{% endfor %}{% for i in missing %}x{% else %}undefined{% endfor %}
{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for i in range(1, 8, 3) %}{% for j in range(3, 0, -1) %}{{ loop.depth }}{{ i * j }} {% if j == 2 %}{% break %}{% endif %}{% endfor %}{% endfor %}
{% for c in 'héy' %}[{{ c }}]{% endfor %}{% for a, b in [(1, 2), [3, 4]] %}{{ a }}-{{ b }} {% endfor %}{% for (a, b) in [(1, 2)] %}{{ a + b }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
{% for i in 5 %}{% endfor %}
{% set a = 1 %}{% for i in l %}{{ a }}{% set a = i %}{{ a }}{% endfor %}{{ a }}
{% set ns = namespace(found=false, n=0) %}{% for i in l %}{% set ns.n = ns.n + i %}{% if i == 2 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }} {{ ns.n }} {{ ns.other }}|
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a + ns.b }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, %}{{ t }}
{% set a.b = 1 %}
{% if x %}{% set inner = 1 %}{% endif %}{{ inner }}{% set block %}  text {{ x }} {% endset %}[{{ block }}]{% set up | upper | trim %} abc {% endset %}[{{ up }}]
{% macro m(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }}{% if a > 1 %}{{ m(a - 1) }}{% endif %}{% endmacro %}{{ m(2) }} {{ m(1, b=5) }} {{ m(1, 2, 3) }} [{{ m(a=0) | upper }}]
{% macro m(a) %}{{ a }}|{% endmacro %}{{ m() }}{{ m(1) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro outer() %}{% for i in l %}{{ inner(i) }}{% endfor %}{% endmacro %}{% macro inner(i) %}<{{ i + x }}>{% endmacro %}{{ outer() }}
{% set z = 5 %}{% macro m() %}{{ z }}{% set z2 = 9 %}{% endmacro %}{{ m() }}{{ z2 }}
{% generation %}gen {{ x }}{% set q = 1 %}{% endgeneration %}|{{ q }}
{% filter upper %}abc {{ s }}{% endfilter %}{% filter trim | upper %} d {% endfilter %}{% with a = 1, b = 'c' %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% raw %}{{ not }} {% if %} {# c #}{% endraw %} after {# a {{ comment }} #}end
{{ '  a b  ' | trim }}|{{ 'xaxx' | trim('x') }}|{{ 'abc' | upper }} {{ 'ÀÉ' | lower }} {{ 'hELLO wORLD' | capitalize }} {{ "hello wor-ld (it's)" | title }} {{ "hello wor-ld it's".title() }}
{{ 'a,b' | replace(',', ';') }} {{ 'aaa' | replace('a', 'b', 2) }} {{ [1, 2] | join(', ') }} {{ l | join }} {{ objects | join('+', attribute='n') }} {{ 'abc' | join('.') }}
{{ l | first }} {{ l | last }} {{ [] | first }}|{{ l | length }} {{ d | count }} {{ missing | length }} {{ l | reverse | list }} {{ 'abc' | list }} {{ l | sum }} {{ objects | sum(attribute='n') }} {{ l | max }} {{ l | min }}
{{ '3' | int + 1 }} {{ '3.7' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 3.9 | int }} {{ '2.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ -3 | abs }} {{ 2.567 | round(2) }} {{ 2.5 | round }} {{ 3 | string ~ 'x' }}
{{ d | tojson }} {{ tools | tojson }} {{ 'é"<>&\n\u2028' | tojson }} {{ [1, 1.0, none, true, []] | tojson }} {{ {} | tojson }}
{{ tools | tojson(indent=4) }} {{ d | tojson(indent=2, sort_keys=true) }} {{ d | tojson(separators=(',', ':')) }} {{ [[], {}] | tojson(indent=1) }}
{{ missing | tojson }}
{{ objects | map(attribute='n') | list }} {{ ['a', 'b'] | map('upper') | join }} {{ objects | map(attribute='q', default='-') | list }} {{ [' a '] | map('trim') | list }}
{{ objects | selectattr('n', 'gt', 1) | map(attribute='n') | list }} {{ objects | rejectattr('n', 'equalto', 1) | list }} {{ objects | selectattr('t') | list | length }} {{ objects | selectattr('q', 'defined') | list }}
{{ l | select('odd') | list }} {{ l | reject('in', [1]) | list }} {{ [0, 1, ''] | select | list }} {{ l | select('divisibleby', 2) | list }}
{{ [3, 1, 2] | sort }} {{ ['b', 'A', 'c'] | sort }} {{ ['b', 'A'] | sort(reverse=true) }} {{ ['b', 'A'] | sort(case_sensitive=true) }} {{ objects | sort(attribute='n', reverse=true) | map(attribute='n') | list }} {{ [1, 2, 1, 'a', 'A'] | unique | list }}
{{ '<a href="x">&\'</a>' | e }} {{ '<b>' | safe }} {{ 'a\n\nb\nc' | indent }}|{{ 'a\nb' | indent(2, true) }}|{{ 'a\n\nb' | indent(2, blank=true) }}|{{ 'a\nb\n' | indent('>') }}|
{{ x is defined }} {{ missing is undefined }} {{ none is none }} {{ missing is none }} {{ 's' is string }} {{ 1 is number }} {{ true is number }} {{ true is integer }} {{ 1.0 is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ 1 is true }} {{ false is false }}
{{ d is mapping }} {{ l is mapping }} {{ l is sequence }} {{ d is sequence }} {{ 1 is sequence }} {{ 's' is iterable }} {{ 1 is iterable }} {{ range is callable }} {{ d is callable }} {{ missing is iterable }}
{{ 3 is odd }} {{ 3 is even }} {{ 4 is divisibleby 2 }} {{ 4 is divisibleby(3) }} {{ 1 is eq 1 }} {{ 1 is ne(1) }} {{ 1 is lt 2 }} {{ 1 is ge 2 }} {{ 1 is in [1] }} {{ 1 is not in [1] }} {{ x is not none }} {{ none is sameas none }} {{ not x is none }} {{ 'ab' is lower }} {{ 'AB' is upper }} {{ 1 is equalto 1 and 2 is greaterthan 1 }}
{{ ' a '.strip() }}|{{ 'xxaxx'.lstrip('x') }}|{{ 'xxaxx'.rstrip('x') }}|{{ 'a b  c'.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.split(none, 1) }} {{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a,b'.split(',')[-1] }} {{ ''.split(',') }} {{ ''.split() }}
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'a-a'.replace('a', 'b') }} {{ 'a-a'.replace('a', 'b', 1) }} {{ 'ab'.replace('', '.') }} {{ 'Abc'.upper() }}{{ 'ABC'.lower() }}{{ 'aBC'.capitalize() }} {{ ','.join(['a', 'b']) }} {{ 'héllo'.find('l') }} {{ 'abc'.find('x') }} {{ 'banana'.count('a') }} {{ 'prefix'.removeprefix('pre') }} {{ 'a.txt'.removesuffix('.txt') }} {{ '12'.isdigit() }} {{ '1a'.isdigit() }} {{ ' '.isspace() }}
{{ [1, 2, 1].count(1) }} {{ [1, 2].index(2) }} {{ 'a'.nothing }}|{{ l.nothing }}
{{ l.append(4) }}
{{ d.update({'a': 1}) }}
{{ strftime_now('%d %b %Y %H:%M:%S %j %A') }} {{ strftime_now("%Y-%m-%d") }}
{{ raise_exception('bad ' ~ x) }}
{{ dict(a=1, b='c') }} {{ range(3) | list }} {{ range(0) | list }} {{ {'a': 1, "b": [1, 2]} }} {{ {}.a }}|{{ {'a': {'b': 2}}.a.b }} {{ {'a': 1, 'a': 2} }}
{{ range(1000000) }}
{{ messages | length }} {{ messages[0].role }} {{ messages[0]['content'] | trim }} {{ (messages | last).content }} {{ messages[-1]['role'] == 'user' and not add_generation_prompt }}
{{- ' a' -}}   b   {{ 'c' -}}
  d {{- 'e' }}
{{ "a" if "b" in "abc" and 1 in [1] else "c" | upper }} {{ ("a" | upper) ~ "b" | upper }} {{ 1 if true else 2 | string ~ 'x' }} {{ -2 | abs }} {{ 2 + 3 | string | int }}
{{ 1 is defined and missing is not defined }} {{ [1, 2, 3][1] }} {{ 'abc'[1] }} {{ ('a', 'b')[0] }} {{ d.list.0 }} {{ d.list[0] + 1 }} {{ 1_000 }} {{ [1, 2,] }} {{ {'a': 1,} }}
{{ namespace is callable }} {{ x }}{{ y }} {{ '\u00e9\x41\n\q' }} {{ 'tab\there' }}
{{ 'abcabc'.find('a', 1) }} {{ 'abcabc'.find('a', 1, 3) }} {{ 'añbab'.find('b', -2) }} {{ 'abc'.find('', 3) }} {{ 'abc'.find('', 4) }} {{ 'abc'.find('a', none, 1) }} {{ 'aXaXa'.count('a', 1) }} {{ 'aXaXa'.count('a', 1, -1) }} {{ 'abc'.count('', 1) }} {{ 'abc'.count('', 4) }}
{{ 'abc'.startswith('b', 1) }} {{ 'abc'.startswith('b') }} {{ 'abc'.startswith(('x', 'bc'), 1, 3) }} {{ 'abc'.startswith('', 4) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abc'.endswith('ab', 1, 2) }}
{{ 'a\nb'.splitlines(true) }} {{ 'a\r\nb\rc\n'.splitlines(keepends=true) }} {{ 'a\n\nb'.splitlines(false) }} {{ 'a,b,c'.split(sep=',', maxsplit=1) }}
{{ [1, 2, 1].index(1, 1) }} {{ [1, 2, 1].index(1, -1) }} {{ [1, 2, 1].index(2, 0, 2) }}
{{ [1, 2, 1].index(1, 1, 2) }}
{{ [1, 2, 1].index(1, none) }}
{{ [1].count(1, 2) }}
{{ 'a'.upper(1) }}
{{ 'a'.strip('a', 'b') }}
{{ 'a'.strip(chars='a') }}
{{ 'a b'.split(by=' ') }}
{{ 'a'.replace('a') }}
{{ 'a'.find() }}
{{ d.get() }}
{{ d.get('a', 1, 2) }}
{{ d.items(1) }}
{{ [[1, 2], [3]] | map(attribute='0') | list }} {{ [[1, 2], [3]] | map(attribute=0) | list }} {{ [[1, 2], [3]] | map(attribute='1', default='-') | list }} {{ ['ab'] | map(attribute='1') | list }} {{ [[2, 'x'], [1, 'y']] | sort(attribute='0') }} {{ [[2], [1]] | sum(attribute='0') }}
{{ [{'c': [{'t': 1}]}, {'c': [{'t': 2}]}] | selectattr('c.0.t', 'equalto', 2) | list }} {{ [{'c': {'0': 5}}] | map(attribute='c.0') | first is defined }} {{ [{}] | map(attribute='a.b', default='-') | list }}
{{ [{}] | map(attribute='a.b') | list }}
{{ [{'c': []}] | selectattr('c.0.t') | list }}
{{ 7 | round }} {{ 7 | round(1) }} {{ true | round }} {{ 2.675 | round(2) }} {{ 2.5 | round }} {{ 3.5 | round }} {{ -0.4 | round }} {{ 1.005 | round(2) }} {{ 0.285 | round(2) }} {{ 1e22 | round(3) }} {{ 2.675 | round(15) }}
{{ missing | int }}
{{ missing | int(3) }}
{{ missing | float }}
{{ missing | dictsort }}
{{ missing | items | list }} {{ none | int }} {{ none | float }} {{ [] | int(4) }}
{{ '\033[0m' }} {{ '\101\7\08\1234\777' }} {{ '\0' | length }}
{{ '\N' }}
{{ 9.5e15 }} {{ 9.5e15 | tojson }} {{ -9007199254740994.0 }} {{ [1e16, 9999999999999998.0] }} {{ 1e15 }} {{ 9007199254740993.0 }} {{ [1e-5, 0.0001, 1e300] | tojson }}
""".strip("\n").split("\n")

# White space, each a whole template.
LAYOUTS = [
    "{% if x %}\n  a\n{% endif %}\nb\n",
    "  {% if x %}  \n  a\n  {% endif %}  \nb\n\n",
    "a  {% if x %}\n b {% endif %} c\n",
    "a\n  {%- if x %}\n b\n  {%- endif -%}  \n c",
    "a\n  {%+ if x %}\n b\n  {% endif +%}\n c",
    "a\n   {# comment #}\nb {# c -#}\n  d\n  {#- e #} f",
    "\n\n{% for i in l %}\n    {{ i }}\n{% endfor %}\n\n",
    "{% for i in l -%}\n    {{ i }}\n{%- endfor %}\n",
    "{{ x }}\n{{ y }}\n",
    "  {{ x }}  \n  {{- y -}}  \n z",
    "{% raw %}\n  {{ x }}\n{% endraw %}\n  c",
    "  {% raw -%}\n  {{ x }}\n  {%- endraw %}\n  c",
    "{% set a = 1 %}\n{% set b = 2 %}\n\n{{ a }}{{ b }}\r\nc\rd\r\n",
    "{% if x %}{% if y %}\n  {% if l %}\n   q\n  {% endif %}\n{% endif %}{% endif %}",
    "x {% if x %} \n y {% endif %}\n\t{% if x %}\n\tz\n\t{% endif %}",
    "{%- if x -%}\n\n a \n\n{%- else -%} b {%- endif -%}\n",
    "{% macro m() %}\n  in\n{% endmacro %}\n[{{ m() }}]\n",
    "{% generation %}\n a\n{% endgeneration %}\nb",
    "{% if not x %}a{% elif y == 'z' %}b{% elif y %}c{% else %}d{% endif %}{% if none %}{% else %}e{% endif %}",
    "a{#- x -#} \n b {{ '{{' }} {{ '%}' }} }} %} #}",
    "{% set d2 = {'a': {'b': 1}} %}{{ d2.a.b }}{{ {'x': {'y': 2}}['x']['y'] }}",
    "", "\n", " \n", "no tags at all\n\n",
    "{{ x", "{% if x %}", "{% endif %}", "{% if x %}a{% endfor %}", "{{ }}", "{{ 1 + }}", "{{ (1 }}", "{{ 'a }}", "{% for in l %}{% endfor %}",
    "{# open", "{% unknown %}", "{{ x | nofilter }}", "{{ x is notest }}", "{% set %}", "{% macro %}{% endmacro %}", "{{ x..y }}", "{{ [1 }}", "{{ ) }}", "{{ $ }}",
    "{% break %}", "{% else %}", "{{ a b }}", "{% for i in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
]


def context():
    return {
        "x": 1, "y": "why", "l": [1, 2, 3], "s": "añb", "emoji": "👨‍👩‍👧é", "d": {"k": "v", "B": 2, "list": [4, 5]},
        "objects": [{"n": 1, "t": True}, {"n": 2, "t": False, "q": None}, {"n": 3}],
        "messages": CHATS["system"], "tools": TOOLS, "add_generation_prompt": True,
    }


def render(source, variables):
    try:
        template = _compile_jinja_template(source)
        values = {"tools": None, "documents": None, **variables}
        return template.render(strftime_now=NOW.strftime, **values)
    except Exception as error:
        return None


def main():
    cases = []
    for index, source in enumerate(SNIPPETS):
        cases.append({"name": f"snippet {index}", "source": source, "variables": context(), "expected": render(source, context())})
    for index, source in enumerate(LAYOUTS):
        cases.append({"name": f"layout {index}", "source": source, "variables": context(), "expected": render(source, context())})
    shared = context()
    for case in cases:
        del case["variables"]
    families = []
    for file in sorted(TARGET.glob("*.jinja")):
        source = file.read_text()
        for name, messages in CHATS.items():
            for tools in (None, TOOLS):
                for prompt in (False, True):
                    variables = {
                        "messages": messages, "tools": tools, "add_generation_prompt": prompt, "bos_token": "<s>",
                        "eos_token": "</s>", "enable_thinking": prompt}
                    families.append({
                        "template": file.name, "variables": variables, "expected": render(source, variables)})
    text = json.dumps({"context": shared, "cases": cases, "families": families}, ensure_ascii=False, separators=(",", ":"))
    (TARGET / "cases.json").write_text(text + "\n")
    print(len(cases), "cases,", sum(c["expected"] is None for c in cases), "of them errors;", len(families), "family renderings,",
          sum(c["expected"] is None for c in families), "of them errors")
    for case in cases:
        if case["expected"] is None:
            print("error:", case["source"][:90])


main()
