"""The wheel in a virtual environment of its own: without dspy, switched off, broken and removed."""

import importlib.metadata
import json
import os
import shutil
import statistics
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.conftest import ROOT
from integration.processes import PYTHON, Finished, run

DISTRIBUTION = "mlflow-dspy-plugin"
PACKAGE = "mlflow_dspy_plugin"
PACKAGED = ("mlflow_dspy_plugin", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
INSTALL_LINE = "pip install 'dspy>=3.0.3'"
# What `import mlflow` may not cost, even where it is installed.
NOT_IMPORTED = ("dspy", f"{PACKAGE}.packaging", f"{PACKAGE}.tracing")
RUNS_TIMED = 5

# The class of an error, the classes it is one of, and its text, as JSON.
TELL_ERROR = """
import json, mlflow
from mlflow.exceptions import MlflowException
try:
    {call}
except Exception as error:
    kinds = [kind.__name__ for kind in (MlflowException, ImportError) if isinstance(error, kind)]
    print(json.dumps([kinds, str(error)]))
"""
# Every warning of `import mlflow`, and where the functions of `mlflow.dspy` come from, as JSON.
TELL_WARNINGS_AND_OWNER = """
import json, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import mlflow
own = [str(warning.message) for warning in caught if "dspy" in str(warning.message)]
print(json.dumps([own, mlflow.dspy.autolog.__module__, mlflow.dspy.__file__]))
"""
TELL_FINDERS = """
import json, mlflow, sys
print(json.dumps([type(finder).__module__ for finder in sys.meta_path]))
"""
TELL_MODULES = "import json, mlflow, sys; print(json.dumps(sorted(sys.modules)))"


@dataclass(frozen=True)
class Installation:
    """A virtual environment with mlflow and the wheel, and without dspy."""

    folder: Path
    wheel: Path
    environment: dict[str, str]

    @property
    def package(self) -> Path:
        """The folder of the installed package."""
        (found,) = self.folder.glob(f"lib/python3.*/site-packages/{PACKAGE}")
        return found

    def python(self, *arguments: str, **variables: str) -> Finished:
        """Run its interpreter to the end, in a folder where nothing can be imported by accident."""
        return self.run("python", *arguments, **variables)

    def tell(self, code: str, **variables: str) -> object:
        """Run code that prints JSON."""
        return json.loads(self.python("-c", code, **variables).stdout)

    def run(self, command: str, *arguments: str, **variables: str) -> Finished:
        """Run one of its commands to the end."""
        environment = {**self.environment, **variables}
        return run([self.folder / "bin" / command, *arguments], self.folder / "run", environment=environment)

    def install_wheel(self) -> None:
        """Install the wheel and nothing else."""
        self.python("-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(self.wheel))


@pytest.fixture(scope="module")
def installation(tmp_path_factory, environment):
    """The wheel of this checkout beside the mlflow that the tests run on."""
    work = tmp_path_factory.mktemp("install")
    folder = work / "environment"
    # Only the installers need the user's home, for what they have downloaded before.
    installing = {**environment, "HOME": os.environ["HOME"]}
    run([PYTHON, "-m", "venv", folder], work, environment=installing)
    install_mlflow(folder, work, installing)
    made = Installation(folder, build_wheel(folder, work, installing), environment)
    made.install_wheel()
    return made


def install_mlflow(folder: Path, work: Path, environment: dict[str, str]) -> None:
    """Install the mlflow of these tests, with what it needs in the same versions."""
    installed = {found.metadata["Name"]: found.version for found in importlib.metadata.distributions()}
    installed.pop(DISTRIBUTION, None)
    constraints = work / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in installed.items()))
    python = folder / "bin" / "python"
    uv = shutil.which("uv")
    installer = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    command = [*installer, "--quiet", "--constraint", constraints, f"mlflow=={installed['mlflow']}"]
    run(command, work, environment=environment, seconds=280)


def build_wheel(folder: Path, work: Path, environment: dict[str, str]) -> Path:
    """Build the wheel from a copy, as building leaves files beside the sources."""
    copy = work / "checkout"
    copy.mkdir()
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    pip_wheel = [folder / "bin" / "python", "-m", "pip", "wheel", "--quiet", "--no-deps"]
    run([*pip_wheel, "--wheel-dir", work, copy], work, environment=environment)
    (wheel,) = work.glob("*.whl")
    return wheel


@pytest.fixture
def broken_discovery(installation):
    """Replaces the code that makes `mlflow.dspy` this package, until the test ends."""
    path = installation.package / "discovery.py"
    whole = path.read_text()
    yield path.write_text
    path.write_text(whole)


@pytest.fixture
def uninstalled(installation):
    """The environment after `pip uninstall`; the wheel is back after the test."""
    assert installation.package.is_dir()
    installation.python("-m", "pip", "uninstall", "--quiet", "-y", DISTRIBUTION)
    yield installation
    installation.install_wheel()


def test_importing_mlflow_is_silent_without_dspy(installation):
    finished = installation.python("-W", "error", "-c", "import mlflow")
    assert (finished.stdout, finished.stderr) == ("", "")


