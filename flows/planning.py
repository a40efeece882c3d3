"""What a run would cost, before it starts: parameters, hours, energy, carbon."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.session import recorded
from tasks.emissions.forecast import PlanParameters, PlanReport, plan


@flow(name="planning")
def planning(parameters: PlanParameters) -> PlanReport:
    """The forecast of ``arriero plan``, kept as an artifact of the flow run."""
    with recorded("planning", parameters, model_size=parameters.preset):
        report = plan(parameters)
        rows = [f"| {name} | {value} |" for name, value in report.model_dump().items()]
        create_markdown_artifact(
            "\n".join(["| | |", "|---|---|", *rows]),
            key="plan",
            description=f"Forecast for {parameters.preset}",
        )
        return report
