"""What a run would cost, before it starts: parameters, hours, energy, carbon, memory."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.session import recorded
from tasks.emissions.forecast import PlanReport, plan
from tasks.planning.parameters import PlanParameters
from tasks.planning.serving import ServeReport, plan_serving
from tasks.planning.tables import markdown


@flow(name="planning")
def planning(parameters: PlanParameters) -> PlanReport | ServeReport:
    """The forecast of ``arriero plan``, kept as an artifact of the flow run."""
    with recorded("planning", parameters, model_size=parameters.preset):
        report = plan_serving(parameters) if parameters.serve else plan(parameters)
        create_markdown_artifact(
            markdown(report),
            key="plan",
            description=f"{'Serving' if parameters.serve else 'Forecast for'} {parameters.preset}"
            f" on {parameters.gpu}",
        )
        return report