@pytest.mark.parametrize("call", ["mlflow.dspy.log_model(object(), name='model')", "mlflow.dspy.autolog()"])
def test_using_mlflow_dspy_without_dspy_gives_the_install_line(installation, call):
    kinds, message = installation.tell(TELL_ERROR.format(call=call))
    assert kinds == ["MlflowException", "ImportError"]
    assert INSTALL_LINE in message


def test_mlflow_autolog_works_without_dspy(installation):
    finished = installation.python("-W", "error", "-c", "import mlflow; mlflow.autolog()")
    assert PACKAGE not in finished.stderr


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise ValueError('the cause')", "ValueError: the cause"),
        ("def broken(:", "SyntaxError: "),
        ("import missing_module", "ModuleNotFoundError: No module named 'missing_module'"),
        ("raise ImportError('the cause')", "ImportError: the cause"),
    ],
    ids=["ValueError", "SyntaxError", "ModuleNotFoundError", "ImportError"],
)
def test_a_broken_plugin_gives_one_warning_and_mlflows_own_flavor(installation, broken_discovery, source, cause):
    broken_discovery(source)
    warnings, owner, file = installation.tell(TELL_WARNINGS_AND_OWNER)
    assert len(warnings) == 1
    assert DISTRIBUTION in warnings[0]
    assert cause in warnings[0]
    assert owner == "mlflow.dspy.autolog"
    assert PACKAGE not in file


def test_the_warning_of_a_broken_plugin_is_seen_by_default(installation, broken_discovery):
    broken_discovery("raise ValueError('the cause')")
    finished = installation.python("-c", "import mlflow")
    assert finished.stdout == ""
    assert finished.stderr.count("Warning: ") == 1
    assert DISTRIBUTION in finished.stderr


@pytest.mark.parametrize("off", ["false", "FALSE", "0"])
def test_switched_off_mlflow_dspy_is_mlflows_own_flavor(installation, off):
    warnings, owner, file = installation.tell(TELL_WARNINGS_AND_OWNER, MLFLOW_DSPY_PLUGIN=off)
    assert warnings == []
    assert owner == "mlflow.dspy.autolog"
    assert PACKAGE not in file


def test_uninstalled_it_leaves_no_file_and_no_finder(uninstalled):
    site_packages = uninstalled.folder / "lib"
    left = [path for path in site_packages.rglob("*") if PACKAGE in path.name or DISTRIBUTION in path.name]
    warnings, owner, file = uninstalled.tell(TELL_WARNINGS_AND_OWNER)
    assert left == []
    assert not (uninstalled.folder / "bin" / "mlflow-dspy").exists()
    assert warnings == []
    assert owner == "mlflow.dspy.autolog"
    assert file.startswith(str(site_packages))
    assert [module for module in uninstalled.tell(TELL_FINDERS) if PACKAGE in module] == []


def test_importing_mlflow_imports_neither_dspy_nor_the_flavor(installation, environment, tmp_path):
    without_dspy = installation.tell(TELL_MODULES)
    with_dspy = json.loads(run([PYTHON, "-c", TELL_MODULES], tmp_path, environment=environment).stdout)
    for modules in (without_dspy, with_dspy):
        assert f"{PACKAGE}.discovery" in modules
        assert [module for module in modules if module.startswith(NOT_IMPORTED)] == []


def test_the_cost_of_the_plugin_to_importing_mlflow_is_told(installation, capsys):
    costs = [
        import_cost(installation.python("-X", "importtime", "-c", "import mlflow").stderr) for _ in range(RUNS_TIMED)
    ]
    assert all(costs)
    with capsys.disabled():
        print(f"\nimport mlflow: {statistics.median(costs) / 1000:.2f} ms in the modules of {PACKAGE}")


def import_cost(report: str) -> int:
    """Microseconds in the plugin's own modules, from lines `import time: self | cumulative | module`."""
    rows = [line.removeprefix("import time:").split("|") for line in report.splitlines() if line.count("|") == 2]
    return sum(int(own) for own, _, module in rows if module.strip().split(".")[0] == PACKAGE)


def test_the_wheel_tells_type_checkers_that_it_has_types(installation):
    assert [(installation.package / name).is_file() for name in ("py.typed", "__init__.pyi")] == [True, True]


def test_the_wheel_brings_a_command_that_says_what_it_can_do(installation, environment, tmp_path):
    assert (installation.folder / "bin" / "mlflow-dspy").is_file()
    assert_it_says_what_it_can_do(run([PYTHON.parent / "mlflow-dspy", "--help"], tmp_path, environment=environment))


def test_the_command_says_what_it_can_do_without_dspy(installation):
    assert_it_says_what_it_can_do(installation.run("mlflow-dspy", "--help"))


def assert_it_says_what_it_can_do(helped: Finished) -> None:
    """Check the help of the command."""
    assert "usage: mlflow-dspy" in helped.stdout
    assert "quickstart" in helped.stdout
