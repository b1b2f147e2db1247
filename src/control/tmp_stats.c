#include "control/snapshots.h"
#include "control/json.h"
#include "control/metrics.h"
#include <string.h>
#include <errno.h>
#include <stdlib.h>
const char *snapshots_str_error(int e){(void)e;return "tmp";}
int snapshots_new(struct snapshots **o,const struct snapshots_shared*s){(void)s;*o=(void*)1;return 0;}
int snapshots_add_worker(struct snapshots*s,struct worker*w){(void)s,(void)w;return 0;}
void snapshots_close(struct snapshots*s){(void)s;}
void snapshots_free(struct snapshots*s){(void)s;}
int snapshots_take(struct snapshots*s,const struct snapshots_want*w,struct snapshots_answer*o){(void)s;memset(o,0,sizeof *o);if(w->cid&&w->cid!=3&&w->cid!=4)return SNAPSHOTS_E_NO_VM;o->vms=calloc(1,sizeof *o->vms);o->n_vms=1;o->vms[0].device.cid=w->cid?w->cid:3;return 0;}
void snapshots_answer_deinit(struct snapshots_answer*a){free(a->vms);}
int snapshots_reset_conn(struct snapshots*s,const struct snapshots_conn*c,uint32_t w){(void)s,(void)c,(void)w;return SNAPSHOTS_E_NO_CONN;}
json_t*json_of_vm_row(const struct vm_snapshot*v){return json_pack("{s:I}","cid",(json_int_t)v->device.cid);}
json_t*json_of_vm(const struct vm_snapshot*v){return json_of_vm_row(v);}
json_t*json_of_conns(const struct vm_snapshot*v){(void)v;return json_array();}
int metrics_print(const struct snapshots_answer*a,char**t,size_t*l){(void)a;*t=strdup("# HELP x y\n");*l=strlen(*t);return 0;}
