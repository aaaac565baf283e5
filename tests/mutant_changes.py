"""The changes that tests/mutants.py makes to C sources: all small faults that a token or a statement can have."""

import itertools
import random
import re
from typing import NamedTuple


class Token(NamedTuple):
    kind: str  # name, number, operator
    text: str
    begin: int  # offset in the file
    line: int


class Change(NamedTuple):
    """The text from begin to end becomes `new`."""

    operator: str
    line: int
    begin: int
    end: int
    new: str


TOKEN = re.compile(
    r"""(?P<skip>\s+|/\*.*?\*/|//[^\n]*|\\\n|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<name>[A-Za-z_]\w*)
    |(?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)
    |(?P<operator>->|\+\+|--|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|\#\#|.)""",
    re.S | re.X,
)
# lines for the preprocessor; of a macro with parameters the body is code like other code
DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(?:define[ \t]+\w+\([^)]*\)|(?:[^\n\\]|\\\n|\\.)*)", re.M)

SWAPPED = {
    "relation": {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    "arithmetic": {
        "+": "-", "-": "+", "*": "/", "/": "*", "%": "/", "+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "++": "--",
        "--": "++", "<<": ">>", ">>": "<<",
    },
    "logic": {"&&": "||", "||": "&&", "&": "|", "|": "&", "^": "|", "|=": "&=", "&=": "|="},
}  # fmt: skip
WORDS = {"break": "continue", "continue": "break"}
NOT_CALLS = {"if", "for", "while", "switch", "return", "sizeof", "do", "else", "case", "defined"}
ACTS = {"=", "+=", "-=", "*=", "|=", "++", "--", "(", "return"}  # in a statement that does something
OPENING, CLOSING = {"(": ")", "[": "]", "{": "}"}, {")", "]", "}"}


def tokens_of(source: str) -> list[Token]:
    blank = DIRECTIVE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), source)
    line, tokens = 1, []
    for found in TOKEN.finditer(blank):
        if found.lastgroup != "skip":
            tokens.append(Token(found.lastgroup, found[0], found.start(), line))
        line += found[0].count("\n")
    return tokens


def closing(tokens, i) -> int:
    """The index of the bracket that closes the one at i."""
    depth = 0
    for j in range(i, len(tokens)):
        depth += (tokens[j].text in OPENING) - (tokens[j].text in CLOSING)
        if depth == 0:
            return j
    return len(tokens) - 1


def arguments(tokens, i) -> list[tuple[int, int]]:
    """(first, last) token of each argument of the call whose bracket is at i."""
    end, depth, first, found = closing(tokens, i), 0, i + 1, []
    for j in range(i + 1, end + 1):
        if depth == 0 and (tokens[j].text == "," or j == end):
            if first < j:
                found.append((first, j - 1))
            first = j + 1
        depth += (tokens[j].text in OPENING) - (tokens[j].text in CLOSING)
    return found


def is_operand(token) -> bool:
    """Whether an operator behind the token has two operands."""
    return token.text in (")", "]") or (token.kind in ("name", "number") and token.text not in NOT_CALLS)


def next_number(text, step) -> str | None:
    """The literal one higher or lower."""
    digits = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)([uUlL]*)", text)
    if digits:
        value = int(digits[1], 0 if digits[1][:2].lower() == "0x" else 10) + step
        return f"{value}{digits[2]}" if value >= 0 else f"({value})"
    real = re.fullmatch(r"((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)([fF]?)", text)
    return f"({float(real[1]) + step!r}{real[2]})" if real else None


