#!/bin/bash
# Write and submit a SLURM job: cluster/submit.sh experiments/NAME.yaml [more arguments of the command line]
# NODES, GPUS and CPUS of a node, TIME (limit) and TASKS (of a node without GPUs) come from the environment, else from
# cluster/site.env. `make submit` calls this file.
set -euo pipefail
cd "$(dirname "$0")/.."
stop() { echo "$1" >&2; exit 2; }
whole() { [[ $2 =~ ^[0-9]+$ && $2 -ge $3 ]] || stop "$1 is '$2', but has to be a whole number of at least $3."; }

config=${1:?usage: cluster/submit.sh experiments/NAME.yaml [arguments]}
shift
# Empty values of make are no values.
for name in NODES GPUS CPUS TIME TASKS; do [ -n "${!name:-}" ] || unset "$name"; done
TIME_LIMIT=${TIME:-${TIME_LIMIT:-}}
# shellcheck source=cluster/site.env
source cluster/site.env
whole NODES "$NODES" 1
whole GPUS "$GPUS" 0
whole CPUS "$CPUS" 1
whole TASKS "${TASKS:-1}" 1
[ "$GPUS" = 0 ] || [ "${TASKS:-$GPUS}" = "$GPUS" ] || stop "TASKS is $TASKS, but with GPUS=$GPUS there is one task per GPU."

name=$(basename "$config" .yaml)
mkdir -p runs/jobs
job=runs/jobs/$name-$(date +%Y%m%d-%H%M%S)-$$.sbatch
arguments=("$config" "$@")
{
    echo "#!/bin/bash"
    echo "#SBATCH --job-name=$name"
    echo "#SBATCH --nodes=$NODES"
    if [ "$GPUS" = 0 ]; then
        tasks=${TASKS:-1}
        arguments+=(--trainer.accelerator cpu)
        echo "#SBATCH --cpus-per-task=$((CPUS / tasks > 0 ? CPUS / tasks : 1))"
    else
        tasks=$GPUS
        echo "#SBATCH --gpus-per-node=$GPUS"
        echo "#SBATCH --cpus-per-task=$CPUS"
    fi
    echo "#SBATCH --ntasks-per-node=$tasks"
    echo "#SBATCH --time=$TIME_LIMIT"
    for option in PARTITION ACCOUNT QOS CONSTRAINT; do
        value=SBATCH_$option
        [ -z "${!value:-}" ] || echo "#SBATCH --${option,,}=${!value}"
    done
    # Requeued at the time limit, after a preemption and after a killed process, as in cluster/slurm.sbatch.
    sed -n '/^#SBATCH --\(requeue\|signal\|open-mode\|output\)/p' cluster/slurm.sbatch
    echo
    echo "exec bash cluster/slurm.sbatch$(printf ' %q' "${arguments[@]}")"
} >"$job"

if command -v sbatch >/dev/null; then
    echo "$job"
    exec sbatch "$job"
fi
cat "$job"
echo "There is no sbatch on this machine. On the cluster, in the repository's folder: sbatch $job"
