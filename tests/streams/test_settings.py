"""Settings: typed, checked at once, all bad ones named, secrets never shown."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.settings import DEMO_TOKEN_KEY, Settings, SettingsError, client_options, faust_credentials


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in Settings.read().describe():
        monkeypatch.delenv(row.variable, raising=False)


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings.read()


def test_nothing_set_is_the_embedded_demo() -> None:
    settings = Settings.read()
    assert settings.embedded
    assert settings.servers is None
    assert settings.demo_token_key
    assert (settings.partitions, settings.centre, settings.clock) == (4, "pinghu", "wall")
    assert settings.registry.is_absolute()
    with pytest.raises(ValidationError):
        settings.partitions = 5  # type: ignore[misc]


def test_the_environment_sets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch,
        KAFKA_URL="kafka://one:9092, two:9093",
        REDIS_URL="redis://:secret@cache:6379/0",
        ZHINAO_PARTITIONS="16",
        ZHINAO_CLOCK="stream",
        ZHINAO_CREWS="1",
        ZHINAO_RULES="a/rules:b.yaml",
        ZHINAO_STORE_EVERY_S="0.5",
        ZHINAO_TOKEN_KEY="a key of our own, long enough",
    )
    assert settings.servers == "one:9092,two:9093"
    assert (settings.partitions, settings.clock, settings.crews, settings.store_every_s) == (16, "stream", True, 0.5)
    assert settings.rules == (Path("a/rules"), Path("b.yaml"))
    assert not settings.demo_token_key


@pytest.mark.parametrize(
    ("variable", "value", "cause"),
    [
        ("KAFKA_URL", "localhost:9092", "'localhost:9092' must look like kafka://host:port,host:port"),
        ("KAFKA_URL", "kafka://one", "'one' is not host:port"),
        ("KAFKA_URL", "kafka://me:pw@one:9092", "ZHINAO_KAFKA_USER"),
        ("REDIS_URL", "http://cache", "must look like redis://host:port/0"),
        ("ZHINAO_DELIVER_KEY", "short", "ZHINAO_DELIVER_KEY: is shorter than 16 characters"),
        ("ZHINAO_DELIVER_HOSTS", "one, http://two/", "'http://two/' is no host or host:port"),
        ("ZHINAO_PARTITIONS", "many", "'many' is not a whole number"),
        ("ZHINAO_PARTITIONS", "0", "should be greater than or equal to 1"),
        ("ZHINAO_PARTITIONS", "8", "the embedded broker always has 4"),
        ("ZHINAO_CLOCK", "sun", "is none of 'wall' or 'stream'"),
        ("ZHINAO_UNREGISTERED", "maybe", "is none of 'reject' or 'accept'"),
        ("ZHINAO_STORE_EVERY_S", "often", "'often' is not a number"),
        ("ZHINAO_STORE_EVERY_S", "nan", "should be"),
        ("ZHINAO_TIMEZONE", "Mars/Olympus", "is not a time zone"),
        ("ZHINAO_TOPIC_PREFIX", "a b", "a-z 0-9 . _ -"),
        ("ZHINAO_CREWS", "perhaps", "is neither 0 nor 1"),
        ("ZHINAO_KAFKA_SECURITY", "sasl_ssl", "sasl needs ZHINAO_KAFKA_USER and ZHINAO_KAFKA_PASSWORD"),
        ("ZHINAO_TOKEN_KEY", "short", "is shorter than 16 characters"),
    ],
)
def test_a_bad_value_is_named_with_its_variable_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, cause: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **{variable: value})
    text = str(caught.value)
    assert text.startswith(f"{variable}: ")
    assert cause in text
    assert "\n" not in text


def test_all_bad_ones_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, ZHINAO_CLOCK="x", ZHINAO_FETCH_WAIT_MS="x", KAFKA_URL="x")
    variables = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert sorted(variables) == ["KAFKA_URL", "ZHINAO_CLOCK", "ZHINAO_FETCH_WAIT_MS"]


def test_every_setting_is_described_in_both_languages_and_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "zugzwang-zugzwang-zugzwang"
    rows = read(
        monkeypatch,
        KAFKA_URL="kafka://one:9092",
        REDIS_URL=f"redis://user:{secret}@cache:6379/0",
        ZHINAO_TOKEN_KEY=secret,
        ZHINAO_KAFKA_PASSWORD=secret,
    ).describe()
    assert {row.variable for row in rows} >= {
        "KAFKA_URL",
        "ZHINAO_TOKEN_KEY",
        "ZHINAO_BOUNDS_MARGIN_KM",
        "ZHINAO_CREWS",
    }
    for row in rows:
        assert row.zh, row.variable
        assert row.en, row.variable
        assert row.zh != row.en
        assert any("\u4e00" <= letter <= "\u9fff" for letter in row.zh), row.variable
        assert secret not in row.value
    shown = {row.variable: row for row in rows}
    assert shown["ZHINAO_TOKEN_KEY"].value == "set"
    assert shown["REDIS_URL"].value == "redis://***@cache:6379/0"
    assert shown["ZHINAO_GROUP"].is_default
    assert not shown["KAFKA_URL"].is_default


def test_a_bad_secret_is_not_repeated_and_the_settings_do_not_print_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, ZHINAO_TOKEN_KEY="hunter2")
    assert "hunter2" not in str(caught.value)
    monkeypatch.delenv("ZHINAO_TOKEN_KEY")
    assert DEMO_TOKEN_KEY not in repr(Settings.read())
    assert {row.variable: row.value for row in Settings.read().describe()}["ZHINAO_TOKEN_KEY"] == "demo default"


def test_security_reaches_every_client(monkeypatch: pytest.MonkeyPatch) -> None:
    assert client_options(Settings.read()) == {}
    assert faust_credentials(Settings.read()) is None
    settings = read(
        monkeypatch,
        KAFKA_URL="kafka://one:9093",
        ZHINAO_KAFKA_SECURITY="sasl_ssl",
        ZHINAO_KAFKA_USER="zhinao",
        ZHINAO_KAFKA_PASSWORD="secret",
    )
    options = client_options(settings)
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_plain_password"] == "secret"
    assert options["ssl_context"].check_hostname
    credentials = faust_credentials(settings)
    assert (credentials.username, credentials.password) == ("zhinao", "secret")
    assert credentials.protocol.value == "SASL_SSL"
