/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers of the control API against its document, as far as that uses JSON Schema: type,
 * required, properties, additionalProperties, items, enum, oneOf, minimum, maximum, minLength and
 * $ref. */
#pragma once

#include "e2e/http.h"

/* The document that the daemon at @socket answers with. */
void openapi_load(const char *socket);
void openapi_unload(void);

/* NULL: the answer is one that the document has for this operation; else what is wrong with
 * it. @path: as the document spells it, "/v1/vms/{cid}". */
const char *openapi_check(const char *method, const char *path, const struct http_answer *a);

/* An operation of which no success has been checked: "get /v1/vms"; NULL: none. */
const char *openapi_find_untried(void);
