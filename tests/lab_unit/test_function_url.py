"""The lab's function URL: AWS's events, the deployed code, and nothing for the unsigned."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import sys
import textwrap
import threading
import zipfile
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
import pulumi
import pulumi_aws as aws
import pytest
from moto import mock_aws
from signing import HOST, KEY, KEYS, NOW, signed

import plan
from components import api_artifact
from effects import Refusal, run
from lab import api, engine, function_url, functions, paths, project
from lab import aws as lab_aws
from lab import deploy as deploying
from lab.function_url import Answer
from lab.functions import FunctionFailed, Pool
from lab.sigv4 import Incoming

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

REGION = lab_aws.REGION
SESSION = boto3.Session("testing", "testing", region_name=REGION)
"""One for all tests: it keeps the service descriptions, which take long to read."""
DOMAIN = "abc123.lambda-url.eu-west-1.on.aws"


# ------------------------------------------------------------------ the event and the answer


def event_of(incoming: Incoming) -> dict[str, Any]:
    return function_url.event(
        incoming, KEY, domain=DOMAIN, account="123456789012", source="192.0.2.7", now=NOW
    )


def test_the_event_is_as_aws_documents_it() -> None:
    made = event_of(signed("POST", "/peers?wait=5&a=1&a=2", b'{"x": 1}'))
    context = made.pop("requestContext")
    headers = made.pop("headers")
    assert made == {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/peers",
        "rawQueryString": "wait=5&a=1&a=2",
        "queryStringParameters": {"wait": "5", "a": "1,2"},
        "body": '{"x": 1}',
        "isBase64Encoded": False,
    }
    assert headers["host"] == HOST
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers
    assert len(context.pop("requestId")) == 36
    assert context == {
        "accountId": "123456789012",
        "apiId": "abc123",
        "authentication": None,
        "authorizer": {
            "iam": {
                "accessKey": KEY.id,
                "accountId": "123456789012",
                "callerId": KEY.user_id,
                "cognitoIdentity": None,
                "principalOrgId": None,
                "userArn": KEY.arn,
                "userId": KEY.user_id,
            }
        },
        "domainName": DOMAIN,
        "domainPrefix": "abc123",
        "http": {
            "method": "POST",
            "path": "/peers",
            "protocol": "HTTP/1.1",
            "sourceIp": "192.0.2.7",
            "userAgent": "",
        },
        "routeKey": "$default",
        "stage": "$default",
        "time": "23/Nov/2026:12:00:00 +0000",
        "timeEpoch": 1795435200000,
    }


def test_what_is_no_text_comes_in_base64_and_nothing_without_a_body() -> None:
    made = event_of(signed(body=b"\xff\x00", headers={"Content-Type": "application/octet-stream"}))
    assert (made["body"], made["isBase64Encoded"]) == (base64.b64encode(b"\xff\x00").decode(), True)
    assert event_of(signed(body=b"\xff"))["isBase64Encoded"] is True, "JSON that is no UTF-8"
    made = event_of(signed("GET", "/peers", b""))
    assert "body" not in made
    assert "queryStringParameters" not in made


def test_headers_that_stand_twice_come_as_one() -> None:
    incoming = signed("GET", "/peers", b"")
    twice = Incoming("GET", "/peers", (*incoming.headers, ("X-A", "1"), ("x-a", "2")))
    assert event_of(twice)["headers"]["x-a"] == "1,2"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (
            {"statusCode": 404, "headers": {"content-type": "x/y"}, "body": "no"},
            Answer(404, b"no", {"content-type": "x/y"}),
        ),
        (
            {"statusCode": 200, "body": "AQI=", "isBase64Encoded": True},
            Answer(200, b"\x01\x02", {"content-type": "application/json"}),
        ),
        ({"statusCode": 204}, Answer(204, b"", {"content-type": "application/json"})),
        ({"a": 1}, Answer(200, b'{"a": 1}', {"content-type": "application/json"})),
        ("text", Answer(200, b'"text"', {"content-type": "application/json"})),
    ],
)
def test_what_a_function_returns_is_taken_as_aws_documents_it(said: Any, answer: Answer) -> None:
    assert function_url.answer(said) == answer


# ------------------------------------------------------------------ the gate


class Spy:
    """Stands for the function: remembers what reached it."""

    def __init__(self, said: Any = None) -> None:
        self.seen: list[Any] = []
        self.said = said or {"statusCode": 200, "body": "served"}

    def call(self, event: Any) -> Any:
        self.seen.append(event)
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


def gate(spy: Spy) -> api.FunctionUrl:
    return api.FunctionUrl(spy, KEYS, DOMAIN)


def test_a_signed_request_reaches_the_function_with_its_callers_name() -> None:
    spy = Spy()
    assert gate(spy).answer(signed(), "192.0.2.7", NOW).body == b"served"
    (seen,) = spy.seen
    assert seen["requestContext"]["authorizer"]["iam"]["userArn"] == KEY.arn


def test_what_is_unsigned_stale_or_tampered_never_reaches_the_function() -> None:
    spy = Spy()
    good = signed()
    unsigned = Incoming(good.method, good.target, (("Host", HOST),), good.body)
    changed = Incoming(good.method, good.target, good.headers, b"other")
    later = datetime(2026, 11, 23, 12, 6, tzinfo=UTC)
    for incoming, now in ((unsigned, NOW), (changed, NOW), (good, later)):
        answer = gate(spy).answer(incoming, "192.0.2.7", now)
        assert (answer.status, json.loads(answer.body)) == (403, {"Message": "Forbidden"})
    assert spy.seen == []


@pytest.mark.parametrize(
    "trouble", [FunctionFailed("it ran out of time"), Refusal("function f", "has no code")]
)
def test_a_function_that_fails_is_answered_for_without_details(trouble: Exception) -> None:
    answer = gate(Spy(trouble)).answer(signed(), "192.0.2.7", NOW)
    assert (answer.status, json.loads(answer.body)) == (502, {"Message": "Internal Server Error"})


@pytest.fixture
def served() -> Iterator[tuple[Spy, Callable[..., tuple[int, bytes]]]]:
    spy = Spy()
    server = api._Server(gate(spy))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def ask(method: str, target: str, headers: Any, body: bytes | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(api.HOST, server.server_port, timeout=10)
        with contextlib.closing(connection):
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, text in headers:
                connection.putheader(name, text)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read()

    yield spy, ask
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_over_http_a_request_arrives_as_it_was_sent(served: Any) -> None:
    spy, ask = served
    now = datetime.now(UTC)
    good = signed("POST", "/peers?a=%20b", b'{"x": 1}', at=now)
    headers = [*good.headers, ("Content-Length", "8")]
    assert ask("POST", good.target, headers, good.body) == (200, b"served")
    assert spy.seen[0]["rawQueryString"] == "a=%20b"
    assert spy.seen[0]["body"] == '{"x": 1}'
    assert ask("POST", good.target, headers, b'{"x": 2}')[0] == 403
    assert ask("GET", "/peers", [("Host", HOST)], None)[0] == 403
    for strange in (
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "-1"),
        ("Content-Length", "9999999999"),
    ):
        assert ask("POST", good.target, [*good.headers, strange], None)[0] in (400, 413)
    assert len(spy.seen) == 1


# ------------------------------------------------------------------ the function that is deployed


class Lab:
    """A stack on an in-process moto."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.client = cache(SESSION.client)
        self.changes = engine.Changes()

    def up(self, program: Callable[[], None]) -> None:
        target = project.Project("small", self.path, "lab", {"aws:region": REGION})
        state = self.path / "state.json"
        self.changes = deploying.deploy(target, self.client, state, program=program)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Lab]:
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path))
    paths.prepare()
    with mock_aws():
        made = Lab(tmp_path)
        monkeypatch.setattr(lab_aws, "client", made.client)
        monkeypatch.setattr(functions.local_cloud, "endpoint", lambda: "http://127.0.0.1:9")
        yield made


