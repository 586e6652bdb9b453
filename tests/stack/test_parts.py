"""Small parts: jars, Java, credentials, start as an unprivileged user."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from include.stack import java
from include.stack.credentials import load
from include.stack.errors import BuildError, CredentialsError
from include.stack.jars import Jars
from include.stack.services import unprivileged

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which other users do not have to give up")


def test_a_locked_jar_that_is_not_what_was_locked_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "jars.lock"
    lock.write_text(f"org.example:thing:1.0 {'0' * 64}\n")
    cached = tmp_path / "m2" / "org" / "example" / "thing" / "1.0" / "thing-1.0.jar"

    class Restoring:
        """Puts the wrong jar back whenever it was removed."""

        def __call__(self) -> bool:
            cached.parent.mkdir(parents=True, exist_ok=True)
            cached.write_bytes(b"not the jar")
            return False

    jars = Jars("example", lock, tmp_path)
    with pytest.raises(BuildError, match="the lock says 000000"):
        jars.build(lambda _: None, Restoring())
    assert not jars.complete


def test_locked_jars_come_from_the_cache(tmp_path: Path) -> None:
    content = b"a jar"
    cached = tmp_path / "m2" / "org" / "example" / "thing" / "1.0" / "thing-1.0.jar"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    lock = tmp_path / "jars.lock"
    lock.write_text(f"org.example:thing:1.0 {hashlib.sha256(content).hexdigest()}\n")
    jars = Jars("example", lock, tmp_path)
    folder = jars.build(lambda _: None, lambda: False)
    assert (folder / "thing-1.0.jar").read_bytes() == content
    assert jars.complete


def test_a_locked_archive_is_unpacked(tmp_path: Path) -> None:
    cached = tmp_path / "m2" / "org" / "example" / "thing" / "1.0" / "thing-1.0-all.tar.gz"
    cached.parent.mkdir(parents=True)
    (tmp_path / "in" / "lib").mkdir(parents=True)
    (tmp_path / "in" / "lib" / "part.jar").write_bytes(b"a part")
    shutil.make_archive(str(cached).removesuffix(".tar.gz"), "gztar", tmp_path / "in")
    lock = tmp_path / "jars.lock"
    lock.write_text(f"org.example:thing:1.0:tar.gz:all {hashlib.sha256(cached.read_bytes()).hexdigest()}\n")
    folder = Jars("example", lock, tmp_path).build(lambda _: None, lambda: False)
    assert (folder / "lib" / "part.jar").read_bytes() == b"a part"


def test_a_broken_jar_lock_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "jars.lock"
    lock.write_text("org.example:thing:1.0\n")
    with pytest.raises(BuildError, match=r"jars\.lock: 'org\.example:thing:1.0' is not"):
        Jars("example", lock, tmp_path).build(lambda _: None, lambda: False)


def test_java_without_one_in_the_system_drops_what_the_packaged_one_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    found = java.find(tmp_path)
    assert found.home.is_relative_to(tmp_path)
    monkeypatch.setenv("PATH", os.defpath)
    outcome = subprocess.run(
        [found.program, "--add-modules=jdk.incubator.vector", "-Dname=two words", "-version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert f'"{found.version}.' in outcome.stderr


def test_credentials_are_generated_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "credentials.json"
    first = load(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load(path) == first
    assert first.postgres_password.get_secret_value() not in repr(first)
    assert len(set(json.loads(path.read_text()).values())) == len(json.loads(path.read_text()))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"s3_access_key": "x", "unknown": "y"}', '{"s3_access_key": "x"}'])
def test_broken_credentials_are_never_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "credentials.json"
    path.write_text(text)
    with pytest.raises(CredentialsError, match=r"credentials\.json"):
        load(path)
    assert path.read_text() == text


def test_a_credential_that_came_later_is_generated_once(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    before = load(path)
    known = json.loads(path.read_text())
    del known["pseudonym_key"]
    path.write_text(json.dumps(known))
    after = load(path)
    assert after.pseudonym_key == load(path).pseudonym_key != before.pseudonym_key
    assert after.s3_secret_key == before.s3_secret_key
    assert path.stat().st_mode & 0o777 == 0o600
    del known["s3_secret_key"]
    path.write_text(json.dumps(known))
    with pytest.raises(CredentialsError, match="lacks some of the credentials"):
        load(path)


def test_lost_credentials_of_existing_data_are_not_made_up(tmp_path: Path) -> None:
    (tmp_path / "data" / "postgres").mkdir(parents=True)
    with pytest.raises(CredentialsError, match="is gone, but the data made with it is there"):
        load(tmp_path / "credentials.json")


@ROOT_ONLY
@pytest.mark.parametrize("way", [unprivileged._NAMESPACE, unprivileged._NOBODY], ids=["namespace", "nobody"])
def test_either_way_to_give_up_root_reaches_a_private_folder(tmp_path: Path, way: tuple[str, ...]) -> None:
    if not unprivileged._works(way):
        pytest.skip("this machine does not allow it")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "file").write_text("reached")
    (private / "file").chmod(0o600)
    outcome = subprocess.run([*way, "cat", private / "file"], capture_output=True, text=True, check=False)
    assert outcome.stdout == "reached", outcome.stderr
    identity = subprocess.run([*way, "id", "-u"], capture_output=True, text=True, check=True)
    assert identity.stdout.strip() == str(unprivileged.NOBODY)
