"""The commands that end by themselves, and their documentation."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from backchat import __version__
from backchat.cli import main
from backchat.cli.reference import reference
from backchat.cli.welcome import own_command, url_of

ROOT = Path(__file__).parent.parent


def all_commands(command: click.Command = main, path: str = "backchat") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            child = command.get_command(click.Context(command), name)
            assert child is not None
            yield from all_commands(child, f"{path} {name}")


# ---- documentation --------------------------------------------------------------------------------------------------


def test_the_reference_is_up_to_date() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference()


def test_every_command_and_option_is_explained() -> None:
    shown = [(path, command) for path, command in all_commands() if not command.hidden]
    assert "backchat keys revoke" in dict(shown)
    page = reference()
    for path, command in shown:
        assert command.help, path
        assert f"# {path}\n" in page
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{path} {option.name}"
                assert f"| `{option.opts[0]}" in page


# ---- commands on an installation ------------------------------------------------------------------------------------

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command; those that work on an installation do so on one in the test's own directory."""

    def ran(*args: str, stdin: str = "") -> Result:
        place = ["--data", str(tmp_path / "data")] if args[0] in ("keys", "users") else []
        return CliRunner().invoke(main, [*args, *place], input=stdin)

    return ran


def test_version(run: Run) -> None:
    assert run("--version").output == f"backchat, version {__version__}\n"


def test_users(run: Run) -> None:
    made = run("users", "create", "ada", "--email", "ada@example.org", "--password-stdin", stdin="correct horse\n")
    assert (made.exit_code, made.stderr) == (0, "")
    listed = run("users", "list").output
    for cell in (made.stdout.strip(), "ada@example.org", " user "):
        assert cell in listed
    again = run("users", "create", "ADA")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == "Error: name: this user name is taken\n"
    assert run("users", "create", "bob", "--password-stdin", stdin="\n").exit_code == 2
    assert "bob" not in run("users", "list").output


def test_users_password(run: Run) -> None:
    run("users", "create", "ada")
    given = run("users", "password", "ada", stdin="correct horse\n")
    assert (given.exit_code, given.stdout) == (0, "ada has a new password\n")
    assert run("users", "password", "bob", stdin="correct horse\n").stderr == "Error: there is no user called 'bob'\n"
    assert run("users", "password", "ada", stdin="\n").exit_code == 2
    assert run("users", "password", "ada", stdin="short\n").exit_code == 1


def test_users_delete(run: Run) -> None:
    ids = {name: run("users", "create", name).stdout.strip() for name in ("ada", "bob")}
    assert run("keys", "create", "--user", "ada").exit_code == 0
    refused = run("users", "delete", "ada", stdin="n\n")
    assert (refused.exit_code, refused.stderr) == (1, "Aborted!\n")
    assert "Delete ada with all conversations, documents and memories? [y/N]" in refused.stdout
    assert run("users", "delete", "ada").exit_code == 1, "nobody there to ask"
    assert ids["ada"] in run("users", "list").output
    unknown = run("users", "delete", "eve", "--yes")
    assert (unknown.exit_code, unknown.stdout, unknown.stderr) == (1, "", "Error: there is no user called 'eve'\n")
    assert run("users", "delete", ids["ada"], "--yes").exit_code == 1, "an id is no name"
    gone = run("users", "delete", "ADA", stdin="y\n")
    assert (gone.exit_code, gone.stderr) == (0, "")
    assert gone.stdout.endswith(f"deleted ADA, whose id was {ids['ada']}\n")
    assert "ada" not in run("users", "list").output
    assert "ada" not in run("keys", "list").output
    by_id = run("users", "delete", "--id", ids["bob"], "--yes")
    assert (by_id.exit_code, by_id.stdout) == (0, f"deleted {ids['bob']}\n")
    assert run("users", "list").output.count("bob") == 0
    assert run("users", "delete", "--id", ids["bob"], "--yes").exit_code == 0, "what is begun can be finished"


def test_keys(run: Run) -> None:
    made = run("keys", "create", "--user", "ada", "--name", "[red]laptop", "--scope", "chat", "--expires", "90d")
    assert (made.exit_code, made.stderr) == (0, "")
    assert re.fullmatch(r"bsk_[0-9a-f]{32}_\w{43}\n", made.stdout)
    _, id, secret = made.stdout.strip().split("_")
    second = run("keys", "create", "--user", "ada", "--platform", "phone").stdout.split("_")[1]
    assert run("users", "list").output.count("ada") == 1
    revoked = run("keys", "revoke", second)
    assert revoked.exit_code == 0
    listed = run("keys", "list").output
    assert secret not in listed
    first_row, second_row = (next(line for line in listed.splitlines() if i in line) for i in (id, second))
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.search(rf"ada +\[red\]laptop +chat +{time} +{time} *$", first_row)
    assert re.search(rf"ada +cli +phone +all +{time} +never +{time} *$", second_row)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["revoke", "nope"], 1, "Error: API key not found"),
        (["create", "--user", " "], 1, "Error: name: must be 1 to 100 printable characters"),
        (["create", "--user", "a", "--expires", "soon"], 2, "is not a duration such as"),
        (["create", "--user", "a", "--expires", "0d"], 2, "is not a duration such as"),
        (["create"], 2, "Missing option '--user'"),
    ],
)
def test_keys_refuse(run: Run, args: list[str], code: int, message: str) -> None:
    refused = run("keys", *args)
    assert (refused.exit_code, refused.stdout) == (code, "")
    assert message in refused.stderr.splitlines()[-1]


