# SPDX-License-Identifier: BSD-3-Clause
"""Stands between a front-end and its back-end, and can put another back-end in its place.

QEMU connects once. While it is stopped no ring runs, and with `cont` it sets up the rings
anew; what it says only once is kept here, with its descriptors, for the next back-end."""

import array
import os
import socket
import struct
import threading

HEADER = struct.Struct("=III")          # request, flags, bytes that follow
NEED_REPLY = 1 << 3
SET_OWNER, GET_VRING_BASE, SET_PROTOCOL_FEATURES, ADD_MEM_REG = 3, 11, 16, 37
FDS_MAX = 8


class Relay:
    def __init__(self, path, back_path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.kept, self.stopped = [], set()
        self.front = self.back = None
        self.connect(back_path)
        threading.Thread(target=self.run, daemon=True).start()

    def connect(self, path):
        self.back = socket.socket(socket.AF_UNIX)
        self.back.connect(path)

    def run(self):
        self.front, _ = self.listener.accept()
        self.start_answers()
        while message := self.read_message():
            request, flags, body, fds = message
            if request == GET_VRING_BASE:
                self.stopped.add(struct.unpack_from("=I", body)[0])
            send(self.back, request, flags, body, fds)
            if request in (SET_OWNER, SET_PROTOCOL_FEATURES, ADD_MEM_REG):
                self.kept.append(message)
            else:
                close_all(fds)
        self.close()

    def read_message(self):
        """None: the front-end has left."""
        header, fds = b"", []
        while len(header) < HEADER.size:
            part, ancillary, _, _ = self.front.recvmsg(HEADER.size - len(header),
                                                       socket.CMSG_SPACE(4 * FDS_MAX))
            if not part:
                return None
            header += part
            for _, _, data in ancillary:
                fds += array.array("i", data)
        request, flags, size = HEADER.unpack(header)
        body = self.front.recv(size, socket.MSG_WAITALL) if size else b""
        return request, flags, body, fds

    def start_answers(self):
        threading.Thread(target=self.pass_answers, args=[self.back], daemon=True).start()

    def pass_answers(self, back):
        while data := back.recv(4096):
            self.front.sendall(data)

    def replace_back(self, path):
        """While all rings are stopped: the back-end at @path is told what it has to know."""
        old = self.back
        self.connect(path)
        for request, flags, body, fds in self.kept:
            send(self.back, request, flags & ~NEED_REPLY, body, fds)
        self.stopped.clear()
        self.start_answers()
        old.close()

    def close(self):
        for _, _, _, fds in self.kept:
            close_all(fds)
        self.kept.clear()
        self.back.shutdown(socket.SHUT_RDWR)


def send(to, request, flags, body, fds):
    to.sendmsg([HEADER.pack(request, flags, len(body)) + body],
               [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


def close_all(fds):
    for fd in fds:
        os.close(fd)
