"""What sigstore-python says of bundles: reads one question from standard input, writes a list of complaints (null: none)."""

import base64
import json
import logging
import sys
import tempfile

from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

logging.disable(logging.CRITICAL)
question = json.load(sys.stdin)
document = base64.b64decode(question["document"])
digest = question["digest"]


def judge(case, verifier):
    bundle = Bundle.from_json(json.dumps(case["bundle"]))
    policy = Identity(identity=case["identity"], issuer=case["issuer"])
    if case["predicate"] is None:
        verifier.verify_artifact(document, bundle, policy)
        return
    # What is left to the caller: the type of the payload, the predicate, the subject.
    payload_type, payload = verifier.verify_dsse(bundle, policy)
    statement = json.loads(payload)
    if payload_type != "application/vnd.in-toto+json":
        raise ValueError(f"payload type {payload_type}")
    if statement["_type"] != "https://in-toto.io/Statement/v1":
        raise ValueError("no statement")
    if statement["predicateType"] != case["predicate"]:
        raise ValueError("another predicate")
    if not any(s["digest"].get("sha256") == digest for s in statement["subject"]):
        raise ValueError("another subject")


def complaint(case, verifier):
    try:
        judge(case, verifier)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return None


with tempfile.NamedTemporaryFile("w", suffix=".json") as root:
    json.dump(question["root"], root)
    root.flush()
    verifier = Verifier(trusted_root=TrustedRoot.from_file(root.name))
json.dump([complaint(case, verifier) for case in question["cases"]], sys.stdout)
