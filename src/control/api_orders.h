/* SPDX-License-Identifier: BSD-3-Clause */
/* What changes something: mostly an order to the supervisor, which judges it. Each serves a route, see api_routes.h. */
#pragma once

struct api_request;

void api_orders_add_vm(struct api_request *r);
void api_orders_delete_vm(struct api_request *r);
void api_orders_reset_connection(struct api_request *r);
void api_orders_set_log_level(struct api_request *r);
void api_orders_upgrade(struct api_request *r);
void api_orders_reload(struct api_request *r);
void api_orders_shutdown(struct api_request *r);
