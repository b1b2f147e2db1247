/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's API (src/data/openapi.json), for the commands: requests, and what is in JSON. */
#pragma once

#include <stdint.h>
#include <jansson.h>

#include "vsockctl/args.h"
#include "vsockctl/http.h"

enum { API_TIMEOUT_MS = 15000, API_PATH_MAX = 128 };

/* GETs @path of the daemon at @socket. 0, and *@out, an object that is to be given back; else
 * an enum exit_code, and @why, for people. */
int api_get(const char *socket, const char *path, json_t **out, char why[HTTP_WHY_MAX]);

/* The same for the commands, which complain. EXIT_DONE or another. */
int api_get_for(const struct args *a, const char *path, json_t **out);

/* Any request whose answer has nothing in it but that it is done. @json: its body, or NULL. */
int api_order(const struct args *a, const char *method, const char *path, const char *json,
	      long timeout_ms);

/* The path of a VM, @a's first operand. False: it is no CID, and it has been said so. */
bool api_vm_path(const struct args *a, const char *below, char path[API_PATH_MAX]);

/* What an answer without success says: an enum exit_code, and @why. */
int api_refusal(const struct http_answer *answer, char why[HTTP_WHY_MAX]);
/* What an HTTP_E_* is: an enum exit_code. */
int api_failure(int http_error);

/* Members of an object: 0, "", false, or an empty array where there is no such. */
uint64_t api_number(const json_t *object, const char *key);
const char *api_text(const json_t *object, const char *key);
bool api_is_true(const json_t *object, const char *key);
const json_t *api_array(const json_t *object, const char *key);	/* NULL: empty */
/* Of an object in an object. */
uint64_t api_number_in(const json_t *object, const char *key, const char *key2);

/* Prints JSON as it came, but in lines, and all of it in ASCII. */
void api_put(const json_t *json);
