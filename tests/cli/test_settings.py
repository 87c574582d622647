"""The settings of a server: three sources, one set of names, errors that name the place."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from udfstore.cli.serve import place_of_socket
from udfstore.errors import UsageError
from udfstore.server.access import rules
from udfstore.server.config import Everything, Settings, find, places, read
from udfstore.server.limits import ServerLimits
from udfstore.service.rules import parse
from udfstore.store import Rule, StoreLimits


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG", *Everything.model_fields):
        monkeypatch.delenv(f"UDFSTORE_{name.upper()}", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text('root = "/from/file"\nconnections = 7\ngrace_seconds = 2.5\nblob_bytes = "5 GiB"\n')
    return path


def test_without_anything_the_limits_are_their_own_defaults() -> None:
    settings = read({}, None)
    assert settings.server_limits == ServerLimits()
    assert settings.store_limits == StoreLimits()
    assert (settings.root, settings.socket, settings.mode) == (None, None, 0o600)


def test_every_limit_can_be_set_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Twice the default fits every rule between limits but that of the largest chunk.
    wanted = {
        field.name: field.default if field.name == "chunk_bytes" else 2 * (field.default or 8)
        for kind in (ServerLimits, StoreLimits)
        for field in fields(kind)
        if field.name not in Settings.model_fields
    }
    file = tmp_path / "config.toml"
    file.write_text("".join(f"{name} = {value}\n" for name, value in wanted.items()))
    texts = {name: str(value) for name, value in wanted.items()}
    by_flags, by_file = read(texts, None), read({}, file)
    for name, text in texts.items():
        monkeypatch.setenv(f"UDFSTORE_{name.upper()}", text)
    for settings in (by_flags, by_file, read({}, None)):
        for limits in (settings.server_limits, settings.store_limits):
            for name in wanted.keys() & {field.name for field in fields(limits)}:
                value = getattr(limits, name)
                assert value == wanted[name]
                assert type(value) in (int, float)


def test_a_flag_beats_the_environment_which_beats_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read({}, file).root == Path("/from/file")
    monkeypatch.setenv("UDFSTORE_ROOT", "/from/environment")
    assert read({}, file).root == Path("/from/environment")
    assert read({"root": "/from/flag"}, file).root == Path("/from/flag")
    monkeypatch.setenv("UDFSTORE_ROOT", "")
    assert read({}, file).root == Path("/from/file")


def test_rules_of_retention(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rules = (Rule("models/**", versions=20), Rule("**", days=90))
    text = "models/** keep 20, ** keep 90d"
    assert read({"retention": text}, None).store_limits.retention == rules
    file = tmp_path / "config.toml"
    file.write_text('retention = ["models/** keep 20", "** keep 90d"]\n')
    assert read({}, file).store_limits.retention == rules
    file.write_text('retention = ["models/** keep some"]\n')
    with pytest.raises(UsageError, match=r"toml: retention: .*expected PATTERN keep 10.*'models/\*\* keep some'"):
        read({}, file)
    file.write_text("retention = 7\n")
    with pytest.raises(UsageError, match=r"config\.toml: retention"):
        read({}, file)
    monkeypatch.setenv("UDFSTORE_RETENTION", text)
    assert read({}, None).store_limits.retention == rules


def test_sizes_may_have_units_and_paths_a_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert read({}, file).store_limits.blob_bytes == 5 << 30
    assert read({"root": "~/store"}, None).root == Path("/home/ada/store")


@pytest.mark.parametrize("name", ["floor_bytes", "reserve_bytes", "trash_grace_s", "preallocate_from", "small_bytes"])
def test_what_nothing_switches_off_may_be_nothing(name: str) -> None:
    assert getattr(read({name: "0"}, None).store_limits, name) == 0


@pytest.mark.parametrize(
    ("given", "group", "mode"),
    [(None, None, 0o600), (None, "udf", 0o660), ("0666", None, 0o666), ("640", "udf", 0o640)],
)
def test_the_mode_of_the_socket(given: str | None, group: str | None, mode: int) -> None:
    flags = {name: text for name, text in (("socket_mode", given), ("socket_group", group)) if text}
    assert read(flags, None).mode == mode


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("connections", "many", "valid integer"),
        ("connections", "0", "greater than 0"),
        ("grace_seconds", "-1", "greater than 0"),
        ("floor_bytes", "-1", "not a size"),
        ("blob_bytes", "5 horses", "not a size"),
        ("socket_mode", "0999", "octal digits"),
        ("socket_mode", "7777", "0 to 0777"),
        ("log_format", "xml", "'auto', 'human' or 'json'"),
        ("root", "", "an empty path"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(
    name: str, text: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=why) as flag:
        read({name: text}, None)
    assert flag.value.message.startswith(f"--{name.replace('_', '-')}: ")
    file = tmp_path / "config.toml"
    file.write_text(f'{name} = "{text}"\n')
    with pytest.raises(UsageError, match=why) as key:
        read({}, file)
    assert key.value.message.startswith(f"{file}: {name}: ")
    if text:
        monkeypatch.setenv(f"UDFSTORE_{name.upper()}", text)
        with pytest.raises(UsageError, match=why) as variable:
            read({}, None)
        assert variable.value.message.startswith(f"$UDFSTORE_{name.upper()}: ")


def test_several_wrong_values_are_told_at_once(file: Path) -> None:
    with pytest.raises(UsageError, match=r"--reads: .*; --writes: "):
        read({"reads": "x", "writes": "y"}, file)


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("conections = 7\n")
    with pytest.raises(UsageError) as refused:
        read({}, file)
    assert refused.value.message == f"{file}: there is no setting conections; connections?"
    file.write_text("[server]\nconnections = 7\n")
    with pytest.raises(UsageError, match="there is no setting server"):
        read({}, file)


@pytest.mark.parametrize("content", [b"root = ", b"\xff"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="is not TOML") as refused:
        read({}, file)
    assert str(file) in refused.value.message


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="two groups a segment"):
        _ = read({"segment_bytes": "1 MiB"}, None).store_limits
    with pytest.raises(UsageError, match="chunk_bytes is out of range"):
        _ = read({"chunk_bytes": "1 GiB"}, None).server_limits


def test_where_the_file_is_looked_for(file: Path, tmp_path: Path) -> None:
    assert places({"HOME": "/home/ada"})[0] == Path("/home/ada/.config/udfstore/config.toml")
    assert places({"HOME": "/home/ada", "XDG_CONFIG_HOME": "/x"})[0] == Path("/x/udfstore/config.toml")
    assert places({}) == [Path("/etc/udfstore/config.toml")]
    folder = tmp_path / "udfstore"
    folder.mkdir()
    found = file.rename(folder / "config.toml")
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert find(None, environ) == found
    assert find(None, {"UDFSTORE_CONFIG": str(found)}) == found
    with pytest.raises(UsageError, match=r"--config: there is no configuration file /none"):
        find(Path("/none"), environ)
    with pytest.raises(UsageError, match=r"\$UDFSTORE_CONFIG: there is no configuration file /none"):
        find(None, {**environ, "UDFSTORE_CONFIG": "/none"})


def test_where_a_server_listens_that_was_told_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, service = Path("/data"), tmp_path / "service" / "udfstore.sock"
    monkeypatch.setattr("udfstore.client.where.SERVICE_SOCKET", service)
    person = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert place_of_socket(root, {}) == Path("/data/run/udfstore.sock")
    assert place_of_socket(root, person) == Path("/run/user/7/udfstore/udfstore.sock")
    service.parent.mkdir()
    assert place_of_socket(root, person) == service
    # Clients that are told a root look nowhere else.
    assert place_of_socket(root, {**person, "UDFSTORE_ROOT": "/data"}) == Path("/data/run/udfstore.sock")


def test_no_setting_has_two_meanings() -> None:
    names = [field.name for kind in (ServerLimits, StoreLimits) for field in fields(kind)]
    assert len(set(names)) == len(names)
    assert set(names) & set(Settings.model_fields) == {"retention"}, "which is handed on as it is"
    assert all(field.description for field in Everything.model_fields.values())


def test_tables_are_read_from_the_file_and_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        '[[listen]]\npath = "/a/udfs.sock"\ngroup = "udf"\nallow = ["read:m/*"]\n\n[[rule]]\nuser = 7\nallow = []\n'
    )
    in_file = read({}, file)
    text = '[{"path": "/a/udfs.sock", "group": "udf", "allow": ["read:m/*"]}]'
    by_flag = read({"listen": text}, None)
    monkeypatch.setenv("UDFSTORE_LISTEN", text)
    for settings in (in_file, by_flag, read({}, None)):
        (listen,) = settings.listen
        assert (listen.path, listen.known, listen.permissions) == (Path("/a/udfs.sock"), "udfs", 0o660)
        assert listen.allow == parse(["read:m/*"])
    assert in_file.rule[0].user == 7


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('[[listen]]\nmode = "0600"', "listen 1 path: is missing"),
        (
            '[[listen]]\npath = "/a"\nmode = "0999"',
            "listen 1 mode: permissions are octal digits, 0 to 0777, got '0999'",
        ),
        ('[[listen]]\npath = "/a"\nallow = ["reed"]', "listen 1 allow: not a right"),
        ('[[listen]]\npath = "/a"\nallow = "read"', "listen 1 allow: a list of rights"),
        (
            '[[listen]]\npath = "/a"\nport = 1',
            "listen 1 port: there is no such key (expected path, name, mode, group or allow)",
        ),
        ("[[rule]]\nuser = 1", "rule 1 allow: is missing"),
        ("[rule]\nallow = []", "rule: a list of tables: each begins with [[rule]]"),
        ('[[signed]]\ntags = "a"\nkeys = "a.pem"', "signed 1 keys: not a list, got 'a.pem'"),
        ("retention = 3", "retention: not a list, got '3'"),
        (
            '[[rule]]\ntoken = "ci"\nuser = 7\nallow = []',
            "rule 1: nobody comes with a token and as a user of this machine",
        ),
        ('[[rule]]\nuser = "no such user"\nallow = []', "rule 1 user: there is no user of that name"),
        ("[[rule]]\ngroup = 65534\nallow = []", "rule 1 group: 65534 stands for every group"),
    ],
)
def test_a_wrong_table_is_told_with_its_place(tmp_path: Path, table: str, why: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"{table}\n")
    with pytest.raises(UsageError) as refused:
        read({}, file)
    assert f"{file}: {why}" in refused.value.message


def test_text_that_is_no_json_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UDFSTORE_RULE", "[[rule]]")
    with pytest.raises(UsageError, match=r"^\$UDFSTORE_RULE: not JSON"):
        read({}, None)


@pytest.mark.parametrize(
    ("tables", "why"),
    [
        ('[[listen]]\npath = "/a/x.sock"\n[[listen]]\npath = "/b/x.sock"', "a listener cannot be named x"),
        ('[[listen]]\npath = "/a/http.sock"', "a listener cannot be named http"),
        ('[[listen]]\npath = "/a/x"\n[[listen]]\npath = "/a/x"\nname = "y"', "two listeners have the path /a/x"),
        ('[[rule]]\nlistener = "udfs"\nallow = []', "there is none of that name"),
    ],
)
def test_listeners_that_cannot_be_told_apart_are_refused(tmp_path: Path, tables: str, why: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"{tables}\n")
    settings = read({}, file)
    with pytest.raises(UsageError, match=why):
        rules(settings.listen, settings.rule, str(file))
