#!/usr/bin/env python3
"""What libseccomp makes of a profile in the OCI or Docker format: the length of its program, and how many instructions of it a
call takes. For comparison with our own filters (docs/benchmarks.md). Needs libseccomp.so.2.

    tools/seccomp/libseccomp_length.py PROFILE.json
"""
import ctypes
import json
import os
import struct
import sys
import tempfile

lib = ctypes.CDLL("libseccomp.so.2")
lib.seccomp_init.restype = ctypes.c_void_p


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


OPS = {f"SCMP_CMP_{name}": n for n, name in enumerate(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"], 1)}
ACTIONS = {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0,
           "SCMP_ACT_KILL_PROCESS": 0x80000000, "SCMP_ACT_TRAP": 0x00030000}


def action(name, errno):
    return 0x00050000 | (1 if errno is None else errno) if name == "SCMP_ACT_ERRNO" else ACTIONS[name]


def build(profile):
    """As runc does it, for a container without capabilities."""
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(default)))
    for rule in profile["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if includes.get("caps") or "amd64" not in includes.get("arches", ["amd64"]) or "amd64" in excludes.get("arches", []):
            continue
        answer = action(rule["action"], rule.get("errnoRet"))
        if answer == default:
            continue
        args = [Compare(a["index"], OPS[a["op"]], a["value"], a.get("valueTwo", 0)) for a in rule.get("args") or []]
        one_each = len({a.arg for a in args}) == len(args)
        for name in rule.get("names") or [rule["name"]]:
            number = lib.seccomp_syscall_resolve_name(name.encode())
            if number < 0:
                continue
            for group in [args] if one_each else [[a] for a in args]:
                array = (Compare * len(group))(*group)
                lib.seccomp_rule_add_array(context, ctypes.c_uint32(answer), number, len(group), array)
    with tempfile.TemporaryFile() as file:
        lib.seccomp_export_bpf(context, file.fileno())
        size = os.lseek(file.fileno(), 0, os.SEEK_END)
        code = os.pread(file.fileno(), size, 0)
    return [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]


def run(program, number):
    """The answer, and after how many instructions; all arguments are 0."""
    data = struct.pack("<iIQ6Q", number, 0xC000003E, 0, *[0] * 6)
    at = accumulator = count = 0
    while True:
        code, if_true, if_false, k = program[at]
        at, count = at + 1, count + 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, k)
            case 0x54:
                accumulator &= k
            case 0x05:
                at += k
            case 0x15:
                at += if_true if accumulator == k else if_false
            case 0x25:
                at += if_true if accumulator > k else if_false
            case 0x35:
                at += if_true if accumulator >= k else if_false
            case 0x45:
                at += if_true if accumulator & k else if_false
            case 0x06:
                return k, count
            case _:
                sys.exit(f"unknown instruction {code:#x}")


with open(sys.argv[1]) as file:
    program = build(json.load(file))
counts = sorted(count for answer, count in (run(program, n) for n in range(463)) if answer == 0x7FFF0000)
print(f"libseccomp: {len(program)} instructions; an allowed call takes {sum(counts) / len(counts):.1f} on average, "
      f"{counts[-1]} at most; {len(counts)} calls")
