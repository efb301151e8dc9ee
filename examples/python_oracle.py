"""An oracle for steps that hold a short Python snippet and say what it prints; an example of adding one's own.

    sparring train aprm --out runs/code task=text data=steps.jsonl 'oracle=[reference, examples/python_oracle.py:judge]'

Judged is a step with one code block (three backticks) and, after it, a claim of its output ("Output: 45", "It prints 45.").
The snippet must keep to lists of allowed syntax, attributes and names, so that it cannot import or reach anything but
numbers, texts and collections. It runs in a process of its own with without our environment, in an empty temporary folder,
for `SECONDS` and in `MEGABYTES` at most, and without a network where the system lets an ordinary user have that.

Not protected against: bugs of the interpreter, and holes in the lists. For code from strangers, put the whole training
into a container or a virtual machine besides.
"""

import ast
import math
import re
import subprocess
import sys
import tempfile

from sparring.oracles import Verdict

SECONDS, MEGABYTES, LONGEST = 2, 256, 4000
CODE = re.compile(r"```(?:python|py)?\n(.*?)```", re.DOTALL)
CLAIM = re.compile(
    r"(?:outputs?|prints?|result)(?: is)?:? +`?([^`\n]+?)`? *\.?$", re.IGNORECASE | re.MULTILINE
)
WORDS = re.compile(r"\w+")
SYNTAX = WORDS.findall("""
    Module Expr Assign AugAssign Name Load Store Constant BinOp UnaryOp BoolOp Compare Call keyword If IfExp For While
    Break Continue Pass FunctionDef arguments arg Return List Tuple Dict Set Subscript Slice ListComp SetComp DictComp
    GeneratorExp comprehension Lambda Attribute JoinedStr FormattedValue
""")
ATTRIBUTES = [name for name in vars(math) if "__" not in name] + WORDS.findall("""
    append extend insert pop remove sort reverse index count copy add discard union get keys values items update split
    join strip lower upper replace startswith endswith isdigit isalpha find
""")
NAMES = WORDS.findall("""
    abs all any bin bool chr dict divmod enumerate filter float hex int isinstance len list map max min oct ord pow
    print range reversed round set sorted str sum tuple zip
""")
RUNNER = f"""
import builtins, ctypes, math, resource, sys
limits = dict(CPU={SECONDS}, AS={MEGABYTES << 20}, FSIZE=1 << 16, NOFILE=3, CORE=0)
for name, most in limits.items():
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
if hasattr(ctypes.CDLL(None), "unshare"):
    ctypes.CDLL(None).unshare(0x50000000)  # user and network namespaces of its own; does nothing where it is refused
allowed = dict((name, getattr(builtins, name)) for name in {NAMES})
exec(compile(sys.stdin.read(), "step", "exec"), dict(__builtins__=allowed, math=math))
"""


def judge(problem, prefix, step):
    """Return whether the snippet prints what the step says after it."""
    blocks = list(CODE.finditer(step[:LONGEST]))
    claim = CLAIM.search(step, blocks[0].end(), LONGEST) if len(blocks) == 1 else None
    if claim is None:
        return Verdict("undecided", "python:nothing_to_check")
    if (what := not_allowed(blocks[0][1])) is not None:
        return Verdict("undecided", "python:not_allowed", what)
    status, printed = run(blocks[0][1])
    if status != 0:
        return Verdict("undecided", "python:fails", f"status {status}")
    if printed == claim[1].strip():
        return Verdict("correct", "python:output_holds", f"it prints {printed}", claim.span(1))
    return Verdict("wrong", "python:other_output", f"it prints {printed}, not {claim[1]}", claim.span(1))


def not_allowed(code):
    """Return what in the code is not allowed, or None."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError) as error:
        return str(error)
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr not in ATTRIBUTES:
            return f".{node.attr}"
        operator = isinstance(node, ast.operator | ast.unaryop | ast.boolop | ast.cmpop)
        if not operator and type(node).__name__ not in SYNTAX:
            return type(node).__name__
    return None


def run(code):
    """Return the exit status of a snippet (None: out of time) and what it printed."""
    command = [sys.executable, "-P", "-s", "-S", "-c", RUNNER]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
        streams = {"input": code.encode(errors="replace"), "stdout": output, "stderr": subprocess.DEVNULL}
        limits = {"env": {"PYTHONHASHSEED": "0"}, "cwd": folder, "timeout": SECONDS}
        try:
            done = subprocess.run(command, **streams, **limits)  # noqa: S603  the snippet is only its input
        except subprocess.TimeoutExpired:
            return None, ""
        output.seek(0)
        return done.returncode, output.read().decode(errors="replace").strip()
