"""What every Ray is started with: a token that nobody else reads, and what a user set himself."""

import stat

from workers.ray_settings import USUAL, environment, write_token


def test_a_token_is_its_owners_alone_and_another_one_each_time(tmp_path):
    first = write_token(tmp_path / "token").read_text()
    second = write_token(tmp_path / "token").read_text()
    assert len(first) == len(second) == 64
    assert first != second
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_what_the_user_set_stays_and_the_token_is_never_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_worker_niceness", "7")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    found = environment(tmp_path / "token", local=True)
    assert found["RAY_worker_niceness"] == "7"
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "token")
    assert found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in environment(tmp_path / "t", local=False)
    monkeypatch.delenv("RAY_worker_niceness")
    assert environment(tmp_path / "t", local=False).items() >= USUAL.items()
