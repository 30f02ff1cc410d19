"""The pytest plugin in a run of its own: the fixture, the section of a failure, and nothing imported."""

from __future__ import annotations

from importlib.metadata import entry_points

from verify_files import BOTH, WRONG

pytest_plugins = "pytester"

TESTS = """
import right, wrong

def test_right(verify):
    assert verify(right.CASE).ok

def test_wrong(verify):
    assert verify(wrong.CASE).ok

def test_fails_otherwise(verify):
    assert verify(right.CASE).findings, "no findings"
"""
PLUGIN = ("-p", "twinplate.pytest_plugin", "-p", "no:cacheprovider")


def test_a_failure_shows_its_reports_and_not_their_arrays(pytester) -> None:
    """One run in a process of its own: torch and JAX cannot be imported twice in one."""
    pytester.makepyfile(right=BOTH, wrong=WRONG, test_port=TESTS)
    ran = pytester.runpytest_subprocess(*PLUGIN)
    ran.assert_outcomes(passed=1, failed=2)
    ran.stdout.fnmatch_lines(
        [
            "*_ test_wrong _*",
            "*where False = <Report: differs, 3 findings>.ok",
            "*- twinplate: differs -*",
            "DIFFERS: log density of model site x: differs*",
            "Tested: draws 0; Trace_ELBO",
            "*_ test_fails_otherwise _*",
            "*no findings*",
            "*- twinplate: same -*",
            "SAME at the tested inputs, parameters and draws",
        ]
    )
    assert str(ran.stdout).count("- twinplate: ") == 2
    ran.stdout.no_fnmatch_line("*array(*")


def test_the_plugin_imports_no_framework(pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing():
            assert "twinplate.pytest_plugin" in sys.modules
            assert not {"torch", "pyro", "jax", "numpyro"} & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)


def test_pytest_finds_the_plugin_by_itself() -> None:
    found = {point.value for point in entry_points(group="pytest11")}
    assert "twinplate.pytest_plugin" in found
