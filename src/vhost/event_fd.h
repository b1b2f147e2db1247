/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event descriptors that a front-end hands over to be signalled: calls and
 * errors of rings.
 *
 * A write to them must never block, since all VMs of a worker would wait for it.
 * So only an eventfd will do (a pipe can be full, a file can be on a file system
 * that hangs), and it is made non-blocking; when its counter is at the top, the
 * other side has been told often enough. That flag is shared with the front-end.
 * One that takes it off again and then fills the counter holds up its worker;
 * VMs that trust their front-ends that little belong on workers of their own.
 */
#pragma once

/* 0: @fd is fit to be signalled; -EINVAL: it is no eventfd; -errno. */
int event_fd_prepare(int fd);
