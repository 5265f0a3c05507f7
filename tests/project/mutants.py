"""
Whether the tests of the contract notice when its code is wrong.

    python mutants.py <checkout> <folder for copies> [--workers <number>] [<file> ...]

Cosmic Ray makes mutants: copies of the contract with one small mistake each, such as `<` for
`<=`. The tests run against every one of them, in a copy of the checkout, and have to fail:
then the mutant is killed. Mistakes that nobody can notice stand with their reasons in
`tests/contract/surviving_mutants.toml`.

The exit status is 1 when a mutant survives that is not listed there, and when one is listed
that does not exist or does not survive.
"""

import argparse
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from difflib import unified_diff
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import tomllib
from cosmic_ray import plugins  # type: ignore[import-not-found]
from cosmic_ray.commands.init import init  # type: ignore[import-not-found]
from cosmic_ray.mutating import use_mutation  # type: ignore[import-not-found]
from cosmic_ray.work_db import WorkDB, use_db  # type: ignore[import-not-found]
from parso.python.tree import Keyword, Name  # type: ignore[import-not-found]

PACKAGE = "contract"
LIST = Path("tests/contract/surviving_mutants.toml")
COPIED = ("contract", "tests", "pyproject.toml")
# These start a Python that knows only what is installed, or test what draws the examples.
LEFT_OUT = ("test_bare_import.py", "test_strategies.py")
# Where the tests of a module are, if they are not in a file of its name: `test_fields.py`, for
# instance, is that of `contract/checked.py`, and the tests of some modules fill a folder.
FIRST_ASKED = {
    "__init__": "test_exported_names.py",
    "checked": "test_fields.py",
    "codec": "codec",
    "events": "events",
    "merging": "test_laws.py",
    "record": "test_states.py",
    "spellings": "events/test_spellings.py",
}
PYTEST = (
    *("--exitfirst", "--quiet", "--hypothesis-profile=mutants"),
    *("-p", "no:cacheprovider", "-p", "no:anyio"),
    # What is loaded before pytest starts keeps its own assertions as they are.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
    *(f"--ignore=tests/contract/{name}" for name in LEFT_OUT),
)
# Tests without Hypothesis run first, because they take less time: a mutant that one of them kills
# need not be tried by the others.
PLAIN = ("-m", "not hypothesis")
# These are imported once, before the processes that run the tests are forked. None of them may
# import the contract, which is another one in each of these processes.
LOADED = ("pytest", "hypothesis.strategies", "jsonschema", "attrs", "cattrs.preconf.orjson")
FORK = get_context("fork")
NO_TEST_RAN = {4, 5}
"""What pytest exits with when it knows no such file, and when nothing in it was chosen."""
TIMEOUT_SECONDS = 300
"""A mutant may never come to an end; all tests together take a fraction of this."""

# One other operator for each: the rest fail in the same way.
CHOSEN = re.compile(
    r"ReplaceBinaryOperator_"
    r"(Add_Sub|Sub_Add|Mul_Div|Div_Mul|Mod_Mul|Pow_Mul|BitOr_BitAnd|BitAnd_BitOr)"
    r"|ReplaceComparisonOperator_"
    r"(Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt)"
    r"|ReplaceUnaryOperator_(Delete_\w+|USub_UAdd)"
    r"|Replace(And|Or|True|False|Break|Continue)With\w+"
    r"|AddNot|ExceptionReplacer|NumberReplacer|RemoveDecorator|ZeroIterationForLoop"
)

Key: TypeAlias = tuple[str, str, str, str]


# What Cosmic Ray does not do by itself. A node is one of parso's.


class Mutation:
    """One kind of mistake, as Cosmic Ray asks for it."""

    @classmethod
    def arguments(cls) -> tuple[()]:
        return ()

    def places(self, node: Any) -> list[Any]:
        """The parts of a node that can be mutated."""
        raise NotImplementedError

    def change(self, node: Any, place: Any) -> None:
        raise NotImplementedError

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        for place in self.places(node):
            yield place.start_pos, place.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        self.change(node, self.places(node)[index])
        return node


