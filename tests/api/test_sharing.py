"""Exporting, importing and renaming a person over HTTP."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import httpx
import pytest

from easyphoto.service import EasyPhoto, PortraitRequest
from easyphoto.storage import swap
from tests.acting import templates_in, trained

PEOPLE = "/easyphoto/v1/people"


def test_a_person_travels_as_a_zip_file(client: httpx.Client, service: EasyPhoto) -> None:
    trained(service, "小美")
    answer = client.get(f"{PEOPLE}/小美/export")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    assert "lora.safetensors" in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
    sent = {"file": base64.b64encode(answer.content).decode()}
    taken = client.post(f"{PEOPLE}/import", json=sent)
    assert taken.status_code == 422 and "already a person" in taken.json()["message"]
    before = client.get(f"{PEOPLE}/小美").json()
    client.delete(f"{PEOPLE}/小美")
    assert client.post(f"{PEOPLE}/import", json=sent).json() == before
    assert client.get(f"{PEOPLE}/nobody/export").status_code == 404
    broken = client.post(f"{PEOPLE}/import", json={"file": base64.b64encode(b"no zip").decode()})
    assert broken.status_code == 422 and str(service.paths.outputs) not in broken.text
    assert not list(service.paths.uploads.glob("crossing-*")), "nothing of a person stays on the way"


@pytest.mark.thorough
def test_a_person_is_renamed_and_keeps_their_portraits(
    client: httpx.Client, service: EasyPhoto, tmp_path: Path
) -> None:
    trained(service, "ada")
    trained(service, "bea")
    service.generate(PortraitRequest(("ada",), tuple(templates_in(tmp_path, 1)))).wait(60)
    answer = client.post(f"{PEOPLE}/ada/rename", json={"user_id": " Ada L "})
    assert (answer.status_code, answer.json()["user_id"], answer.json()["fault"]) == (200, "Ada L", "")
    assert [p.user_id for p in service.people.list()] == ["Ada L", "bea"]
    assert service.people.lora("Ada L").is_file() and not (service.paths.loras / "ada.safetensors").exists()
    assert len(service.portraits_of("Ada L")) == 1
    for taken in ("bea", "BEA", "..", ""):
        assert client.post(f"{PEOPLE}/Ada L/rename", json={"user_id": taken}).status_code == 422
    other = client.post(f"{PEOPLE}/bea/rename", json={"user_id": "ada"})
    assert other.status_code == 422 and "was called 'ada' before" in other.json()["message"]
    assert client.post(f"{PEOPLE}/ada/rename", json={"user_id": "x"}).status_code == 404
    removed = client.delete(f"{PEOPLE}/Ada L", params={"portraits": True}).json()
    assert len(removed["portraits"]) == 1 and not list(service.paths.portraits.rglob("*.png"))
    assert client.post(f"{PEOPLE}/bea/rename", json={"user_id": "ada"}).status_code == 200


def test_a_person_can_have_an_old_name_again(client: httpx.Client, service: EasyPhoto) -> None:
    trained(service, "ada")
    for name, to in (("ada", "Ada"), ("Ada", "eve"), ("eve", "ada")):
        assert client.post(f"{PEOPLE}/{name}/rename", json={"user_id": to}).json()["user_id"] == to
    assert set(service.people.get("ada").former) == {"Ada", "eve"}


def test_a_rename_that_was_cut_off_is_finished(service: EasyPhoto) -> None:
    """The LoRA waits beside its place while the folder gets its new name: whoever looks next finds a whole person."""
    trained(service, "ada")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swap, "mend", lambda person, lora: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            service.people.rename("ada", "eve")
    (person,) = service.people.list()
    assert (person.user_id, person.fault, person.lora.is_file()) == ("eve", "", True)
