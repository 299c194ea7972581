"""What the source may not do, whoever writes it: run data, trust formats that run, read without limits."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
FILES = sorted(path for package in ("editbench", "edit_grpo_ref") for path in (ROOT / package).rglob("*.py"))

FORBIDDEN = {
    "pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve",
    "zipfile", "tarfile", "lzma", "bz2", "xml", "telnetlib", "ftplib", "urllib.request", "requests", "code",
}  # fmt: skip
IMPORTS_ALLOWED = {
    "editbench/suites/unpickle.py": {"pickle"},  # an unpickler of containers and numbers, which names nothing else
    "editbench/testing/layouts/hatie.py": {"pickle"},  # writes what that one is tested with
}
JSON_ALLOWED = {
    "editbench/reading.py": "the strict reader itself",
    "editbench/specs.py": "one quoted text inside a spec string that the user typed",
    "edit_grpo_ref/expressions.py": "one quoted text inside a reward expression that the user typed",
    "editbench/isolation.py": "the argument that a worker is started with",
    "edit_grpo_ref/ranks.py": "what the other processes of this run have just written",
}
CALLS = {"eval", "exec", "compile", "__import__"}


def places(node_is_wrong):
    """Return every place in the source of which a function of file and node says that it is wrong."""
    found = []
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        found += [
            f"{name}:{node.lineno}" for node in ast.walk(ast.parse(path.read_text())) if node_is_wrong(name, node)
        ]
    return found


def called(node):
    """Return what a call calls, as it is written: `torch.load`; empty for anything else."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def keyword(node, name):
    return next((ast.unparse(given.value) for given in node.keywords if given.arg == name), None)


def test_nothing_that_runs_data_is_imported_and_no_archive_is_opened():
    def wrong(name, node):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        else:
            names = {node.module} if isinstance(node, ast.ImportFrom) else set()
        roots = {part for name in names for part in (name, name.partition(".")[0])}
        return roots & FORBIDDEN - IMPORTS_ALLOWED.get(name, set())

    assert places(wrong) == []
    assert any("pickle" in (ROOT / name).read_text() for name in IMPORTS_ALLOWED)


def test_no_text_is_run_and_no_shell_is_asked():
    def wrong(name, node):
        shell = isinstance(node, ast.Call) and keyword(node, "shell") not in (None, "False")
        return called(node) in CALLS or called(node) in ("os.system", "os.popen", "shutil.unpack_archive") or shell

    assert places(wrong) == []


def test_weights_are_read_as_numbers_and_never_as_objects():
    def wrong(name, node):
        what = called(node)
        if what == "torch.load":
            return keyword(node, "weights_only") != "True"
        return what in ("np.load", "numpy.load", "pd.read_pickle", "torch.hub.load", "np.fromfile") or (
            isinstance(node, ast.Call) and keyword(node, "allow_pickle") not in (None, "False")
        )

    assert places(wrong) == []


def test_models_are_loaded_without_code_of_theirs():
    def wrong(name, node):
        return isinstance(node, ast.Call) and keyword(node, "trust_remote_code") not in (None, "False")

    assert places(wrong) == []


def test_json_is_read_strictly_everywhere():
    def wrong(name, node):
        loose = called(node) in ("json.loads", "json.load", "json.JSONDecoder", "pd.read_json")
        return loose and name not in JSON_ALLOWED

    assert places(wrong) == []
    for name in JSON_ALLOWED:
        assert "json." in (ROOT / name).read_text(), f"{name} reads no JSON any more"


def test_yaml_is_read_in_one_place():
    def wrong(name, node):
        reads = called(node).startswith("yaml.") and not called(node).startswith("yaml.safe_dump")
        return reads and name not in ("editbench/reading.py", "edit_grpo_ref/options.py")  # presets of the package

    assert places(wrong) == []
    safe = {
        call
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if (call := called(node)).startswith("yaml.")
    }
    assert safe <= {"yaml.SafeLoader", "yaml.safe_load", "yaml.safe_dump", "yaml.MappingNode"}


def test_pictures_are_opened_in_one_place_and_of_allowed_formats():
    def wrong(name, node):
        opens = called(node).endswith("Image.open")
        return (
            opens and keyword(node, "formats") != "FORMATS" and name != "editbench/editors/controls.py"
        )  # its own JPEG

    assert places(wrong) == []
    from PIL import ImageFile

    import editbench.images  # noqa: F401

    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_pages_escape_whatever_they_are_given():
    templates = [path for path in (ROOT / "editbench").rglob("*.html")] + [
        path for path in (ROOT / "edit_grpo_ref").rglob("*.html")
    ]
    assert templates
    for path in templates:
        text = path.read_text()
        assert "|safe" not in text.replace(" ", "") and "autoescape" not in text, path
        assert not {"onclick=", "onerror=", "onload=", "javascript:"} & set(text.split()), path
    for path in (ROOT / "editbench").rglob("*.js"):
        assert "innerHTML" not in path.read_text() and "document.write" not in path.read_text(), path


def test_lower_bounds_hold_the_fixes_that_the_page_on_security_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [Requirement(text) for text in (*project["dependencies"], *(text for extra in extras for text in extra))]
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| .*CVE", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)
    assert len(rows) == 11
    for name, least in rows:
        bounds = [bound for wish in wanted if wish.name == name for bound in wish.specifier if bound.operator == ">="]
        assert bounds and all(Version(bound.version) >= Version(least) for bound in bounds), name


@pytest.mark.parametrize("code", ["eval('1')", "import pickle", "torch.load('x')", "json.loads('1')", "yaml.load('1')"])
def test_what_is_forbidden_would_be_seen(code, tmp_path, monkeypatch):
    (tmp_path / "editbench").mkdir()
    (tmp_path / "editbench" / "x.py").write_text(code)
    monkeypatch.setitem(globals(), "FILES", [tmp_path / "editbench" / "x.py"])
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    checks = [
        test_nothing_that_runs_data_is_imported_and_no_archive_is_opened,
        test_no_text_is_run_and_no_shell_is_asked,
        test_weights_are_read_as_numbers_and_never_as_objects,
        test_json_is_read_strictly_everywhere,
        test_yaml_is_read_in_one_place,
    ]
    failed = 0
    for check in checks:
        try:
            check()
        except (AssertionError, FileNotFoundError) as error:
            failed += "x.py:1" in str(error)
    assert failed == 1