def zipped(path: Path, code: str) -> Path:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("code.py"), textwrap.dedent(code))
    path.write_bytes(out.getvalue())
    return path


ECHO = """
    import os, sys
    count = 0
    def handle(event, context):
        global count
        count += 1
        print("a line for the log")
        return {"said": event, "count": count, "pid": os.getpid(), "env": dict(os.environ),
                "path": sys.path}
"""


def deploy(lab: Lab, code: str, *, timeout: int = 10, retention: int = 90, more: str = "x") -> str:
    """A function with a log and a URL; its name."""
    file = zipped(lab.path / f"{abs(hash(code))}.zip", code)

    def program() -> None:
        provider = aws.Provider("aws", region=REGION, default_tags={"tags": {"project": "small"}})
        options = pulumi.ResourceOptions(provider=provider)
        bucket = aws.s3.Bucket("bucket", opts=options)
        stored = aws.s3.BucketObjectv2(
            "code",
            bucket=bucket.id,
            key=file.name,
            source=pulumi.FileAsset(str(file)),
            opts=options,
        )
        log = aws.cloudwatch.LogGroup("log", retention_in_days=retention, opts=options)
        trust = {"Effect": "Allow", "Action": "sts:AssumeRole"}
        service = {**trust, "Principal": {"Service": "lambda.amazonaws.com"}}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [service]})
        role = aws.iam.Role("role", assume_role_policy=policy, opts=options)
        function = aws.lambda_.Function(
            "function",
            runtime="python3.13",
            architectures=["arm64"],
            handler="code.handle",
            s3_bucket=stored.bucket,
            s3_key=stored.key,
            memory_size=512,
            timeout=timeout,
            environment={"variables": {"MORE": more}},
            logging_config={"log_format": "Text", "log_group": log.name},
            role=role.arn,
            opts=options,
        )
        url = aws.lambda_.FunctionUrl(
            "url",
            function_name=function.name,
            authorization_type="AWS_IAM",
            invoke_mode="BUFFERED",
            opts=options,
        )
        pulumi.export("url", url.function_url)

    lab.up(program)
    (found,) = lab.client("lambda").list_functions()["Functions"]
    return found["FunctionName"]


