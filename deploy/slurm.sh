#!/usr/bin/env bash
# A whole run over two machines of four GPUs each: sbatch deploy/slurm.sh
#SBATCH --job-name=enas-cifar-micro
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
# Five minutes before the end each task gets SIGTERM, writes a checkpoint and ends with status 143.
#SBATCH --signal=TERM@300
# A job whose machine fails is queued again, and goes on from its last checkpoint.
#SBATCH --requeue
set -uo pipefail

# The environment that holds enas_tf, the data, and the run's folder: all on a file system that all
# machines see.
environment=${ENAS_ENVIRONMENT:-$SLURM_SUBMIT_DIR/.venv}
data=${ENAS_DATA:-$SLURM_SUBMIT_DIR/data}
workdir=${ENAS_WORKDIR:-$SLURM_SUBMIT_DIR/runs/cifar_micro}

# shellcheck source=/dev/null
source "$environment/bin/activate"
# Workers find each other by Slurm's own variables. They talk by gRPC, which would take a proxy.
unset http_proxy https_proxy

status=0
# Batch sizes, and architectures of an update, are multiples of the eight GPUs (docs/devices.md).
# Since Slurm 22.05 srun does not take the number of cores from sbatch.
srun --wait=300 --cpus-per-task="$SLURM_CPUS_PER_TASK" python -m launchers.cifar_micro \
  --strategy=multiworker \
  --search.arcs_per_update=16 \
  --workdir="$workdir" \
  --data_dir="$data" || status=$?

# srun returns the highest status of its tasks.
if ((status == 143)); then
  echo "out of time: queued again, to go on from the last checkpoint"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
