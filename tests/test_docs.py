"""Links, headings, commands, files and classes in the documentation exist."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "tests" / "golden" / "README.md",
    ROOT / "datamodules" / "splits" / "README.md",
]
NAMES_OTHER_PROJECTS = {ROOT / "tests" / "golden" / "README.md"}
"""Pages whose paths belong to the released implementations of the papers."""
EXAMPLES = {
    ROOT / "docs" / "add-a-paper.md": re.compile("structdepth|rooms_video_directions"),
    ROOT / "docs" / "unusual_input.md": re.compile("^make a$"),  # of a printed sentence: "make a metre"
}
"""Names that a page uses as an example and the repository does not have."""
YAMLS = sorted((ROOT / "experiments").rglob("*.yaml"))
PACKAGES = (
    *("benchmarks", "cluster", "datamodules", "docs", "experiments", "geometry", "lightning_modules", "losses"),
    *("metrics", "networks", "renderers", "structures", "tests", "tools"),
)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
MAKE = re.compile(r"(?<![\w-])make ([a-z][a-z-]*)((?:\s+[A-Z]+=(?:\"[^\"]*\"|\S+))*)")
MODULE = re.compile(r"python -m ([\w.]+)")
FILE = re.compile(rf"(?<![\w/.$<-])(?:{'|'.join(PACKAGES)})/[\w/.-]+\.(?:py|yaml|md|sh|sbatch|json|png|npz)\b")
CLASS = re.compile(rf"(?<![\w/.])(?:{'|'.join(PACKAGES)})(?:\.[a-z_]\w*)+\.[A-Z]\w*")
FOLDERS = {"ablation": "experiments/ablations", "sweep": "experiments/sweeps"}
"""Where other targets than those of experiments look for ``EXP``."""
NAMES = {"EXP": "experiments", "DATA": "experiments/data"}


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.+?) *$", FENCE.sub("", page.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        repeats = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", other) is not None for other in found)
        found.append(f"{anchor}-{repeats}" if repeats else anchor)
    return set(found)


def broken_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            yield f"{link}: no such file"
        elif anchor and anchor not in anchors(target):
            yield f"{link}: no such heading"


def code_of(page: Path) -> str:
    """All fenced and inline code of a page, without comments; continued lines are joined."""
    text = page.read_text()
    fenced = FENCE.findall(text)
    inline = CODE.findall(FENCE.sub("", text))
    code = "\n".join([*fenced, *(span.replace("\n", " ") for span in inline)])
    return re.sub(r"\\\n\s*", "", re.sub(r"\s#\s.*", "", code))


def make_targets() -> set[str]:
    """Targets that ``make help`` lists, without itself."""
    return set(re.findall(r"^([a-z][a-z-]*):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)) - {"help"}


def unknown_commands(code: str) -> Iterator[str]:
    """Unknown make targets, values of ``EXP`` and ``DATA``, and modules in code."""
    for target, variables in MAKE.findall(code):
        if target not in make_targets():
            yield f"make {target}"
        for variable, value in re.findall(r"([A-Z]+)=([a-z]\w*)(?![\w/.])", variables):
            if variable not in NAMES or value == "name":  # `EXP=name` stands for any
                continue
            folder = FOLDERS.get(target, NAMES[variable]) if variable == "EXP" else NAMES[variable]
            suffix = "_instances" if target == "pseudo-depth" else ""
            if not (ROOT / folder / f"{value}{suffix}.yaml").is_file():
                yield f"make {target} {variable}={value}"
    for module in MODULE.findall(code):
        if module != "pytest" and not (ROOT / f"{module.replace('.', '/')}.py").is_file():
            yield f"python -m {module}"


def missing_files(text: str) -> Iterator[str]:
    for name in FILE.findall(text):
        if not (ROOT / name).exists():
            yield name


def missing_tests(text: str) -> Iterator[str]:
    """Tests after ``::`` that their file does not define, or that have no file beside them."""
    for file, name in re.findall(r"([\w/.-]*)::(\w+)", text):
        path = ROOT / file
        if not path.is_file() or f"def {name}(" not in path.read_text():
            yield f"{file}::{name}"


def missing_modules(text: str) -> Iterator[str]:
    """Python files in code spans that do not exist from the repository's root, such as those without their folder."""
    for name in re.findall(r"`([\w/.*-]+\.py)`", text):
        if not list(ROOT.glob(name)):
            yield name


