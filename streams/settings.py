"""Every setting, from the environment, checked at the start. A bad one is named with a hint; secrets are never shown.

Each field's alias is its variable; `description` is Chinese and English, for `zhinao settings` and the docs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
SHIPPED_RULES = ROOT / "rules" / "packs"
SHIPPED_ZONES = ROOT / "geo" / "zones"
SHIPPED_REGISTRY = ROOT / "geo" / "registry"
SHIPPED_TABLES = ROOT / "rules" / "tables"

# Known to everybody who can read this file: tokens made with it hide nothing. Refused outside the demo, see `Settings`.
DEMO_TOKEN_KEY = "zhinao-demo-token-key-not-secret"  # noqa: S105 (that is what it says)
NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class SettingsError(Exception):
    """One or more settings are wrong: one line for each, variable first, hint last."""


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as `zhinao settings` lists it."""

    variable: str
    value: str
    is_default: bool
    secret: bool
    zh: str
    en: str


def _both(zh: str, en: str, **more: Any) -> Any:
    return Field(description=f"{zh} / {en}", json_schema_extra={"zh": zh, "en": en}, **more)


def _kafka_servers(url: str | None) -> str | None:
    if url is None:
        return None
    scheme, separator, servers = url.partition("://")
    if not separator or scheme != "kafka":
        raise ValueError("must look like kafka://host:port,host:port")
    for server in servers.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{server.strip()!r} is not host:port")
        if "@" in host:
            raise ValueError("the user goes into ZHINAO_KAFKA_USER, not into the address")
    return url


def _redis(url: str | None) -> str | None:
    if url is not None and (urlsplit(url).scheme not in {"redis", "rediss", "unix"} or len(url) < 9):
        raise ValueError("must look like redis://host:port/0")
    return url


def _address(text: str | None) -> str | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535 or any(sign in host for sign in "/@ "):
        raise ValueError("must look like host:port, or a port alone for loopback")
    return f"{host or '127.0.0.1'}:{int(port)}"


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # A machine without a zone database still knows China's, see models.times.
        if name != "Asia/Shanghai":
            raise ValueError("is not a time zone; use a name such as Asia/Shanghai") from None
    return name