class Finder:
    """Finds all changes of one file."""

    def __init__(self, source):
        self.source, self.tokens, self.found = source, tokens_of(source), []

    def text(self, first, last) -> str:
        return self.source[self.tokens[first].begin : self.end(last)]

    def end(self, i) -> int:
        return self.tokens[i].begin + len(self.tokens[i].text)

    def add(self, operator, first, last, new):
        token = self.tokens[first]
        self.found.append(Change(operator, token.line, token.begin, self.end(last), new))

    def token_changes(self, i):
        token = self.tokens[i]
        for operator, pairs in SWAPPED.items():
            # of two operands: clang-format puts a space behind it, but none behind the * of a pointer
            binary = i and is_operand(self.tokens[i - 1]) and self.source[self.end(i)].isspace()
            if token.text in pairs and (token.text in ("++", "--") or binary):
                self.add(operator, i, i, pairs[token.text])
        if token.text in WORDS:
            self.add("jump", i, i, WORDS[token.text])
        if token.kind == "number":
            for step in (1, -1):
                if new := next_number(token.text, step):
                    self.add("constant", i, i, new)

    def conditions(self, i):
        """Of if, while and for, and in front of `?`."""
        tokens = self.tokens
        if tokens[i].text in ("if", "while") and tokens[i + 1].text == "(":
            end = closing(tokens, i + 1)
            self.add("negated condition", i + 1, end, f"(!{self.text(i + 1, end)})")
        if tokens[i].text == "for" and tokens[i + 1].text == "(":
            end = closing(tokens, i + 1)
            ends = [j for j in range(i + 2, end) if tokens[j].text == ";"]
            if len(ends) == 2 and ends[0] + 1 < ends[1]:
                bound = self.text(ends[0] + 1, ends[1] - 1)
                self.add("loop bound", ends[0] + 1, ends[1] - 1, f"{bound} - 1")
                self.add("loop bound", ends[0] + 1, ends[1] - 1, f"{bound} + 1")

    def statement(self, i):
        """Dropped: a call or an assignment that is a statement of its own, or an early `return`."""
        tokens = self.tokens
        if not i or tokens[i - 1].text not in (";", "{", "}", ")", "else") or tokens[i].kind != "name":
            return
        if tokens[i].text == "return":
            if tokens[i - 1].text not in (")", "else"):
                return
        elif tokens[i].text in NOT_CALLS or tokens[i + 1].kind == "name":
            return
        depth, end = 0, i
        while end < len(tokens) and not (depth == 0 and tokens[end].text in (";", "{", "}")):
            depth += (tokens[end].text in OPENING) - (tokens[end].text in CLOSING)
            if depth < 0:
                return
            end += 1
        if end < len(tokens) and tokens[end].text == ";" and ACTS & {token.text for token in tokens[i:end]}:
            self.add("dropped statement", i, end, ";")

    def swaps(self, i, inside):
        """Of neighbouring arguments of a call; the compiler refuses those of different kinds."""
        tokens = self.tokens
        if not inside or tokens[i].kind != "name" or tokens[i].text in NOT_CALLS or tokens[i + 1].text != "(":
            return
        found = arguments(tokens, i + 1)
        for (a, b), (c, d) in itertools.pairwise(found):
            first, second = self.text(a, b), self.text(c, d)
            if first != second:
                self.add("swapped arguments", a, d, f"{second}, {first}")

    def changes(self) -> list[Change]:
        depth = 0
        for i, token in enumerate(self.tokens[:-1]):
            depth += (token.text == "{") - (token.text == "}")
            self.token_changes(i)
            self.conditions(i)
            self.statement(i)
            self.swaps(i, depth > 0)
        return self.found


def changes_of(source: str) -> dict[int, list[Change]]:
    """All changes of a file, by line."""
    lines = {}
    for change in Finder(source).changes():
        lines.setdefault(change.line, []).append(change)
    return lines


def draw(source: str, rng: random.Random) -> list[Change]:
    """One change for each line that has any, in random order; of a line first the kind of change is drawn."""
    drawn = []
    for _, changes in sorted(changes_of(source).items()):
        kind = rng.choice(sorted({change.operator for change in changes}))
        drawn.append(rng.choice([change for change in changes if change.operator == kind]))
    rng.shuffle(drawn)
    return drawn