def missing_classes(text: str) -> Iterator[str]:
    for name in CLASS.findall(text):
        module, _, cls = name.rpartition(".")
        path = ROOT / module.replace(".", "/")
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([], [])
        defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        imported = {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        if cls not in defined | imported:
            yield name


def no_examples(page: Path, names: Iterable[str]) -> list[str]:
    """The names without the examples of the page."""
    return [name for name in names if page not in EXAMPLES or not EXAMPLES[page].search(name)]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page):
    assert not list(broken_links(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist(page):
    assert not no_examples(page, unknown_commands(code_of(page)))


@pytest.mark.parametrize("page", [page for page in PAGES if page not in NAMES_OTHER_PROJECTS], ids=name_of)
def test_files_and_classes_exist(page):
    text = page.read_text()
    missing = [*missing_files(text), *missing_tests(text), *missing_modules(text), *missing_classes(text)]
    assert not no_examples(page, missing)


@pytest.mark.parametrize("file", YAMLS, ids=name_of)
def test_comments_of_experiments_name_what_exists(file):
    comments = "\n".join(re.findall(r"#(.*)", file.read_text()))
    assert not [*missing_files(comments), *unknown_commands(comments)]
    pages = re.findall(r"(docs/[\w/]+\.md)#([\w-]+)", comments)
    assert all(anchor in anchors(ROOT / page) for page, anchor in pages)


def test_commands_page_has_every_target():
    text = (ROOT / "docs" / "commands.md").read_text()
    assert not [target for target in sorted(make_targets()) if not re.search(rf"`make {target}[ `]", text)]


def test_data_page_has_every_data_set():
    text = (ROOT / "docs" / "data.md").read_text()
    names = [path.stem for path in sorted((ROOT / "experiments" / "data").glob("[!_]*.yaml"))]
    assert not [name for name in names if f"`{name}`" not in text]


def test_readme_links_every_page_of_a_paper_and_is_short():
    text = (ROOT / "README.md").read_text()
    papers = [name_of(page) for page in (ROOT / "docs" / "papers").glob("*.md")]
    assert not [page for page in papers if f"({page})" not in text]
    assert len(text.splitlines()) <= 80, "the README fits on a screen and a half; details belong into docs/"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](there.md)", ["there.md: no such file"]),
        ("[a](page.md#two)", ["page.md#two: no such heading"]),
        ("[a](#one)\n[b](page.md#the-one-of-two) <https://a.b> [c](https://a.b/c.md)", []),
        ("![a picture: [1, 2]](none.png)", ["none.png: no such file"]),
    ],
)
def test_a_broken_link_is_found(tmp_path, text, found):
    page = tmp_path / "page.md"
    page.write_text(f"# One\n\n## The `one`, of two\n\n```\n# Two\n```\n\n{text}\n")
    assert list(broken_links(page)) == found


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("make trian EXP=lite_unet", ["make trian"]),
        ("make train EXP=lite_umet DATA=rooms", ["make train EXP=lite_umet"]),
        ("make train EXP=lite_unet DATA=roms ROOT=/x", ["make train DATA=roms"]),
        ("make ablation EXP=lite_unet", ["make ablation EXP=lite_unet"]),
        ("make pseudo-depth DATA=coco ROOT=path", []),
        ('make train EXP=name ARGS="--x y"; python -m tools.predict; python -m cli fit', []),
        ("python -m tools.predikt", ["python -m tools.predikt"]),
    ],
)
def test_an_unknown_command_is_found(code, found):
    assert list(unknown_commands(code)) == found


def test_a_missing_file_or_class_is_found():
    assert list(missing_files("`losses/ssim.py` and `losses/simm.py`, runs/losses/none.py")) == ["losses/simm.py"]
    tests = "tests/test_docs.py::test_links_resolve, ::test_links_resolve, tests/test_docs.py::test_links"
    assert list(missing_tests(tests)) == ["::test_links_resolve", "tests/test_docs.py::test_links"]
    assert list(missing_modules("`losses/ssim.py`, `ssim.py` and `simm.py`")) == ["ssim.py", "simm.py"]
    classes = "losses.weighting.Averaging losses.weighting.Average renderers.splat.SplatRenderer"
    assert list(missing_classes(classes)) == ["losses.weighting.Average"]
