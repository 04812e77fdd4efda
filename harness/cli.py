"""The command line: names, options and exit codes only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness import __version__
from harness.endings import stopped_by_a_key, to_its_end

app = typer.Typer(
    help="Compare preference-alignment algorithms from one recipe, and learn which one to pick.\n\n"
    "Begin with: harness run recipes/compare_all.toml",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Recipe = Annotated[Path, typer.Argument(help="The recipe, for example recipes/compare_all.toml.", metavar="RECIPE")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Set a value of the recipe: --set budget.steps=20. May repeat.")
]
Results = Annotated[Path, typer.Option(help="Folder of the stages.", file_okay=False)]
Reports = Annotated[Path, typer.Option(help="Folder of the reports.", file_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
RESULTS, REPORTS = Path("results"), Path("reports")


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Only `--version` is here; everything else is a command."""
    if version:
        typer.echo(f"harness {__version__}")
        raise typer.Exit


@app.command()
def run(
    recipe: Recipe,
    set_: Set = None,
    results: Results = RESULTS,
    reports: Reports = REPORTS,
    as_json: AsJson = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With executor = 'slurm': write the sbatch files, and submit nothing.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="With executor = 'slurm': submit all that is left at once, and leave.")
    ] = False,
) -> None:
    """Run what is missing of a comparison, build the report, and print the answer.

    With executor = "slurm" and --detach it submits all of it, each job waiting for those whose results it reads. Where
    that has to be decided on the way, by [tune] or looks, it submits a small job that does what this command does.
    Stop it at any moment and start it again: nothing that is finished runs twice.
    Example: harness run recipes/compare_all.toml --set launch.workers=4
    """
    if dry_run:
        from harness.commands.dry_run import dry_run as write

        write(recipe, set_ or [], results, detach, as_json)
        return
    if detach:
        from harness.commands.detach import detach as leave

        leave(recipe, set_ or [], results, reports, as_json)
        return
    with stopped_by_a_key():
        from harness.commands.run import run_recipe

        raise typer.Exit(run_recipe(recipe, set_ or [], results, reports, as_json))


@app.command()
def tune(recipe: Recipe, set_: Set = None, results: Results = RESULTS, as_json: AsJson = False) -> None:
    """Choose every algorithm's own knobs by the selection reward on the tune prompts, with equal budgets.

    A recipe with [tune] is tuned by `harness run` too, which then compares tuned and default knobs.
    Example: harness tune recipes/tune_lab.toml
    """
    with stopped_by_a_key():
        from harness.commands.run import tune_recipe

        tune_recipe(recipe, set_ or [], results, as_json)


@app.command()
def plan(recipe: Recipe, set_: Set = None, results: Results = RESULTS, as_json: AsJson = False) -> None:
    """Show what a recipe would run, what it would take, what is shared, what cannot run and why. Runs nothing.

    Example: harness plan recipes/compare_all.toml
    """
    from harness.commands.plan import show_plan

    show_plan(recipe, set_ or [], results, as_json)


@app.command("data")
def data_(recipe: Recipe, set_: Set = None, as_json: AsJson = False) -> None:
    """Show what was understood of the data: rows, examples as they are trained on, lengths, what each contestant gets.

    Example: harness data recipes/compare_all.toml
    """
    from harness.commands.data import show_data

    show_data(recipe, set_ or [], as_json)


@app.command()
def status(recipe: Recipe, set_: Set = None, results: Results = RESULTS, as_json: AsJson = False) -> None:
    """Show how far a comparison is, and what failed and why: from the disk, and from squeue where there is one.

    Example: harness status recipes/compare_all.toml
    """
    from harness.commands.status import show_status

    show_status(recipe, set_ or [], results, as_json)


@app.command()
def watch(
    recipe: Recipe,
    set_: Set = None,
    results: Results = RESULTS,
    every_seconds: Annotated[float, typer.Option(help="How often to look.", min=1)] = 5.0,
) -> None:
    """Show the status until nothing runs or is queued any more. Ctrl-C ends the watching alone.

    Example: harness watch recipes/compare_all.toml
    """
    from harness.commands.status import watch as look

    try:
        code = look(recipe, set_ or [], results, every_seconds)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(code)


@app.command()
def logs(
    recipe: Recipe,
    which: Annotated[
        str,
        typer.Argument(
            help="A cell ('dpo r0'), a label of `harness status` ('train dpo r0'), a stage's folder or the beginning "
            "of its key, or a Slurm job's number.",
            metavar="WHICH",
        ),
    ],
    set_: Set = None,
    results: Results = RESULTS,
    lines: Annotated[int, typer.Option(help="Lines from the end.", min=1)] = 30,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the stage has ended.")] = False,
) -> None:
    """Show the end of a stage's log, and of its Slurm job's; of a cell, that of the stage which failed or runs.

    Example: harness logs recipes/compare_all.toml 'dpo r0'
    """
    from harness.commands.logs import show_logs

    show_logs(recipe, which, set_ or [], results, lines, follow)


@app.command()
def cancel(recipe: Recipe, set_: Set = None, results: Results = RESULTS, as_json: AsJson = False) -> None:
    """End what a recipe has in Slurm's queue, running or not, and nothing else.

    Example: harness cancel recipes/compare_all.toml
    """
    from harness.commands.cancel import cancel_recipe

    cancel_recipe(recipe, set_ or [], results, as_json)


