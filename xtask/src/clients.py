"""A session from clone to wait through py9p, a 9P client that is not ours: clients.py PORT DIALECT."""

import sys

import p9fs
from py9p import py9p

port, dialect = int(sys.argv[1]), sys.argv[2]
client = p9fs.P9FileSystem("127.0.0.1", port, "anybody", version=dialect).client
linux = dialect == "9P2000.L"
last_fid = 100


def opened(path, mode):
    global last_fid
    last_fid += 1
    client._walk(client.ROOT, last_fid, path.split("/"))
    (client._lopen if linux else client._open)(last_fid, mode)
    return last_fid


def read_file(path):
    fid, data = opened(path, 0), b""
    while more := client._read(fid, len(data), 4096).data:
        data += more
    client._clunk(fid)
    return data


clone = opened("clone", 2)
session = "self/" + client._read(clone, 0, 100).data.decode().strip()
client._write(clone, 0, b"exec sh -c 'cat; exit 3'\n")
stdin = opened(session + "/stdin", 1)
client._write(stdin, 0, b"hello ")
client._write(stdin, 6, b"there")
client._write(clone, 0, b"close stdin\n")
assert read_file(session + "/stdout") == b"hello there"
assert b" exit=3 " in read_file(session + "/wait")
try:
    client._write(clone, 0, b"fly\n")
    raise SystemExit("a verb that there is not was taken")
except py9p.RpcError as error:
    told = error.args[0]
    assert told == 22 if linux else b"unknown verb" in told, told
