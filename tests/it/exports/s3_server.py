"""A server that speaks S3 with Object Lock: moto, which checks the signatures with Amazon's own library (botocore).

    s3_server.py HOME PORT

What moto lets pass is refused before it, as S3 refuses it: a body without its length, also an empty one, a body that is not the one that was signed,
headers of S3's that are not signed, a clock that is wrong, a checksum that is not the body's. What is there survives the death of the server. With HOME/server.crt it
speaks TLS. HOME/fault holds what goes wrong next, as JSON:
which requests ("method", "match" in path and query, "nth" of these) and how ("do": die, die-after, slow-down).
"""

import base64, datetime, hashlib, json, os, pickle, sys, threading

os.environ["MOTO_S3_DEFAULT_MAX_KEYS"] = "1000"
from moto import settings
from moto.iam.models import iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import run_simple

HOME, PORT = sys.argv[1], int(sys.argv[2])
STATE, FAULT, KEYS, REQUESTS = (os.path.join(HOME, name) for name in ("state", "fault", "keys.json", "requests.jsonl"))
BUCKETS = s3_backends["123456789012"]["aws"]
USERS = iam_backends["123456789012"]["aws"]
LOCK = threading.Lock()
SEEN = 0


def user(name, actions):
    """An account that may do so much, and its key."""
    USERS.create_user("us-east-1", name)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    USERS.put_user_policy(name, "rights", json.dumps(policy))
    key = USERS.create_access_key(name)
    return {"id": key.access_key_id, "secret": key.secret_access_key}


def begin():
    keys = {"archiver": user("archiver", ["s3:*"]), "reader": user("reader", ["s3:Get*", "s3:List*", "s3:HeadObject"])}
    for name, is_locked in (("vault", True), ("vault-by-default", True), ("plain", False)):
        bucket = BUCKETS.create_bucket(name, "us-east-1")
        if is_locked:
            bucket.object_lock_enabled = True
            BUCKETS.put_bucket_versioning(name, "Enabled")
    BUCKETS.put_object_lock_configuration("vault-by-default", True, "GOVERNANCE", 3, 0)
    json.dump(keys, open(KEYS, "w"))


def keep():
    with open(STATE + ".new", "wb") as out:
        pickle.dump((dict(BUCKETS.buckets), dict(USERS.users), dict(USERS.access_keys)), out)
    os.replace(STATE + ".new", STATE)


def take_up():
    buckets, users, keys = pickle.load(open(STATE, "rb"))
    BUCKETS.buckets.update(buckets)
    USERS.users.update(users)
    USERS.access_keys.update(keys)


def refusal(environ, body):
    """What S3 refuses and moto does not."""
    if environ["REQUEST_METHOD"] in ("PUT", "POST") and not environ.get("CONTENT_LENGTH"):
        return "411 Length Required", "MissingContentLength", "You must provide the Content-Length HTTP header."
    header = lambda name: environ.get("HTTP_" + name.upper().replace("-", "_"), "")
    signed = header("authorization").partition("SignedHeaders=")[2].partition(",")[0].split(";")
    names = [name[5:].lower().replace("_", "-") for name in environ if name.startswith("HTTP_X_AMZ_") or name == "HTTP_IF_NONE_MATCH"]
    unsigned = [name for name in names + ["host"] if name not in signed]
    if unsigned:
        return "403 Forbidden", "AccessDenied", "There were headers present in the request which were not signed: %s" % unsigned
    at = datetime.datetime.strptime(header("x-amz-date") + "+0000", "%Y%m%dT%H%M%SZ%z")
    if abs(datetime.datetime.now(datetime.timezone.utc) - at).total_seconds() > 900:
        return "403 Forbidden", "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
    digest = hashlib.sha256(body).digest()
    if header("x-amz-content-sha256") != digest.hex():
        return "400 Bad Request", "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."
    if header("x-amz-checksum-sha256") not in ("", base64.b64encode(digest).decode()):
        return "400 Bad Request", "BadDigest", "The SHA256 you specified did not match the calculated checksum."


def fault(environ):
    """How this request is to go wrong."""
    global SEEN
    if not os.path.exists(FAULT):
        SEEN = 0
        return None
    wanted = json.load(open(FAULT))
    if environ["REQUEST_METHOD"] != wanted["method"] or wanted["match"] not in environ["PATH_INFO"] + "?" + environ["QUERY_STRING"]:
        return None
    SEEN += 1
    if SEEN < wanted["nth"]:
        return None
    os.remove(FAULT)
    return wanted["do"]


class Checked:
    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        with LOCK:
            return self.answer(environ, start_response)

    def answer(self, environ, start_response):
        import io

        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        wrong = fault(environ)
        if wrong == "die":
            os._exit(9)
        if wrong == "slow-down":
            return self.refuse(start_response, "503 Slow Down", "SlowDown", "Please reduce your request rate.")
        refused = refusal(environ, body)
        if refused:
            return self.refuse(start_response, *refused)
        told = []

        def tell(status, headers, *rest):
            told.append(status)
            return start_response(status, headers, *rest)

        answer = list(self.app(environ, tell))
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD") and told and told[0] < "3":
            keep()
        with open(REQUESTS, "a") as out:
            target = environ["PATH_INFO"] + "?" + environ["QUERY_STRING"]
            out.write(json.dumps([environ["REQUEST_METHOD"], target, int(told[0].split()[0]) if told else 0]) + "\n")
        if wrong == "die-after":
            os._exit(9)
        return answer

    def refuse(self, start_response, status, code, message):
        body = ("<?xml version='1.0'?><Error><Code>%s</Code><Message>%s</Message></Error>" % (code, message)).encode()
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


if os.path.exists(STATE):
    take_up()
else:
    begin()
    keep()
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0
MotoRequestHandler.protocol_version = "HTTP/1.1"
certificate = [os.path.join(HOME, name) for name in ("server.crt", "server.key")]
tls = tuple(certificate) if os.path.exists(certificate[0]) else None
app = Checked(DomainDispatcherApplication(create_backend_app))
run_simple("127.0.0.1", PORT, app, threaded=True, request_handler=MotoRequestHandler, ssl_context=tls)