def test_a_function_its_log_and_its_url_are_made_changed_and_removed(lab: Lab) -> None:
    name = deploy(lab, ECHO)
    url = lab.changes.outputs["url"]
    assert url.startswith("https://")
    assert url.endswith(".on.aws/")
    found = lab.client("lambda").get_function(FunctionName=name)
    assert found["Tags"] == {"project": "small"}
    settings = found["Configuration"]
    assert (settings["Timeout"], settings["MemorySize"], settings["Architectures"]) == (
        10,
        512,
        ["arm64"],
    )
    config = lab.client("lambda").get_function_url_config(FunctionName=name)
    assert (config["AuthType"], config["InvokeMode"]) == ("AWS_IAM", "BUFFERED")
    assert api.deployed() == (name, url.rstrip("/"))

    assert deploy(lab, ECHO) == name
    assert not lab.changes.any
    assert deploy(lab, ECHO, timeout=20, retention=30, more="y") == name
    assert sorted(urn.rsplit("::", 1)[-1] for urn in lab.changes.updated) == ["function", "log"]
    settings = lab.client("lambda").get_function(FunctionName=name)["Configuration"]
    assert settings["Timeout"] == 20
    assert settings["Environment"] == {"Variables": {"MORE": "y"}}
    (group,) = lab.client("logs").describe_log_groups()["logGroups"]
    assert group["retentionInDays"] == 30

    lab.up(lambda: None)
    assert lab.client("lambda").list_functions()["Functions"] == []
    assert lab.client("logs").describe_log_groups()["logGroups"] == []
    assert api.deployed() is None


@pytest.fixture
def pool(lab: Lab) -> Iterator[Callable[..., Pool]]:
    made: list[Pool] = []

    def deployed(*words: Any, **more: Any) -> Pool:
        made.append(Pool(deploy(lab, *words, **more)))
        return made[-1]

    yield deployed
    for one in made:
        one.end()


