"""The evaluation: what each part of the model is worth on held-out regions, species and photos."""

from __future__ import annotations

from prefect import flow

from flows.preparation import gather_model_inputs, gather_records, gather_training_inputs
from plant_traits.model.variants import variant, variants_of
from plant_traits.runs import point_at
from tasks.context import RunWords, open_run
from tasks.training import compare_variants, with_encoder
from tasks.training import evaluate as evaluate_variants


@flow(name="evaluate", flow_run_name="{profile}", validate_parameters=True)
def evaluate(
    profile: str = "demo",
    month: str | None = None,
    region: str | None = None,
    workspace: str = "workspace",
    scratch: str | None = None,
    data: str | None = None,
    catalog: list[str] | None = None,
    faults: float | None = None,
    dask_address: str | None = None,
    variants: list[str] | None = None,
    encoders: list[str] | None = None,
) -> str:
    """Train variants of a profile's model and compare their held-out scores.

    Args:
        profile: run profile of the catalogue.
        month: YYYY-MM; of a scheduled run the month before its scheduled start, else the profile's.
        region: a region of the catalogue, or west,south,east,north.
        workspace: folder or fsspec URL that holds everything the run keeps.
        scratch: local folder for work in progress; inside a local workspace by default.
        data: folder of real files, or the mirror that fetched files go to.
        catalog: folders whose entries are laid over the built-in catalogue.
        faults: share of requests that the stand-in services of a virtual world spoil.
        dask_address: an existing Dask scheduler; a local cluster by default.
        variants: names, see ``plant_traits.model.variants``; by default all that differ from the profile.
        encoders: further photo encoders, or several joined by +, that the whole model is trained with too.

    Returns:
        Address of the evaluation's folder.
    """
    words = RunWords(
        profile=profile,
        month=month,
        region=region,
        workspace=workspace,
        scratch=scratch,
        data=data,
        catalog=tuple(catalog or ()),
        faults=faults,
        dask_address=dask_address,
    )
    for name in variants or ():
        variant(name)
    with open_run(words) as run:
        chosen = variants or variants_of(run.spec.profile.model, with_truth=run.spec.inputs.truth is not None)
        records = gather_records(run)
        read = gather_training_inputs(run, records, gather_model_inputs(run, records))
        made = evaluate_variants(run, records.world, read.table, read.cleaning, chosen)
        for encoder in encoders or ():
            other = with_encoder(run, encoder)
            read = gather_training_inputs(other, records, gather_model_inputs(other, records))
            made += evaluate_variants(other, records.world, read.table, read.cleaning, ["full"], encoder)
        return point_at(run.workspace, "evaluations", run.spec.name, compare_variants(run, made))
