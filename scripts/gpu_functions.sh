# Which GPUs a job takes where its scheduler only counts them; sourced by the job scripts (train*.sh) and by the jobs that
# scripts/launch.py hands to Grid Engine.
# shellcheck shell=bash

FREE_GPU_MIB=512 # a GPU with less memory in use is free: a desktop, or nothing, is on it
GPU_LOCKS="${GPU_LOCKS:-/tmp}"

# settle_devices: takes N_GPUS free GPUs, one process each (NPROC); without any, the processor; the threads of its slots.
settle_devices() {
  export TMPDIR="${TMPDIR:-/tmp}" # unset in root's jobs of a Grid Engine
  if [ "$N_GPUS" -gt 0 ] && ! command -v nvidia-smi > /dev/null && [ -z "${CUDA_VISIBLE_DEVICES:-}" ]; then
    echo "no GPU here (no nvidia-smi): training on the processor" >&2
    N_GPUS=0
  fi
  if [ "$N_GPUS" -gt 0 ]; then
    take_gpus "$N_GPUS" || exit $?
    export NPROC="$N_GPUS"
  else
    export CUDA_VISIBLE_DEVICES="" NPROC="${NPROC:-1}"
  fi
  if [ -n "${NSLOTS:-}" ]; then export OMP_NUM_THREADS=$((NSLOTS > NPROC ? NSLOTS / NPROC : 1)); fi
}

# take_gpus N [COMPLEX]: sets CUDA_VISIBLE_DEVICES to N free GPUs, unless a scheduler did. Two jobs that start at the same moment
# find the same ones free, so each is locked as long as this shell, or what it becomes by exec, lives.
# COMPLEX is Grid Engine's name for its GPUs; gpu by default.
take_gpus() {
  local number="$1" granted="SGE_HGR_${2:-gpu}" total=0 taken=() index used file lock
  if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then return 0; fi
  granted="${!granted:-}"
  if [ -n "$granted" ]; then
    export CUDA_VISIBLE_DEVICES="${granted// /,}"
    return 0
  fi
  while IFS=', ' read -r index used; do
    total=$((total + 1))
    if [ "${#taken[@]}" -ge "$number" ] || [ "$used" -ge "$FREE_GPU_MIB" ]; then continue; fi
    # Read only: another user's file in /tmp cannot be opened otherwise.
    file="$GPU_LOCKS/oral_units_gpu_$index.lock"
    [ -e "$file" ] || : > "$file"
    exec {lock}< "$file"
    # 75: another job has it. Any other error: no locks here, or no flock, and what nvidia-smi says must do.
    flock --nonblock --conflict-exit-code 75 "$lock" 2> /dev/null || [ "$?" != 75 ] || { exec {lock}>&-; continue; }
    taken+=("$index")
  done < <(nvidia-smi --query-gpu=index,memory.used --format=csv,noheader,nounits)
  if [ "${#taken[@]}" -lt "$number" ]; then
    echo "error: expected $number free GPUs, found ${#taken[@]} of $total (nvidia-smi); wait, or take fewer" >&2
    return 2
  fi
  CUDA_VISIBLE_DEVICES="$(IFS=,; echo "${taken[*]}")"
  export CUDA_VISIBLE_DEVICES
}
