"""Secrets, places and names of host and user are taken out; words of the report stay."""

import getpass
import socket
import sys
from pathlib import Path

import pytest

from sweeper.safe_text import clean, without_password, without_secrets
from sweeper.spec import ModelSpec, Spec


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine and a user with names that are no words."""
    monkeypatch.setattr(sys, "prefix", "/opt/tools/venv")
    monkeypatch.setattr(Path, "home", lambda: Path("/data/people/s1234"))
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-7.lab.example.org")
    monkeypatch.setattr(getpass, "getuser", lambda: "s1234")


def test_homes_tokens_and_passwords_are_taken_out():
    cases = {
        "/home/ann/data/x.jsonl": "~/data/x.jsonl",
        "in /Users/ann/x": "in ~/x",
        "/root/x": "~/x",
        r"C:\Users\ann\x": r"~\x",
        "token=hf_AbCdEfGhIjKlMn": "token=hf_***",
        "ghs_AbCdEfGhIjKl ghu_AbCdEfGhIjKl ghr_AbCdEfGhIjKl": "ghs_*** ghu_*** ghr_***",
        "api_org_AbCdEfGhIjKl": "api_org_***",
        "postgresql://u:p@4/s@s@host/db": "postgresql://u:***@host/db",
        "http://localhost:8000/users/@me": "http://localhost:8000/users/@me",
        "https://h/x?access_token=abc&max_tokens=5": "https://h/x?access_token=***&max_tokens=5",
        "postgresql://u:p4ss@host/db": "postgresql://u:***@host/db",
        "redis://:p4@ss@host/0": "redis://:***@host/0",
        "mysql://h/d?user=u&password=p4ss&x=1": "mysql://h/d?user=u&password=***&x=1",
        "/rootless/x": "/rootless/x",
        "https://example.org/home": "https://example.org/home",
    }
    assert {text: clean(text) for text in cases} == cases


def test_places_and_names_of_this_machine_are_taken_out():
    cases = {
        "/data/people/s1234/x": "~/x",
        "/data/people/s12345/x": "/data/people/s12345/x",
        "in /opt/tools/venv/lib/a.py": "in PREFIX/lib/a.py",
        "/opt/tools/venv2/a.py": "/opt/tools/venv2/a.py",
        str(Path(__file__).parents[1] / "sweeper" / "x.py"): "PREFIX/sweeper/x.py",
        "/scratch/s1234/m": "/scratch/USER/m",
        "s1234 may not write": "USER may not write",
        "s1234/bert": "s1234/bert",
        "https://hub/s1234/bert": "https://hub/s1234/bert",
        "worker on gpu-7 died": "worker on HOST died",
        "gpu-7.lab.example.org:6379 is away.": "HOST:6379 is away.",
        "/nfs/gpu-7/x": "/nfs/HOST/x",
        "gpu-70 and gpu-7-a and gpu-7.other": "gpu-70 and gpu-7-a and gpu-7.other",
    }
    assert {text: clean(text) for text in cases} == cases


def test_a_name_that_is_a_word_changes_no_word(monkeypatch):
    for name in ("test", "head", "localhost", "2"):
        monkeypatch.setattr(socket, "gethostname", lambda name=name: name)
        monkeypatch.setattr(getpass, "getuser", lambda name=name: name)
        for text in (
            f"the {name} split",
            f"{name}@packaged:minilm",
            f"owner/{name}",
            name,
            "2 of 3",
        ):
            assert clean(text) == text
        assert clean(f"/scratch/{name}/x") == "/scratch/USER/x"
        assert clean(f"{name}@{name}: no route") == "USER@HOST: no route"


def test_a_text_that_is_nothing_but_a_name_is_a_label():
    assert clean("gpu-7") == "gpu-7"
    assert clean("s1234") == "s1234"


def test_values_of_secret_variables_are_taken_out_wherever_they_stand(monkeypatch):
    for name, value in {
        "WANDB_API_KEY": "0123abcdef", "DB_PASSWORD": "0123abcdef-longer", "MY_SECRET": "s3cr3t+(",
        "HF_TOKEN": "unusual", "https_proxy": "http://ann:pr%40xypw@proxy:3128",
        "HF_TOKENS": "first-of-two,second-of-two", "MAX_NEW_TOKENS": "512000",
        "TOKENIZERS_PARALLELISM": "absolutely", "MAX_TOKENS": "4096000", "X_TOKEN": "on",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert without_secrets("0123abcdef 0123abcdef-longer s3cr3t+( unusual pr%40xypw pr@xypw") == (
        "*** *** *** *** *** ***"
    )
    assert without_secrets("second-of-two 512000") == "*** 512000"
    assert without_secrets("absolutely 4096000 on /home/ann") == "absolutely 4096000 on /home/ann"


def test_a_record_is_cleaned_however_deep_and_is_the_same_without_a_finding():
    spec = Spec(task="domain", models=(ModelSpec(id="/home/ann/m"), ModelSpec(id="a/b")))
    found = spec.cleaned()
    assert [model.id for model in found.models] == ["~/m", "a/b"]
    assert found.models[1] is spec.models[1]
    assert found.cleaned() is found


def test_a_url_without_password_can_be_used():
    assert without_password("postgresql+psycopg://u:p@h/d") == "postgresql+psycopg://u@h/d"
    for url in ("sqlite:////tmp/x.db", "journal:x", "grpc://h:13000", "postgresql://u@h/d"):
        assert without_password(url) == url
