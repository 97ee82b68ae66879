"""Runs expressions with Google's C++ implementation of CEL: {"object": …, "expressions": […]} in, a list of outcomes out."""

import json
import math
import sys

from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings


def text(value):
    return json.dumps(value, ensure_ascii=False)


def key(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return text(value) if isinstance(value, str) else str(value)


def shown(value):
    kind = value.type().name().lower()
    if kind.startswith(("list", "map")):
        inner = value.value()
        if isinstance(inner, dict):
            return ["map", sorted([key(k), shown(v)] for k, v in inner.items())]
        return ["list", [shown(v) for v in inner]]
    plain = value.plain_value()
    if plain is None:
        return ["null"]
    if isinstance(plain, bool):
        return ["bool", plain]
    if isinstance(plain, float):
        return ["double", "NaN" if math.isnan(plain) else repr(plain)]
    if isinstance(plain, int):
        return ["uint" if kind == "uint" else "int", str(plain)]
    if isinstance(plain, str):
        return ["string", plain]
    if isinstance(plain, (bytes, bytearray)):
        return ["bytes", plain.hex()]
    if hasattr(plain, "total_seconds"):
        return ["duration", str((plain.days * 86400 + plain.seconds) * 10**6 + plain.microseconds)]
    if hasattr(plain, "timestamp"):
        return ["timestamp", plain.strftime("%Y-%m-%dT%H:%M:%S.%f")]
    return ["type", str(plain)]


def outcome(env, activation, expression):
    try:
        program = env.compile(expression)
    except RuntimeError as error:
        return ["refused", str(error)]
    try:
        value = program.eval(activation)
        if value.type() == cel.Type.ERROR:
            return ["error", str(value.plain_value())]
        return shown(value)
    except RuntimeError as error:
        return ["error", str(error)]


question = json.load(sys.stdin)
environment = cel.NewEnv(
    variables={"object": cel.Type.DYN},
    extensions=[ext_optional.ExtOptional(), ext_strings.ExtStrings(2)],
)
bound = environment.Activation({"object": question["object"]})
json.dump([outcome(environment, bound, expression) for expression in question["expressions"]], sys.stdout)