def _key(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < 16:
        raise ValueError("is shorter than 16 characters: tokens of plates could be guessed")
    return secret


def _paths(value: Any) -> Any:
    return tuple(part for part in value.split(":") if part) if isinstance(value, str) else value


def _signing_key(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None and len(secret.get_secret_value()) < 16:
        raise ValueError("is shorter than 16 characters: what it signs could be forged")
    return secret


def _hosts(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _bare_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        if any(sign in host for sign in "/@*? ") or not host:
            raise ValueError(
                f"{host!r} is no host or host:port; wildcards and addresses with a path are not understood"
            )
    return hosts


Paths = Annotated[tuple[Path, ...], BeforeValidator(_paths)]


class Settings(BaseSettings):
    """What a process of ours can be told from outside. Frozen. `Settings.read()` is how to get one."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True, enable_decoding=False)

    kafka_url: Annotated[str | None, AfterValidator(_kafka_servers)] = _both(
        "Kafka 集群地址 kafka://host:port,…；不设则用内置代理",
        "address of the Kafka cluster, kafka://host:port,…; unset: the embedded broker",
        default=None,
        alias="KAFKA_URL",
    )
    embedded_broker: str | None = _both(
        "正在运行的内置代理的地址 host:port；由 demo 设置给它的子进程",
        "address host:port of a running embedded broker; the demo sets it for its children",
        default=None,
        alias="ZHINAO_EMBEDDED_BROKER",
        pattern=r"^127\.0\.0\.1:\d{1,5}$",
    )
    redis_url: Annotated[str | None, AfterValidator(_redis)] = _both(
        "Redis 地址；不设则控制台自己记在内存里",
        "address of Redis; unset: the console keeps it in memory",
        default=None,
        alias="REDIS_URL",
    )
    kafka_security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = _both(
        "Kafka 连接方式",
        "how to connect to Kafka",
        default="plaintext",
        alias="ZHINAO_KAFKA_SECURITY",
    )
    kafka_user: str | None = _both("Kafka 用户名（SASL）", "Kafka user (SASL)", default=None, alias="ZHINAO_KAFKA_USER")
    kafka_password: SecretStr | None = _both(
        "Kafka 密码（SASL）",
        "Kafka password (SASL)",
        default=None,
        alias="ZHINAO_KAFKA_PASSWORD",
    )
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = _both(
        "SASL 机制",
        "SASL mechanism",
        default="SCRAM-SHA-512",
        alias="ZHINAO_KAFKA_MECHANISM",
    )
    kafka_ca: Path | None = _both(
        "Kafka 服务器证书的 CA 文件（PEM）；不设则用系统的",
        "CA file (PEM) of the brokers' certificates; unset: the system's",
        default=None,
        alias="ZHINAO_KAFKA_CA",
    )
    topic_prefix: str = _both(
        "主题名前缀",
        "prefix of topic names",
        default="zhinao",
        alias="ZHINAO_TOPIC_PREFIX",
        pattern=NAME,
    )
    partitions: int = _both(
        "每个主题的分区数；内置代理固定为 4",
        "partitions of each topic; the embedded broker always has 4",
        default=4,
        alias="ZHINAO_PARTITIONS",
        ge=1,
        le=1024,
    )
    group: str = _both("消费组名", "name of the consumer group", default="zhinao", alias="ZHINAO_GROUP", pattern=NAME)
    centre: str = _both(
        "指挥中心编号", "id of the command centre", default="pinghu", alias="ZHINAO_CENTRE", pattern=NAME
    )
    clock: Literal["wall", "stream"] = _both(
        "时钟：wall 每秒自走，stream 只听数据里的节拍（回放）",
        "clock: wall ticks every second, stream follows the ticks in the data (replays)",
        default="wall",
        alias="ZHINAO_CLOCK",
    )
    timezone: Annotated[str, AfterValidator(_zone)] = _both(
        "发布时间所用时区",
        "time zone of published times",
        default="Asia/Shanghai",
        alias="ZHINAO_TIMEZONE",
    )
    state_dir: Path = _both(
        "本地状态目录（内置代理时使用）",
        "folder for state (used with the embedded broker)",
        default=Path("var/state"),
        alias="ZHINAO_STATE_DIR",
    )
    log_dir: Path = _both("日志目录", "folder for logs", default=Path("var/log"), alias="ZHINAO_LOG_DIR")
    store_every_s: float = _both(
        "每隔多少秒保存状态",
        "seconds between saves of state",
        default=2.0,
        alias="ZHINAO_STORE_EVERY_S",
        gt=0,
        le=300,
    )
    http: Annotated[str | None, AfterValidator(_address)] = _both(
        "健康检查与指标的 HTTP 地址 host:port；只写端口则只听本机，0 为自选；不设则没有",
        "address of health and metrics over HTTP, host:port; a port alone: loopback, 0: any that is free; unset: none",
        default=None,
        alias="ZHINAO_HTTP",
    )
    stall_s: float = _both(
        "有积压而无进展、或分不到分区，这么多秒后退出重启",
        "with lag and no progress, or with no partitions, for so many seconds: the worker ends, to be started again",
        default=60.0,
        alias="ZHINAO_STALL_S",
        ge=5,
        le=3600,
    )
    log_format: Literal["text", "json"] = _both(
        "日志格式：text 给人看，json 每行一个对象",
        "format of logs: text for people, json an object a line",
        default="text",
        alias="ZHINAO_LOG_FORMAT",
    )
    canary_s: float = _both(
        "每隔多少秒往每个分区发一条自检读数，量出全程延迟；0 为不发；stream 时钟下从不发",
        "seconds between synthetic readings through each partition, which measure the whole delay; 0: none, "
        "as always under the stream clock",
        default=60.0,
        alias="ZHINAO_CANARY_S",
        ge=0,
        le=3600,
    )
    fetch_wait_ms: int = _both(
        "代理没有数据时最多等多少毫秒；越小越快，空转越多",
        "how long the broker may wait when it has nothing, in ms; smaller is quicker and busier",
        default=20,
        alias="ZHINAO_FETCH_WAIT_MS",
        ge=1,
        le=5000,
    )
    token_key: Annotated[SecretStr, AfterValidator(_key)] = _both(
        "车牌、电话等脱敏用的密钥；默认的人人皆知，只能演示用",
        "secret that tokens of plates, phones and faces are made with; the default is public, for the demo only",
        default=SecretStr(DEMO_TOKEN_KEY),
        alias="ZHINAO_TOKEN_KEY",
    )
    dead_letter_key: SecretStr | None = _both(
        "死信正文加密用的密钥；不设则只在演示时保留正文",
        "secret that bodies of dead letters are encrypted with; unset: bodies are kept in the demo only",
        default=None,
        alias="ZHINAO_DEAD_LETTER_KEY",
    )
    deliver_key: Annotated[SecretStr | None, AfterValidator(_signing_key)] = _both(
        "派单外送签名用的密钥（HMAC-SHA256），与接收方共有",
        "secret that delivered orders are signed with (HMAC-SHA256); the receiver has it too",
        default=None,
        alias="ZHINAO_DELIVER_KEY",
    )
    deliver_hosts: Annotated[tuple[str, ...], BeforeValidator(_hosts), AfterValidator(_bare_hosts)] = _both(
        "派单可以送往的主机 host 或 host:port，逗号分隔；不写端口则只许协议的默认端口",
        "hosts that orders may be delivered to, host or host:port, separated by commas; no port: the scheme's",
        default=(),
        alias="ZHINAO_DELIVER_HOSTS",
    )
    unregistered: Literal["reject", "accept"] = _both(
        "未登记的传感器：拒收或接受（区域取记录的 key）",
        "unregistered sensors: reject, or accept with the record's key as their area",
        default="reject",
        alias="ZHINAO_UNREGISTERED",
    )
    compiled: Literal["auto", "off"] = _both(
        "核心循环：auto 有 numba 时用机器码，off 用纯 Python（慢约五倍，结果相同）",
        "loops of the core: auto, as machine code where numba is; off, in plain Python (some five times slower, same "
        "results)",
        default="auto",
        alias="ZHINAO_COMPILED",
    )
    rules: Paths = _both(
        "规则目录或文件，冒号分隔",
        "folders or files of rules, separated by colons",
        default=(SHIPPED_RULES,),
        alias="ZHINAO_RULES",
    )
    zones: Paths = _both(
        "区域目录或文件（GeoJSON），冒号分隔",
        "folders or files of zones (GeoJSON), separated by colons",
        default=(SHIPPED_ZONES,),
        alias="ZHINAO_ZONES",
    )
    registry: Path = _both(
        "设备、路段、队伍登记目录", "folder of the registry", default=SHIPPED_REGISTRY, alias="ZHINAO_REGISTRY"
    )
    tables: Path = _both(
        "代码、时限、日历、职责表目录",
        "folder of codes, deadlines, calendars, responsibilities",
        default=SHIPPED_TABLES,
        alias="ZHINAO_TABLES",
    )
    bundle: Literal["files", "topic"] = _both(
        "规则、区域、登记表、数据表从哪里来：files 为本机文件，topic 为 rules.bundle 主题（zhinao rules publish 所发）",
        "where rules, zones, registry and tables come from: files of this machine, or the topic rules.bundle, as "
        "`zhinao rules publish` sends them",
        default="files",
        alias="ZHINAO_BUNDLE",
    )
    reload_s: float = _both(
        "每隔多少秒看一次规则等文件有无改动；0 为不看，改动要重启才生效",
        "seconds between looks whether rules, zones, registry or tables have changed; 0: never, a restart reads them",
        default=2.0,
        alias="ZHINAO_RELOAD_S",
        ge=0,
        le=3600,
    )
    bounds_margin_km: float = _both(
        "所有区域外再留多少公里，之外的位置拒收",
        "kilometres around all zones; a position beyond is refused",
        default=20.0,
        alias="ZHINAO_BOUNDS_MARGIN_KM",
        ge=0,
        le=2000,
    )
    crews: bool = _both(
        "1 = 用模拟队伍答复派单",
        "1 = simulated crews answer the orders",
        default=False,
        alias="ZHINAO_CREWS",
    )

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.kafka_security.startswith("sasl") and (self.kafka_user is None or self.kafka_password is None):
            raise ValueError("ZHINAO_KAFKA_SECURITY: sasl needs ZHINAO_KAFKA_USER and ZHINAO_KAFKA_PASSWORD")
        if self.kafka_url is None and self.partitions != 4:
            raise ValueError("ZHINAO_PARTITIONS: the embedded broker always has 4; set KAFKA_URL to have others")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings

    @classmethod
    def read(cls, **given: Any) -> Self:
        """From the environment; `given` (by field name) wins. Raises `SettingsError` naming every bad variable."""
        try:
            return cls(**given)
        except ValidationError as exc:
            raise SettingsError("\n".join(_explain(error) for error in exc.errors())) from None

    @property
    def embedded(self) -> bool:
        """True if the broker is the embedded one."""
        return self.kafka_url is None

    @property
    def servers(self) -> str | None:
        """`host:port,host:port`, as Kafka clients take it: the cluster's, else the embedded broker's, else none."""
        if self.kafka_url is None:
            return self.embedded_broker
        return self.kafka_url.removeprefix("kafka://").replace(" ", "")

    @property
    def demo_token_key(self) -> bool:
        """True if personal data is tokenised with the key everybody knows."""
        return self.token_key.get_secret_value() == DEMO_TOKEN_KEY

    def describe(self) -> list[Row]:
        """Every setting with its value, in the order above. Secrets as `set` or `demo default`, never themselves."""
        return [self._row(name) for name in type(self).model_fields]

    def _row(self, name: str) -> Row:
        field = type(self).model_fields[name]
        value, texts = getattr(self, name), _texts(name)
        secret = isinstance(value, SecretStr) or name in {"kafka_password", "dead_letter_key", "deliver_key"}
        default = field.get_default()
        if secret:
            shown = "" if value is None else "demo default" if value == default else "set"
        else:
            shown = _shown(value)
        if name == "redis_url":
            shown = _without_password(shown)
        return Row(field.alias or name, shown, value == default, secret, *texts)


@cache
def _texts(name: str) -> tuple[str, str]:
    extra = Settings.model_fields[name].json_schema_extra
    both: Mapping[str, Any] = extra if isinstance(extra, Mapping) else {}
    return str(both["zh"]), str(both["en"])


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return ("," if isinstance(next(iter(value), None), str) else ":").join(map(str, value))
    return str(value)


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://***{at}{tail}" if at else url


def _explain(error: Any) -> str:
    if not error["loc"]:  # of several settings together: the message names them
        return str(error["msg"]).removeprefix("Value error, ")
    variable = _variable(str(error["loc"][0]))
    kind, context = error["type"], error.get("ctx", {})
    secret = variable in {"ZHINAO_TOKEN_KEY", "ZHINAO_KAFKA_PASSWORD", "ZHINAO_DEAD_LETTER_KEY", "ZHINAO_DELIVER_KEY"}
    given = "" if secret else f"{error['input']!r} "
    match kind:
        case "literal_error":
            cause = f"is none of {context['expected']}"
        case "int_parsing" | "int_type" | "int_from_float":
            cause = "is not a whole number"
        case "float_parsing" | "float_type":
            cause = "is not a number"
        case "bool_parsing" | "bool_type":
            cause = "is neither 0 nor 1"
        case "string_pattern_mismatch":
            cause = "may hold a-z 0-9 . _ - only, at most 64, and starts with a letter or digit"
        case _:
            cause = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
    return f"{variable}: {given}{cause}"


def _variable(name: str) -> str:
    for field_name, field in Settings.model_fields.items():
        if name in (field_name, field.alias):
            return field.alias or field_name
    return name


def client_options(settings: Settings) -> dict[str, Any]:
    """Security options, the same words for aiokafka and kafka-python."""
    options: dict[str, Any] = {"security_protocol": settings.kafka_security.upper()}
    if settings.kafka_security.endswith("ssl"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.kafka_security.startswith("sasl"):
        options["sasl_mechanism"] = settings.kafka_mechanism
        options["sasl_plain_username"] = settings.kafka_user
        options["sasl_plain_password"] = _password(settings)
    return {} if options == {"security_protocol": "PLAINTEXT"} else options


def _password(settings: Settings) -> str | None:
    return None if settings.kafka_password is None else settings.kafka_password.get_secret_value()


def _ssl_context(settings: Settings) -> Any:
    import ssl

    return ssl.create_default_context(cafile=None if settings.kafka_ca is None else str(settings.kafka_ca))


def faust_credentials(settings: Settings) -> Any:
    """The same for Faust's `broker_credentials`; none for plaintext."""
    from faust import SASLCredentials, SSLCredentials

    encrypted = settings.kafka_security.endswith("ssl")
    if settings.kafka_security.startswith("sasl"):
        return SASLCredentials(
            username=settings.kafka_user,
            password=_password(settings),
            mechanism=settings.kafka_mechanism,
            ssl_context=_ssl_context(settings) if encrypted else None,
        )
    return SSLCredentials(context=_ssl_context(settings)) if encrypted else None