class RemoveStatement(Mutation):
    """Each statement that does something gives way to `pass`."""

    def places(self, node: Any) -> list[Any]:
        if node.type != "simple_stmt":
            return []
        statement = node.children[0]
        kept = ("string", "strings", "import_name", "import_from", "keyword", "assert_stmt")
        return [] if statement.type in kept or is_of_all(statement) else [statement]

    def change(self, node: Any, place: Any) -> None:
        prefix = place.get_first_leaf().prefix
        node.children[0] = Keyword("pass", place.start_pos, prefix=prefix)


class RemoveArgument(Mutation):
    """Each argument that is given by its name is not given."""

    def places(self, node: Any) -> list[Any]:
        if node.type not in {"arglist", "trailer"}:
            return []
        arguments = (each for each in node.children if each.type == "argument")
        return [each for each in arguments if each.children[1] == "="]

    def change(self, node: Any, place: Any) -> None:
        at = node.children.index(place)
        comma = at + 1 if node.children[at + 1 : at + 2] == [","] else at - 1
        doomed = {at, comma} if node.type == "arglist" else {at}
        node.children = [each for i, each in enumerate(node.children) if i not in doomed]


class ChangeText(Mutation):
    """Each text gets another beginning."""

    def places(self, node: Any) -> list[Any]:
        is_docstring = node.type == "string" and node.parent.type == "simple_stmt"
        is_annotation = node.parent is not None and node.parent.type == "funcdef"
        is_text = node.type in {"string", "fstring_string"}
        if not is_text or is_docstring or is_annotation or is_of_all(node):
            return []
        return [node]

    def change(self, node: Any, place: Any) -> None:
        quotes = r"\A\w*['\"]" if node.type == "string" else ""
        place.value = re.sub(quotes, r"\g<0>XX", place.value, count=1)


class ReturnArgument(Mutation):
    """Instead of what a function makes of its only argument, there is the argument itself."""

    def places(self, node: Any) -> list[Any]:
        if node.type not in {"atom_expr", "power"} or len(node.children) != 2:
            return []
        if node.parent.type == "raise_stmt":
            return []  # another exception is raised all the same: a TypeError
        trailer = node.children[1]
        is_call = trailer.type == "trailer" and trailer.children[0] == "("
        if not is_call or len(trailer.children) != 3:
            return []
        return [] if trailer.children[1].type in {"arglist", "argument"} else [trailer]

    def change(self, node: Any, place: Any) -> None:
        prefix = node.get_first_leaf().prefix
        node.children = [Name("", place.start_pos, prefix=prefix), place]


def is_of_all(node: Any) -> bool:
    """Whether this is `__all__`, which is read by tools alone, or a part of it."""
    while node is not None and node.type != "expr_stmt":
        node = node.parent
    return node is not None and node.children[0].get_code().strip() == "__all__"


OURS = {each.__name__: each for each in Mutation.__subclasses__()}


@dataclass(frozen=True)
class Outcome:
    """
    What became of a mutant.

    Attributes:
        key: Its module, the function or class that it is in, the lines of the code that it
            is in and what becomes of them, without their indents.
        killed: Whether a test failed.
        seconds: How long that took.
    """

    key: Key
    killed: bool
    seconds: float


def choose_operators() -> None:
    core = plugins.OPERATOR_PROVIDERS["core"]
    chosen = {name: core[name] for name in core if CHOSEN.fullmatch(name)}
    plugins.OPERATOR_PROVIDERS.clear()
    plugins.OPERATOR_PROVIDERS.update({"core": chosen, "ours": OURS})


def mutants(files: Iterable[Path]) -> list[Any]:
    """One work item of Cosmic Ray for each."""
    with use_db(":memory:", WorkDB.Mode.create) as work:
        init(files, work, {})
        return list(work.work_items)


def begin_in_own_copy(checkout: Path, folder: Path) -> None:
    """What a process does first: the tests run in its copy, and pass before it is mutated."""
    choose_operators()
    copy = folder / str(os.getpid())
    copy.mkdir(parents=True)
    for name in COPIED:
        if (checkout / name).is_dir():
            shutil.copytree(checkout / name, copy / name, ignore=shutil.ignore_patterns("__py*"))
        else:
            shutil.copy(checkout / name, copy)
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    for name in LOADED:
        import_module(name)

    # What this run compiles is not compiled again for each mutant; the contract itself is.
    sys.dont_write_bytecode = False
    if fail("tests/contract"):
        raise RuntimeError("the tests fail without any mutant; `nox -s tests` says why")
    sys.dont_write_bytecode = True
    shutil.rmtree(copy / PACKAGE / "__pycache__")