def test_check_tells_everything_and_opens_nothing(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    good = "storage: {use: sqlite, path: %s}\nproviders: {e: {use: echo}}\nmemory: {use: window}\nauth: [%s]\n"
    file.write_text(good % (tmp_path / "never.db", "{use: apikey}") + "dialects: [{use: chat}]\n")
    fine = run("check", str(file))
    assert (fine.exit_code, fine.stdout, fine.stderr) == (0, f"{file}: no problems\n", "")
    assert [f.name for f in tmp_path.iterdir()] == ["config.yml"]
    file.write_text(good % (7, "{use: nobody}") + "dialects: [{use: chat, speed: 9}]\nextra: 1\n")
    bad = run("check", str(file))
    assert (bad.exit_code, bad.stdout) == (2, "")
    paths = {line.split(": ")[0] for line in bad.stderr.splitlines()}
    assert {"storage.path", "auth[0].use", "dialects[0].speed", "extra"} <= paths


def test_a_configuration_without_storage_works_where_nothing_is_yet(tmp_path: Path) -> None:
    (tmp_path / "backchat.yml").write_text("providers: {local: {use: echo}}\n")
    data = tmp_path / "new" / "data"
    place = ["--config", str(tmp_path / "backchat.yml"), "--data", str(data)]
    made = CliRunner().invoke(main, ["keys", "create", "--user", "ada", *place])
    assert (made.exit_code, made.stderr) == (0, "")
    assert [file.name for file in data.iterdir()] == ["backchat.db"]
    assert data.stat().st_mode & 0o777 == 0o700


def test_the_data_directory_is_made_only_for_a_configuration_that_uses_it(tmp_path: Path) -> None:
    file = tmp_path / "backchat.yml"
    file.write_text(
        f"# not in {{$data: x}}\nstorage: {{use: sqlite, path: {tmp_path / 'a.db'}}}\nproviders: {{e: echo}}\n"
    )
    place = ["--config", str(file), "--data", str(tmp_path / "data")]
    assert CliRunner().invoke(main, ["users", "create", "ada", *place]).exit_code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.db", "backchat.yml"]
    file.write_text(file.read_text().replace("a.db", "none/a.db"))
    refused = CliRunner().invoke(main, ["users", "create", "ada", *place])
    assert refused.exit_code == 2
    assert refused.stderr == "storage: the file cannot be made: No such file or directory\n"


def test_plugins(run: Run) -> None:
    rows = run("plugins").output.splitlines()
    sqlite = next(row for row in rows if row.lstrip().startswith("sqlite"))
    assert re.search(rf"{re.escape(__version__)} +storage sqlite *$", sqlite)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("fe80::1", "http://[fe80::1]:1"),
        ("chat.example.org", "http://chat.example.org:1"),
    ],
)
def test_the_url_to_show(host: str, url: str) -> None:
    assert url_of(host, 1) == url


def test_the_command_is_told_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, project, package = tmp_path / "env" / "bin", tmp_path / "project", tmp_path / "lib" / "backchat"
    for directory in (programs, project, package):
        directory.mkdir(parents=True)
    for program in (programs / "backchat", programs / "python", package / "__main__.py"):
        program.touch(0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))

    def told(here: Path, called: str, path: Path = project) -> list[str]:
        monkeypatch.chdir(here)
        monkeypatch.setattr(sys, "argv", [called, "serve"])
        monkeypatch.setenv("PATH", str(path))
        return own_command()

    assert told(tmp_path, "env/bin/backchat") == ["env/bin/backchat"]
    assert told(tmp_path, str(programs / "backchat")) == ["env/bin/backchat"]
    assert told(project, "../env/bin/backchat") == ["../env/bin/backchat"]
    assert told(project, str(programs / "backchat")) == [str(programs / "backchat")]
    assert told(project, str(programs / "backchat"), path=programs) == ["backchat"]
    assert told(tmp_path, str(package / "__main__.py")) == ["env/bin/python", "-m", "backchat"]
    (project / "backchat").touch(0o755)
    assert told(project, str(programs / "backchat")) == [str(programs / "backchat")]  # the PATH has another one
