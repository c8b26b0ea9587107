#!/usr/bin/env bash
# Builds the pair style for a site's own LAMMPS, with its MPI, and says how it is loaded.
#
#   deploy/build_plugin.sh LAMMPS_ROOT [BUILD_FOLDER] [-DCMAKE_OPTION=VALUE ...]
#
# LAMMPS_ROOT is what docs/pair_style.md says: a build folder, an installed prefix or a source
# tree. torch is that of the active Python: install a CUDA build of it to run on GPUs (no CUDA
# toolkit is needed to compile); -DTEMPERMD_TORCH=OFF needs none, and runs models that
# deploy-model wrote for the native engine, on the CPU. MPI is the one that LAMMPS was built with;
# where mpicxx is not its compiler, give -DMPI_CXX_COMPILER=/path/to/mpicxx.
set -euo pipefail

if [ $# -lt 1 ]; then
  sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
  exit 1
fi
sources=$(cd "$(dirname "$0")/.." && pwd)
lammps=$1
shift
build=$PWD/build-plugin
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  build=$1
  shift
fi
python=$(command -v python3) || { echo "no python3: load a Python with torch first" >&2; exit 1; }
cmake=$(command -v cmake) || { echo "no cmake: pip install cmake ninja, or load the module" >&2; exit 1; }

options=("-DLAMMPS_ROOT=$lammps" "-DPython_EXECUTABLE=$python" -DCMAKE_BUILD_TYPE=Release)
compiler=$(command -v mpicxx || true)
case " $* " in
  *-DMPI_CXX_COMPILER=*) ;;
  *) [ -z "$compiler" ] || options+=("-DMPI_CXX_COMPILER=$compiler") ;;
esac
if command -v ninja >/dev/null; then
  options+=(-G Ninja)
fi

"$cmake" -S "$sources" -B "$build" "${options[@]}" "$@"
"$cmake" --build "$build" --parallel "${TEMPERMD_BUILD_JOBS:-4}"

plugin=$build/deploy/nequipplugin.so
missing=$(ldd "$plugin" | grep 'not found' || true)
if [ -n "$missing" ]; then
  echo "$plugin is built, but does not find:" >&2
  echo "$missing" >&2
  exit 1
fi
if ldd "$plugin" | grep -q libtorch; then
  cuda=$("$python" -c 'import torch; print(torch.version.cuda or "none")')
  echo "built: $plugin (torch's CUDA: $cuda)" >&2
else
  echo "built: $plugin (without torch)" >&2
fi
echo "in job scripts:  export LAMMPS_PLUGIN_PATH=$build/deploy" >&2
echo "$plugin"