def test_the_deployed_code_runs_with_its_roles_environment_and_is_kept_for_the_next_event(
    pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_OPERATOR", "not for the function")
    function = pool(ECHO)
    first, second = function.call({"n": 1}), function.call({"n": 2})
    assert (first["said"], second["said"]) == ({"n": 1}, {"n": 2})
    assert (first["count"], second["count"]) == (1, 2)
    assert first["pid"] == second["pid"]
    env = first["env"]
    assert "OF_THE_OPERATOR" not in env
    assert (env["MORE"], env["AWS_REGION"]) == ("x", REGION)
    assert env["AWS_ENDPOINT_URL"] == "http://127.0.0.1:9"
    assert env["AWS_SESSION_TOKEN"], "the role's, not the operator's"
    assert not [path for path in first["path"] if path in (str(paths.CHECKOUT), "")]


def test_new_code_is_what_answers_next(lab: Lab, pool: Callable[..., Pool]) -> None:
    function = pool(ECHO)
    function.call({})
    deploy(lab, "def handle(event, context): return 'new'")
    assert function.call({}) == "new"


def test_a_function_that_raises_or_dies_or_hangs_is_ended_and_another_one_serves(
    pool: Callable[..., Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "START_LIMIT", 5.0)
    function = pool(
        """
        import os, time
        def handle(event, context):
            match event["how"]:
                case "raise": raise ValueError("no")
                case "die": os._exit(3)
                case "hang": time.sleep(60)
            return os.getpid()
        """,
        timeout=1,
    )
    before = function.call({"how": "well"})
    for how, why in (("raise", "exception"), ("die", "ended"), ("hang", "time")):
        with pytest.raises(FunctionFailed, match=why):
            function.call({"how": how})
        assert function.call({"how": "well"}) != before


def test_code_that_is_not_what_was_deployed_is_never_run(
    lab: Lab, pool: Callable[..., Pool]
) -> None:
    function = pool(ECHO)
    (bucket,) = lab.client("s3").list_buckets()["Buckets"]
    (stored,) = lab.client("s3").list_objects_v2(Bucket=bucket["Name"])["Contents"]
    lab.client("s3").put_object(Bucket=bucket["Name"], Key=stored["Key"], Body=b"other")
    with pytest.raises(Refusal, match="another hash"):
        function.call({})
    lab.client("s3").delete_object(Bucket=bucket["Name"], Key=stored["Key"])
    with pytest.raises(Refusal, match="no bucket has its code"):
        function.call({})


def test_the_operator_is_a_user_of_the_cloud_and_gets_a_key_each_time(lab: Lab) -> None:
    del lab
    one, other = api.operator(), api.operator()
    assert one.arn == other.arn == "arn:aws:iam::123456789012:user/lab-operator"
    assert one.id != other.id


# ------------------------------------------------------------------ the real code


def test_the_apis_own_archive_runs_with_nothing_but_itself_and_boto3(tmp_path: Path) -> None:
    """As on Lambda: the checkout is nowhere near, and only what a request needs is imported."""
    archive = zipfile.ZipFile(io.BytesIO(api_artifact.build(plan.ROOT).data))
    archive.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import api.handler\n"
        "own = {n.split('.')[0] for n, m in sys.modules.items()\n"
        "       if (getattr(m, '__file__', None) or '').startswith(sys.argv[1])}\n"
        "assert own == {'api', 'client', 'effects', 'registry'}, own\n"
        "strange = {'pulumi', 'moto', 'cryptography', 'yaml', 'segno'} & set(sys.modules)\n"
        "assert not strange, strange\n"
    )
    run([sys.executable, "-P", "-c", code, str(tmp_path)], cwd=tmp_path, env={})
    event = json.dumps(event_of(signed("GET", "/openapi.json", b""))) + "\n"
    env = {"GATEPAIR_STACK": "lab", "AWS_REGION": REGION}
    command = [sys.executable, "-P", str(functions.RUNTIME), str(tmp_path), "api.handler.handle"]
    done = run(command, stdin=event, cwd=tmp_path, env=env)
    answer = json.loads(done.stdout)["answer"]
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"]) == json.loads((plan.ROOT / "docs/openapi.json").read_text())
    assert json.loads(done.stderr)["caller"] == KEY.arn
