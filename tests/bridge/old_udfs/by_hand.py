"""Kapacitor's UDF protocol written out by hand: no udfstore, no protobuf, the standard library alone.

Messages are dicts from field number to a list of values: an int for a varint, bytes for everything with a length, a
float for a double. Unknown fields are kept, and go back out with the rest.
"""

from __future__ import annotations

import struct
import sys

INFO, INIT, KEEPALIVE, SNAPSHOT, RESTORE, ERROR, BEGIN, POINT, END = 1, 2, 3, 4, 5, 6, 16, 17, 18
STREAM, BATCH = 0, 1
STRING, DOUBLE, INT = 3, 2, 1


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse(data):
    """A message's fields, in order."""
    fields, at = {}, 0
    while at < len(data):
        key, at = take_varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = take_varint(data, at)
        elif kind == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        elif kind == 2:
            size, at = take_varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {kind}")
        fields.setdefault(number, []).append(value)
    return fields


def take_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def build(fields):
    out = bytearray()
    for number, values in sorted(fields.items()):
        for value in values:
            if isinstance(value, float):
                out += varint(number << 3 | 1) + struct.pack("<d", value)
            elif isinstance(value, int):
                out += varint(number << 3) + varint(value)
            else:
                out += varint(number << 3 | 2) + varint(len(value)) + value
    return bytes(out)


def entry(key, value):
    """One entry of a map."""
    return build({1: [key.encode()], 2: [value]})


def entries(values):
    """A map with double or string values, as a dict."""
    found = {}
    for one in values:
        fields = parse(one)
        found[fields.get(1, [b""])[0].decode()] = fields.get(2, [0.0])[0]
    return found


def options(request):
    """The options of an InitRequest: from name to its first value."""
    found = {}
    for option in request.get(1, []):
        fields = parse(option)
        value = parse(fields[2][0])
        found[fields[1][0].decode()] = next(value[number][0] for number in (3, 4, 5, 6, 2) if number in value)
    return found


class Udf:
    """What an author fills in. The methods answer by `self.say`."""

    wants = provides = STREAM
    options = ()

    def __init__(self, read=None, write=None):
        self.read = read or sys.stdin.buffer.read
        self.write = write or self._write

    def _write(self, data):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def say(self, kind, fields):
        body = build(fields)
        envelope = varint(kind << 3 | 2) + varint(len(body)) + body
        self.write(varint(len(envelope)) + envelope)

    def init(self, request):
        return True, ""

    def snapshot(self):
        return b""

    def restore(self, state):
        return False, "this UDF does not restore"

    def begin(self, begin):
        pass

    def point(self, point):
        pass

    def end(self, end):
        pass

    def serve(self):
        while True:
            size = shift = 0
            while True:
                byte = self.read(1)
                if not byte:
                    return
                size |= (byte[0] & 0x7F) << shift
                if byte[0] < 0x80:
                    break
                shift += 7
            ((kind, (body,)),) = parse(self.read(size)).items()
            self.take(kind, parse(body))

    def take(self, kind, request):
        if kind == INFO:
            info = [build({1: [name.encode()], 2: [build({1: [value]})]}) for name, value in self.options]
            self.say(INFO, {1: [self.wants], 2: [self.provides], 3: info})
        elif kind in (INIT, RESTORE):
            done, error = self.init(request) if kind == INIT else self.restore(request.get(1, [b""])[0])
            self.say(kind, {1: [int(done)], 2: [error.encode()]})
        elif kind == KEEPALIVE:
            self.say(KEEPALIVE, {1: request.get(1, [0])})
        elif kind == SNAPSHOT:
            self.say(SNAPSHOT, {1: [self.snapshot()]})
        else:
            {BEGIN: self.begin, POINT: self.point, END: self.end}[kind](request)
