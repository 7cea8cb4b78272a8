"""Tests of every command with wrong input: it answers with one sentence and a documented status, without a traceback,
and with --json it prints only JSON."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from easyphoto import pictures
from easyphoto.cli import endings
from easyphoto.cli.main import main
from easyphoto.errors import HostFailed
from tests.acting import lora_file, portrait_of

PROGRAM = [sys.executable, "-m", "easyphoto"]
LONG = "9" * 5000

WRONG = {
    "": (2, "COMMAND is missing"),
    "nonsense": (2, "COMMAND must be one of train, generate"),
    "people list ada": (2, "lists everybody"),
    "people delete": (2, "Say whom to delete."),
    "people delete ../etc": (2, "may not contain /"),
    "people delete ada eve": (2, "one too many"),
    "people delete nobody": (2, "nobody"),
    "people export nobody": (2, "nobody"),
    "people export a b c": (2, "There is no room for c here"),
    "people rename": (2, "Say whom to rename."),
    "people rename ada": (2, "Say what ada is to be called."),
    "people rename ada eve x": (2, "There is no room for x here"),
    "people rename nobody eve": (2, "nobody"),
    "people add": (2, "Say whom to add."),
    "people add ada": (2, "Say which photos"),
    "people import": (2, "Say which file"),
    "people import FOLDER": (None, ""),
    "people import FOLDER/none.zip": (None, ""),
    "people import FILE": (None, ""),
    "people --data FILE": (2, "--data wants a folder"),
    "people --data FILE/inside": (2, "--data"),
    "train": (2, "see easyphoto train --help"),
    "train ada": (2, ""),
    "train ada FOLDER/none.jpg": (2, ""),
    "train ada FILE": (None, ""),
    "train ada FOLDER": (2, ""),
    "train ../x FILE": (2, "may not contain /"),
    "train ada FILE --resume": (None, ""),
    "train ada FILE --template FOLDER": (None, ""),
    "train ada FILE --rank much": (2, "--rank must be a whole number from 1 to 512, not 'much'."),
    "train ada FILE --rank 0": (2, "--rank must be a whole number from 1 to 512, not '0'."),
    f"train ada FILE --rank {LONG}": (2, "--rank must be a whole number from 1 to 512, not '9999"),
    "train ada FILE --learning-rate nan": (2, "--learning-rate must be a number from 1e-07 to 0.1, not 'nan'."),
    "train ada FILE --learning_rate inf": (2, "--learning-rate must be a number from 1e-07 to 0.1, not 'inf'."),
    "train ada FILE --resol 64": (2, "There is no option --resol here: did you mean --resolution?"),
    "train ada FILE --sd-model-checkpoint none-such": (2, "none-such"),
    "generate": (2, "--user USER_ID"),
    "generate FILE": (2, "--user USER_ID"),
    "generate FILE --user": (2, "--user wants a value"),
    "generate FILE --user nobody": (2, "nobody"),
    "generate FILE --user nobody --preset none-such": (2, "none-such"),
    "generate --recipe FILE": (2, ""),
    "generate --recipe FOLDER": (None, ""),
    "generate --recipe FOLDER/none.png": (2, ""),
    "generate FILE --user a --seed 4294967296": (2, "from -1 to 4294967295, not '4294967296'"),
    "generate FILE --user a --face-fusion-method magic": (2, "one of auto, inswapper, warp, not 'magic'"),
    "video": (2, "see easyphoto video --help"),
    "video --max-frames 4": (2, "Give a clip, or say what to draw"),
    "video FOLDER": (2, "--user USER_ID"),
    "video FOLDER --prompt smile": (2, "but not both"),
    "video --last FILE": (2, "needs a first one"),
    "video --prompt smile --format gif --motion FOLDER/none": (None, "There is no motion module at"),
    "video --prompt smile --format gif --motion-module none": (None, "There is no motion module named none"),
    "video FOLDER --user nobody": (2, "has fewer than two frames"),
    "video FOLDER/none.mp4 --user nobody": (2, "none.mp4 does not exist."),
    "video FILE --user nobody --format gif": (None, ""),
    "video FILE --user nobody --format avi": (2, "one of mp4, webm, gif, webp, frames, not 'avi'"),
    "video FILE --user nobody --max-fps 0": (2, "--max-fps must be a number from 1 to 60, not '0'."),
    "serve --port 99999": (2, "--port must be a whole number from 0 to 65535, not '99999'."),
    "serve --port -1": (2, "--port must be a whole number from 0 to 65535, not '-1'."),
    "serve --port http": (2, "--port must be a whole number from 0 to 65535, not 'http'."),
    "serve --auth name": (2, "--auth wants USER:PASSWORD."),
    "serve --auth :": (2, "--auth wants USER:PASSWORD."),
    "serve --host no-such-host.invalid --port 0": (2, "There is no host 'no-such-host.invalid'"),
    "serve --precision fp8": (2, "one of auto, fp16, bf16, no, not 'fp8'"),
    "models": (2, "is missing"),
    "models plan": (2, "BUNDLE is missing"),
    "models plan none-such": (2, "none-such"),
    "models fetch sd1-portrait --parallel 0": (2, "from 1 to 16"),
    "models verify none-such": (2, "none-such"),
    "models list --look-in FILE": (2, "--look-in wants a folder"),
    "batch": (2, "Give a table of portraits, or a folder of people"),
    "batch FILE": (2, "is no table: give a file that ends in .csv"),
    "batch FILE --train FOLDER": (2, "Give a table of portraits, or a folder of people"),
    "batch FOLDER/none.csv": (2, "none.csv does not exist."),
    "batch FOLDER/none.csv --rank 5": (2, "--rank is for --train: a table has a column rank."),
    "batch --train FILE": (2, "is no folder: give one with a folder for each person."),
    "batch --train FOLDER": (2, "There are no folders in folder"),
    "demo --out FILE": (2, "--out wants a folder"),
}


@pytest.fixture
def wrong(tmp_path: Path) -> dict[str, str]:
    file, folder = tmp_path / "a file.txt", tmp_path / "folder"
    file.write_text("nothing that anybody asked for")
    folder.mkdir()
    return {"FILE": str(file), "FOLDER": str(folder)}


def _argv(line: str, words: dict[str, str]) -> list[str]:
    return [words["FOLDER"] + a[6:] if a.startswith("FOLDER") else words["FILE"] + a[4:] if a[:4] == "FILE" else a
            for a in line.split()]  # fmt: skip


def _run(argv: list[str]) -> int:
    try:
        return main(argv)
    except SystemExit as usage:
        assert isinstance(usage.code, int)
        return usage.code


@pytest.mark.parametrize("line", WRONG, ids=lambda line: line[:60] or "nothing")
def test_a_mistake_is_one_sentence_and_a_documented_status(
    line: str,
    wrong: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, words = WRONG[line]
    data = [] if "--data" in line else ["--data", str(tmp_path / "data")]
    got = _run([*data, *_argv(line, wrong)])
    said = capsys.readouterr()
    assert got in endings.statuses() and got not in (0, 1), said.err
    assert status in (None, got), said.err
    sentences = [x for x in said.err.splitlines() if x.startswith("easyphoto: ")]
    assert len(sentences) == 1 and words in sentences[0] and len(sentences[0]) < 400
    assert said.out == "" and "Traceback" not in said.err
    assert _run(["--json", *data, *_argv(line, wrong)]) == got
    told = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
    assert told[-1]["kind"] == "failed" and f"easyphoto: {told[-1]['message']}" == sentences[0]


def test_options_of_every_command_stand_anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, line = ["--data", str(tmp_path), "--json"], ["models", "plan", "openpose"]
    for at in range(len(line) + 1):
        assert _run([*line[:at], *data, *line[at:]]) == 0
        (told,) = capsys.readouterr().out.splitlines()
        assert all(str(tmp_path) in missing["file"] for missing in json.loads(told)["missing"])


@pytest.mark.parametrize("text", ["", " "])
@pytest.mark.parametrize("option", ["--data", "--template"])
def test_an_empty_path_is_not_the_current_folder(option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["train", "ada", "photo.jpg", option, text]) == 2
    assert f"{option} is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        "people export nobody --data D FILE", "people --data D export nobody FILE",
        "--data D people export nobody FILE", "people export --json nobody --data D FILE",
        "people export nobody FILE --data D",
    ],
)  # fmt: skip
def test_options_stand_anywhere(argv: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run([str(tmp_path / a) if a in ("D", "FILE") else a for a in argv.split()]) == 2
    assert "There is no trained person 'nobody'" in capsys.readouterr().err


def test_people_are_listed_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "outputs" / "easyphoto-user-id-infos" / "张伟 😀"
    folder.mkdir(parents=True)
    (folder / "ref_image.jpg").write_bytes(b"x")
    (folder / "person.json").write_text('{"family": "bench", "likeness": 0.75, "embedder": "e", "works": true}')
    lora = tmp_path / "models" / "Lora" / "张伟 😀.safetensors"
    lora.parent.mkdir(parents=True)
    lora.write_bytes(b"x")
    assert main(["people", "list", "--json", "--data", str(tmp_path)]) == 0
    (person,) = json.loads(capsys.readouterr().out)
    assert (person["user_id"], person["likeness"], person["family"]) == ("张伟 😀", 0.75, "bench")
    (folder / "person.json").write_text('{"family": "sd1", "scene": true, "cancelled": true}')
    lora.write_bytes(lora_file())
    pictures.save_jpg(folder / "ref_image.jpg", portrait_of(20))
    assert main(["people", "list", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "张伟 😀  scene  stopped half-way\n"


def test_a_person_is_renamed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(tmp_path)]
    for name in ("ada", "eve"):
        folder = tmp_path / "outputs" / "easyphoto-user-id-infos" / name
        folder.mkdir(parents=True)
        pictures.save_jpg(folder / "ref_image.jpg", portrait_of(20))
        (folder / "person.json").write_text('{"family": "sd1", "likeness": 0.75, "embedder": "e", "works": true}')
        pictures.write_bytes(tmp_path / "models" / "Lora" / f"{name}.safetensors", lora_file())
    for wrong, words in (("eve", "eve"), ("../x", "may not contain /"), ("./x", "may not contain /"), ("none", "none")):
        assert main(["people", "rename", "ada", wrong, *data]) == 2
        said = capsys.readouterr()
        assert words in said.err and len(said.err.splitlines()) == 1 and not said.out
    assert main(["people", "rename", "ada", "张伟 😀", *data]) == 0
    assert capsys.readouterr().out == "ada is called 张伟 😀 now.\n"
    assert main(["people", "rename", "张伟 😀", "Ada", "--json", *data]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["renamed"], told["person"]["user_id"], told["person"]["likeness"]) == ("张伟 😀", "Ada", 0.75)
    assert Path(told["person"]["lora"]).is_file()
    assert main(["people", "list", "--json", *data]) == 0
    assert [person["user_id"] for person in json.loads(capsys.readouterr().out)] == ["Ada", "eve"]


def test_what_nobody_foresaw_is_a_sentence_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, status, words in (
        (RuntimeError("no such thing"), 1, "RuntimeError: no such thing"),
        (PermissionError(13, "Permission denied", "/x"), 7, "/x: Permission denied."),
        (KeyboardInterrupt(), 130, "Stopped."),
        (HostFailed("two\nlines"), 6, "two lines"),
    ):

        def fail(_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("easyphoto.people.PeopleStore.list", fail)
        assert main(["people", "--data", str(tmp_path)]) == status
        said = capsys.readouterr().err
        assert words in said and "Traceback" not in said and len(said.splitlines()) == 1


def _env(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path.cwd()), **more}


@pytest.mark.thorough
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_any_name_is_printed_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    test_name = "张伟 😀"
    (tmp_path / test_name).mkdir()
    command = [*PROGRAM, "people", "export", test_name, "--data", str(tmp_path / test_name)]
    done = subprocess.run(
        command, capture_output=True, env=_env(PYTHONIOENCODING=encoding, PYTHONUTF8="0"), check=False
    )
    assert done.returncode == 2 and b"Traceback" not in done.stderr and b"There is no trained person" in done.stderr
    done = subprocess.run([*command, "--json"], capture_output=True, env=_env(PYTHONIOENCODING=encoding), check=False)
    assert test_name in json.loads(done.stdout.decode(encoding))["message"]


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices of POSIX")
def test_a_reader_that_leaves_is_no_error() -> None:
    shell = f"{sys.executable} -m easyphoto models list | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=_env(), check=True)
    assert done.stderr == ""
    # whether the list fits into the pipe before head is gone, is a matter of luck
    assert done.stdout.splitlines()[-1] in ("0", "141")
    reading, writing = os.pipe()
    os.close(reading)
    done2 = subprocess.run(
        [*PROGRAM, "models", "list"], stdout=writing, stderr=subprocess.PIPE, env=_env(), check=False
    )
    os.close(writing)
    assert (done2.returncode, done2.stderr) == (141, b"")
    done3 = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m easyphoto people nonsense 2>&-"], env=_env(), check=False
    )
    done4 = subprocess.run(["bash", "-c", f"{sys.executable} -m easyphoto models list >&-"], env=_env(), check=False)
    assert (done3.returncode, done4.returncode) == (2, 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_can_not_be_written_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "models", "list"], stdout=full, stderr=subprocess.PIPE, env=_env(), check=False
        )
    assert done.returncode == 7
    assert done.stderr.decode().splitlines() == ["easyphoto: Something could not be written: No space left on device."]


def test_a_busy_port_is_said_before_anything_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--data", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert (
        said == f"easyphoto: Port {port} of 127.0.0.1 is in use: choose another with --port, or 0 for any free one.\n"
    )


@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_serve_takes_a_free_port_says_which_and_ends_when_asked(tmp_path: Path) -> None:
    command = [*PROGRAM, "serve", "--port", "0", "--json", "--data", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_env()) as server:
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["listening"]
            with urllib.request.urlopen(f"{url}easyphoto/v1/status", timeout=60) as answer:
                assert "version" in json.load(answer)
        finally:
            server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=30)
    assert server.returncode == 143 and b"Traceback" not in err, err
    assert [json.loads(x)["kind"] for x in out.splitlines()] == ["failed"]
