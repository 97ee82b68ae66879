"""A program that finds its token and the authority in files, as in a pod, and what becomes of the token."""

import os
import tempfile

from lab import *
from kubernetes.config.incluster_config import InClusterConfigLoader

default = client.Configuration.get_default_copy()
address = default.host.removeprefix("https://")
host, port = address.rsplit(":", 1)
folder = tempfile.mkdtemp()
path = os.path.join(folder, "token")


def issue(**spec):
    asked = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], **spec))
    return core.create_namespaced_service_account_token("robot", NAMESPACE, asked).status


def who():
    own = client.Configuration()
    loader = InClusterConfigLoader(token_filename=path, cert_filename=default.ssl_ca_cert, environ={
        "KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port})
    loader.load_and_set(own)
    review = client.AuthenticationV1Api(client.ApiClient(own)).create_self_subject_review({})
    return review.status.user_info


def write(token):
    with open(path, "w") as file:
        file.write(token)


core.create_namespaced_service_account(NAMESPACE, client.V1ServiceAccount(metadata=meta("robot")))
status = issue(expiration_seconds=600)
assert status.expiration_timestamp is not None
write(status.token)
user = who()
assert user.username == f"system:serviceaccount:{NAMESPACE}:robot", user
assert f"system:serviceaccounts:{NAMESPACE}" in user.groups, user
first = user.extra["authentication.kubernetes.io/credential-id"]
# The next token in the file is another one of the same account.
write(issue().token)
assert who().extra["authentication.kubernetes.io/credential-id"] != first
reviewed = client.AuthenticationV1Api().create_token_review(
    client.V1TokenReview(spec=client.V1TokenReviewSpec(token=status.token))).status
assert reviewed.authenticated and reviewed.user.username == user.username, reviewed
refused(404, "NotFound", 'serviceaccounts "nobody" not found', core.create_namespaced_service_account_token, "nobody",
        NAMESPACE, client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[])))
core.delete_namespaced_service_account("robot", NAMESPACE)
refused(401, "Unauthorized", "Unauthorized", who)
os.remove(path)
os.rmdir(folder)
print("ok")