def try_to_kill(mutant: Any) -> Outcome:
    """Run those tests first that fail soonest."""
    began = time.monotonic()
    (mutation,) = mutant.mutations
    module = mutation.module_path.stem
    nearest = f"tests/contract/{FIRST_ASKED.get(module, f'test_{module}.py')}"
    operator = plugins.get_operator(mutation.operator_name)()
    with use_mutation(mutation.module_path, operator, mutation.occurrence) as (old, new):
        killed = (
            fail(nearest, *PLAIN)
            or fail("tests/contract", *PLAIN)
            or fail(nearest, "tests/contract", "-m", "hypothesis")
        )
    key = (module, mutation.definition_name or "", *changed_lines(old, new))
    return Outcome(key, killed, time.monotonic() - began)


def fail(*tests: str) -> bool:
    """Whether a test fails, in a process of its own, or does not come to an end."""
    process = FORK.Process(target=run_pytest, args=tests)
    process.start()
    process.join(TIMEOUT_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    if process.exitcode in NO_TEST_RAN:
        raise RuntimeError(f"no test ran, so none can have failed: {' '.join(tests)}")
    return process.exitcode != 0


def run_pytest(*tests: str) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    sys.exit(import_module("pytest").main([*PYTEST, *tests]))


def changed_lines(old: str, new: str) -> tuple[str, str]:
    """What differs on both sides, each on one line."""
    lines = [*unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)][2:]
    was, becomes = (
        " ".join(" ".join(line[1:] for line in lines if line.startswith(sign)).split())
        for sign in "-+"
    )
    return was, becomes


def read_list(path: Path) -> set[Key]:
    listed = tomllib.loads(path.read_text()).get("mutant", [])
    for each in listed:
        if not each["reason"].strip():
            raise ValueError(f"there is no reason why this may survive: {each}")
    return {
        (each["module"], each["within"], each["was"], becomes)
        for each in listed
        for becomes in each["becomes"]
    }


def table(outcomes: list[Outcome], listed: set[Key]) -> Iterator[str]:
    def row(name: str, group: list[Outcome]) -> str:
        survivors = [each for each in group if not each.killed]
        known = sum(each.key in listed for each in survivors)
        numbers = (len(group), len(group) - len(survivors), known, len(survivors) - known)
        seconds = sum(each.seconds for each in group)
        return f"| {name} | {' | '.join(map(str, numbers))} | {seconds / 60:.1f} min |"

    yield "| module | mutants | killed | listed | survived | took |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for module in sorted({each.key[0] for each in outcomes}):
        yield row(module, [each for each in outcomes if each.key[0] == module])
    yield row("all", outcomes)


def entry(key: Key) -> str:
    module, within, was, becomes = key
    return (
        f"[[mutant]]\nmodule = {module!r}\nwithin = {within!r}\nwas = {was!r}\n"
        f"becomes = [{becomes!r}]\n"
    )


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(checkout: Path, folder: Path, files: list[Path], workers: int) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    os.chdir(checkout)
    listed = read_list(LIST)
    if files:
        listed = {key for key in listed if key[0] in {file.stem for file in files}}
    choose_operators()
    work = mutants(files or sorted(Path(PACKAGE).glob("*.py")))

    began = time.monotonic()
    begin = (begin_in_own_copy, (checkout, folder))
    outcomes = []
    with ProcessPoolExecutor(workers, FORK, *begin) as pool:
        for outcome in pool.map(try_to_kill, work):
            outcomes.append(outcome)
            if len(outcomes) % 50 == 0:
                say(f"{len(outcomes)} of {len(work)} mutants were tried.")
            if not outcome.killed and outcome.key not in listed:
                say(f"This survived:\n\n{entry(outcome.key)}")

    survived = {each.key for each in outcomes if not each.killed}
    for key in sorted(listed - survived):
        say(f"This is listed and does not survive, or does not exist any more:\n\n{entry(key)}")
    for line in table(outcomes, listed):
        say(line)
    say(f"That took {(time.monotonic() - began) / 60:.1f} minutes with {workers} at a time.")
    return int(survived != listed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", type=Path, nargs="*", help="all of the contract if there is none")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    told = parser.parse_intermixed_args()
    sys.exit(main(told.checkout, told.folder, told.files, told.workers))
