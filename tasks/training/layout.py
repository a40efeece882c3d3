"""Parameters of how training is spread over processes and devices: no part of the recipe.

A run may go on in another layout with the same tokens in every step, so none of these changes what
is computed, but for the last bits: losses agree to 2e-6 (fp32) over the next 20 steps, and the
manifest says in which layouts a result was made.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

NO_RECIPE: JsonDict = {"recipe": False}


class LayoutParameters(BaseModel):
    """Processes, devices, and what each of them holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Layout")

    micro_batch: int = Field(
        8,
        title="Micro-batch (sequences)",
        description="Sequences of one forward pass of one process; global batch = micro-batch x "
        "processes x accumulation. As the number of processes: not part of the recipe.",
        ge=1,
        le=1 << 16,
        json_schema_extra=NO_RECIPE,
    )
    world: int = Field(
        1,
        title="Processes",
        description="Data-parallel processes. Not part of the recipe: a run may continue on "
        "another number of them with the same tokens in each step. Losses then agree to 2e-6 "
        "(fp32), not to the bit, and the manifest says so.",
        ge=1,
        le=4096,
        json_schema_extra=NO_RECIPE,
    )
    nodes: int = Field(
        1,
        title="Machines",
        description="Machines that the processes are spread over, as many on each. More than one "
        "needs `ARRIERO_TRAINER_LAUNCH`, the command that starts an agent on every machine (docs/"
        "operating.md).",
        ge=1,
        le=4096,
        json_schema_extra=NO_RECIPE,
    )
    threads: int = Field(
        2,
        title="Threads per process",
        description="CPU threads of each process. Not part of the recipe for the same reason.",
        ge=1,
        le=1024,
        json_schema_extra=NO_RECIPE,
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu",
        title="Device",
        description="Where the processes compute; cuda needs one GPU per process.",
    )
    strategy: Literal["ddp", "fsdp", "hsdp"] = Field(
        "ddp",
        title="Layout of the model",
        description="ddp = whole in each process; fsdp = weights, gradients and optimizer cut over "
        "all processes (FSDP2); hsdp = cut over groups of processes, whole in each group.",
        json_schema_extra=NO_RECIPE,
    )
    shard: int = Field(
        1,
        title="Processes that share a model",
        description="Size of a group with hsdp, usually the GPUs of a node; 1 otherwise.",
        ge=1,
        le=4096,
        json_schema_extra=NO_RECIPE,
    )
    recompute: Literal["none", "selective", "full"] = Field(
        "none",
        title="Recomputed activations",
        description="What the backward pass computes again instead of keeping it. selective = all "
        "but the outputs of linear layers, as in the paper (section 2.4); full = all but the input "
        "of each block. Changes memory and time, no bit.",
        json_schema_extra=NO_RECIPE,
    )
    compile: bool = Field(
        False,
        title="Compile blocks",
        description="torch.compile of each decoder block: faster steps after a first one that "
        "takes longer; other last bits.",
        json_schema_extra=NO_RECIPE,
    )

    def layout_problems(self, global_batch: int) -> list[str]:
        """What is wrong across these fields, all of it."""
        found = []
        if global_batch % (self.micro_batch * self.world):
            found.append(
                f"global_batch {global_batch} must be a multiple of micro_batch "
                f"{self.micro_batch} x world {self.world}"
            )
        if self.world % self.nodes:
            found.append(f"world {self.world} must be a multiple of nodes {self.nodes}")
        if self.strategy == "hsdp" and (self.shard < 2 or self.world % self.shard):
            found.append(
                f"hsdp: shard {self.shard} must be 2 or more and divide world {self.world}"
            )
        if self.strategy != "hsdp" and self.shard != 1:
            found.append(f"shard {self.shard} is for strategy hsdp: leave it at 1")
        if self.strategy != "ddp" and self.world == 1:
            found.append(f"strategy {self.strategy} cuts over processes, but world is 1")
        return found