@app.command()
def report(
    recipe: Recipe, set_: Set = None, results: Results = RESULTS, reports: Reports = REPORTS, as_json: AsJson = False
) -> None:
    """Build the report from what is there, finished or not.

    Example: harness report recipes/compare_all.toml
    """
    from harness.commands.run import report_recipe

    report_recipe(recipe, set_ or [], results, reports, as_json)


@app.command()
def advise(
    recipe: Recipe,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="What there is to train on: pairs, rankings, binary, judgments, demonstrations, prompts, "
            "reward (a reward model or rule), judge (of new responses). May repeat."
        ),
    ] = None,
    memory_gb: Annotated[float | None, typer.Option(help="Memory of the device, in GB.")] = None,
    device_hours: Annotated[
        float | None, typer.Option(help="For one policy with all that it rests on, tuning included.")
    ] = None,
    models: Annotated[int | None, typer.Option(help="Most models in memory at once.")] = None,
    scale: Annotated[float, typer.Option(help="How many times as large your model is as the one measured.")] = 1.0,
    need: Annotated[list[str] | None, typer.Option(help="low-variance or unseen-prompts. May repeat.")] = None,
    start: Annotated[str, typer.Option(help="What training begins from: base, sft, sft_chosen.")] = "",
    set_: Set = None,
    results: Results = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Say which algorithm to pick under your constraints, from what the comparison has measured.

    Example: harness advise recipes/compare_all.toml --data pairs --memory-gb 24 --need low-variance
    """
    from harness.commands.advise import show_advice
    from harness.report.advice import Wishes

    wishes = Wishes(tuple(data or ()), memory_gb, device_hours, models, scale, tuple(need or ()), start)
    show_advice(recipe, set_ or [], results, wishes, as_json)


@app.command("exec")
def exec_(
    folder: Annotated[Path, typer.Argument(help="A stage's folder, <results>/<kind>-<key>.", metavar="FOLDER")],
    checkpoint_every: Annotated[int, typer.Option(help="Optimiser steps between checkpoints.")] = 50,
) -> None:
    """Run one stage's folder, as every executor does.

    Example: harness exec results/train-0123456789abcdef
    """
    from harness.execute import check, execute

    check(folder)
    outcome = execute(folder, checkpoint_every)
    typer.echo(" ".join(filter(None, [outcome.name, outcome.status, outcome.cause, outcome.error])))
    raise typer.Exit(0 if outcome.status == "done" else 1)


@app.command("list")
def list_(
    kind: Annotated[
        str,
        typer.Argument(
            help="algorithms, data, models, metrics, judges or hypotheses; recipe, for all tables of a recipe; or one "
            "of these: budget, evaluation, reward, launch, start, tune ..."
        ),
    ] = "algorithms",
    as_json: AsJson = False,
) -> None:
    """Show what there is: knobs with defaults and ranges, needs, papers; and every key of a recipe.

    Example: harness list algorithms; harness list recipe; harness list budget
    """
    from harness.commands.listing import show_list

    show_list(kind, as_json)


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="A comparison under results/published/.", metavar="NAME")],
    results: Results = RESULTS,
    into: Annotated[Path, typer.Option(help="A fresh results folder.")] = Path("results-reproduced"),
) -> None:
    """Run a published comparison again from nothing, and compare every number.

    Example: harness reproduce compare_all
    """
    with stopped_by_a_key():
        from harness.commands.reproduce import reproduce_published

        raise typer.Exit(reproduce_published(name, results, into))


@app.command()
def publish(
    recipe: Recipe,
    results: Results = RESULTS,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Keep what is finished so far.")] = False,
) -> None:
    """Keep a finished comparison under results/published/: records and samples, no weights. It counts as done.

    Example: harness publish recipes/compare_all.toml
    """
    from harness.commands.publish import publish_recipe

    publish_recipe(recipe, results, unfinished)


@app.command()
def clean(
    recipe: Recipe,
    set_: Set = None,
    results: Results = RESULTS,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it nothing is touched.")] = False,
) -> None:
    """Free the weights that nothing unfinished needs. Records and samples stay, so reports can still be built.

    Example: harness clean recipes/compare_all.toml        (shows the bytes first)
    """
    from harness.commands.clean import clean_recipe

    clean_recipe(recipe, set_ or [], results, yes)


@app.command()
def sheet(
    recipe: Recipe,
    prompts: Annotated[int, typer.Option(help="Prompts, each with every contestant and seed.", min=1)] = 10,
    set_: Set = None,
    results: Results = RESULTS,
    reports: Reports = REPORTS,
) -> None:
    """Write a blind, shuffled comparison sheet for people: a CSV, and a page that works offline.

    Example: harness sheet recipes/compare_all.toml --prompts 5
    """
    from harness.commands.votes import write_sheet

    write_sheet(recipe, set_ or [], results, reports, prompts)


@app.command()
def votes(
    recipe: Recipe,
    file: Annotated[Path, typer.Argument(help="The votes: CSV with id, rater, vote.", metavar="FILE")],
    set_: Set = None,
    results: Results = RESULTS,
) -> None:
    """Check people's votes and keep them; the report shows them as a judge.

    Example: harness votes recipes/compare_all.toml votes.csv
    """
    from harness.commands.votes import take_votes

    take_votes(recipe, set_ or [], results, file)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine can run.

    Example: harness doctor
    """
    from harness.commands.doctor import examine

    examine(as_json)


def main() -> Any:
    """The command; see `endings.to_its_end` for exit codes."""
    to_its_end(app)


if __name__ == "__main__":
    main()
