"""XLA's compilations are kept in the user's own cache directory, and only while programs are run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from platformdirs import macos, unix, windows
from verify_files import BOTH, twinplate

from twinplate import TrainingConfig, make_program
from twinplate.user_cache import make_room


@pytest.fixture(name="cache")
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The module, with no cache chosen by whoever runs the tests, and an empty directory for the user's."""
    import jax

    from numpyro_impl import compilation_cache as compilations

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "platform", "linux")
    chosen = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    compilations.reset_cache()
    yield compilations
    jax.config.update("jax_compilation_cache_dir", chosen)
    compilations.reset_cache()


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*-cache")}


def test_a_verification_leaves_its_compilations_and_finds_them_again(
    cache, tmp_path, monkeypatch
) -> None:
    import jax

    from numpyro_impl.quick_compilation import quick_options

    quick_options("cpu")  # XLA is asked once in a process
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("port.py").write_text(BOTH)
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    # All is kept, however long it took on a busy machine, and nothing is compiled already.
    monkeypatch.setattr(cache, "MIN_SECONDS", 0.0)
    jax.clear_caches()
    assert twinplate("verify", "port.py") == 0
    left = files(tmp_path / "cache" / "twinplate" / "jax")
    assert left
    hits: list[str] = []

    def heard(event, **facts):
        hits.extend([event] if event.endswith("cache_hits") else [])

    jax.monitoring.register_event_listener(heard)
    try:
        jax.clear_caches()
        assert twinplate("verify", "port.py") == 0
    finally:
        jax.monitoring.unregister_event_listener(heard)
    assert files(tmp_path / "cache") == left
    assert len(hits) >= len(left)
    assert jax.config.jax_compilation_cache_dir is None
    assert jax.config.jax_persistent_cache_min_compile_time_secs == least
    jax.jit(lambda x: x + 1)(1.0)
    assert files(tmp_path / "cache") == left


def test_a_fit_finds_the_compilations_of_one_of_other_data(cache, tmp_path, problem):
    """Scales of columns, widths of the start, all else taken from the data: none is in the program."""
    import jax

    from numpyro_impl import fit

    x, program, _ = problem(12)
    other = 3 * x[::-1] ** 2
    both = [(x, program), (other, make_program(other, program.config))]
    training = TrainingConfig(steps=3, batch_size=5, device="cpu")
    hits: list[str] = []

    def heard(event, **facts):
        hits.extend([event] if event.endswith("cache_hits") else [])

    jax.monitoring.register_event_listener(heard)
    try:
        found = []
        for x, program in both:
            jax.clear_caches()
            fit(x, program, training)
            found.append((len(files(tmp_path / "cache" / "twinplate" / "jax")), len(hits)))
    finally:
        jax.monitoring.unregister_event_listener(heard)
    (made, none), (as_many, read) = found
    assert none == 0 < made == as_many == read


def test_only_files_used_last_are_kept(tmp_path):
    (tmp_path / "folder").mkdir()
    for name, (read, made) in {"a": (9, 0), "b": (1, 1), "c": (3, 3), "d": (2, 4)}.items():
        (tmp_path / name).write_bytes(bytes(10))
        os.utime(tmp_path / name, (read, made))
    make_room(tmp_path, 25)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "d", "folder"}


def test_a_process_makes_room_at_its_first_use(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MOST_BYTES", 25)
    old = cache.cache_directory() / "of an old release"
    old.parent.mkdir(parents=True)
    for is_kept in (False, True):
        old.write_bytes(bytes(30))
        with cache.kept_compilations():
            assert old.exists() == is_kept


def test_the_users_own_cache_is_used_as_it_is(cache, tmp_path) -> None:
    import jax

    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    with cache.kept_compilations():
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("place", ["file", "no home"])
def test_where_nothing_can_be_written_nothing_is_kept(place, cache, tmp_path, monkeypatch) -> None:
    import jax

    if place == "file":
        (tmp_path / "cache").write_text("in the way")
    else:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it does without a home
    with cache.kept_compilations():
        assert jax.config.jax_compilation_cache_dir is None
    assert [path.name for path in tmp_path.iterdir()] == (["cache"] if place == "file" else [])


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "{set}/twinplate/jax"),
        ("linux", None, "{home}/.cache/twinplate/jax"),
        ("linux", "", "{home}/.cache/twinplate/jax"),
        ("darwin", None, "{home}/Library/Caches/twinplate/jax"),
        ("win32", "LOCALAPPDATA", "{set}/twinplate/jax"),
        ("win32", None, "{home}/AppData/Local/twinplate/jax"),
    ],
)
def test_the_directory_follows_the_platform(
    platform, variable, expected, cache, monkeypatch
) -> None:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "/set")
    elif variable == "":
        monkeypatch.setenv("XDG_CACHE_HOME", "")
    kinds = {"linux": unix.Unix, "darwin": macos.MacOS, "win32": windows.Windows}
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("platformdirs.PlatformDirs", kinds[platform])
    monkeypatch.setenv("HOME", "/home/user")
    # What Windows says, which is asked for nothing but this folder.
    folders = {"CSIDL_LOCAL_APPDATA": "/home/user/AppData/Local"}
    monkeypatch.setattr(windows, "get_win_folder", folders.__getitem__)
    path = expected.format(set="/set", home="/home/user")
    assert cache.cache_directory() == Path(path)


@pytest.mark.parametrize("loss", ["Trace_ELBO", "TraceMeanField_ELBO", "StickingTheLandingELBO"])
def test_a_program_is_the_same_text_in_every_process(cache, loss) -> None:
    """Python draws the order of a set of names anew when it starts; other names have other orders as well."""
    import jax
    import numpyro
    import numpyro.distributions as dist
    from numpyro import infer

    import numpyro_impl

    elbo = getattr(infer, loss, getattr(numpyro_impl, loss, None))()

    def text(prefix: str) -> str:
        names = [f"{prefix}{i}" for i in range(6)]

        def model():
            numpyro.sample("y", dist.Normal(sum(sampled(names)), 1.0), obs=0.5)

        def guide():
            sampled(names, numpyro.param("loc", 0.1))

        def value(params):
            return elbo.loss(jax.random.key(0), params, model, guide)

        with cache.kept_compilations():
            return jax.jit(jax.value_and_grad(value)).lower({"loc": 0.1}).as_text()

    def sampled(names, loc=0.0):
        return [numpyro.sample(name, dist.Normal(loc, 1.0 + i)) for i, name in enumerate(names)]

    assert len({text(prefix) for prefix in "abcdefgh"}) == 1


def test_threads_within_each_others_time_leave_nothing_behind(cache) -> None:
    from numpyro.infer import elbo

    first, second = cache.kept_compilations(), cache.kept_compilations()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert vars(elbo)["set"] is not set
    second.__exit__(None, None, None)
    assert "set" not in vars(elbo)
