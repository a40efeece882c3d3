"""How the trainer's processes are started: alone, by one agent, by an agent on each machine.

One function makes the command, for a launch from here and for the texts that Slurm and Kubernetes
take. The agents are torchrun's (Accelerate's own ``launch --cpu --num_processes 2`` starts one
process, silently); they meet at an endpoint on the first machine, and when a process dies, each
ends its own and the run fails as a whole: it is the launcher that starts again, from a checkpoint.

``python -m tasks.training.cluster slurm --nodes 2 --processes 16`` prints a job.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from registry.settings import load_settings
from tasks.training.engine.config import ConfigError, EngineConfig

PORT = 29_500
SHUTDOWN_SECONDS = 590  # of ranks that were asked to stop; the jobs give 600
TRAINER = "tasks.training.engine.main"


def agent(
    trainer: list[str],
    spread: dict[str, int],
    *,
    endpoint: str,
    run_id: str,
    shutdown: int | None = None,
) -> list[str]:
    """torchrun's arguments for the agent of one machine; the same on every machine.

    spread: ``nodes`` and processes ``per_node``. shutdown: seconds that ranks have to stop, for a
    text; a launch from here says it in the environment.
    """
    shape = ["--nnodes", str(spread["nodes"]), "--nproc-per-node", str(spread["per_node"])]
    shape += ["--max-restarts", "0"]
    shape += ["--shutdown-timeout", str(shutdown)] if shutdown is not None else []
    meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", run_id]
    return ["-m", "torch.distributed.run", *shape, *meeting, *trainer]


def trainer_command(config: EngineConfig, config_path: Path, *, run_id: str) -> list[str]:
    """The command line that starts the run's processes of this machine."""
    trainer = ["-m", TRAINER, "--config", str(config_path)]
    if config.world == 1:
        return [sys.executable, *trainer]
    if config.nodes > 1:
        endpoint = load_settings().trainer_endpoint
        if not endpoint:
            raise ConfigError(
                f"the run has {config.nodes} machines: set ARRIERO_TRAINER_ENDPOINT to host:port of"
                " the first one, where the agents meet"
            )
        counts = {"nodes": config.nodes, "per_node": config.local_world}
        return [sys.executable, *agent(trainer, counts, endpoint=endpoint, run_id=run_id)]
    alone = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(config.world)]
    return [sys.executable, "-m", "torch.distributed.run", *alone, *trainer]


def agents_of(config: EngineConfig) -> list[str]:
    """What starts an agent on every machine; nothing for a run on one.

    Raises:
        ConfigError: the run has several machines and nobody said how they are reached.
    """
    if config.nodes == 1:
        return []
    template = load_settings().trainer_launch
    if not template:
        raise ConfigError(
            f"the run has {config.nodes} machines: set ARRIERO_TRAINER_LAUNCH to the command that"
            " starts an agent on each (`srun --nodes={nodes} --ntasks-per-node=1`), or nodes to 1"
        )
    counts = {"nodes": config.nodes, "processes": config.local_world}
    return [word.format(**counts) for word in shlex.split(template)]


SLURM = """\
#!/bin/bash
# A training run on {nodes} machines with {per_node} processes each; prepared by `arriero`, whose
# run.json lies on a file system that all of them see. torchrun ends with 1 whatever its processes
# end with: exit.json beside run.json says 75 when a checkpoint was written on request.
#SBATCH --job-name=arriero
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={per_node}
#SBATCH --exclusive
#SBATCH --signal=TERM@600
#SBATCH --requeue
set -eu
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS={threads}
rm -f {folder}/exit.json
srun --kill-on-bad-exit=1 {command} || {{
  code=$?
  grep -q '"code": 75' {folder}/exit.json && scontrol requeue "$SLURM_JOB_ID"
  exit $code
}}
"""

KUBERNETES = """\
# A training run on {nodes} machines with {per_node} processes each. The claim `arriero-store` holds
# run.json and takes the checkpoints. A pod that fails is started again and the run goes on;
# exit.json beside run.json tells 75 (stopped on request) from 70 (diverged) and 78 (cannot work).
apiVersion: v1
kind: Service
metadata:
  name: arriero-training
spec:
  clusterIP: None
  selector:
    job-name: arriero-training
---
apiVersion: batch/v1
kind: Job
metadata:
  name: arriero-training
spec:
  completionMode: Indexed
  completions: {nodes}
  parallelism: {nodes}
  backoffLimit: 10
  template:
    spec:
      subdomain: arriero-training
      restartPolicy: OnFailure
      terminationGracePeriodSeconds: 600
      containers:
        - name: trainer
          image: arriero:latest
          command: {command}
          env:
            - name: OMP_NUM_THREADS
              value: "{threads}"
          resources:
            limits:
              nvidia.com/gpu: {per_node}
          volumeMounts:
            - name: store
              mountPath: /store
            - name: shared-memory
              mountPath: /dev/shm
      volumes:
        - name: store
          persistentVolumeClaim:
            claimName: arriero-store
        - name: shared-memory
          emptyDir:
            medium: Memory
"""


def slurm(*, nodes: int, per_node: int, config_path: str, threads: int) -> str:
    """A batch script for Slurm."""
    trainer = ["-m", TRAINER, "--config", config_path]
    shape = {"nodes": nodes, "per_node": per_node}
    words = agent(trainer, shape, endpoint="FIRST", run_id="JOB", shutdown=SHUTDOWN_SECONDS)
    line = shlex.join(["python", *words])
    line = line.replace("FIRST", f'"$first:{PORT}"').replace("JOB", '"$SLURM_JOB_ID"')
    folder = shlex.quote(str(Path(config_path).parent))
    return SLURM.format(
        nodes=nodes, per_node=per_node, threads=threads, command=line, folder=folder
    )


def kubernetes(*, nodes: int, per_node: int, config_path: str, threads: int) -> str:
    """A service and an indexed job for Kubernetes."""
    endpoint = f"arriero-training-0.arriero-training:{PORT}"
    trainer = ["-m", TRAINER, "--config", config_path]
    shape = {"nodes": nodes, "per_node": per_node}
    words = agent(trainer, shape, endpoint=endpoint, run_id="arriero", shutdown=SHUTDOWN_SECONDS)
    listed = "".join(f"\n            - {word!r}" for word in ["python", *words])
    return KUBERNETES.format(nodes=nodes, per_node=per_node, threads=threads, command=listed)


def main() -> None:
    """Print a job."""
    parser = argparse.ArgumentParser(description="Launch text of a training run on a cluster.")
    parser.add_argument("kind", choices=["slurm", "kubernetes"])
    parser.add_argument("--nodes", type=int, default=2, help="machines")
    parser.add_argument("--processes", type=int, default=8, help="of each machine, one per GPU")
    parser.add_argument("--threads", type=int, default=8, help="CPU threads of each process")
    parser.add_argument("--config", default="/store/work/run.json", help="run.json, seen by all")
    chosen = parser.parse_args()
    render = slurm if chosen.kind == "slurm" else kubernetes
    text = render(
        nodes=chosen.nodes,
        per_node=chosen.processes,
        config_path=chosen.config,
        threads=chosen.threads,
    )
    print(text, end="")


if __name__ == "__main__":
    main()
