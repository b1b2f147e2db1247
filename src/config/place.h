/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the paths of sockets lead. A place can be spelled in many ways: with dots
 * and doubled slashes, by links, from elsewhere. What says whether two paths are
 * one is the folder, by device and inode, and the name in it. This is the only
 * part of the plan that looks at the file system; check.c compares what it found.
 */
#pragma once

struct plan;
struct socket_place;
struct stat;
struct vm_plan;

/*
 * Fills plan::api_at, and vm_plan::socket_at, connect_at and uds_at, or those of one VM.
 * @look is stat(), or what stands for it in a test. 0 or -ENOMEM: a folder that is not there,
 * or closed to us, is no error, see struct socket_place.
 */
int place_find(struct vm_plan *vm, int (*look)(const char *path, struct stat *st));
int place_find_all(struct plan *plan, int (*look)(const char *path, struct stat *st));

/* In an order of no meaning; 0: the same place. */
int place_compare(const struct socket_place *a, const struct socket_place *b);
